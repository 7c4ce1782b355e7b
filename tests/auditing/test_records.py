"""The records of an audit: what is read how, and what is refused."""

import functools

import numpy as np
import pytest

from jleaks.auditing.code import code_digest
from jleaks.auditing.records import read_records, take
from jleaks.errors import InputError

N = 60
MEMBER = np.arange(N) % 2 == 0
LABELS = np.arange(N) % 3


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        LABELS.astype(float),
        LABELS + 7,
        -LABELS,
        np.array(["cat", "dog", "eel"])[LABELS],
        np.eye(3)[LABELS],
        LABELS[:, None],
        [str(i) for i in LABELS],
    ],
)
def test_labels_of_any_kind_are_classes_in_sorted_order(labels):
    found = read_records(np.zeros(N), labels, MEMBER)
    flat = np.asarray(labels)
    flat = flat.argmax(1) if flat.ndim == 2 and flat.shape[1] > 1 else flat.reshape(-1)
    names, positions = np.unique(flat, return_inverse=True)
    np.testing.assert_array_equal(found.labels, positions)
    assert (
        found.classes.astype(str).tolist() == names.astype(found.classes.dtype).astype(str).tolist()
    )
    np.testing.assert_array_equal(
        found.own_labels(np.arange(N)).astype(str), found.classes[positions].astype(str)
    )


@pytest.mark.parametrize(
    "member",
    [MEMBER, MEMBER.astype(int), MEMBER.astype(str), np.flatnonzero(MEMBER), MEMBER.tolist()],
)
def test_membership_as_flags_or_positions(member):
    np.testing.assert_array_equal(read_records(None, LABELS, member).member, MEMBER)


def test_ids_may_be_numbers_and_text():
    ids = np.array([*range(N - 1), "last"], object)
    assert read_records(None, LABELS, MEMBER, ids).ids.tolist() == ids.tolist()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": np.zeros(N - 1)}, f"data has {N - 1} records but there are {N} labels"),
        ({"labels": np.zeros(N)}, "all labels are 0, expected at least two classes"),
        ({"labels": np.full((N, 2), 1)}, "expected one-hot rows"),
        ({"labels": [None, *LABELS[1:]]}, "record 0 has no label"),
        ({"labels": np.where(MEMBER, np.nan, 1.0)}, "record 0 has no label"),
        ({"member": MEMBER[1:]}, f"expected {N} booleans"),
        ({"member": np.arange(N) < 5}, "5 of the records are members, expected at least 20"),
        ({"member": [3, 3, *range(30, 60)]}, "a position twice"),
        ({"member": [0, 2, *range(40, 61)]}, "position 60, expected 0..59"),
        ({"ids": np.zeros(N)}, "id 0.0 is given 60 times"),
        ({"ids": np.arange(3)}, "ids have shape"),
        (
            {"ids": np.array([*range(N - 1), "7"], object)},
            "id 7 is given 2 times, expected once",
        ),
        ({"groups": {"sex": ["f"] * 3}}, "group sex has shape"),
        ({"data": 5}, "data is a int, expected something with a length"),
    ],
)
def test_what_cannot_be_used_is_one_line(changes, said):
    given = {"data": np.zeros(N), "labels": LABELS, "member": MEMBER} | changes
    with pytest.raises(InputError) as error:
        read_records(**given)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_records_are_taken_in_the_form_they_came_in():
    pandas = pytest.importorskip("pandas")
    rows = np.array([4, 1])
    frame = pandas.DataFrame({"a": np.arange(6), "b": list("uvwxyz")})
    assert take(frame, rows)["b"].tolist() == ["y", "v"]
    assert take(list("uvwxyz"), rows) == ["y", "v"]
    assert take({"a": np.arange(6), "b": list("uvwxyz")}, rows)["b"] == ["y", "v"]
    np.testing.assert_array_equal(take(np.arange(12).reshape(6, 2), rows), [[8, 9], [2, 3]])

    class Source:
        def __len__(self):
            return 6

        def __getitem__(self, at):
            return at * 10

    assert take(Source(), rows) == [40, 10]


DEPTH = 3


def helper(x):
    return x + DEPTH


def fit_one(x, _):
    return helper(x)


def fit_two(x, _):
    return x


class Called:
    def __init__(self, depth):
        self.depth = depth

    def __call__(self, x, _):
        return x + self.depth

    def fit(self, x, _):
        return x + self.depth


def closing_over(depth):
    return lambda x, _: x + depth


def test_the_digest_of_code_follows_what_it_names(monkeypatch):
    before = code_digest(fit_one)
    assert before == code_digest(fit_one) != code_digest(fit_two)
    monkeypatch.setitem(globals(), "DEPTH", 4)
    assert code_digest(fit_one) != before
    assert code_digest(fit_two) == code_digest(fit_two)


@pytest.mark.parametrize(
    "make",
    [
        lambda depth: functools.partial(fit_one, depth),
        lambda depth: functools.partial(fit_one, _=depth),
        closing_over,
        Called,
        lambda depth: Called(depth).fit,
        lambda depth: Called(np.full(3, depth)),
        # A value that stands elsewhere, too, is still this one's.
        lambda depth: functools.partial(fit_one, 3, 4, depth),
        lambda depth: functools.partial(fit_one, {"a": 4, "b": 3, "c": depth}),
    ],
)
def test_what_a_function_holds_is_part_of_it(make):
    assert code_digest(make(3)) == code_digest(make(3)) != code_digest(make(4))


def test_two_functions_of_one_name_are_two():
    # fmt: off
    one, two = (lambda x: x + 1), (
        lambda x: x + 2)
    # fmt: on
    assert code_digest(fit_one, one) != code_digest(fit_one, two)
    assert code_digest(one, two) != code_digest(one, one)
