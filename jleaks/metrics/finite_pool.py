"""What it does to a record's risk that a bank's models train on random parts of ONE pool.

An attacker who knows a target's records but one asks how far that one moves the answer; one who knows only
where they come from sees the answer move with all of the others, too.  Models on halves of one pool share
half of their records, so that their answers differ less than those of models on records drawn afresh, and a
record looks easier to tell than it is (arXiv 2605.25819 reports the bias; the correction here is derived
below, not taken from there).

To first order an answer is a sum over the records of a training part.  Of n records out of a pool of N,
without replacement, such a sum has 1 - n / N of the variance that n fresh records give it (the correction
for finite populations; Cochran 1977, section 2.6); what initial weights and order of batches add is the
same in both.  Two models of the same records and other keys tell the two apart.
"""

from typing import NamedTuple

import numpy as np
import scipy.special
from jaxtyping import Bool, Float

from jleaks.errors import InputError


class Spread(NamedTuple):
    """How much a record's score differs between models that agree on whether they trained on it; [N] each.

    Attributes:
      total: Variance between models.
      training: Between models of the same training part: what their keys alone do.
    """

    total: Float[np.ndarray, "records"]
    training: Float[np.ndarray, "records"]


def spread(
    scores: Float[np.ndarray, "models records"],
    member: Bool[np.ndarray, "models records"],
    again: Float[np.ndarray, "twice records"],
) -> Spread:
    """Measures the spread of a bank's scores, whatever their distributions.

    Args:
      scores: [M, N] of the bank's models.
      member: [M, N] who trained on what; at least two models on either side of every record.
      again: [R, N] of models with the training parts of the first R and keys of their own.

    Raises:
      InputError: there are too few models on a side, or no second ones.
    """
    sides = np.stack([member, ~member])
    counts = sides.sum(1)
    if counts.min() < 2 or not 0 < len(again) <= len(scores):
        raise InputError(
            f"{counts.min()} models on a side of a record and {len(again)} trained again of {len(scores)}, "
            "expected at least 2, and from 1 to all"
        )
    squares = sum(
        ((scores - (scores * side).sum(0) / count) ** 2 * side).sum(0)
        for side, count in zip(sides, counts, strict=True)
    )
    training = ((scores[: len(again)] - again) ** 2).mean(0) / 2
    return Spread(squares / (len(scores) - 2), training)


def fresh_auc(
    auc: Float[np.ndarray, "records"], found: Spread, share: float
) -> Float[np.ndarray, "records"]:
    """Returns the AUC of each record if every model's other records were drawn afresh.

    Scores are taken as normal with equal variance on either side: AUC = Phi(d / sqrt 2) for means d
    standard deviations apart, of which the deviation alone changes.

    Args:
      auc: [N] measured over the bank's models.
      found: How their scores spread.
      share: Of the pool that each model trains on, n / N.

    Raises:
      InputError: share is not a number in (0, 1).
    """
    if not 0 < share < 1:
        raise InputError(f"share is {share}, expected a number in (0, 1)")
    data = np.maximum(found.total - found.training, 0)
    grown = found.training + data / (1 - share)
    with np.errstate(invalid="ignore"):
        factor = np.where(grown > 0, np.sqrt((found.training + data) / grown), 1.0)
    return scipy.special.ndtr(scipy.special.ndtri(auc) * factor)
