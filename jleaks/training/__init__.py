"""From a recipe to fleets of trained models: one step of one model up to many devices."""
