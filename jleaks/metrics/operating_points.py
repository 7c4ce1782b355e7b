"""The TPR at a named FPR: which thresholds to look at, by how many non-members they let in.

The literature's estimate takes the largest TPR among thresholds whose realised FPR is at most f.  That
threshold is chosen on the records it is judged by.  Of n independent non-members it lets in j = floor(f n),
so it stands at the (j + 1)-th highest of them, whose true FPR follows Beta(j + 1, n - j): with mean
(j + 1) / (n + 1), which is above f, and with a spread of about f / sqrt(j + 1).  So the estimate is biased
upwards, much so where f allows few non-members, and an interval for the rate of one fixed threshold
(Clopper-Pearson at the realised one) covers the TPR at f in as few as one case in ten.

What covers it are the members found at two other thresholds, one that lets in too few non-members and one
that lets in too many, each with a stated probability (`Counts.low` and `Counts.high`).
"""

import functools
import math
from typing import NamedTuple

import numpy as np
import scipy.special

from jleaks.errors import InputError
from jleaks.metrics.intervals import (
    Interval,
    Values,
    check_confidence,
    clopper_pearson,
)
from jleaks.metrics.over_targets import by_membership

# Where an FPR allows fewer non-members than this, tables mark the TPR as biased upwards.
FEW = 5
# 0.07 * 100 is a little more than 7 only by rounding.
_ROUNDING = 1e-4


class Counts(NamedTuple):
    """How many non-members the thresholds around a named FPR let in; -1 is a threshold above all scores.

    A threshold that lets in j stands at the (j + 1)-th highest non-member and calls members what is
    above it; "at least" also what is beside it.

    Attributes:
      low: The most that a threshold may let in for its true FPR to be at most f, up to the error that
        was asked for; -1 if even the highest non-member does not tell.
      high: The fewest for the true FPR of "at least" to be no less than f; n if there is none.
      below: The count whose expected FPR, (count + 1) / (n + 1), is f, rounded down.
      above: One more.
      left: Below these, for the slope of the ROC curve at f.
      right: Above them.
      nearest: The count nearest to an expected FPR of f, not negative.
    """

    low: int
    high: int
    below: int
    above: int
    left: int
    right: int
    nearest: int


def allowed(fpr: float, num_nonmembers: float) -> int:
    """Returns how many non-members a threshold may let in at a realised FPR of at most `fpr`."""
    return math.floor(fpr * num_nonmembers + _ROUNDING)


def is_few(fpr: float, num_nonmembers: float) -> bool:
    """Whether an FPR allows so few of so many non-members that the TPR there is biased upwards."""
    return allowed(fpr, num_nonmembers) < FEW


@functools.cache
def counts(fpr: float, num_nonmembers: int, confidence: float = 0.95) -> Counts:
    """Returns the thresholds of interest around a named FPR.

    A threshold at the (j + 1)-th highest of n non-members has a true FPR above f exactly if at most j of
    them lie above the threshold of f, which is a binomial probability; ties make the FPR of what is
    above it smaller and of what is beside it, too, larger, so that both errors stay below what is stated.

    Args:
      fpr: f, strictly between 0 and 1.
      num_nonmembers: n, independent given the model.
      confidence: Of the interval that `low` and `high` are for: each fails with probability at most
        (1 - confidence) / 4, which leaves as much for the members found there.

    Raises:
      InputError: an argument is out of range.
    """
    check_confidence(confidence)
    if not 0 < fpr < 1:
        raise InputError(f"FPR {fpr}; expected a number strictly between 0 and 1")
    if num_nonmembers < 1:
        raise InputError(f"{num_nonmembers} non-members; expected at least one")
    n, error = num_nonmembers, (1 - confidence) / 4
    # Of at most j non-members above the threshold of f.
    at_most = scipy.special.bdtr(np.arange(n + 1), n, fpr)
    low = int((at_most <= error).sum()) - 1
    high = int(np.argmax(1 - at_most <= error))
    expected = fpr * (n + 1) - 1
    below = math.floor(expected)
    # Half of the expected FPR to either side: the ROC curve hardly bends over so much.
    reach = max(1.0, (expected + 1) / 2)
    return Counts(
        low=low,
        high=high,
        below=below,
        above=min(below + 1, n),
        left=max(-1, math.floor(expected - reach)),
        right=min(n, math.ceil(expected + reach)),
        nearest=max(0, round(expected)),
    )


def interpolated(
    below: np.ndarray, above: np.ndarray, fpr: float, num_nonmembers: np.ndarray
) -> np.ndarray:
    """Returns what is found at an expected FPR of `fpr`, between the counts `below` and `above`."""
    expected = fpr * (num_nonmembers + 1) - 1
    share = expected - np.floor(expected)
    return (1 - share) * below + share * above


def tpr_interval(
    found: int, found_low: int, found_high: int, num_members: int, confidence: float = 0.95
) -> Interval:
    """Returns the interval of the TPR at a named FPR although its threshold was chosen on the same records.

    Clopper-Pearson's lower bound of the members found at `Counts.low` and upper bound of those found at
    `Counts.high`.  Each of the two thresholds and each of the two bounds fails with probability at most
    (1 - confidence) / 4, hence the interval covers with at least `confidence`, in samples of any size and
    with ties, if records are independent given the model.  Where the FPR allows too few non-members for a
    lower threshold the lower bound is 0.

    Args:
      found: Members found at the largest TPR with a realised FPR of at most the named one: the mean.
      found_low: Members above the threshold `Counts.low`.
      found_high: Members at or above the threshold `Counts.high`.
      num_members: All of them.
      confidence: Least probability that the TPR is covered.

    Raises:
      InputError: a count or `confidence` is out of range.
    """
    # Both of a two-sided interval's bounds at once fail with 1 - confidence: one with half of that.
    sided = 1 - (1 - confidence) / 2
    whole = clopper_pearson(found, num_members, sided)
    low = clopper_pearson(found_low, num_members, sided).low
    high = clopper_pearson(found_high, num_members, sided).high
    return Interval(whole.mean, low, high, whole.std, num_members, "TPR at a named FPR")


def tpr_of_scores(
    scores: Values, member: np.ndarray, fpr: float, confidence: float = 0.95
) -> Interval:
    """Returns `tpr_interval` of one target's scores.

    Args:
      scores: [records], finite, larger means likelier a member.
      member: [records] of booleans: the truth.
      fpr: The named FPR, strictly between 0 and 1.
      confidence: Least probability that the TPR is covered.

    Raises:
      InputError: scores or membership are not as `by_membership` takes them, or an argument is out of
        range.
    """
    inside, outside = by_membership(scores, member)
    # A threshold that lets in nobody is above all scores, one that lets in everybody below them.
    levels = np.concatenate([[-np.inf], np.sort(outside), [np.inf]])[::-1]
    at = counts(fpr, outside.size, confidence)
    found = int((inside > levels[allowed(fpr, outside.size) + 1]).sum())
    low = int((inside > levels[at.low + 1]).sum())
    high = int((inside >= levels[at.high + 1]).sum())
    return tpr_interval(found, low, high, inside.size, confidence)
