"""One question per script, each with a table made from measured rows; `harness.py` is what all share."""
