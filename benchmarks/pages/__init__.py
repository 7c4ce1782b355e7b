"""Documents made from committed rows."""
