"""Two audits of the same records compared record by record.

Scores of one record under two models are alike: its difficulty is in both.  The difference between two
audits therefore is far more certain than either number, and its interval is that of differences by record,
not of two numbers apart.
"""

from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Bool, Float

from jleaks.metrics.intervals import Interval, clopper_pearson


class Placed(NamedTuple):
    """DeLong's components of one AUC: of each member the share of others below it, and conversely."""

    members: Float[np.ndarray, "members"]
    others: Float[np.ndarray, "others"]


def placed(scores: Float[np.ndarray, "records"], member: Bool[np.ndarray, "records"]) -> Placed:
    """Returns the components whose means both are the AUC, ties counted half (DeLong et al. 1988)."""
    inside, outside = scores[member], scores[~member]
    p, n = inside.size, outside.size
    rank = scipy.stats.rankdata
    together = rank(np.concatenate([inside, outside]))
    return Placed((together[:p] - rank(inside)) / n, 1 - (together[p:] - rank(outside)) / p)


def auc_difference(
    first: Float[np.ndarray, "records"],
    second: Float[np.ndarray, "records"],
    member: Bool[np.ndarray, "records"],
    confidence: float = 0.95,
) -> Interval:
    """Returns the AUC of the first scores less that of the second, of the same records.

    The variance is that of differences of DeLong's components (equation 6 of the paper, a contrast of
    two), the interval normal.  Where no record differs that variance is zero: the bounds then are what so
    many records without a difference allow.

    Args:
      first: [N] scores by one audit.
      second: [N] by another.
      member: Which are members, of both models.
      confidence: Of the interval.
    """
    ours, theirs = placed(first, member), placed(second, member)
    inside, outside = ours.members - theirs.members, ours.others - theirs.others
    mean = float(inside.mean())
    spread = float(np.sqrt(inside.var(ddof=1) / inside.size + outside.var(ddof=1) / outside.size))
    reach = float(scipy.stats.norm.ppf((1 + confidence) / 2)) * spread
    if spread == 0:
        fewer = min(inside.size, outside.size)
        reach = 1 - clopper_pearson(fewer, fewer, confidence).low
    low, high = max(-1.0, mean - reach), min(1.0, mean + reach)
    return Interval(mean, low, high, spread, member.size, "DeLong, paired")


def share_difference(
    first: Bool[np.ndarray, "records"],
    second: Bool[np.ndarray, "records"],
    confidence: float = 0.95,
) -> Interval:
    """Returns the share of records called by the first rule less that by the second.

    Both shares of records that one rule calls alone have Clopper-Pearson's interval; distances to the
    bounds of their difference add up as errors of two multinomial shares do (MOVER, Zou & Donner 2008).
    Where no record differs the bounds are what so many records allow.

    Args:
      first: [N] whom one rule calls.
      second: [N] whom another calls.
      confidence: Of the interval.
    """
    n = first.size
    gained = clopper_pearson(int((first & ~second).sum()), n, confidence)
    lost = clopper_pearson(int((second & ~first).sum()), n, confidence)
    mean = gained.mean - lost.mean
    # Minus the correlation of two shares of one sample.
    odds = [one.mean / max(1 - one.mean, 1 / n) for one in (gained, lost)]
    related = min(1.0, float(np.sqrt(odds[0] * odds[1])))

    def together(x: float, y: float) -> float:
        return float(np.sqrt(x**2 + y**2 + 2 * related * x * y))

    below = together(gained.mean - gained.low, lost.high - lost.mean)
    above = together(gained.high - gained.mean, lost.mean - lost.low)
    spread = float(np.sqrt(max(gained.mean + lost.mean - mean**2, 0) / n))
    low, high = max(-1.0, mean - below), min(1.0, mean + above)
    return Interval(mean, low, high, spread, n, "paired shares")
