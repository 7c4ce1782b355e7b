"""Means over targets that share records: their intervals, and which of two attacks is ahead on them.

All intervals answer how far a value would move with other records; none says anything of other models
trained the same way.  One target alone is the mean over one.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import scipy.special

from jleaks.errors import InputError
from jleaks.metrics.intervals import Interval, Values, check_confidence, share_interval


def by_membership(
    scores: Values, member: Sequence[int] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the members' and the non-members' scores, [p] and [n] float64, in the given order.

    Args:
      scores: [records], finite, larger means likelier a member.
      member: [records] of booleans, or of zeros and ones: the truth.

    Raises:
      InputError: the shapes differ or are not one-dimensional, a score is not finite, `member`
        holds other values, or there is no member or no non-member.
    """
    values, truth = np.asarray(scores, np.float64), np.asarray(member)
    if values.ndim != 1 or values.shape != truth.shape:
        raise InputError(
            f"scores of shape {values.shape} and membership of shape {truth.shape}; "
            "expected one dimension and equal lengths"
        )
    bad = values.size - int(np.isfinite(values).sum())
    if bad:
        raise InputError(f"{bad} of {values.size} scores are NaN or infinite; expected finite")
    if truth.dtype != bool:
        if not np.isin(truth, (0, 1)).all():
            raise InputError("membership with other values than 0 and 1; expected booleans")
        truth = truth.astype(bool)
    if truth.all() or not truth.any():
        raise InputError(
            f"{int(truth.sum())} members among {truth.size} records; expected at least one member "
            "and one non-member"
        )
    return values[truth], values[~truth]


@dataclasses.dataclass(frozen=True, eq=False)
class OverTargets:
    """A metric of one attack, averaged over targets that are judged by the same records.

    Attributes:
      values: [targets] one per target, None or NaN where it is not defined.
      influence: [records] what each record adds to the error of the mean of the defined values: the
        sum over targets of its part in each one's linearised error, over their number.
      num_records: Least number of records of one kind (members or non-members) behind any value.
      lower: Another estimate of the same mean, biased downwards where `values` are biased upwards (the
        TPR where few non-members are allowed); the truth lies between the two.  None: there is none.
    """

    values: Values
    influence: np.ndarray
    num_records: int
    lower: float | None = None

    @property
    def defined(self) -> np.ndarray:
        """[n] the values that are defined, float64."""
        array = np.asarray(self.values, np.float64)
        return array[~np.isnan(array)]

    @property
    def mean(self) -> float:
        """Of the defined values; NaN if there are none."""
        return float(self.defined.mean()) if self.defined.size else math.nan


def clustered_error(influence: np.ndarray) -> tuple[float, float]:
    """Returns the standard error of a sum of independent records' influences, and its degrees of freedom.

    The root of the sum of squares.  The degrees of freedom are Satterthwaite's: twice the squared mean
    over the variance of that sum of squares; N where N influences are normal, 2 where one is all.

    Args:
      influence: [records], with a mean of zero.
    """
    squares = np.asarray(influence, np.float64) ** 2
    total = float(squares.sum())
    if total == 0:
        return 0.0, math.inf
    spread = float((squares**2).sum()) - total**2 / squares.size
    return math.sqrt(total), 2 * total**2 / spread if spread > 0 else math.inf


def mean_over_targets(estimate: OverTargets, confidence: float = 0.95) -> Interval:
    """Returns the mean of a share in [0, 1] over the targets of one bank, with an interval over records.

    The targets of a bank share their records, so that a record which is easy to tell is easy under many
    of them: their values are not independent, and a t interval over them is several times too narrow.
    Independent are the records.  Each one's influence is summed over all targets, the sum of squares is
    the variance (DeLong et al. 1988, with a record as the unit that is drawn; Obuchowski 1997 for
    clusters), and `jleaks.metrics.intervals.share_interval` keeps the bounds within [0, 1].

    Assumes records that are independent given the models, and takes the models as they are: the targets,
    the references that they share, and what else scores are computed from (thresholds of a shadow, the
    other records that RMIA compares with).  Models of other seeds vary beyond it.

    Args:
      estimate: Values and influences.
      confidence: Nominal coverage of the mean over records drawn alike.

    Returns:
      An interval with the standard error as `std` and the number of defined values as `n`.
    """
    error, freedom = clustered_error(estimate.influence)
    n, mean = estimate.defined.size, estimate.mean
    if not n:
        return Interval(math.nan, math.nan, math.nan, math.nan, 0, "records")
    lower = mean if estimate.lower is None else estimate.lower
    below, above = (
        share_interval(share, error, estimate.num_records, freedom, confidence)
        for share in (lower, mean)
    )
    return Interval(above.mean, min(below.low, above.low), above.high, error, n, "records")


def auc_over_records(
    scores: Values, member: Sequence[int] | np.ndarray, confidence: float = 0.95
) -> Interval:
    """Returns the AUC of one attack on one target with its interval over records.

    A record's influence is its placement less the AUC, over the number of its kind: of a member the share
    of non-members below it, of a non-member that of members above it, ties half (DeLong et al. 1988).
    The interval is that of `mean_over_targets`.  For the TPR at a named FPR
    `jleaks.metrics.operating_points.tpr_of_scores` is exact, for the TPR at a threshold chosen elsewhere
    `jleaks.metrics.intervals.clopper_pearson`.

    Args:
      scores: [records], finite, larger means likelier a member.
      member: [records] of booleans: the truth.
      confidence: Nominal coverage of the AUC over records drawn alike.

    Raises:
      InputError: scores or membership are not as `by_membership` takes them, or `confidence` is out of
        range.
    """
    check_confidence(confidence)
    members, others = map(np.sort, by_membership(scores, member))

    def above(sorted_scores: np.ndarray, of: np.ndarray) -> np.ndarray:
        """The share of sorted scores that are below each of others, ties half."""
        sides = (np.searchsorted(sorted_scores, of, side) for side in ("left", "right"))
        return np.add(*sides) / (2 * sorted_scores.size)

    placements = above(others, members), 1 - above(members, others)
    auc = float(placements[0].mean())
    influence = np.concatenate([(of - auc) / of.size for of in placements])
    least = min(members.size, others.size)
    return mean_over_targets(OverTargets([auc], influence, least), confidence)


@dataclasses.dataclass(frozen=True)
class PairedTargets:
    """Two attacks on the same targets.

    Attributes:
      difference: Mean of first - second with its interval over records.
      ahead: Number of targets on which the first is strictly ahead.
      behind: Number of targets on which the second is strictly ahead.
    """

    difference: Interval
    ahead: int
    behind: int


def paired_targets(
    first: OverTargets, second: OverTargets, confidence: float = 0.95
) -> PairedTargets:
    """Compares two attacks on the same targets of one bank.

    A record's influence on the difference is the difference of its influences: what both attacks share
    of its luck cancels.  The interval is mean ± t times the standard error (`clustered_error`), cut to
    [-1, 1], under the assumptions of `mean_over_targets`.  How many targets each is ahead on is a count
    without a test: targets are not independent.

    Args:
      first: A metric of one attack, defined for every target.
      second: The same metric of the other, same targets and records in the same order.
      confidence: Nominal coverage of the true mean difference.

    Raises:
      InputError: the targets or records differ in number, a value is not defined, or `confidence` is out
        of range.
    """
    check_confidence(confidence)
    a, b = (np.asarray(one.values, np.float64) for one in (first, second))
    if a.shape != b.shape or first.influence.shape != second.influence.shape:
        raise InputError(
            f"{a.size} and {b.size} targets, {first.influence.size} and {second.influence.size} records; "
            "expected the same of both"
        )
    if np.isnan(a).any() or np.isnan(b).any():
        raise InputError("an undefined value among those to compare; expected one for every target")
    if not a.size:
        none = Interval(math.nan, math.nan, math.nan, math.nan, 0, "paired records")
        return PairedTargets(none, 0, 0)
    error, freedom = clustered_error(first.influence - second.influence)
    tail = (1 + confidence) / 2
    t = scipy.special.stdtrit(freedom, tail) if freedom < math.inf else scipy.special.ndtri(tail)
    mean = float((a - b).mean())
    lower = [one.mean if one.lower is None else one.lower for one in (first, second)]
    ends = mean, lower[0] - lower[1]
    reach = float(t) * error
    difference = Interval(
        mean, min(ends) - reach, max(ends) + reach, error, a.size, "paired records"
    ).within(-1, 1)
    return PairedTargets(difference, int((a > b).sum()), int((a < b).sum()))
