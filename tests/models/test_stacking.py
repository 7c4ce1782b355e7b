"""Model stacking: the cut, and the combiner against scikit-learn and its own first-order conditions."""

import sys

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jleaks.errors import InputError
from jleaks.models.stacking import Combiner, CombinerRecipe, thirds

KEY_DATA = np.array([11, 5], np.uint32)


@pytest.mark.parametrize(
    ("n", "sizes"), [(3, [1, 1, 1]), (400, [134, 133, 133]), (401, [135, 133, 133])]
)
def test_thirds_are_disjoint_and_cover_everything(rng, n, sizes):
    members = rng.permutation(1000)[:n].astype(np.int32)
    parts = thirds(members, KEY_DATA)
    assert [len(part) for part in parts] == sizes
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.sort(members))


def test_the_key_data_decide_the_cut():
    members = np.arange(300, dtype=np.int32)

    def first(*key_data):
        return set(thirds(members, np.array(key_data, np.uint32)).network.tolist())

    assert first(1, 2) == first(1, 2)
    # A random third shares a third of another one.
    assert len(first(1, 2) & first(1, 3)) < 50
    assert len(first(1, 2) & first(2, 2)) < 50


def test_every_record_is_as_often_in_every_part():
    members, hits = np.arange(90), np.zeros((3, 90))
    for i in range(300):
        for part, held in enumerate(thirds(members, np.array([0, i], np.uint32))):
            hits[part, held] += 1
    # Binomial(300, 1/3): five and a half standard deviations either way.
    assert abs(hits - 100).max() < 5.5 * np.sqrt(300 * 2 / 9)


def test_members_that_cannot_be_cut():
    with pytest.raises(InputError, match="training part of 2 records"):
        thirds(np.arange(2), KEY_DATA)
    with pytest.raises(InputError, match="of 5 members only 3 are distinct"):
        thirds(np.array([4, 2, 0, 0, 0]), KEY_DATA)


def answers(rng, labels, num_classes, sharpness):
    """Posteriors that point to the label the more clearly the larger `sharpness`."""
    logits = rng.normal(size=(len(labels), num_classes)) + sharpness * np.eye(num_classes)[labels]
    found = np.exp(logits)
    return (found / found.sum(1, keepdims=True)).astype(np.float32)


@pytest.fixture
def bases(rng):
    labels = rng.integers(0, 4, 600).astype(np.int32)
    return answers(rng, labels, 4, 4.0), answers(rng, labels, 4, 0.0), labels


@pytest.mark.parametrize("num_classes", [2, 4])
def test_combiner_equals_scikit_learn(rng, num_classes):
    labels = rng.integers(0, num_classes, 300).astype(np.int32)
    first, second = (answers(rng, labels, num_classes, s) for s in (1.0, 2.0))
    recipe = CombinerRecipe(c=0.3)
    found = Combiner.fit(first[:200], second[:200], labels[:200], num_classes, recipe)
    both = np.hstack([first, second]).astype(np.float64)
    expected = LogisticRegression(C=0.3, max_iter=1000).fit(both[:200], labels[:200])
    np.testing.assert_allclose(
        found.posteriors(first[200:], second[200:]), expected.predict_proba(both[200:]), atol=1e-5
    )


def test_combiner_minimises_the_stated_loss(bases):
    """At the optimum of c * cross-entropy + |W|^2 / 2 the gradient vanishes."""
    first, second, labels = bases
    combiner = Combiner.fit(first, second, labels, 4, CombinerRecipe(c=0.5))
    residual = combiner.posteriors(first, second) - np.eye(4)[labels]
    gradient = 0.5 * residual.T @ np.hstack([first, second]) + combiner.regression.coef_
    # scikit-learn stops where no derivative of the mean loss over 600 records exceeds 1e-4.
    assert abs(gradient).max() < 0.5 * 600 * 1e-4
    assert abs(residual.sum(0)).max() < 600 * 1e-4
    assert abs(combiner.regression.coef_).max() > 1


@pytest.mark.parametrize("better", [0, 1])
def test_combiner_trusts_the_better_base(rng, bases, better):
    good, noise, labels = bases
    order = (good, noise) if better == 0 else (noise, good)
    combiner = Combiner.fit(*order, labels, 4)
    fresh = rng.integers(0, 4, 600)
    right, wrong = answers(rng, fresh, 4, 4.0), answers(rng, fresh, 4, 0.0)
    found = combiner.posteriors(*((right, wrong) if better == 0 else (wrong, right)))
    accuracy = (found.argmax(1) == fresh).mean()
    assert accuracy > (right.argmax(1) == fresh).mean() - 0.02
    weights = np.split(abs(combiner.regression.coef_).mean(0), 2)
    assert weights[better].mean() > 5 * weights[1 - better].mean()


def test_absent_classes_have_posterior_zero(rng):
    labels = rng.choice([1, 2, 4], 300).astype(np.int32)
    first, second = (answers(rng, labels, 6, 2.0) for _ in range(2))
    found = Combiner.fit(first, second, labels, 6).posteriors(first, second)
    assert found.shape == (300, 6)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(found[:, [0, 3, 5]], 0)
    assert (found.argmax(1) == labels).mean() > 0.8


def test_two_classes_of_many(rng):
    """scikit-learn answers a binary problem in another form; columns must still be the classes'."""
    labels = rng.choice([1, 3], 300).astype(np.int32)
    first, second = (answers(rng, labels, 4, 3.0) for _ in range(2))
    found = Combiner.fit(first, second, labels, 4).posteriors(first, second)
    assert (found.argmax(1) == labels).mean() > 0.9
    assert Combiner.fit(first, second, labels, 4).posteriors(first[:0], second[:0]).shape == (0, 4)


def test_input_that_cannot_be_combined(bases):
    first, second, labels = bases
    with pytest.raises(InputError, match=r"first base model answered \(600, 4\), expected .*, 5\)"):
        Combiner.fit(first, second, labels, 5)
    with pytest.raises(InputError, match="second base model's answers are not all finite"):
        Combiner.fit(first, second * np.float32(np.nan), labels, 4)
    with pytest.raises(InputError, match="600 records are of 1 classes, expected at least 2"):
        Combiner.fit(first, second, labels * 0, 4)
    with pytest.raises(InputError, match=r"labels are 1..4, expected 0..3"):
        Combiner.fit(first, second, labels + 1, 4)
    with pytest.raises(InputError, match=r"combiner c is 0.*combiner max_iter is 0"):
        Combiner.fit(first, second, labels, 4, CombinerRecipe(0.0, 0))
    with pytest.raises(InputError, match="not converged after 2 iterations at c 1000"):
        Combiner.fit(first, second, labels, 4, CombinerRecipe(1000.0, 2))
    combiner = Combiner.fit(first, second, labels, 4)
    with pytest.raises(InputError, match=r"first base model answered \(600, 3\)"):
        combiner.posteriors(first[:, :3], second[:, :3])


def test_without_scikit_learn(monkeypatch, bases):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(InputError, match=r"needs scikit-learn .*jleaks\[datasets\]"):
        Combiner.fit(*bases, 4)
