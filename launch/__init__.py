"""Command-line entry points: parse flags, make one call, print, exit."""
