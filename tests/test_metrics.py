"""Metrics against scikit-learn and loops, with ties and padding."""

import jax
import numpy as np
import pytest
from sklearn import metrics as sk

from jleaks.metrics import FPRS, metrics


def naive_operating_point(scores, member, limit):
    best, at = 0.0, 0.0
    for threshold in np.unique(scores):
        tpr = (scores[member] >= threshold).mean()
        fpr = (scores[~member] >= threshold).mean()
        if fpr <= limit and (tpr > best or (tpr == best and fpr < at)):
            best, at = tpr, fpr
    return best, at


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("padding", [0, 57])
@pytest.mark.parametrize("sizes", [(300, 300), (40, 555), (3, 2), (1, 1)])
def test_equal_scikit_learn_and_loops(rng, ties, padding, sizes):
    member = np.arange(sum(sizes)) < sizes[0]
    scores = rng.normal(size=len(member)).astype(np.float32) + 0.8 * member
    scores = np.round(scores * 2) / 2 if ties else scores
    order = rng.permutation(len(member))
    member, scores = member[order], scores[order].astype(np.float32)
    threshold = np.float32(0.5)
    found = jax.jit(metrics)(
        np.pad(scores, (0, padding), constant_values=9),
        np.pad(member, (0, padding), constant_values=True),
        np.arange(len(member) + padding) < len(member),
        threshold,
    )
    called = scores >= threshold
    np.testing.assert_allclose(found.auc, sk.roc_auc_score(member, scores), rtol=1e-5)
    np.testing.assert_allclose(found.accuracy, sk.accuracy_score(member, called), rtol=1e-6)
    np.testing.assert_allclose(found.recall, sk.recall_score(member, called), rtol=1e-6)
    if called.any():
        np.testing.assert_allclose(found.precision, sk.precision_score(member, called), rtol=1e-6)
    else:
        assert np.isnan(found.precision)
    for i, limit in enumerate(FPRS):
        tpr, fpr = naive_operating_point(scores, member, limit)
        np.testing.assert_allclose(found.tpr[i], tpr, rtol=1e-6)
        np.testing.assert_allclose(found.fpr_realised[i], fpr, rtol=1e-6, atol=1e-9)


def closed_form(scores, member, threshold=0.5):
    scores, member = np.asarray(scores, np.float32), np.asarray(member, bool)
    return metrics(scores, member, np.ones(len(scores), bool), threshold)


def test_perfect_attack():
    found = closed_form([1, 1, 0, 0], [1, 1, 0, 0])
    assert (found.precision, found.recall, found.auc, found.accuracy) == (1, 1, 1, 1)
    np.testing.assert_array_equal(found.tpr, 1)
    np.testing.assert_array_equal(found.fpr_realised, 0)


def test_one_tie_of_everything_is_a_coin():
    found = closed_form([0.7] * 6, [1, 0, 1, 0, 1, 0])
    assert found.auc == 0.5
    # The only thresholds are all or nobody; at a small FPR it must be nobody.
    np.testing.assert_array_equal(found.tpr, 0)
    np.testing.assert_array_equal(found.fpr_realised, 0)


def test_inverted_attack():
    assert closed_form([0, 0, 1, 1], [1, 1, 0, 0]).auc == 0


def test_nobody_called_a_member_leaves_precision_undefined():
    found = closed_form([0, 0.1], [1, 0])
    assert np.isnan(found.precision)
    assert found.recall == 0
