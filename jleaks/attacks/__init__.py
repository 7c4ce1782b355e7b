"""Attacks, one family per file: from what the attacker has to a score, larger for members.

Models come in twins on random halves of the records, and each is compared with those that are not its twin:

>>> import numpy as np
>>> from jleaks.attacks.bank import Bank
>>> from jleaks.attacks.evaluate_bank import scores
>>> from jleaks.attacks.references import assign
>>> from jleaks.attacks.registry import get_attacks
>>> rng = np.random.default_rng(0)
>>> half = rng.random((4, 100)) < 0.5
>>> member = np.stack([half, ~half], axis=1).reshape(8, 100)
>>> phi = (rng.normal(size=(1, 8, 100)) + 3 * member).astype(np.float32)
>>> bank = Bank(phi, member, np.zeros(100, np.int32), 2, np.zeros(100, bool), twins=True)
>>> references, shadows = assign(bank)
>>> found = scores(bank, get_attacks(["lira_online"]), references, shadows)["lira_online"]
>>> found.shape, bool(found[member].mean() > found[~member].mean())
((8, 100), True)
"""
