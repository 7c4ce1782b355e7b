"""Banks: many models of one task on random halves of its records, each the target of all the others."""
