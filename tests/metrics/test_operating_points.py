"""The TPR at a named FPR: thresholds against loops, intervals against draws whose truth is known."""

import naive_attacks as naive
import naive_intervals as slow
import numpy as np
import pytest
from scipy import stats

from jleaks.errors import InputError
from jleaks.metrics.intervals import clopper_pearson
from jleaks.metrics.operating_points import (
    allowed,
    counts,
    interpolated,
    is_few,
    tpr_interval,
    tpr_of_scores,
)

FPRS = (0.01, 0.001, 0.0001)
SHIFT = 1.5


@pytest.mark.parametrize("n", [1, 2, 200, 900])
@pytest.mark.parametrize("fpr", [0.3, *FPRS])
def test_bracketing_thresholds_are_a_loop(n, fpr):
    found = counts(fpr, n)
    assert (found.low, found.high) == slow.counts(n, fpr, 0.05 / 4)


@pytest.mark.parametrize("n", [2_087, 20_000])
@pytest.mark.parametrize("fpr", FPRS)
def test_true_fprs_of_bracketing_thresholds_are_beta(n, fpr):
    """The true FPR of a threshold at the (j + 1)-th highest of n is Beta(j + 1, n - j)."""
    found, error = counts(fpr, n), 0.05 / 4
    if found.low >= 0:
        assert stats.beta.sf(fpr, found.low + 1, n - found.low) <= error
    assert stats.beta.sf(fpr, found.low + 2, n - found.low - 1) > error
    assert stats.beta.cdf(fpr, found.high + 1, n - found.high) <= error
    if found.high:
        assert stats.beta.cdf(fpr, found.high, n - found.high + 1) > error


def test_counts_around_a_named_fpr():
    found = counts(0.001, 2_087)
    # Expected FPRs of thresholds that let in 1 and 2: 2 / 2088 and 3 / 2088, around 0.001.
    assert (found.below, found.above) == (1, 2)
    assert 2 / 2_088 < 0.001 < 3 / 2_088
    assert found.left < found.below < found.above <= found.right
    assert found.nearest == 1
    # Not even one non-member is allowed.
    found = counts(0.0001, 2_087)
    assert (found.low, found.below, found.above, found.nearest) == (-1, -1, 0, 0)
    # A straight ROC curve is met exactly, whatever the sample size.
    for n in (50, 2_087, 20_000):
        at = counts(0.001, n)
        line = [(count + 1) / (n + 1) for count in (at.below, at.above)]
        found = interpolated(*map(np.atleast_1d, line), 0.001, np.array([n]))
        assert found == pytest.approx(0.001)


def test_few_non_members_are_fewer_than_five():
    assert (allowed(0.001, 2_087), allowed(0.01, 2_087), allowed(0.07, 100)) == (2, 20, 7)
    assert is_few(0.001, 4_999)
    assert not is_few(0.001, 5_000)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("fpr", [0.01, 0.05, 0.3])
def test_the_interval_of_scores_is_a_loop(rng, ties, fpr):
    member = rng.random(300) < 0.4
    scores = rng.normal(size=300) + member
    if ties:
        scores = np.round(scores)
    found = tpr_of_scores(scores, member, fpr)
    tpr, _, k, p = naive.tpr_at(scores, member, fpr)
    n = int((~member).sum())
    low, high = slow.counts(n, fpr, 0.05 / 4)
    k_low, k_high = slow.found(scores, member, low, False), slow.found(scores, member, high, True)
    assert (found.mean, found.n) == (pytest.approx(tpr), p)
    # One-sided bounds at a quarter of 5% each.
    expected = stats.beta.ppf(0.0125, k_low, p - k_low + 1) if k_low else 0.0
    assert found.low == pytest.approx(expected, abs=1e-9)
    expected = stats.beta.ppf(1 - 0.0125, k_high + 1, p - k_high) if k_high < p else 1.0
    assert found.high == pytest.approx(expected, abs=1e-9)
    assert found.low <= tpr <= found.high
    assert found == tpr_interval(k, k_low, k_high, p)


def _true_tpr(fpr: float, step: float | None) -> float:
    """Of N(0, 1) against N(SHIFT, 1), rounded to multiples of `step`."""
    if step is None:
        return float(stats.norm.sf(stats.norm.isf(fpr) - SHIFT))
    # Calling members what is at least k steps: the next lower edge is half a step below.
    edges = step * (np.arange(-20, 21) - 0.5)
    allowed = edges[stats.norm.sf(edges) <= fpr]
    return float(stats.norm.sf(allowed.min() - SHIFT))


@pytest.mark.parametrize("step", [None, 0.25])
@pytest.mark.parametrize(("n", "draws"), [(200, 600), (2_000, 600), (20_000, 200)])
def test_the_interval_covers_the_tpr_at_the_named_fpr(n, draws, step):
    rng = np.random.default_rng(n)
    member = np.arange(2 * n) < n
    missed_low, missed_high, missed_before = (dict.fromkeys(FPRS, 0) for _ in range(3))
    for _ in range(draws):
        scores = rng.normal(size=2 * n) + SHIFT * member
        if step is not None:
            scores = step * np.round(scores / step)
        for fpr in FPRS:
            found, truth = tpr_of_scores(scores, member, fpr), _true_tpr(fpr, step)
            missed_low[fpr] += truth < found.low
            missed_high[fpr] += truth > found.high
            before = clopper_pearson(round(found.mean * n), n)
            missed_before[fpr] += not before.low <= truth <= before.high
    # Each side fails in 2.5% at most; so many of `draws` at most but for one suite in a thousand.
    limit = stats.binom.ppf(0.999, draws, 0.025)
    for fpr in FPRS:
        assert missed_low[fpr] <= limit, (fpr, missed_low)
        assert missed_high[fpr] <= limit, (fpr, missed_high)
    if step is None:
        # The interval of a fixed threshold, put where the sample had one, misses far too often.
        assert min(missed_before[0.01], missed_before[0.001]) > 0.3 * draws


def test_a_threshold_that_lets_in_too_few_would_not_do():
    """The draws above can fail: one threshold for both ends misses on one side."""
    rng = np.random.default_rng(5)
    n, truth, missed = 2_000, _true_tpr(0.01, None), 0
    for _ in range(200):
        others, members = rng.normal(size=n), rng.normal(size=n) + SHIFT
        level = np.sort(others)[::-1][allowed(0.01, n)]
        missed += truth < clopper_pearson(int((members > level).sum()), n, 0.975).low
    assert missed > stats.binom.ppf(0.999, 200, 0.025)


@pytest.mark.parametrize(
    ("call_fn", "message"),
    [
        (lambda: counts(0.0, 10), "FPR 0.0; expected"),
        (lambda: counts(1.0, 10), "FPR 1.0; expected"),
        (lambda: counts(0.1, 0), "0 non-members"),
        (lambda: counts(0.1, 10, 1.0), "confidence 1.0"),
        (lambda: tpr_interval(5, 3, 5, 4), "5 hits among 4"),
        (lambda: tpr_of_scores([1.0, 2.0], np.array([True, True]), 0.1), "2 members among 2"),
    ],
)
def test_bad_input_is_named(call_fn, message):
    with pytest.raises(InputError, match=message):
        call_fn()
