"""The truth about records as files have it: true labels and membership, of whatever type.

Nothing is cast before its range is checked: 2^32 + 1 as a 32-bit integer would be the label 1.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from jleaks.errors import InputError

# Where neither logits nor posteriors say how many classes there are, labels stay below this: whoever
# counts per class has an entry for each.
MOST_CLASSES = 1 << 20

# Names what a position in an array is, for messages.
Place = Callable[[tuple[int, ...]], str]


def record_at(at: tuple[int, ...]) -> str:
    """Names the last axes of an array: records, of models, under queries."""
    axes = ("query", "model", "record")[-len(at) :]
    return ", ".join(f"{axis} {i}" for axis, i in zip(axes, at, strict=True))


class Labels(NamedTuple):
    """True classes.

    Attributes:
      values: [N] int32, 0..K-1.
      names: Of the classes 0, 1, ... where the labels were text; they are in sorted order.
    """

    values: Int[np.ndarray, "records"]
    names: tuple[str, ...] | None = None

    def lines(self, where: str) -> list[str]:
        """Returns what a reader must be told: which text became which class."""
        if self.names is None:
            return []
        shown = [f"{name} = {i}" for i, name in enumerate(self.names)]
        if len(shown) > 6:
            shown = [*shown[:3], "...", shown[-1]]
        return [f"{where}: labels are text, numbered in sorted order: {', '.join(shown)}"]


def read_labels(array: Any, where: str, num_classes: int | None = None) -> Labels:
    """Reads true classes.

    Args:
      array: [N] whole numbers of any type (booleans are 0 and 1, text may be numbers), or names of classes
        as text, which are numbered in sorted order.
      where: Whose labels they are, for messages.
      num_classes: K; None if nothing says how many there are.

    Raises:
      InputError: names the first label that cannot be used, its record, and what is expected.
    """
    array = np.asarray(array)
    if array.ndim != 1:
        raise InputError(f"{where}: labels have shape {array.shape}, expected one per record")
    names = None
    if array.dtype.kind in "USO":
        array, names = _from_text(array, where, num_classes)
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"{where}: labels are {array.dtype}, expected whole numbers or names of classes"
        )
    if array.dtype.kind in "bf":
        array = array.astype(np.float64)
        for i in np.flatnonzero(np.isnan(array))[:1]:
            raise InputError(f"{where}: record {i} has no label (nan)")
    limit = MOST_CLASSES if num_classes is None else num_classes
    bad = (array < 0) | (array >= limit)
    if array.dtype.kind == "f":
        bad |= array != np.floor(array)
    for i in np.flatnonzero(bad)[:1]:
        why = (
            " where neither logits nor posteriors count the classes" if num_classes is None else ""
        )
        raise InputError(
            f"{where}: record {i} has label {_shown(array[i])}, expected a whole number in "
            f"0..{limit - 1}{why}"
        )
    return Labels(array.astype(np.int32), names)


def _from_text(
    array: np.ndarray, where: str, num_classes: int | None
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Returns text as numbers, if all of it is numbers, or as positions among the sorted names."""
    texts = _texts(array, where, "label")
    try:
        return np.array([float(text) for text in texts]), None
    except ValueError:
        pass
    names, positions = np.unique(texts, return_inverse=True)
    if num_classes is not None and len(names) != num_classes:
        raise InputError(
            f"{where}: labels are {len(names)} names ({', '.join(names[:3])}, ...) for {num_classes} "
            "classes; which name is which class is only known if all occur: give numbers instead"
        )
    return positions, tuple(names.tolist())


def _texts(array: np.ndarray, where: str, what: str) -> np.ndarray:
    """Returns an array of text without surrounding blanks; nothing in it is empty."""
    if array.dtype.kind == "O":
        for at, cell in np.ndenumerate(array):
            if cell is None:
                raise InputError(f"{where}: {record_at(at)} has no {what}")
            if not isinstance(cell, (str, bool, int, float)):
                kind = type(cell).__name__
                raise InputError(f"{where}: {record_at(at)} has a {kind} as {what}")
    try:
        texts = np.strings.strip(array.astype(str))
    except UnicodeDecodeError:
        raise InputError(f"{where}: {what} is bytes that are not text") from None
    for at in np.argwhere(texts == "")[:1]:
        raise InputError(f"{where}: {record_at(tuple(at.tolist()))} has no {what}")
    return texts


def _shown(value: Any) -> str:
    """A number as it was written, not as 4.3e+09."""
    if not isinstance(value, (float, np.floating)):
        return str(value)
    number = float(value)
    return f"{number:.0f}" if abs(number) < 1e20 and number.is_integer() else f"{number:.17g}"


def read_flags(
    array: Any, where: str, what: str = "member", place: Place = record_at
) -> Bool[np.ndarray, "..."]:
    """Reads what is true or false of each record, or of each model and record.

    Args:
      array: Booleans; numbers 0 and 1; text True, False, 1 and 0 (also true, FALSE, 1.0 and the like).
      where: Whose array it is, for messages.
      what: Its name.
      place: Names a position.

    Returns:
      Booleans of the same shape.

    Raises:
      InputError: names the first value that cannot be used, and its place.
    """
    array = np.asarray(array)
    if array.ndim == 0:
        raise InputError(f"{where}: {what} is one value, expected one for each record")
    if array.dtype == bool:
        return array
    if array.dtype.kind in "USO":
        texts = np.strings.lower(_texts(array, where, what))
        is_true, is_false = (
            np.isin(texts, (word, digit, f"{digit}.0"))
            for word, digit in (("true", "1"), ("false", "0"))
        )
    elif array.dtype.kind in "iuf":
        is_true, is_false = array == 1, array == 0
    else:
        raise InputError(f"{where}: {what} is {array.dtype}, expected 0 and 1, or booleans")
    for at in np.argwhere(~(is_true | is_false))[:1]:
        value = array[tuple(at)]
        raise InputError(
            f"{where}: {place(tuple(at.tolist()))} has {what} {_shown(value)}, expected 0 or 1 (or "
            "True, False)"
        )
    return is_true


class Classes(NamedTuple):
    """The classes of own data.

    Attributes:
      values: [N] int32, 0..K-1.
      names: What the data calls the classes 0, 1, ...: in sorted order, numbers by their value.
      counts: [K] records of each.
    """

    values: Int[np.ndarray, "records"]
    names: tuple[str, ...]
    counts: Int[np.ndarray, "classes"]

    def lines(self, where: str) -> list[str]:
        """Returns what a reader must be told: what became which class, and which are rare."""
        found = []
        if self.names != tuple(str(i) for i in range(len(self.names))):
            shown = [f"{name} = {i}" for i, name in enumerate(self.names)]
            if len(shown) > 6:
                shown = [*shown[:3], "...", shown[-1]]
            found.append(f"{where}: classes in sorted order: {', '.join(shown)}")
        rare = [name for name, count in zip(self.names, self.counts, strict=True) if count == 1]
        if rare:
            more = ", ..." if len(rare) > 3 else ""
            found.append(
                f"{where}: {len(rare)} of {len(self.names)} classes have one record only "
                f"({', '.join(rare[:3])}{more}): it is a member or not, never both"
            )
        return found


def read_classes(array: Any, where: str) -> Classes:
    """Reads the labels of own data, whatever they call the classes.

    Args:
      array: [N] whole numbers of any type and value, booleans or text; or [N, K] one-hot.
      where: Whose labels they are, for messages.

    Raises:
      InputError: names the first label that cannot be used and its record; or they are no classes.
    """
    array = np.asarray(array)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2 and array.shape[1] and array.dtype.kind in "biuf":
        bad = ~(((array == 0) | (array == 1)).all(1) & (array.sum(1) == 1))
        for i in np.flatnonzero(bad)[:1]:
            raise InputError(
                f"{where}: the labels of record {i} are no one-hot row, expected one 1 and zeros"
            )
        # A class that never occurs has no name of its own to be told by.
        array = array.argmax(1)
    if array.ndim != 1 or not len(array):
        raise InputError(f"{where}: labels have shape {array.shape}, expected one per record")
    if array.dtype.kind in "USO":
        texts = _texts(array, where, "label")
        try:
            array = np.array([float(text) for text in texts])
        except ValueError:
            array = texts
    if array.dtype.kind not in "biufUS":
        raise InputError(f"{where}: labels are {array.dtype}, expected whole numbers or text")
    if array.dtype.kind == "b":
        array = array.astype(np.int64)
    if array.dtype.kind == "f":
        missing = np.isnan(array)
        for i in np.flatnonzero(missing)[:1]:
            raise InputError(
                f"{where}: {missing.sum()} records have no label (nan), the first is record {i}"
            )
        for i in np.flatnonzero(array != np.floor(array))[:1]:
            raise InputError(
                f"{where}: record {i} has label {_shown(array[i])}, expected classes: whole numbers, "
                "text or one-hot rows"
            )
    found, values, counts = np.unique(array, return_inverse=True, return_counts=True)
    if len(found) < 2:
        raise InputError(
            f"{where}: all labels are {_shown(found[0])}, expected two classes or more"
        )
    if len(found) > len(array) / 2 and len(found) > 2:
        raise InputError(
            f"{where}: {len(array)} records have {len(found)} different labels, expected classes of "
            "several records; does --label name an identifier, or a quantity?"
        )
    names = tuple(_shown(value) for value in found)
    return Classes(values.astype(np.int32), names, counts)
