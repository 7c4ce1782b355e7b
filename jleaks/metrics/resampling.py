"""Uncertainty over records and over targets: what `jleaks.metrics.intervals` has no values for.

The bootstrap over records answers how far the AUC of *one* attack on *one* target would
move with other records; it says nothing about another model trained the same way.  Means over the targets
of one bank, and which of two attacks is ahead on them, have intervals over the records that all targets
share.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import scipy.special

from jleaks.errors import InputError
from jleaks.metrics.intervals import Interval, Values, check_confidence, share_interval

# Entries of the largest array of one block of resamples: bounds the memory, not the result.
_BLOCK = 4_000_000


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


def _auc(members: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Mann-Whitney with ties counted half, [B], from records per level [B, L], highest first."""
    above = members.cumsum(axis=1) - members / 2
    return (above * others).sum(axis=1) / (members.sum(axis=1) * others.sum(axis=1))


def bootstrap_records(
    scores: Values,
    member: np.ndarray,
    seed: int = 0,
    *,
    confidence: float = 0.95,
    num_resamples: int = 1_000,
) -> Interval:
    """Returns the AUC of one attack on one target with an interval over its records.

    Percentile bootstrap (Efron 1979), stratified: p members and n non-members are drawn with
    replacement from their own kind, the AUC is computed on them, and the quantiles
    (1 ± confidence) / 2 of `num_resamples` such values are the bounds.  Ties are exact, as in
    `jleaks.metrics.case_metrics`: records of equal score move together, and count half.

    Assumes records drawn independently given the model; an AUC of 1 has the interval [1, 1].  For the TPR
    at a named FPR `jleaks.metrics.operating_points.tpr_of_scores` is exact, for the TPR at a threshold
    chosen elsewhere `jleaks.metrics.intervals.clopper_pearson`.

    Args:
      scores: [records], finite, larger means likelier a member.
      member: [records] of booleans: the truth.
      seed: The same seed gives the same interval.
      confidence: Nominal coverage of the AUC over records drawn alike.
      num_resamples: Number of resamples.

    Returns:
      An interval with the AUC of the given records as `mean`, the standard deviation of the
      resampled AUC (its standard error) as `std` and the number of records as `n`.

    Raises:
      InputError: scores or membership are not as `by_membership` takes them, or an argument is out
        of range.
    """
    check_confidence(confidence)
    if num_resamples < 2:
        raise InputError(f"{num_resamples} bootstrap resamples; expected at least 2")
    inside, outside = by_membership(scores, member)
    # A level is a distinct score, highest first: all that a ranking keeps of the scores.
    distinct, level = np.unique(-np.concatenate([inside, outside]), return_inverse=True)
    strata = level[: inside.size], level[inside.size :]
    L = distinct.size

    def resampled(stratum: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
        drawn = stratum[rng.integers(0, stratum.size, size=(size, stratum.size))]
        cells = drawn + np.arange(size)[:, None] * L
        return np.bincount(cells.ravel(), minlength=size * L).reshape(size, L)

    rngs = np.random.default_rng(seed).spawn(2)
    block = max(1, _BLOCK // level.size)
    values = np.concatenate(
        [
            _auc(
                *(
                    resampled(stratum, rng, min(block, num_resamples - start))
                    for stratum, rng in zip(strata, rngs, strict=True)
                )
            )
            for start in range(0, num_resamples, block)
        ]
    )
    mean = float(_auc(*(np.bincount(stratum, minlength=L)[None] for stratum in strata))[0])
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    std = float(values.std(ddof=1))
    return Interval(mean, float(low), float(high), std, level.size, "bootstrap over records")


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
