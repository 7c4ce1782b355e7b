"""Which models of a bank are compared with which: every model is a target, the others its references."""

import numpy as np

from jleaks.attacks.evidence import References
from jleaks.bank.bank import Bank
from jleaks.errors import InputError


def twin(bank: Bank, model: int) -> int:
    """Returns the model that trained on the records which `model` did not, or the model itself."""
    return model ^ 1 if bank.twins else model


def most_references(bank: Bank) -> int:
    """Returns how many references every target can have: all models but itself and its twin."""
    return bank.num_models - (2 if bank.twins else 1)


def assign(bank: Bank, num_references: int | None = None) -> tuple[References, References | None]:
    """Gives every model its references, and a shadow from which thresholds are taken.

    A target's references are the models that follow it, in a circle; subsets are nested.  In a bank of
    twins neither a target's twin is its reference (it would give the target away) nor is a pair split
    before the last reference, so that of an even number exactly half hold any record.

    The shadow is the first of the references; it is attacked with the others, less its own twin.

    Args:
      bank: The bank.
      num_references: R of each target; None for all.

    Returns:
      References of the targets, and of their shadows (None if too few are left for a shadow).

    Raises:
      InputError: there are not so many models.
    """
    most = most_references(bank)
    count = most if num_references is None else num_references
    if not 1 <= count <= most:
        raise InputError(
            f"{count} references were asked for; a bank of {bank.num_models} models has up to "
            f"{most} for each target"
        )
    m = bank.num_models
    targets = np.arange(m, dtype=np.int32)
    # Pairs are kept whole: the circle starts after the target's own pair.
    start = (targets // 2 + 1) * 2 if bank.twins else targets + 1
    models = ((start[:, None] + np.arange(count)) % m).astype(np.int32)
    of_targets = References(targets, models, m)
    skip = 2 if bank.twins else 1
    if count - skip < 1:
        return of_targets, None
    return of_targets, References(models[:, 0], models[:, skip:], m)
