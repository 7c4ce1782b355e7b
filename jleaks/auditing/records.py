"""The records of an audit: data of any kind, labels, and which of them the audited model was trained on."""

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import joblib
import numpy as np
from jaxtyping import Bool, Int

from jleaks.data import truth
from jleaks.errors import InputError

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
        return str(joblib.hash([self.data, self.labels, self.classes.tolist()], "sha1"))


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
    if data is not None and _length(data) != n:
        found.append(f"data has {_length(data)} records but there are {n} labels")
    member = _read_member(member, n)
    for side, count in (("members", int(member.sum())), ("non-members", int((~member).sum()))):
        if count < MIN_SIDE:
            found.append(f"{count} of the records are {side}, expected at least {MIN_SIDE}")
    ids = np.arange(n) if ids is None else np.asarray(ids)
    if ids.shape != (n,):
        found.append(f"ids have shape {ids.shape}, expected one for each of {n} records")
    elif len(np.unique(ids)) != n:
        names, counts = np.unique(ids, return_counts=True)
        found.append(f"id {names[counts.argmax()]} is given {counts.max()} times, expected once")
    kept = {}
    for name, values in (groups or {}).items():
        values = np.asarray(values)
        if values.shape != (n,):
            found.append(f"group {name} has shape {values.shape}, expected one for each record")
        kept[name] = values.astype(str)
    if found:
        raise InputError("; ".join(found))
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


def _length(data: Any) -> int:
    if not hasattr(data, "__len__"):
        raise InputError(f"data is a {type(data).__name__}, expected something with a length")
    return len(data)


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


# What was described, in order, by identity; kept, so that no identity is given twice.
_Seen = dict[int, tuple[int, Any]]


def code_digest(*functions: Any) -> str:
    """Returns hex digits that differ whenever the source of some functions does, or what they hold.

    With a function count its defaults, what it closes over, the arguments of a `functools.partial`, the
    attributes of an object that is called, and the functions, classes and values of its own file that it
    names, and what those name in turn; what it imports counts by its name alone.
    """
    found: list[str] = []
    seen: _Seen = {}
    for fn in functions:
        _describe(fn, found, seen)
    return str(joblib.hash(found, "sha1"))


def _describe(value: Any, found: list[str], seen: _Seen) -> None:
    """Appends what a function, class, object or plain value is made of."""
    if inspect.ismodule(value):
        found.append(value.__name__)
        return
    if not callable(value) and not isinstance(value, (list, tuple, dict)):
        _describe_value(value, found)
        return
    if id(value) in seen:
        # What holds itself, or stands twice.
        found.append(f"again {seen[id(value)][0]}")
        return
    seen[id(value)] = len(seen), value
    if isinstance(value, functools.partial):
        for part in (value.func, value.args, value.keywords):
            _describe(part, found, seen)
    elif inspect.ismethod(value):
        _describe(value.__func__, found, seen)
        _describe(value.__self__, found, seen)
    elif inspect.isfunction(value) or inspect.isclass(value):
        _describe_code(value, found, seen)
    elif callable(value) and hasattr(value, "__dict__"):
        _describe(type(value), found, seen)
        _describe(vars(value), found, seen)
    elif isinstance(value, (list, tuple)):
        for part in value:
            _describe(part, found, seen)
    elif isinstance(value, dict):
        for key, part in value.items():
            found.append(repr(key))
            _describe(part, found, seen)
    else:
        _describe_value(value, found)


def _describe_value(value: Any, found: list[str]) -> None:
    """Appends the contents of a plain value, an array or an object."""
    try:
        found.append(str(joblib.hash(value, "sha1")))
    # Whatever will not be pickled: locks, sessions, devices.
    except Exception:
        found.append(type(value).__qualname__)


def _describe_code(value: Any, found: list[str], seen: _Seen) -> None:
    """Appends the source of a function or class, and what it names of its own file."""
    found.append(f"{value.__module__}.{value.__qualname__}")
    # Of a library without sources, or a shell, the name is all there is.
    with contextlib.suppress(OSError, TypeError):
        found.append(inspect.getsource(value))
    for member in vars(value).values() if inspect.isclass(value) else (value,):
        fn = inspect.unwrap(getattr(member, "__func__", member)) if callable(member) else member
        if not inspect.isfunction(fn):
            continue
        held = [fn.__defaults__, fn.__kwdefaults__]
        # A cell is empty until what it holds is defined.
        held += [cell.cell_contents for cell in fn.__closure__ or () if _is_filled(cell)]
        for word in sorted(_names(fn.__code__)):
            other = fn.__globals__.get(word)
            is_own = getattr(other, "__module__", value.__module__) == value.__module__
            if word in fn.__globals__ and (is_own or not callable(other)):
                found.append(word)
                held.append(other)
        for part in held:
            _describe(part, found, seen)


def _is_filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _names(code: Any) -> set[str]:
    """Returns the global names of a function's code, inner functions included."""
    inner = (_names(part) for part in code.co_consts if inspect.iscode(part))
    return set(code.co_names).union(*inner)


def shuffled_subsets(
    sizes: Sequence[int], num_records: int, generators: Sequence[np.random.Generator]
) -> Bool[np.ndarray, "subsets records"]:
    """Returns independent random subsets of given sizes."""
    found = np.zeros((len(sizes), num_records), bool)
    for row, size, generator in zip(found, sizes, generators, strict=True):
        row[generator.permutation(num_records)[:size]] = True
    return found
