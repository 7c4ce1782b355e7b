"""One question per script; each prints a table made from measured rows."""
