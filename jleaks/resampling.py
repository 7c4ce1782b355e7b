"""Uncertainty over records and over targets: what `jleaks.statistics` has no values for.

The bootstrap over records answers how far the AUC or the TPR of *one* attack on *one* target would
move with other records; it says nothing about another model trained the same way.  The paired
comparison answers which of two attacks is ahead on the same targets.
"""

import dataclasses
import math
from typing import Literal

import numpy as np
import scipy.special

from jleaks.errors import InputError
from jleaks.statistics import Interval, Values, check_confidence, paired_t_interval

# Entries of the largest array of one block of resamples: bounds the memory, not the result.
_BLOCK = 4_000_000


def by_membership(scores: Values, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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


def _tpr(members: np.ndarray, others: np.ndarray, fpr: float) -> np.ndarray:
    """Largest TPR at realised FPR <= `fpr`, [B], from records per level [B, L], highest first."""
    negatives = others.sum(axis=1, keepdims=True)
    # As in jleaks.metrics: 0.07 * 100 is a little more than 7 only by rounding.
    levels = (others.cumsum(axis=1) <= np.floor(fpr * negatives + 1e-4)).sum(axis=1)
    tp = np.pad(members.cumsum(axis=1), ((0, 0), (1, 0)))
    return tp[np.arange(len(tp)), levels] / members.sum(axis=1)


def bootstrap_records(
    scores: Values,
    member: np.ndarray,
    metric: Literal["auc", "tpr"] = "auc",
    seed: int = 0,
    *,
    fpr: float = 0.01,
    confidence: float = 0.95,
    num_resamples: int = 1_000,
) -> Interval:
    """Returns a metric of one attack on one target with an interval over its records.

    Percentile bootstrap (Efron 1979), stratified: p members and n non-members are drawn with
    replacement from their own kind, the metric is computed on them, and the quantiles
    (1 ± confidence) / 2 of `num_resamples` such values are the bounds.  Ties are exact, as in
    `jleaks.metrics`: records of equal score move together, the AUC counts ties half, and the TPR is the
    largest with a realised FPR of at most `fpr`.

    Assumes records drawn independently given the model, and enough of them: the interval of the
    TPR is too narrow where `fpr` allows a handful of false positives only, and an AUC of 1 has the
    interval [1, 1].  For the TPR at a threshold chosen elsewhere use
    `jleaks.statistics.clopper_pearson`, which is exact.

    Args:
      scores: [records], finite, larger means likelier a member.
      member: [records] of booleans: the truth.
      metric: "auc", or "tpr" at `fpr`.
      seed: The same seed gives the same interval.
      fpr: For "tpr": the largest FPR allowed, 0..1.
      confidence: Nominal coverage of the metric over records drawn alike.
      num_resamples: Number of resamples.

    Returns:
      An interval with the metric of the given records as `mean`, the standard deviation of the
      resampled metric (its standard error) as `std` and the number of records as `n`.

    Raises:
      InputError: scores or membership are not as `by_membership` takes them, or an argument is out
        of range.
    """
    check_confidence(confidence)
    if metric not in ("auc", "tpr"):
        raise InputError(f"metric {metric!r}; expected 'auc' or 'tpr'")
    if not 0 <= fpr <= 1:
        raise InputError(f"FPR {fpr}; expected a number from 0 to 1")
    if num_resamples < 2:
        raise InputError(f"{num_resamples} bootstrap resamples; expected at least 2")
    inside, outside = by_membership(scores, member)
    # A level is a distinct score, highest first: all that a ranking keeps of the scores.
    distinct, level = np.unique(-np.concatenate([inside, outside]), return_inverse=True)
    strata = level[: inside.size], level[inside.size :]
    L = distinct.size

    def computed(counts: list[np.ndarray]) -> np.ndarray:
        return _auc(*counts) if metric == "auc" else _tpr(counts[0], counts[1], fpr)

    def resampled(stratum: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
        drawn = stratum[rng.integers(0, stratum.size, size=(size, stratum.size))]
        cells = drawn + np.arange(size)[:, None] * L
        return np.bincount(cells.ravel(), minlength=size * L).reshape(size, L)

    rngs = np.random.default_rng(seed).spawn(2)
    block = max(1, _BLOCK // level.size)
    values = np.concatenate(
        [
            computed(
                [
                    resampled(stratum, rng, min(block, num_resamples - start))
                    for stratum, rng in zip(strata, rngs, strict=True)
                ]
            )
            for start in range(0, num_resamples, block)
        ]
    )
    mean = float(computed([np.bincount(stratum, minlength=L)[None] for stratum in strata])[0])
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    std = float(values.std(ddof=1))
    return Interval(mean, float(low), float(high), std, level.size, "bootstrap over records")


@dataclasses.dataclass(frozen=True)
class PairedTargets:
    """Two attacks on the same targets.

    Attributes:
      difference: Mean of first - second with its paired t interval.
      share_ahead: Share of targets on which the first is strictly ahead; NaN without targets.
      ahead: Number of those targets.
      behind: Number of targets on which the second is strictly ahead.
      p_value: Two-sided exact sign test that either is ahead with probability 1/2 on the targets
        that are not tied; 1 if all are.
    """

    difference: Interval
    share_ahead: float
    ahead: int
    behind: int
    p_value: float


def paired_targets(first: Values, second: Values, confidence: float = 0.95) -> PairedTargets:
    """Compares two attacks target by target.

    The t interval is about the mean difference and takes the differences as normal; the sign test
    (Conover 1999, section 3.4: ties dropped, p = min(1, 2 P[Binomial(u, 1/2) <= min(ahead, behind)])
    with u untied targets) takes nothing but their independence.  The models of one bank share
    records and references, and twins are complements: over the targets of one bank both describe
    that bank.

    Args:
      first: A metric of one attack, one value per target, [targets].
      second: The same metric of the other, same targets in the same order, [targets].
      confidence: Probability that the t interval covers the true mean difference.

    Returns:
      The comparison.  A target on which either value is None or NaN is left out.

    Raises:
      InputError: the lengths differ, a value is infinite, or `confidence` is out of range.
    """
    difference = paired_t_interval(first, second, confidence)
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    ahead, behind = int((a > b).sum()), int((a < b).sum())
    tail = float(scipy.special.bdtr(min(ahead, behind), ahead + behind, 0.5))
    share = ahead / difference.n if difference.n else math.nan
    return PairedTargets(difference, share, ahead, behind, min(1.0, 2 * tail))
