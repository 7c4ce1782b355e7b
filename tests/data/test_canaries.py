"""Canaries: which records they are, what becomes of them, bad input."""

import numpy as np
import pytest

from jleaks.data import canaries
from jleaks.data.splits import halves
from jleaks.data.synthetic import synthetic
from jleaks.errors import InputError

TEXT = "mislabelled:20,out_of_distribution:10,near_duplicates:16,clean:4"


@pytest.fixture(scope="module")
def planted():
    data = synthetic("location", 500)
    split = halves("location", 3, 500, 4, 400, 50)
    return data, split.candidates, canaries.planted(data, split.candidates, TEXT, 3)


def test_canaries_are_candidates_and_all_else_stays(planted):
    data, candidates, made = planted
    numbers = canaries.numbered(TEXT, "location", 3, 400)
    assert np.bincount(numbers).tolist() == [350, 20, 10, 16, 4]
    # A kind is where it is whatever comes behind it.
    np.testing.assert_array_equal(
        canaries.numbered("mislabelled:20", "location", 3, 400) == 1, numbers == 1
    )
    changed = np.zeros(500, bool)
    changed[candidates[(numbers > 0) & (numbers < 4)]] = True
    np.testing.assert_array_equal(made.features[~changed], data.features[~changed])
    np.testing.assert_array_equal(made.labels[~changed], data.labels[~changed])
    assert made.fingerprint() != data.fingerprint()
    again = canaries.planted(data, candidates, TEXT, 3)
    assert again.fingerprint() == made.fingerprint()
    assert canaries.planted(data, candidates, TEXT, 4).fingerprint() != made.fingerprint()


def test_mislabelled_records_have_any_other_class(planted):
    data, candidates, made = planted
    at = candidates[canaries.numbered(TEXT, "location", 3, 400) == 1]
    np.testing.assert_array_equal(made.features[at], data.features[at])
    assert (made.labels[at] != data.labels[at]).all()
    assert len(set(made.labels[at])) > 8
    assert made.labels.min() >= 0
    assert made.labels.max() < 30


def test_near_duplicates_differ_from_a_candidate_by_one_number_and_the_class(planted):
    data, candidates, made = planted
    numbers = canaries.numbered(TEXT, "location", 3, 400)
    plain = candidates[numbers == 0]
    for at in candidates[numbers == 3]:
        distance = (made.features[plain] != made.features[at]).sum(1)
        assert distance.min() <= 1
        assert made.labels[at] != data.labels[plain[distance.argmin()]]


def test_points_out_of_the_distribution_are_like_no_record(planted):
    data, candidates, made = planted
    at = candidates[canaries.numbered(TEXT, "location", 3, 400) == 2]
    others = data.features.astype(int)
    for record in made.features[at].astype(int):
        assert np.abs(others - record).sum(1).min() > 100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("moon:3", "canaries are moon:3, expected KIND:COUNT"),
        ("clean", "expected KIND:COUNT"),
        ("clean:1", "each of at least 2"),
        ("clean:5,clean:6", "expected every kind once"),
    ],
)
def test_bad_canaries_are_one_line(text, message):
    with pytest.raises(InputError, match=message):
        canaries.read(text)


def test_canaries_are_a_quarter_at_most():
    assert canaries.problem("clean:10", 40) is None
    assert "11 of 40 candidates; expected at most 10" in str(canaries.problem("clean:11", 40))
