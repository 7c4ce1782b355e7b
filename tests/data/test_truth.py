"""Labels and membership of every type that files have."""

import numpy as np
import pytest

from jleaks.data.truth import MOST_CLASSES, read_flags, read_labels
from jleaks.errors import InputError


@pytest.mark.parametrize(
    "array",
    [
        [2, 0, 1],
        np.array([2, 0, 1], np.uint64),
        np.array([2, 0, 1], np.float32),
        np.array([2, 0, 1], np.float16),
        ["2", "0", "1"],
        ["2.0", " 0", "1e0"],
        np.array([b"2", b"0", b"1"]),
        np.array(["2", "0", "1"], object),
    ],
)
def test_whole_numbers_of_any_type_are_labels(array):
    found = read_labels(array, "f", 3)
    assert found.values.dtype == np.int32
    assert found.values.tolist() == [2, 0, 1]
    assert found.names is None
    assert found.lines("f") == []


def test_booleans_are_labels_of_two_classes():
    assert read_labels([True, False], "f", 2).values.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("array", "num_classes", "words"),
    [
        ([0, 3], 3, r"^f: record 1 has label 3, expected a whole number in 0\.\.2$"),
        ([0, -1], 3, "record 1 has label -1"),
        ([0, 2**32 + 1], 3, "record 1 has label 4294967297"),
        (np.array([0, 2**63], np.uint64), 3, "record 1 has label 9223372036854775808"),
        ([0.0, 2.0**63], 3, "record 1 has label 9223372036854775808"),
        ([0, -(2**32)], 3, "record 1 has label -4294967296"),
        (["0", str(2**32)], 3, "record 1 has label 4294967296"),
        ([0, 2**31 - 1], None, r"label 2147483647, .* 0\.\.1048575 where neither logits nor"),
        ([0, MOST_CLASSES], None, "record 1 has label 1048576"),
        ([0.0, 0.5], 3, r"record 1 has label 0\.5"),
        ([0.0, np.inf], 3, "record 1 has label inf"),
        ([0.0, np.nan], 3, "record 1 has no label"),
        (["a", ""], 2, "record 1 has no label"),
        (np.array(["a", None], object), 2, "record 1 has no label"),
        (np.array([0, [1]], object), 2, "record 1 has a list as label"),
        (["a", "b"], 3, r"labels are 2 names \(a, b, ...\) for 3 classes"),
        ([1j, 0], 3, "labels are complex128"),
        (np.zeros(2, "M8[s]"), 3, "labels are datetime64"),
        (np.zeros(2, "V2"), 3, "labels are"),
        (np.zeros((2, 2)), 3, r"labels have shape \(2, 2\)"),
        (3, 3, r"labels have shape \(\)"),
        (np.array([b"\xff", b"a"]), 2, "label is bytes that are not text"),
    ],
)
def test_other_labels_are_refused_by_value_and_position(array, num_classes, words):
    with pytest.raises(InputError, match=words) as caught:
        read_labels(array, "f", num_classes)
    assert "\n" not in str(caught.value)


def test_the_largest_label_that_is_allowed_is_allowed():
    assert read_labels([0, MOST_CLASSES - 1], "f").values[1] == MOST_CLASSES - 1
    assert read_labels(np.array([0, 2], np.int8), "f", 3).values[1] == 2


def test_names_are_numbered_in_sorted_order_and_a_line_says_so():
    found = read_labels(["dog", "cat", "dog", "ape"], "f", 3)
    assert found.values.tolist() == [2, 1, 2, 0]
    assert found.names == ("ape", "cat", "dog")
    (line,) = found.lines("f")
    assert line == "f: labels are text, numbered in sorted order: ape = 0, cat = 1, dog = 2"
    many = read_labels([f"class {i:03d}" for i in range(100)], "f")
    assert "class 002 = 2, ..., class 099 = 99" in many.lines("f")[0]


@pytest.mark.parametrize(
    "array",
    [
        [True, False, True],
        [1, 0, 1],
        [1.0, 0.0, 1.0],
        ["True", "False", "True"],
        ["1", "0", "1"],
        ["TRUE", "false", " 1.0"],
        np.array([b"1", b"0", b"True"]),
        np.array([True, False, True], object),
    ],
)
def test_flags_of_any_type(array):
    found = read_flags(array, "f")
    assert found.dtype == bool
    assert found.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (
            [[0, 1], [0, 2]],
            r"^f: model 1, record 1 has member 2, expected 0 or 1 \(or True, False\)$",
        ),
        ([0, 0.5], "record 1 has member 0.5"),
        ([0, np.nan], "record 1 has member nan"),
        (["True", "yes"], "record 1 has member yes"),
        (["True", ""], "record 1 has no member"),
        (np.array([True, None], object), "record 1 has no member"),
        ([1j], "member is complex128"),
        (np.zeros(1, "M8[s]"), "member is datetime64"),
    ],
)
def test_other_flags_are_refused_by_value_and_position(array, words):
    with pytest.raises(InputError, match=words):
        read_flags(array, "f")
