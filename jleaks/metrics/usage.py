"""How much of a data set a model was trained on, from how many of its records an attack calls members.

Of a share p of the records the attack calls TPR members, of the others FPR: the share called is
p TPR + (1 - p) FPR, and p = (called - FPR) / (TPR - FPR), with both rates from reference models whose
members are known (DUCI, Tong et al., ICLR 2025; one threshold and one pair of rates for all records, as in
`modules/duci` of ML Privacy Meter).  The interval is ours: rates differ from model to model, and the
target's own are one more draw.
"""

from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Bool, Float

from jleaks.errors import InputError
from jleaks.metrics.intervals import check_confidence

# Shares at which the interval is tested.
_GRID = np.linspace(0, 1, 1001)
# References without which nothing is known of how rates vary.
FEWEST = 3


class Usage(NamedTuple):
    """How much of a data set was used.

    Attributes:
      share: The estimate, which may lie outside [0, 1]; NaN where references call no more members than
        others.
      low: Of the interval, within [0, 1].
      high: Likewise.
      threshold: From which score a record is called a member.
      tpr: Mean over the references.
      fpr: Likewise.
    """

    share: float
    low: float
    high: float
    threshold: float
    tpr: float
    fpr: float


def usage(
    target: Float[np.ndarray, "records"],
    references: Float[np.ndarray, "references records"],
    member: Bool[np.ndarray, "references records"],
    confidence: float = 0.95,
) -> Usage:
    """Estimates which share of n records a target was trained on.

    The interval holds every share p at which p TPR + (1 - p) FPR is not further from what was called than
    the Student quantile allows.  The variance there is that of the rates over R references, (1 + 1 / R)
    times, in which the part that stems from so few members and others is put at the target's numbers.

    Args:
      target: [n] its scores of the records.
      references: [R, n] scores by the same attack of models like it.
      member: [R, n] what these were trained on.
      confidence: Of the interval.

    Raises:
      InputError: there are fewer than three references, or one has no members or no others among the
        records.
    """
    check_confidence(confidence)
    count, n = references.shape
    inside, outside = member.sum(1), (~member).sum(1)
    if count < FEWEST or not inside.all() or not outside.all():
        raise InputError(
            f"the share of {n:,} records that was used: {count} references, of which one has "
            f"{min(inside, default=0)} of them and one has not {min(outside, default=0)}; expected at "
            f"least {FEWEST} references that have some and have not others: name more records or train "
            "more models"
        )
    threshold = _threshold(references, member)
    called = references >= threshold
    rates = np.stack([(called & member).sum(1) / inside, (called & ~member).sum(1) / outside])
    tpr, fpr = rates.mean(1)
    seen = float((target >= threshold).mean())
    # What the rates of so few records vary by if each is called by itself.
    alone = np.array([tpr * (1 - tpr), fpr * (1 - fpr)])
    weights = np.stack([_GRID, 1 - _GRID])
    spread = (weights * (np.cov(rates) @ weights)).sum(0)
    theirs = (weights**2 * (alone * [(1 / inside).mean(), (1 / outside).mean()])[:, None]).sum(0)
    own = (weights * alone[:, None] / n).sum(0)
    variance = np.maximum(spread - theirs + own, own) + spread / count
    distance = np.abs(seen - fpr - _GRID * (tpr - fpr))
    quantile = scipy.stats.t.isf((1 - confidence) / 2, count - 1)
    accepted = _GRID[distance <= quantile * np.sqrt(variance)]
    if not accepted.size:
        accepted = _GRID[[np.argmin(distance)]]
    share = (seen - fpr) / (tpr - fpr) if tpr > fpr else float("nan")
    return Usage(
        *(float(share), float(accepted[0]), float(accepted[-1])),
        *(threshold, float(tpr), float(fpr)),
    )


def _threshold(scores: np.ndarray, member: np.ndarray) -> float:
    """The score with the largest TPR - FPR over all references and records together."""
    order = np.argsort(-scores, axis=None, kind="stable")
    falling, inside = scores.ravel()[order], member.ravel()[order]
    gain = np.cumsum(inside) / inside.sum() - np.cumsum(~inside) / (~inside).sum()
    # Scores that tie are called together.
    ends = np.append(falling[1:] != falling[:-1], True)
    return float(falling[np.argmax(np.where(ends, gain, -np.inf))])
