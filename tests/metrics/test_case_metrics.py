"""Metrics against scikit-learn and loops, with ties and padding."""

import jax
import numpy as np
import pytest
from sklearn import metrics as sk

from jleaks.metrics.case_metrics import FPRS, OwnRows, metrics, own_rows, row_fields


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


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("padding", [0, 57])
@pytest.mark.parametrize("sizes", [(300, 300), (40, 555), (3, 2)])
def test_the_shadow_s_cut_equals_loops(rng, ties, padding, sizes):
    """A shadow chooses the cut, a target is judged at it; only the choice sees the shadow's truth."""

    def drawn(shift):
        member = rng.permutation(np.arange(sum(sizes)) < sizes[0])
        scores = rng.normal(size=len(member)) + shift * member
        return (np.round(scores * 2) / 2 if ties else scores).astype(np.float32), member

    (shadow, shadow_member), (target, member) = drawn(1.0), drawn(0.7)

    def padded(scores, member):
        return (
            np.pad(scores, (0, padding), constant_values=9),
            np.pad(member, (0, padding), constant_values=True),
            np.arange(len(member) + padding) < len(member),
        )

    def balanced(scores, member, cut):
        called = scores >= cut
        return (called[member].mean() + (~called)[~member].mean()) / 2

    own = jax.jit(own_rows)(*padded(shadow, shadow_member))
    cuts = np.unique(shadow)[::-1]
    values = [balanced(shadow, shadow_member, cut) for cut in cuts]
    best = int(np.argmax(np.array(values) >= max(values) - 1e-6))
    assert own.cut == cuts[best]
    assert bool(own.collapsed) == ((shadow >= 0).all() or not (shadow >= 0).any())
    found = jax.jit(metrics)(*padded(target, member), 0.0, own.cut)
    called = target >= cuts[best]
    np.testing.assert_allclose(
        found.shadow_cut,
        (
            sk.precision_score(member, called, zero_division=np.nan),
            sk.recall_score(member, called),
            sk.balanced_accuracy_score(member, called),
        ),
        rtol=1e-6,
    )
    fields = row_fields(found)
    assert fields["accuracy_shadow_cut"] == pytest.approx(balanced(target, member, cuts[best]))
    assert fields["recall"] == pytest.approx((target >= 0)[member].mean())
    assert metrics(*padded(target, member), 0.0).shadow_cut is None


@pytest.mark.parametrize(
    ("scores", "collapsed"),
    [
        ([-3.0, -2.0, -0.001, -1.0], True),
        ([0.0, 2.0, 0.001, 1.0], True),
        ([0.25] * 4, True),
        ([-0.25] * 4, True),
        ([-1.0, -1.0, -1.0, 0.0], False),
        ([1.0, 1.0, 1.0, -1e-7], False),
    ],
)
def test_collapsed_is_who_calls_nobody_or_everybody(scores, collapsed):
    member = np.array([True, False, True, False])
    found = own_rows(np.array(scores, np.float32), member, np.ones(4, bool))
    assert bool(found.collapsed) == collapsed
    # Padding is neither called nor passed over.
    for value in (-9, 9):
        padded = np.pad(np.array(scores, np.float32), (0, 3), constant_values=value)
        again = own_rows(padded, np.pad(member, (0, 3)), np.arange(7) < 4)
        assert (bool(again.collapsed), again.cut) == (collapsed, found.cut)


def test_what_nobody_decides_is_null_in_a_row():
    found = closed_form([0, 0.1], [1, 0])
    fields = row_fields(found)
    assert fields["precision"] is None
    assert fields["recall"] == 0
    assert fields["precision_shadow_cut"] is fields["accuracy_shadow_cut"] is None
    own = OwnRows(np.float32(2), np.array(True))
    ones = np.ones(2, bool)
    at_cut = metrics(np.float32([0, 0.1]), np.array([True, False]), ones, 0.5, own.cut)
    assert row_fields(at_cut)["precision_shadow_cut"] is None
    assert row_fields(at_cut)["accuracy_shadow_cut"] == 0.5
    # Among attacks that have a cut, NaN stands for none: not for a cut that calls nobody.
    nowhere = metrics(np.float32([0, 0.1]), np.array([True, False]), ones, 0.0, np.float32(np.nan))
    for name in ("precision", "recall", "accuracy"):
        assert row_fields(nowhere)[f"{name}_shadow_cut"] is None
    assert row_fields(nowhere)["recall"] == 1
