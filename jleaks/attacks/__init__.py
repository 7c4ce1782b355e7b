"""Attacks, one family per file: from what the attacker has to a score, larger for members."""
