"""What a black box answered about which records, and the truth: all that attacks on it look at."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from jleaks.attacks import probabilities
from jleaks.attacks.probabilities import Form, merged
from jleaks.blackbox.box import read_answer
from jleaks.data.truth import Labels, read_flags, read_labels
from jleaks.defences.defence import DEFENCES, Defence, applied, get_defence
from jleaks.defences.preliminary import Told
from jleaks.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Posteriors:
    """What one black box answered about N records; made, and checked, by `make_posteriors`.

    Attributes:
      posteriors: [N, K] float32.
      member: [N] whether it was trained on the record; None if that is not known.
      label: [N] true classes, or None.
      name: Where they come from, for messages and rows.
      notes: What a reader must be told of how they were given.
      renormalised: Whether each record's posteriors were divided by their sum.
    """

    posteriors: Float[np.ndarray, "records k"]
    member: Bool[np.ndarray, "records"] | None
    label: Int[np.ndarray, "records"] | None
    name: str
    notes: tuple[str, ...] = ()
    renormalised: bool = False

    @property
    def num_records(self) -> int:
        """N."""
        return self.posteriors.shape[0]

    @property
    def num_classes(self) -> int:
        """K."""
        return self.posteriors.shape[1]

    @property
    def is_one_hot(self) -> bool:
        """Whether all answers are labels alone: one posterior is 1, the others are 0."""
        return bool(
            ((self.posteriors == 1).sum(1) == 1).all() and np.isin(self.posteriors, (0, 1)).all()
        )

    def take(self, rows: Bool[np.ndarray, "records"], name: str) -> "Posteriors":
        """Returns some of the records."""
        return dataclasses.replace(
            self,
            posteriors=self.posteriors[rows],
            member=None if self.member is None else self.member[rows],
            label=None if self.label is None else self.label[rows],
            name=name,
        )

    def accuracy(self, member: bool) -> float | None:
        """Returns the accuracy on members or on non-members; None without labels or membership."""
        if self.label is None or self.member is None or not (self.member == member).any():
            return None
        right = self.posteriors.argmax(1) == self.label
        return float(right[self.member == member].mean())


def of_answers(given: str) -> Defence:
    """Returns a defence, "NAME:STRENGTH", that can be put before answers that were given without it.

    One that learns of other networks' answers learns of these (see `defended`).

    Raises:
      InputError: there is none such, or it needs the model itself.
    """
    found = get_defence(given)
    if not (found.of_answers_alone or found.learns_of_answers):
        raise InputError(
            f"{given} is not a defence of answers alone: answers do not tell what a model that was trained "
            "otherwise, or with others beside it, would have answered"
        )
    if found.points:
        raise InputError(
            f"{given} asks the model itself about random points: put it before the model, as "
            f"`jleaks serve --defence={given}` does, and audit what is answered then"
        )
    return found


def defended(given: Posteriors, defence: Defence) -> Posteriors:
    """Returns what a black box would have answered behind a defence that `of_answers` returned.

    One that learns from answers to members and to others gets a random half of the others, and as many
    members, as its authors hold records back (Jia et al. 2019, section 6.1); that half is not among the
    records returned.

    Raises:
      InputError: there are labels alone, the defence is not for so many classes, or it has nothing to
        learn from.
    """
    if given.is_one_hot:
        raise InputError(f"{given.name} has labels alone: {defence} is for posteriors")
    DEFENCES.find(defence.name).check(defence.strength, given.num_classes)
    notes = (*given.notes, f"{given.name}: attacked behind {defence}")
    if defence.preliminary is not None:
        kept, defence = _learned(given, defence)
        held = given.num_records - kept.num_records
        notes = (
            *notes,
            f"{given.name}: {held} others are the defender's, to learn from, and left out",
        )
        given = kept
    return dataclasses.replace(given, posteriors=applied(defence, given.posteriors), notes=notes)


def _learned(given: Posteriors, defence: Defence) -> tuple[Posteriors, Defence]:
    """Returns the records that the defender does not hold back, and the defence with what it learned."""
    assert defence.preliminary is not None
    assert defence.preliminary.learn is not None
    if given.member is None or given.label is None:
        lacks = "member" if given.member is None else "label"
        raise InputError(
            f"{given.name} has no {lacks}: {defence} learns from answers to members and to others"
        )
    generator = np.random.default_rng(0)
    members, others = (
        generator.permutation(np.flatnonzero(given.member == kind)) for kind in (True, False)
    )
    held = others[: len(others) // 2]
    if not len(members) or not len(held):
        raise InputError(
            f"{given.name} has {len(members)} members and {len(others)} others, expected at least one and "
            f"two: {defence} learns from answers to both, and half of the others are the defender's"
        )
    count = min(len(members), len(held))
    learns = np.concatenate([members[:count], held[:count]])
    told = Told(
        given.posteriors[learns][None],
        given.member[learns][None],
        given.label[learns],
        np.zeros(2, np.uint32),
    )
    numbers = defence.preliminary.learn(told)
    strength = (*np.ravel(defence.strength).tolist(), *numbers.tolist())
    rest = np.isin(np.arange(given.num_records), held, invert=True)
    return given.take(rest, given.name), dataclasses.replace(defence, strength=strength)


def make_posteriors(
    posteriors: Any,
    member: Any = None,
    label: Any = None,
    name: str = "posteriors",
    notes: Sequence[str] = (),
) -> Posteriors:
    """Returns what a black box answered, from anything that NumPy can read.

    Args:
      posteriors: [N, K], N >= 1: finite, not negative, each record's summing to one; or [N, 1], those of
        class 1; see `jleaks.attacks.probabilities`.
      member: [N] bools, 0 and 1, or either as text; or None.
      label: [N] whole numbers in 0..K-1, or the names of all K classes; or None.
      name: Where they come from.
      notes: What is known already of how they were given.

    Raises:
      InputError: names what cannot be used, and the first record of which that is so.
    """
    return assembled([read_answer(posteriors, None, None, name)], member, label, name, notes)


def assembled(
    parts: Sequence[tuple[Float[np.ndarray, "_ k"], Form]],
    member: Any,
    label: Any,
    name: str,
    notes: Sequence[str] = (),
) -> Posteriors:
    """Returns what a black box answered, from parts that `read_answer` returned.

    Where some record's posteriors sum to one only within what their rounding explains, but not within
    `probabilities.SUM_TOLERANCE`, all records' are divided by their sums.

    Args:
      parts: Of the same K.
      member: Of all their records, as in `make_posteriors`.
      label: Likewise.
      name: Where they come from.
      notes: What is known already of how they were given.

    Raises:
      InputError: there are no records, or the truth cannot be used.
    """
    found, form = np.concatenate([part for part, _ in parts]), merged([form for _, form in parts])
    if not len(found):
        raise InputError(f"{name}: there are no records")
    flags, labels = _check_truth(name, len(found), member, label, found.shape[1])
    if form.is_renormalised:
        found = (found / found.sum(1, dtype=np.float64, keepdims=True)).astype(np.float32)
    told = [*notes, *form.lines(name), *(labels.lines(name) if labels else [])]
    values = labels.values if labels else None
    return Posteriors(found, flags, values, name, tuple(told), form.is_renormalised)


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """Records to ask about, with the truth; made, and checked, by `make_records`.

    Attributes:
      records: [N, ...] stored records.
      member: [N] whether the model was trained on them.
      label: [N] true classes, or None.
      name: Where they come from, for messages.
      class_names: Of the classes, where labels were text.
    """

    records: Num[np.ndarray, "records ..."]
    member: Bool[np.ndarray, "records"]
    label: Int[np.ndarray, "records"] | None
    name: str
    class_names: tuple[str, ...] | None = None

    def check_classes(self, num_classes: int) -> None:
        """Raises InputError unless the labels are of a model with that many classes."""
        if self.label is not None:
            label = np.array(self.class_names)[self.label] if self.class_names else self.label
            read_labels(label, self.name, num_classes)

    def label_lines(self) -> list[str]:
        """Returns what a reader must be told of the labels."""
        return [] if self.label is None else Labels(self.label, self.class_names).lines(self.name)


def make_records(records: Any, member: Any, label: Any = None, name: str = "records") -> Records:
    """Returns records to ask about, from anything that NumPy can read.

    Args:
      records: [N, ...] numbers, N >= 1.
      member: [N] bools, 0 and 1, or either as text, of which there are both.
      label: [N] whole numbers >= 0, or names of classes, or None.
      name: Where they come from.

    Raises:
      InputError: names what cannot be used, and the first record of which that is so.
    """
    array = probabilities.as_array(records, name, "records")
    if array.ndim < 1 or array.dtype.kind not in "biuf" or not len(array):
        raise InputError(
            f"{name}: records are {array.dtype} of shape {array.shape}, expected numbers "
            "[records, ...]"
        )
    if array.dtype == bool:
        array = array.astype(np.uint8)
    found, labels = _check_truth(name, len(array), member, label, None)
    if found is None or found.all() or not found.any():
        raise InputError(f"{name}: member does not have both 0 and 1; an attack tells them apart")
    if labels is None:
        return Records(array, found, None, name)
    return Records(array, found, labels.values, name, labels.names)


def _check_truth(
    name: str, count: int, member: Any, label: Any, num_classes: int | None
) -> tuple[Bool[np.ndarray, "records"] | None, Labels | None]:
    """Returns membership and labels, each of all records or None."""
    for what, given in (("member", member), ("label", label)):
        if given is not None and np.shape(given) != (count,):
            raise InputError(
                f"{name}: {what} has shape {np.shape(given)}, expected ({count},), one per record"
            )
    return (
        None if member is None else read_flags(member, name),
        None if label is None else read_labels(label, name, num_classes),
    )
