"""jleaks: how much a machine-learning model gives away about who was in its training data."""
