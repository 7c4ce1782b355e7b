"""What a black box answered about which records, and the truth: all that attacks on it look at."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from jleaks.blackbox.box import check_answer
from jleaks.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Posteriors:
    """What one black box answered about N records; made, and checked, by `make_posteriors`.

    Attributes:
      posteriors: [N, K] float32.
      member: [N] whether it was trained on the record; None if that is not known.
      label: [N] true classes, or None.
      name: Where they come from, for messages and rows.
    """

    posteriors: Float[np.ndarray, "records k"]
    member: Bool[np.ndarray, "records"] | None
    label: Int[np.ndarray, "records"] | None
    name: str

    @property
    def num_records(self) -> int:
        """N."""
        return self.posteriors.shape[0]

    @property
    def num_classes(self) -> int:
        """K."""
        return self.posteriors.shape[1]

    def take(self, rows: Bool[np.ndarray, "records"], name: str) -> "Posteriors":
        """Returns some of the records."""
        return Posteriors(
            self.posteriors[rows],
            None if self.member is None else self.member[rows],
            None if self.label is None else self.label[rows],
            name,
        )

    def accuracy(self, member: bool) -> float | None:
        """Returns the accuracy on members or on non-members; None without labels or membership."""
        if self.label is None or self.member is None or not (self.member == member).any():
            return None
        right = self.posteriors.argmax(1) == self.label
        return float(right[self.member == member].mean())


def make_posteriors(
    posteriors: Any, member: Any = None, label: Any = None, name: str = "posteriors"
) -> Posteriors:
    """Returns what a black box answered, from anything that NumPy can read.

    Args:
      posteriors: [N, K], N >= 1: finite, not negative, each record's summing to one.
      member: [N] bools, or 0 and 1; or None.
      label: [N] integers in 0..K-1, or None.
      name: Where they come from.

    Raises:
      InputError: names what cannot be used, and the first record of which that is so.
    """
    found = check_answer(posteriors, None, None, name)
    if not len(found):
        raise InputError(f"{name}: there are no records")
    truth = _check_truth(name, len(found), member, label)
    if truth[1] is not None and (highest := truth[1].max()) >= found.shape[1]:
        raise InputError(
            f"{name}: record {int(truth[1].argmax())} has label {highest}, expected "
            f"0..{found.shape[1] - 1}"
        )
    return Posteriors(found, *truth, name)


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """Records to ask about, with the truth; made, and checked, by `make_records`.

    Attributes:
      records: [N, ...] stored records.
      member: [N] whether the model was trained on them.
      label: [N] true classes, or None.
      name: Where they come from, for messages.
    """

    records: Num[np.ndarray, "records ..."]
    member: Bool[np.ndarray, "records"]
    label: Int[np.ndarray, "records"] | None
    name: str


def make_records(records: Any, member: Any, label: Any = None, name: str = "records") -> Records:
    """Returns records to ask about, from anything that NumPy can read.

    Args:
      records: [N, ...] numbers, N >= 1.
      member: [N] bools, or 0 and 1, of which there are both.
      label: [N] integers >= 0, or None.
      name: Where they come from.

    Raises:
      InputError: names what cannot be used, and the first record of which that is so.
    """
    array = np.asarray(records)
    if array.ndim < 1 or array.dtype.kind not in "biuf" or not len(array):
        raise InputError(
            f"{name}: records are {array.dtype} of shape {array.shape}, expected numbers "
            "[records, ...]"
        )
    if array.dtype == bool:
        array = array.astype(np.uint8)
    found, labels = _check_truth(name, len(array), member, label)
    if found is None or found.all() or not found.any():
        raise InputError(f"{name}: member does not have both 0 and 1; an attack tells them apart")
    return Records(array, found, labels, name)


def _check_truth(
    name: str, count: int, member: Any, label: Any
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Returns membership as bool and labels as int32, each [count] or None."""
    for what, given in (("member", member), ("label", label)):
        if given is not None and np.shape(given) != (count,):
            raise InputError(
                f"{name}: {what} has shape {np.shape(given)}, expected ({count},), one per record"
            )
    if member is not None:
        member = np.asarray(member)
        bad = np.flatnonzero(~np.isin(member, (0, 1)))
        if member.dtype.kind not in "biuf" or len(bad):
            first = int(bad[0]) if len(bad) else 0
            raise InputError(f"{name}: record {first} has member {member[first]}, expected 0 or 1")
        member = member.astype(bool)
    if label is not None:
        label = np.asarray(label)
        if label.dtype.kind not in "iu":
            raise InputError(f"{name}: label is {label.dtype}, expected integers")
        if label.min() < 0:
            first = int(label.argmin())
            raise InputError(f"{name}: record {first} has label {label[first]}, expected >= 0")
        label = label.astype(np.int32)
    return member, label
