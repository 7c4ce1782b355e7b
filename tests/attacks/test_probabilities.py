"""Posteriors as they come: rounded, as percent, of one output, with zeros."""

import ml_dtypes
import numpy as np
import pytest

from jleaks.attacks import probabilities
from jleaks.blackbox.posteriors import make_posteriors
from jleaks.errors import InputError


def read(array):
    return probabilities.read(np.asarray(array), "f", lambda i: f"record {i}")


def drawn(num_records=500, num_classes=100, concentration=0.05):
    return np.random.default_rng(0).dirichlet(np.full(num_classes, concentration), num_records)


def as_bfloat16(p):
    """Rounded to eight bits of precision, as float32."""
    return ((p.astype("f4").view("u4") + 0x8000) & 0xFFFF0000).astype("u4").view("f4")


ROUNDED = {
    "bfloat16 in float32": (as_bfloat16(drawn()), "bfloat16"),
    "bfloat16": (drawn().astype(ml_dtypes.bfloat16), "bfloat16"),
    "three digits": (drawn().round(3), "rounded to 3 digits"),
    "three digits in float32": (drawn().astype("f4").round(3), "rounded to 3 digits"),
    "two digits": (drawn(num_classes=20, concentration=0.3).round(2), "rounded to 2 digits"),
    "percent of one digit": (100 * drawn().round(3), "rounded to 3 digits"),
}


@pytest.mark.parametrize("name", ROUNDED)
def test_sums_may_be_off_by_what_rounding_explains(name):
    array, seen = ROUNDED[name]
    wide = np.asarray(array).astype(np.float64) / (100 if "percent" in name else 1)
    off = np.abs(wide.sum(1) - 1).max()
    assert off > probabilities.SUM_TOLERANCE
    found, form = read(array)
    np.testing.assert_array_equal(found, wide)
    assert form.is_renormalised
    assert form.deviation == pytest.approx(off)
    assert form.seen == seen
    assert form.is_percent == ("percent" in name)
    # Once all are there, each record's are divided by their sum, and it is said.
    answers = make_posteriors(array, name="f")
    np.testing.assert_allclose(
        answers.posteriors, wide / wide.sum(1, keepdims=True), rtol=1e-6, atol=1e-38
    )
    assert answers.renormalised
    assert any(f"sum to one within {off:.2g} ({seen})" in note for note in answers.notes)


def test_sums_that_are_near_enough_are_left_alone():
    array = np.array([[0.3335, 0.3335, 0.3335], [0.2, 0.3, 0.5]])
    answers = make_posteriors(array)
    np.testing.assert_array_equal(answers.posteriors, array.astype(np.float32))
    assert not answers.renormalised
    assert answers.notes == ()


@pytest.mark.parametrize(
    ("array", "words"),
    [
        # What rounding does not explain.
        ([[0.123456789, 0.8776]], r"sums to 1\.00105679, expected 1 within 0\.001$"),
        (
            [[0.5, 0.5], [0.5, 0.48]],
            r"record 1 sums to 0\.98, expected 1 within 0\.01 \(rounded to 2",
        ),
        (
            np.where(drawn().round(2) > 0.1, drawn().round(2), 0),
            r"are only the largest posteriors there",
        ),
        ([[99.0, 0.5], [50, 50], [10, 90]], "record 0 sums to 99.5, expected 100 within"),
        ([[99.0, 1.0], [50, 50], [0.1, 0.9]], "record 2 sums to 1, expected 100 within 0.1"),
        ([[1e30, 1e30]], "sums to 2e"),
        ([[0.5, 0.5], [np.inf, 0]], "record 1 has inf, expected finite"),
        ([[0.5, 0.5], [1.001, -0.001]], "record 1 has -0.001, expected numbers >= 0"),
    ],
)
def test_other_sums_are_refused_and_the_words_agree_with_themselves(array, words):
    with pytest.raises(InputError, match=words):
        read(array)


def test_a_sum_at_the_limit_is_not_said_to_be_beyond_it():
    # 0.999 in floats is 1.00000000000000000 - 0.00100000000000000089.
    found, form = read([[0.4, 0.599]])
    assert found.sum() == 0.999
    assert not form.is_renormalised


def test_one_output_is_that_of_class_1():
    p = np.array([[0.25], [1.0], [1e-9]])
    found, form = read(p)
    np.testing.assert_array_equal(found, np.hstack([1 - p, p]))
    assert form.is_single
    assert form.num_zeros == 1
    answers = make_posteriors(p.astype(np.float32), label=[0.0, 1.0, 0.0], name="f")
    assert answers.posteriors.shape == (3, 2)
    assert answers.notes == ("f: one posterior per record is read as that of class 1: (1 - p, p)",)
    with pytest.raises(
        InputError, match=r"record 2 has label 2, expected a whole number in 0\.\.1"
    ):
        make_posteriors(p, label=[0, 1, 2])
    with pytest.raises(InputError, match=r"record 0 has 37\.5, expected 0\.\.1"):
        read([[37.5]])


def test_infinite_scores_are_kept_beyond_the_finite_ones():
    scores = np.array([-np.inf, -3.0, 2.0, np.inf]), np.array([-5.0, np.inf])
    limits = probabilities.bounds(*scores)
    assert limits == pytest.approx((-5 - np.log(2), 2 + np.log(2)))
    np.testing.assert_allclose(
        probabilities.bounded(scores[0], limits), [limits.lowest, -3, 2, limits.highest], rtol=1e-6
    )
    # With nothing to go by, odds of zero are half of even odds.
    nothing = probabilities.bounds(np.array([-np.inf, np.inf]))
    assert nothing == pytest.approx((-np.log(2), np.log(2)))


def test_the_order_of_classes_does_not_matter(rng):
    p = rng.dirichlet(np.ones(7), 40)
    labels = rng.integers(0, 7, 40)
    found = probabilities.true_first(p, labels)
    np.testing.assert_array_equal(found[:, 0], p[np.arange(40), labels])
    np.testing.assert_array_equal(np.sort(found, axis=1), np.sort(p, axis=1))
    shuffled = np.argsort(rng.random((40, 7)), axis=1)
    where = np.argsort(shuffled, axis=1)[np.arange(40), labels]
    again = probabilities.true_first(np.take_along_axis(p, shuffled, 1), where)
    np.testing.assert_array_equal(again, found)
