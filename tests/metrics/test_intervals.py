import math

import numpy as np
import pytest
import scipy.stats

from jleaks.errors import InputError
from jleaks.metrics.intervals import (
    clopper_pearson,
    correlation_interval,
    paired_t_interval,
    share_interval,
    t_interval,
)

NUM_DRAWS = 2_000


def covers(interval, truth):
    return interval.low <= truth <= interval.high


def test_t_interval_is_scipys():
    values = [0.61, 0.64, 0.58, 0.7, 0.66]
    interval = t_interval(values, 0.9)
    expected = scipy.stats.t.interval(0.9, df=4, loc=np.mean(values), scale=scipy.stats.sem(values))
    np.testing.assert_allclose((interval.low, interval.high), expected, rtol=1e-12)
    assert interval.mean == pytest.approx(np.mean(values))
    assert interval.std == pytest.approx(np.std(values, ddof=1))
    assert (interval.n, interval.method) == (5, "t")


def test_t_interval_by_hand():
    # Mean 2, standard deviation 1, t quantile of two degrees of freedom 4.302653.
    interval = t_interval([1, 2, 3])
    assert interval.half_width == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)


def test_t_interval_covers_as_stated():
    draws = np.random.default_rng(1).normal(0.7, 0.05, size=(NUM_DRAWS, 3))
    assert 0.935 <= np.mean([covers(t_interval(draw), 0.7) for draw in draws]) <= 0.965


def test_one_value_has_a_mean_and_no_bounds():
    interval = t_interval([0.4])
    assert (interval.mean, interval.n, interval.is_bounded) == (0.4, 1, False)
    assert math.isnan(interval.half_width)
    assert math.isnan(interval.std)


def test_no_value_has_no_mean():
    for interval in (t_interval([]), t_interval([None, math.nan])):
        assert interval.n == 0
        assert math.isnan(interval.mean)
        assert not interval.is_bounded


def test_undefined_values_are_left_out():
    assert t_interval([0.5, None, 0.7, math.nan]) == t_interval([0.5, 0.7])


def test_paired_t_interval_is_scipys():
    rng = np.random.default_rng(2)
    first = rng.normal(0.8, 0.1, 6)
    second = first - rng.normal(0.02, 0.01, 6)
    interval = paired_t_interval(first, second)
    expected = scipy.stats.ttest_rel(first, second).confidence_interval(0.95)
    np.testing.assert_allclose((interval.low, interval.high), expected, rtol=1e-10)
    assert interval.method == "paired t"
    # The targets differ far more than the attacks: without pairing nothing would be seen.
    assert interval.low > 0
    assert t_interval(first).low < t_interval(second).high


def test_a_pair_is_left_out_whole():
    interval = paired_t_interval([0.5, None, 0.9, 0.8], [0.4, 0.1, math.nan, 0.5])
    assert interval.n == 2
    assert interval.mean == pytest.approx(0.2)


@pytest.mark.parametrize(("k", "n"), [(0, 20), (1, 20), (7, 20), (19, 20), (20, 20), (93, 10_000)])
def test_clopper_pearson_is_scipys(k, n):
    interval = clopper_pearson(k, n, 0.99)
    expected = scipy.stats.binomtest(k, n).proportion_ci(0.99, method="exact")
    np.testing.assert_allclose((interval.low, interval.high), expected, rtol=1e-9, atol=1e-15)
    records = np.arange(n) < k
    assert interval.mean == pytest.approx(records.mean())
    assert interval.std == pytest.approx(records.std(ddof=1))


def test_clopper_pearson_never_covers_too_rarely():
    n = 40
    intervals = [clopper_pearson(k, n) for k in range(n + 1)]
    for rate in np.linspace(0.001, 0.999, 199):
        covering = np.array([covers(interval, rate) for interval in intervals])
        weights = scipy.stats.binom.pmf(np.arange(n + 1), n, rate)
        assert weights @ covering >= 0.95


def test_clopper_pearson_of_no_records():
    interval = clopper_pearson(0, 0)
    assert (interval.n, interval.is_bounded) == (0, False)


@pytest.mark.parametrize(("k", "n"), [(1, 40), (20, 40), (39, 40), (3, 5_000)])
def test_a_share_of_independent_trials_has_clopper_pearsons_interval(k, n):
    share = k / n
    found = share_interval(share, math.sqrt(share * (1 - share) / n), num_records=7)
    expected = clopper_pearson(k, n)
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert (found.mean, found.n) == (share, 7)


def test_a_share_by_hand():
    # Worth 0.3 * 0.7 / 0.05^2 = 84 trials; of 10 degrees of freedom, 84 (1.959964 / 2.228139)^2 = 65.0.
    size = 84 * (1.959963985 / 2.228138852) ** 2
    found = share_interval(0.3, 0.05, 1_000, freedom=10)
    k = 0.3 * size
    assert found.low == pytest.approx(scipy.stats.beta.ppf(0.025, k, size - k + 1))
    assert found.high == pytest.approx(scipy.stats.beta.ppf(0.975, k + 1, size - k))
    assert found.std == 0.05


@pytest.mark.parametrize("share", [0.0, 1e-4, 0.02, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("error", [0.0, 1e-6, 0.01, 0.3, 5.0])
@pytest.mark.parametrize("freedom", [2.0, 30.0, math.inf])
def test_a_share_s_interval_stays_within_zero_and_one(share, error, freedom):
    found = share_interval(share, error, 50, freedom)
    assert 0 <= found.low <= share <= found.high <= 1
    # However sure the error says it is, all or none of 50 records is not certainty.
    if share in (0, 1):
        assert found.high - found.low == pytest.approx(1 - 0.025 ** (1 / 50))


def test_an_undefined_share_has_no_interval():
    found = share_interval(math.nan, 0.1, 3)
    assert math.isnan(found.mean)
    assert not found.is_bounded


def test_intervals_are_cut_to_what_a_value_can_be():
    wide = t_interval([0.5, 0.75])
    assert wide.low < 0
    assert wide.high > 1
    cut = wide.within(0, 1)
    assert (cut.mean, cut.low, cut.high, cut.n) == (0.625, 0, 1, 2)
    assert not t_interval([0.4]).within(0, 1).is_bounded


def test_correlation_is_scipys():
    rng = np.random.default_rng(6)
    first = rng.normal(size=12)
    second = first + rng.normal(size=12)
    interval = correlation_interval(first, second)
    expected = scipy.stats.pearsonr(first, second)
    assert interval.mean == pytest.approx(expected.statistic)
    bounds = expected.confidence_interval(0.95)
    np.testing.assert_allclose((interval.low, interval.high), bounds, rtol=1e-9)
    assert interval.n == 12


def test_correlation_covers_as_stated():
    rng = np.random.default_rng(7)
    pairs = rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], size=(NUM_DRAWS, 12))
    hits = [covers(correlation_interval(pair[:, 0], pair[:, 1]), 0.8) for pair in pairs]
    assert 0.935 <= np.mean(hits) <= 0.965


def test_correlation_at_its_ends():
    assert correlation_interval([1, 2, 3, 4], [2, 4, 6, 8]).mean == pytest.approx(1)
    assert not correlation_interval([1, 2, 3], [1, 2, 4]).is_bounded
    assert math.isnan(correlation_interval([1, 1, 1, 1], [1, 2, 3, 4]).mean)
    assert math.isnan(correlation_interval([1], [2]).mean)
    assert correlation_interval([1, None, 2], [3, 4, 5]).n == 2


@pytest.mark.parametrize(
    ("call_fn", "message"),
    [
        (lambda: t_interval([1, 2], 1.0), "confidence 1.0"),
        (lambda: t_interval([1, math.inf]), "infinite"),
        (lambda: t_interval(np.ones((2, 2))), "one dimension"),
        (lambda: paired_t_interval([1, 2], [1]), "lengths 2 and 1"),
        (lambda: correlation_interval([1, 2], [1]), "lengths 2 and 1"),
        (lambda: clopper_pearson(5, 4), "5 hits among 4"),
        (lambda: clopper_pearson(-1, 4), "-1 hits"),
        (lambda: share_interval(1.1, 0.1, 5), "share 1.1 with"),
        (lambda: share_interval(0.5, -0.1, 5), "error -0.1"),
    ],
)
def test_bad_input_is_named(call_fn, message):
    with pytest.raises(InputError, match=message):
        call_fn()
