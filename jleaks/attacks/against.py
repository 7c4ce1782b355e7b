"""One bank attacked with another's models: an attacker whose shadows lack the targets' defence.

Both banks are of the same records, with the same models on the same of them.  So each target has the
references that it would have in its own bank, at their places in the other: neither itself nor its twin is
among them, in either form.
"""

import dataclasses

import numpy as np

from jleaks.attacks.bank import Bank
from jleaks.attacks.references import References, assign
from jleaks.errors import InputError


def against(
    targets: Bank, others: Bank, num_references: int | None = None
) -> tuple[Bank, References, References | None]:
    """Sets every model of one bank against those of another.

    Args:
      targets: Whose models are attacked.
      others: Whose models are references and shadows.
      num_references: Of each target; None for all.

    Returns:
      The models of both, the attacked ones first; references of the attacked, and of their shadows (see
      `jleaks.attacks.references.assign`).

    Raises:
      InputError: the banks' records or memberships differ.
    """
    alike = targets.phi.shape == others.phi.shape and all(
        np.array_equal(getattr(targets, name), getattr(others, name))
        for name in ("member", "labels", "population")
    )
    if not alike:
        raise InputError(
            "a bank is attacked with the models of another of other records or memberships; expected two "
            "banks that differ in their defence alone"
        )
    references, shadows = assign(targets, num_references)
    both = targets.joined(others)
    return (
        both,
        _moved(references, targets.num_models, 0),
        shadows and _moved(shadows, targets.num_models, targets.num_models),
    )


def _moved(references: References, by: int, targets_by: int) -> References:
    """Returns references among the second of two banks of `by` models each."""
    draw = references.draw
    return dataclasses.replace(
        references,
        targets=(references.targets + targets_by).astype(np.int32),
        models=(references.models + by).astype(np.int32),
        num_models=2 * by,
        draw=draw and dataclasses.replace(draw, rank=np.concatenate([draw.rank, draw.rank])),
    )
