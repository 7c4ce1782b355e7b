"""Figures, made from Matplotlib's objects and drawn by Agg, never through pyplot: no display, no state."""
