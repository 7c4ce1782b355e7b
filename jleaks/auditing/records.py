"""The records of an audit: data of any kind, labels, and which of them the audited model was trained on."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import joblib
import numpy as np
from jaxtyping import Bool, Int

from jleaks.data import truth
from jleaks.errors import InputError, refuse

# Fewer members or non-members say nothing at a false-positive rate of a hundredth.
MIN_SIDE = 20


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """N records and what is known of each.

    Attributes:
      data: The records in whatever form the owner's training takes; None where only answers are known.
      labels: [N] true classes, 0..K-1.
      classes: [K] the owner's names of the classes, in sorted order.
      member: [N] whether the audited model was trained on the record.
      ids: [N] what a reader calls each record; positions by default.
      groups: By name, [N] the group that each record belongs to, as text.
    """

    data: Any
    labels: Int[np.ndarray, "records"]
    classes: np.ndarray
    member: Bool[np.ndarray, "records"]
    ids: np.ndarray
    groups: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def num_records(self) -> int:
        """N."""
        return len(self.member)

    @property
    def num_classes(self) -> int:
        """K, at least 2."""
        return max(len(self.classes), 2)

    def own_labels(self, rows: Int[np.ndarray, "rows"]) -> np.ndarray:
        """Returns labels as their owner wrote them."""
        return self.classes[self.labels[rows]]

    def digest(self) -> str:
        """Returns hex digits that differ whenever data or labels do."""
        data = self.data if _is_plain(self.data) else take(self.data, np.arange(self.num_records))
        return str(joblib.hash([data, self.labels, self.classes.tolist()], "sha1"))

    def first(self, count: int) -> "Records":
        """Returns the first records, without their data."""
        return Records(
            None,
            self.labels[:count],
            self.classes,
            self.member[:count],
            self.ids[:count],
            {name: values[:count] for name, values in self.groups.items()},
        )


def read_records(
    data: Any,
    labels: Any,
    member: Any,
    ids: Any = None,
    groups: Mapping[str, Any] | None = None,
    num_classes: int | None = None,
) -> Records:
    """Checks the records of an audit, all problems at once.

    Args:
      data: N records: an array, a data frame, a list, anything with a length and positions; None where
        only answers are known.
      labels: [N] whole numbers or names of classes, or [N, K] one-hot.
      member: [N] booleans (or 0 and 1), or the positions of the records that were trained on.
      ids: [N] names of records, each once; None for their positions.
      groups: By name, [N] the group of each record, such as {"sex": [...]}.
      num_classes: K where labels are 0..K-1 and some may not occur; None for the labels that occur.

    Raises:
      InputError: names what cannot be used.
    """
    labels, classes = _read_labels(labels)
    if num_classes is not None and _is_within(classes, num_classes):
        labels, classes = classes[labels].astype(np.int32), np.arange(num_classes)
    n, found = len(labels), []
    if data is not None and length(data) != n:
        found.append(f"data has {length(data)} records but there are {n} labels")
    member = _read_member(member, n)
    for side, count in (("members", int(member.sum())), ("non-members", int((~member).sum()))):
        if count < MIN_SIDE:
            found.append(f"{count} of the records are {side}, expected at least {MIN_SIDE}")
    ids = np.arange(n) if ids is None else np.asarray(ids)
    if ids.shape != (n,):
        found.append(f"ids have shape {ids.shape}, expected one for each of {n} records")
    else:
        # In files they are text; numbers and text among each other have no order.
        as_text = ids.astype(str) if ids.dtype == object else ids
        names, counts = np.unique(as_text, return_counts=True)
        if counts.max() > 1:
            found.append(
                f"id {names[counts.argmax()]} is given {counts.max()} times, expected once"
            )
    kept = {}
    for name, values in (groups or {}).items():
        values = np.asarray(values)
        if values.shape != (n,):
            found.append(f"group {name} has shape {values.shape}, expected one for each record")
        kept[name] = values.astype(str)
    refuse(found)
    return Records(data, labels, classes, member, ids, kept)


def _read_labels(labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns classes as numbers [N] in 0..K-1, and what each is called [K]."""
    array = np.asarray(labels)
    if array.ndim == 2 and array.shape[1] > 1:
        if not ((array == 0) | (array == 1)).all() or not (array.sum(1) == 1).all():
            raise InputError(f"labels have shape {array.shape}, expected one-hot rows of 0 and 1")
        return array.argmax(1).astype(np.int32), np.arange(array.shape[1])
    array = array.reshape(-1) if array.ndim == 2 else array
    # Refuses what is no class: missing values, fractions.
    if array.dtype.kind in "iu":
        values = array
    else:
        read = truth.read_labels(array, "labels")
        values = array if read.names is not None else read.values
    classes, positions = np.unique(values, return_inverse=True)
    if len(classes) < 2:
        raise InputError(f"all labels are {classes[0]}, expected at least two classes")
    return positions.astype(np.int32), classes


def _is_within(classes: np.ndarray, num_classes: int) -> bool:
    """Whether labels are positions of columns."""
    return classes.dtype.kind in "iu" and classes.min() >= 0 and classes.max() < num_classes


def _read_member(member: Any, count: int) -> np.ndarray:
    array = np.asarray(member)
    is_flags = array.shape == (count,) and (
        array.dtype.kind in "bUSO" or bool(np.isin(array, (0, 1)).all())
    )
    if is_flags:
        return truth.read_flags(array, "member")
    if array.ndim == 1 and array.dtype.kind in "iu" and array.size:
        if array.min() < 0 or array.max() >= count:
            raise InputError(f"member has position {array.max()}, expected 0..{count - 1}")
        if len(np.unique(array)) != array.size:
            raise InputError("member has a position twice")
        flags = np.zeros(count, bool)
        flags[array] = True
        return flags
    raise InputError(
        f"member has shape {array.shape} and type {array.dtype}, expected {count} booleans (or 0 and "
        "1), or positions of records"
    )


def length(data: Any) -> int:
    """Returns how many records there are.

    Raises:
      InputError: nothing says how many.
    """
    # Sparse matrices have a shape and no length.
    if hasattr(data, "shape") and len(data.shape):
        return int(data.shape[0])
    if not hasattr(data, "__len__"):
        raise InputError(f"data is a {type(data).__name__}, expected something with a length")
    if isinstance(data, Mapping):
        return len(next(iter(data.values()), ()))
    return len(data)


def pairs(data: Any) -> tuple[list[Any], list[Any]]:
    """Returns the records and the labels of something whose items are (record, label).

    Raises:
      InputError: an item is something else.
    """
    found: tuple[list[Any], list[Any]] = [], []
    for i in range(length(data)):
        item = data[i]
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise InputError(
                f"labels are not given, and item {i} of data is a {type(item).__name__}, expected (record, "
                "label)"
            )
        for values, part in zip(found, item, strict=True):
            values.append(part)
    return found


def _is_plain(data: Any) -> bool:
    """Whether records are held as they are, and not by something that reads them when asked."""
    return (
        data is None
        or isinstance(data, (Mapping, list, tuple))
        or hasattr(data, "shape")
        or hasattr(data, "iloc")
    )


def take(data: Any, rows: Int[np.ndarray, "rows"]) -> Any:
    """Returns some of the records in the form that they came in.

    Args:
      data: An array or tensor, a data frame or series, a mapping of columns, a list, anything with
        positions.
      rows: Positions.
    """
    if hasattr(data, "iloc"):
        return data.iloc[rows]
    if isinstance(data, Mapping):
        return {name: take(column, rows) for name, column in data.items()}
    if isinstance(data, (list, tuple)):
        return [data[i] for i in rows]
    if hasattr(data, "shape"):
        return data[rows]
    return [data[int(i)] for i in rows]


def join(first: Any, second: Any, what: str) -> Any:
    """Returns some records and then others, in the form that both have.

    Args:
      first: As of `take`.
      second: In the same form, with records of the same shape and columns.
      what: What the second ones are, for messages.

    Raises:
      InputError: they are of another form, shape or columns.
    """
    if isinstance(first, Mapping) or hasattr(first, "columns"):
        names = [*first] if isinstance(first, Mapping) else list(first.columns)
        theirs = list(getattr(second, "columns", second if isinstance(second, Mapping) else ()))
        if lacking := [name for name in names if name not in theirs]:
            raise InputError(f"{what} has no column {lacking[0]}, which data has")
        if isinstance(first, Mapping):
            return {name: join(first[name], second[name], f"{what}: {name}") for name in names}
        import pandas as pd

        return pd.concat([first, second[names]], ignore_index=True)
    if isinstance(first, np.ndarray):
        second = np.asarray(second)
        if first.shape[1:] != second.shape[1:]:
            raise InputError(
                f"{what} has records of shape {second.shape[1:]}, data of {first.shape[1:]}"
            )
        return np.concatenate([first, second])
    if hasattr(first, "detach"):
        return sys.modules["torch"].cat([first, second])
    if hasattr(first, "toarray"):
        import scipy.sparse

        return scipy.sparse.vstack([first, second]).tocsr()
    return [*_items(first), *_items(second)]


def _items(data: Any) -> list[Any]:
    return [data[i] for i in range(length(data))]


def num_equal(data: Any, count: int) -> int:
    """Returns how many of the first records have an equal one among the others."""
    rows = data.to_numpy() if hasattr(data, "to_numpy") else data
    rows = rows.toarray() if hasattr(rows, "toarray") else rows
    if isinstance(rows, Mapping):
        rows = list(zip(*(np.asarray(column).tolist() for column in rows.values()), strict=True))
    names = [
        row.tobytes() if isinstance(row, np.ndarray) and row.dtype != object else joblib.hash(row)
        for row in _items(rows)
    ]
    others = set(names[count:])
    return sum(name in others for name in names[:count])


def shuffled_subsets(
    sizes: Sequence[int], num_records: int, generators: Sequence[np.random.Generator]
) -> Bool[np.ndarray, "subsets records"]:
    """Returns independent random subsets of given sizes."""
    found = np.zeros((len(sizes), num_records), bool)
    for row, size, generator in zip(found, sizes, generators, strict=True):
        row[generator.permutation(num_records)[:size]] = True
    return found
