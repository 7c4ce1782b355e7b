"""How fast banks are evaluated, beside loops, NumPy and public code on the same answers."""
