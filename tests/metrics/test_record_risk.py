"""Risk of single records against loops, closed forms, and on records that tell nothing."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from jleaks.metrics import record_risk as risk
from jleaks.metrics.operating_points import tpr_of_scores
from jleaks.metrics.pooled_scores import PooledScores, bins


def coins(rng, models, records):
    """Membership of twins, [M, N]."""
    first = rng.random((models // 2, records)) < 0.5
    return np.stack([first, ~first], 1).reshape(models, records)


def half(scores, member, twins=True):
    return risk.rank_sum(risk.Half(scores, member), twins)


@pytest.mark.parametrize("ties", [False, True])
def test_areas_and_rates_are_those_of_a_loop(rng, ties):
    scores, member = rng.normal(size=(40, 7)), coins(rng, 40, 7)
    member[3] = True
    if ties:
        scores = np.round(scores)
    areas = half(scores, member, False).auc
    rates = risk.tpr_at([risk.Half(scores, member)], 0.2)
    for n in range(7):
        inside, outside = scores[member[:, n], n], scores[~member[:, n], n]
        assert areas[n] == pytest.approx(sk.roc_auc_score(member[:, n], scores[:, n]))
        beats = sum((a > b) + 0.5 * (a == b) for a in inside for b in outside)
        assert areas[n] == pytest.approx(beats / (len(inside) * len(outside)))
        interval = tpr_of_scores(scores[:, n], member[:, n], 0.2)
        assert (rates.low[n], rates.high[n]) == pytest.approx((interval.low, interval.high))
        levels = [math.inf, *sorted(outside, reverse=True)]
        place = 0.2 * (len(outside) + 1)
        at = [np.mean(inside > levels[math.floor(place) + i]) for i in (0, 1)]
        share = place - math.floor(place)
        assert rates.tpr[n] == pytest.approx((1 - share) * at[0] + share * at[1])


def test_the_variance_of_ranks_is_that_over_all_coins(rng):
    scores, member = np.round(rng.normal(size=(8, 1)), 1), coins(rng, 8, 1)
    found = half(scores, member)
    ranks = stats.rankdata(scores[:, 0])
    sums = [
        sum(ranks[2 * i + (code >> i & 1)] for i in range(4)) for code in range(16)
    ]  # every way in which four coins fall
    assert found.variance[0] == pytest.approx(np.var(sums))
    assert found.excess[0] == pytest.approx(ranks[member[:, 0]].sum() - np.mean(sums))
    plain = half(scores, member, twins=False)
    together = stats.mannwhitneyu(
        scores[member[:, 0], 0],
        scores[~member[:, 0], 0],
        alternative="greater",
        method="asymptotic",
    )
    assert risk.p_value([plain], False)[0] == pytest.approx(together.pvalue)


@pytest.mark.parametrize("separation", [0.0, 1.0, 2.5])
def test_normal_scores_have_the_known_area_and_rate_within_their_intervals(rng, separation):
    models, records = 240, 1500
    member = coins(rng, models, records)
    # Records differ in place and scale, which their own curves do not see.
    scores = rng.normal(size=(models, records)) + separation * member
    scores = rng.uniform(0.1, 9, records) * scores + rng.normal(size=records) * 5
    parts = [half(scores[:120], member[:120]), half(scores[120:], member[120:])]
    area = stats.norm.cdf(separation / math.sqrt(2))
    auc = (parts[0].auc + parts[1].auc) / 2
    assert auc.mean() == pytest.approx(area, abs=4 * auc.std() / math.sqrt(records))
    sizes = np.full((2, records), 60.0)
    low, high = risk.auc_interval(auc, *sizes, 0.5)
    covered = ((low <= area) & (area <= high)).mean()
    assert 0.93 < covered < 0.975
    rate = stats.norm.cdf(separation - stats.norm.isf(0.1))
    halves = [risk.Half(scores[part], member[part]) for part in (slice(120), slice(120, None))]
    for parts in (halves, [risk.Half(scores, member)]):
        found = risk.tpr_at(parts, 0.1)
        assert found.tpr.mean() == pytest.approx(rate, abs=0.015)
        assert ((found.low <= rate) & (rate <= found.high)).mean() >= 0.95
    assert risk.sides(risk.Half(scores, member)).separation.mean() == pytest.approx(
        separation, abs=0.02
    )


def test_an_interval_has_a_width_where_all_pairs_are_told_apart():
    low, high = risk.auc_interval(np.ones(1), np.array([20.0]), np.array([20.0]))
    assert 0.85 < low[0] < 0.95
    assert high[0] == 1


@pytest.mark.parametrize("twins", [False, True])
def test_records_that_tell_nothing_are_found_no_more_often_than_stated(rng, twins):
    models, records = 64, 4000
    member = coins(rng, models, records)
    scores = rng.normal(size=(models, records))
    if twins:
        # Twins answer against each other: only their coins are as good as random.
        scores[1::2] = -scores[0::2] + 0.1 * rng.normal(size=(models // 2, records))
    parts = [half(scores[i : i + 32], member[i : i + 32], twins) for i in (0, 32)]
    p = risk.p_value(parts, False)
    for level in (0.1, 0.01):
        limit = stats.binom.isf(1e-4, records, level) / records
        assert (p <= level).mean() <= limit
    assert (p <= 0.1).mean() > 0.06
    assert (risk.adjusted(p) <= 0.05).sum() == 0
    # Halves that always err together.
    same = [parts[0], parts[0]]
    limit = stats.binom.isf(1e-4, records, 0.05) / records
    assert (risk.p_value(same, True) <= 0.05).mean() <= limit
    assert (risk.p_value(same, False) <= 0.05).mean() > 2 * limit - 0.05


def test_adjusted_p_values_are_those_of_scipy(rng):
    p = rng.random(50) ** 3
    assert risk.adjusted(p) == pytest.approx(stats.false_discovery_control(p))
    assert risk.adjusted(p, True) == pytest.approx(stats.false_discovery_control(p, method="by"))


def test_what_so_few_models_do_not_tell_is_left_out(rng):
    scores, member = rng.normal(size=(20, 3)), coins(rng, 20, 3)
    found = risk.tpr_at([risk.Half(scores, member)], 0.05)
    assert all(np.isnan(values).all() for values in found)
    # Ten did not train on a record: the highest stands at 1 / 11.
    assert risk.measurable(1 / 11, 10)
    assert not np.isnan(risk.tpr_at([risk.Half(scores, member)], 1 / 11).tpr).any()


def test_calibration_sets_records_side_by_side(rng):
    place, scale = rng.normal(size=(2, 300)) * [[5], [1]]
    scale = np.exp(scale)
    answer = place + scale * rng.normal(size=(400, 300))
    member = coins(rng, 400, 300)
    found = risk.calibrated(answer[:200], answer[200:], member[200:])
    assert abs(found.mean(0)).max() < 0.6
    assert found.std() == pytest.approx(1, abs=0.03)
    reference = answer[200:, 7][~member[200:, 7]]
    by_hand = (answer[:200, 7] - reference.mean()) / reference.std(ddof=1)
    assert found[:, 7] == pytest.approx(by_hand)


def test_pooled_scores_are_those_of_all_pairs_at_once(rng):
    scores = rng.normal(size=(30, 95)) * 3
    member = coins(rng, 30, 95)
    scores += 1.5 * member
    pool = PooledScores()
    for start in range(0, 95, 40):
        pool.add(start, scores[:, start : start + 40], member[:, start : start + 40])
    auc, tpr = pool.intervals([0.1])
    exact = sk.roc_auc_score(member.ravel(), scores.ravel())
    assert auc.mean == pytest.approx(exact, abs=1e-3)
    assert auc.low < exact < auc.high
    fpr, rates, _ = sk.roc_curve(member.ravel(), scores.ravel())
    assert tpr.mean == pytest.approx(rates[fpr <= 0.1].max(), abs=0.01)


def test_bins_keep_the_order_and_tell_neighbours_apart():
    values = np.array([[-np.float32(3e38), -2.0, -1e-30, -0.0, 0.0, 1e-30, 1.0, 1.01, 3e38]])
    found = bins(values)[0]
    assert (np.diff(found) >= 0).all()
    assert found[3] == found[4]
    assert len(set(found)) == len(found) - 1
