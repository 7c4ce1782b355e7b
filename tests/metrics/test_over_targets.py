"""Means over targets that share records: against loops, by hand, and over draws."""

import math

import naive_intervals as slow
import numpy as np
import pytest
from scipy import stats

from jleaks.errors import InputError
from jleaks.metrics.intervals import clopper_pearson
from jleaks.metrics.over_targets import (
    OverTargets,
    auc_over_records,
    clustered_error,
    mean_over_targets,
    paired_targets,
)


def centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean()


def test_a_standard_error_by_hand():
    error, freedom = clustered_error(np.array([0.3, -0.1, -0.1, -0.1]))
    assert error == pytest.approx(math.sqrt(0.12))
    # Twice 0.12^2 over 0.0081 + 3 * 0.0001 - 0.12^2 / 4.
    assert freedom == pytest.approx(2 * 0.0144 / (0.0084 - 0.0036))
    assert clustered_error(np.zeros(7)) == (0.0, math.inf)


def test_degrees_of_freedom_count_records_that_matter(rng):
    _, freedom = clustered_error(rng.normal(size=20_000))
    assert freedom == pytest.approx(20_000, rel=0.05)
    one = np.zeros(20_000)
    one[3] = 1
    assert clustered_error(one)[1] == pytest.approx(2, rel=1e-3)


def test_a_mean_over_targets_is_a_loop(rng):
    influence = centred(rng.exponential(size=500)) * 1e-3
    found = mean_over_targets(OverTargets([0.6, 0.8], influence, 250))
    low, high = slow.korn_graubard(0.7, influence)
    assert (found.mean, found.n) == (pytest.approx(0.7), 2)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    # Far from 0 and 1 that is nearly the t interval of the records' influences.
    error, freedom = clustered_error(influence)
    reach = stats.t.ppf(0.975, freedom) * error
    assert found.high - 0.7 == pytest.approx(reach, rel=0.02)
    assert found.std == pytest.approx(error)


def test_an_estimate_of_less_bias_lowers_the_lower_bound(rng):
    influence = centred(rng.normal(size=500)) * 1e-3
    one = OverTargets([0.2, 0.3], influence, 250, lower=0.22)
    found, plain = (
        mean_over_targets(one),
        mean_over_targets(OverTargets([0.2, 0.3], influence, 250)),
    )
    assert found.high == plain.high
    assert found.low == pytest.approx(slow.korn_graubard(0.22, influence)[0])
    assert found.low < plain.low


def test_values_that_are_not_defined_are_left_out(rng):
    influence = centred(rng.normal(size=50)) * 1e-3
    found = mean_over_targets(OverTargets([0.2, None, 0.4, math.nan], influence, 20))
    assert (found.mean, found.n) == (pytest.approx(0.3), 2)
    none = mean_over_targets(OverTargets([None], np.zeros(50), 0))
    assert math.isnan(none.mean)
    assert not none.is_bounded
    assert none.n == 0


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_agreement_of_all_records_is_no_certainty(share):
    """All called, or none: as certain as one trial per record, not more."""
    found = mean_over_targets(OverTargets([share] * 4, np.zeros(300), 100))
    expected = clopper_pearson(round(100 * share), 100)
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_differences_are_taken_record_by_record(rng):
    shared, own = (centred(rng.normal(size=400)) * scale for scale in (1e-2, 1e-3))
    first = OverTargets([0.70, 0.72, 0.71], shared + own, 200)
    second = OverTargets([0.69, 0.72, 0.72], shared, 200)
    found = paired_targets(first, second)
    assert (found.ahead, found.behind) == (1, 1)
    error, freedom = clustered_error(own)
    reach = stats.t.ppf(0.975, freedom) * error
    assert found.difference.low == pytest.approx(-reach, abs=1e-9)
    assert found.difference.high == pytest.approx(reach, abs=1e-9)
    # What both share is ten times as large, and cancels.
    apart = paired_targets(OverTargets([0.8, 0.8, 0.8], shared + own, 200), second)
    assert apart.difference.low > 0
    assert apart.difference.n == 3


def test_a_difference_reaches_over_both_estimates(rng):
    influence = centred(rng.normal(size=400)) * 1e-4
    first = OverTargets([0.3, 0.3], influence, 200, lower=0.2)
    found = paired_targets(first, OverTargets([0.25, 0.25], np.zeros(400), 200, lower=0.22))
    assert found.difference.mean == pytest.approx(0.05)
    assert found.difference.low < -0.02 < 0.05 < found.difference.high
    same = paired_targets(first, first).difference
    assert (same.mean, same.low, same.high) == (0, 0, 0)


def test_bad_pairs_are_named():
    one = OverTargets([0.5, 0.5], np.zeros(4), 2)
    for other, message in (
        (OverTargets([0.5], np.zeros(4), 2), "2 and 1 targets, 4 and 4 records"),
        (OverTargets([0.5, 0.5], np.zeros(5), 2), "2 and 2 targets, 4 and 5 records"),
        (OverTargets([0.5, None], np.zeros(4), 2), "undefined value"),
    ):
        with pytest.raises(InputError, match=message):
            paired_targets(one, other)
    with pytest.raises(InputError, match=r"confidence 2"):
        paired_targets(one, one, 2.0)


@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_one_target_is_its_placements(rng, decimals):
    member = np.arange(600) < 200
    scores = np.round(rng.normal(size=600) + member, decimals)
    auc, influence = slow.placements(scores, member)
    found = auc_over_records(scores, member)
    low, high = slow.korn_graubard(auc, np.array(influence))
    assert (found.mean, found.low, found.high) == pytest.approx((auc, low, high))
    assert found.std == pytest.approx(clustered_error(np.array(influence))[0])


def test_an_area_of_one_is_as_certain_as_its_fewer_records():
    found = auc_over_records(np.arange(40.0), np.arange(40) >= 30)
    expected = clopper_pearson(10, 10)
    assert (found.mean, found.low, found.high) == (1, pytest.approx(expected.low), 1)


def test_areas_are_covered(rng):
    """Of normal scores one apart, whose area is known: 95% of intervals hold it."""
    truth, member = stats.norm.cdf(1 / math.sqrt(2)), np.arange(120) < 60
    found = [auc_over_records(rng.normal(size=120) + member, member) for _ in range(2_000)]
    covered = np.mean([one.low <= truth <= one.high for one in found])
    assert covered == pytest.approx(0.95, abs=0.015)
