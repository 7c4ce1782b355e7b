"""Any attacks in one compiled call against NumPy: whose cut is whose, and who has collapsed."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from jleaks.attacks import evaluate_cases
from jleaks.attacks.evaluate_cases import evaluate_own_rows, evaluate_scores
from jleaks.attacks.signals import cross_entropy
from jleaks.training import fleet
from jleaks.training.fleet import make_mesh

SIZES = (40, 77, 120, 60, 41)


@pytest.fixture
def lists(rng):
    """Scores of unequal number, larger for members; few values, so that many tie."""
    member = [rng.random(size) < 0.4 for size in SIZES]
    scores = [
        np.round(rng.normal(size=len(truth)) + truth, 1).astype(np.float32) for truth in member
    ]
    return scores, member


def balanced(scores, member, cut):
    return ((scores[member] >= cut).mean() + (scores[~member] < cut).mean()) / 2


def test_every_attack_is_evaluated_at_its_own_threshold_and_cut(lists):
    scores, member = lists
    thresholds, cuts = [0.0, 0.5, 9.0, -9.0, 0.3], [0.2, np.nan, -0.4, 0.0, 9.0]
    before = fleet.TRACES["evaluate scores"]
    found = evaluate_scores(scores, member, thresholds, make_mesh(4), cuts)
    assert fleet.TRACES["evaluate scores"] - before <= 1
    for i, (s, m) in enumerate(zip(scores, member, strict=True)):
        called = s >= np.float32(thresholds[i])
        assert found.recall[i] == pytest.approx(called[m].mean())
        assert found.accuracy[i] == pytest.approx((called == m).mean())
        assert found.auc[i] == pytest.approx(roc_auc_score(m, s), abs=1e-6)
        precision = m[called].mean() if called.any() else np.nan
        assert found.precision[i] == pytest.approx(precision, nan_ok=True)
        at_cut = np.nan if np.isnan(cuts[i]) else balanced(s, m, np.float32(cuts[i]))
        assert found.shadow_cut.balanced_accuracy[i] == pytest.approx(at_cut, nan_ok=True)
    assert evaluate_scores(scores, member, thresholds, make_mesh(2)).shadow_cut is None


def test_own_rows_choose_the_best_cut_and_tell_who_collapsed(lists):
    scores, member = lists
    # One calls everybody a member, another one nobody, a third says the same of all.
    scores = [scores[0], scores[1] + 9, scores[2] - 9, scores[3], np.zeros(SIZES[4], np.float32)]
    found = evaluate_own_rows(scores, member, make_mesh(3))
    for s, m, cut in zip(scores, member, found.cut, strict=True):
        best = max(balanced(s, m, level) for level in s)
        assert balanced(s, m, cut) == pytest.approx(best, abs=1e-6)
    assert found.collapsed.tolist() == [False, True, True, False, True]


def test_more_rows_than_a_call_may_hold_are_evaluated_alike(lists, monkeypatch):
    scores, member = lists
    whole = evaluate_scores(scores, member, [0.1] * len(SIZES), make_mesh(2))
    # Two attacks of 128 rows, padding included.
    monkeypatch.setattr(evaluate_cases, "_MOST_ROWS", 256)
    parts = evaluate_scores(scores, member, [0.1] * len(SIZES), make_mesh(2))
    for name in ("precision", "recall", "accuracy", "auc", "tpr", "fpr_realised"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-6)


def test_losses_follow_from_scaled_confidence(rng):
    logits = rng.normal(0, 4, (60, 5))
    labels = rng.integers(0, 5, (60, 1))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    true = np.take_along_axis(p, labels, -1)[:, 0]
    phi = (np.log(true) - np.log1p(-true)).astype(np.float32)
    np.testing.assert_allclose(cross_entropy(phi), -np.log(true), rtol=1e-4)
    # Neither certainty nor certain error is more than a number.
    np.testing.assert_allclose(cross_entropy(np.float32([200.0, -200.0])), [0.0, 200.0], atol=1e-12)
