"""Thresholds, p-values, parts and the verdict, against values computed by hand or by brute force."""

import numpy as np
import pytest
import scipy.stats

from jleaks.auditing import risk
from jleaks.auditing.verdict import NUM_STATEMENTS, Level, judge
from jleaks.metrics.intervals import clopper_pearson

SIDED = 0.05 / NUM_STATEMENTS


def test_a_threshold_of_shadows_lets_in_its_share_of_them():
    outsiders = np.arange(1000.0)[::-1]
    scores = np.array([989.0, 989.5, 990.5, 2000.0, 5.0, 995.0])
    member = np.array([True, True, True, True, False, False])
    found = risk.called(scores, member, outsiders, 0.01)
    # Ten of a thousand lie above.
    assert (outsiders > found.threshold).sum() == 10
    assert found.threshold == 989.0
    assert (found.tpr.mean, found.fpr.mean) == (0.75, 0.5)
    prior, (value, low, high) = 0.1, found.precision[0.1]
    assert value == pytest.approx(prior * 0.75 / (prior * 0.75 + (1 - prior) * 0.5))
    assert low < value < high
    assert risk.lift(found, 4, 2, 0.02) == pytest.approx(
        clopper_pearson(3, 4, 0.98).low / clopper_pearson(1, 2, 0.98).high
    )


def test_p_values_are_counts():
    rng = np.random.default_rng(0)
    outsiders, scores = np.sort(rng.integers(0, 20, 300) / 1.0)[::-1], rng.integers(0, 25, 50) / 1.0
    found = risk.p_values(scores, outsiders)
    slow = [(1 + (outsiders >= s).sum()) / 301 for s in scores]
    np.testing.assert_allclose(found, slow)


def test_nobody_stands_out_among_uniform_p_values_more_often_than_stated():
    rng = np.random.default_rng(1)
    # Somebody stands out of nobody in at most 5% of draws (Benjamini & Hochberg at 5%, all null).
    times = sum(risk.at_risk(rng.random(200)).any() for _ in range(400))
    assert times <= scipy.stats.binom.ppf(0.999, 400, 0.05)
    for _ in range(20):
        # The procedure step by step: the largest k with p_(k) <= k q / m, and whoever is up to it.
        p = np.round(rng.random(60) ** 4, 3)
        ordered, limit = np.sort(p), 0.0
        for k in range(1, 61):
            if ordered[k - 1] <= k * 0.05 / 60:
                limit = ordered[k - 1]
        np.testing.assert_array_equal(risk.at_risk(p), (p <= limit) & (limit > 0))
    p = np.append(np.full(20, 1e-6), rng.random(180))
    assert risk.at_risk(p)[:20].all()


def test_the_smallest_visible_leak_is_the_first_that_is_seen():
    n = 500
    for fpr in (0.01, 0.1):
        least = risk.smallest_visible(n, n, fpr, SIDED)
        fp = round(fpr * n)
        seen = [
            clopper_pearson(k, n, 1 - SIDED).low / clopper_pearson(fp, n, 1 - SIDED).high > 1
            for k in range(n + 1)
        ]
        assert least == seen.index(True) / n


def test_parts_are_counted_apart_and_the_most_exposed_comes_first():
    member = np.arange(400) < 200
    parts = np.array(["a", "b", "c", "d"])[np.arange(400) % 4]
    parts[parts == "d"] = "c"
    scores = np.where(member & (parts == "b"), 2.0, 0.0)
    found = risk.by_part(scores, member, parts, 1.0)
    assert [part.name for part in found] == ["b", "a", "c"]
    assert (found[0].num_members, found[0].tpr.mean, found[0].fpr.mean) == (50, 1.0, 0.0)
    # All three intervals hold at once.
    assert found[0].tpr.low == clopper_pearson(50, 50, 1 - 0.05 / 3).low


@pytest.mark.parametrize(
    ("lifts", "epsilon", "level"),
    [
        ((0.9, 1.0), 0.0, Level.NONE_SEEN),
        ((0.0, 1.1), 0.0, Level.WEAK),
        ((0.0, 0.0), 0.2, Level.WEAK),
        ((10.1, 0.0), 0.0, Level.CLEAR),
        ((0.0, 0.0), 1.1, Level.CLEAR),
        ((2.0, 101.0), 0.0, Level.SEVERE),
        ((0.0, 0.0), 5.1, Level.SEVERE),
    ],
)
def test_the_level_is_the_highest_that_a_statement_reaches(lifts, epsilon, level):
    found = judge(dict(zip(risk.FPRS, lifts, strict=True)), epsilon, {0.001: 1.0, 0.01: 0.04})
    assert found.level == level
    if level == Level.NONE_SEEN:
        assert "too few records to see anything at 0.1% FPR" in found.reasons[0]
        assert "a TPR of 0.04 would have been seen at 1.0% FPR" in found.reasons[1]
    assert str(found.level) in ("none seen", "weak", "clear", "severe")


def test_the_auc_is_a_count_of_pairs_and_its_variance_delong_s():
    rng = np.random.default_rng(0)
    scores, member = rng.integers(0, 6, 90).astype(float), rng.random(90) < 0.4
    found = risk.auc(scores, member)
    inside, outside = scores[member], scores[~member]
    wins = (inside[:, None] > outside) + 0.5 * (inside[:, None] == outside)
    assert found.mean == pytest.approx(wins.mean())
    variance = wins.mean(1).var(ddof=1) / inside.size + wins.mean(0).var(ddof=1) / outside.size
    assert found.std == pytest.approx(np.sqrt(variance))
    assert found.low < found.mean < found.high
    perfect = risk.auc(np.arange(50.0), np.arange(50) >= 20)
    assert (perfect.mean, perfect.high) == (1, 1)
    assert perfect.low == clopper_pearson(20, 20).low
