"""One question per script, each with a table made from measured rows; `harness` is what all share."""
