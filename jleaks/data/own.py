"""Own data: a file, a folder of images, arrays or a sequence of records, as a task's records and classes.

Everything that was concluded from the data is said in `Records.lines`; whatever cannot be used is refused
by file, column and record.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jleaks.data import image_folder, tables, tfds_folder
from jleaks.data.features import Features, from_array, from_columns
from jleaks.data.tables import Column
from jleaks.data.truth import read_classes
from jleaks.errors import InputError
from jleaks.fingerprint import fingerprint

# What the arrays of an npz, or of a mapping, are called.
FEATURES = ("features", "x", "X", "data", "images", "records")
LABELS = ("labels", "y", "Y", "targets", "target", "label", "classes")
# Four parts of one record each.
_LEAST_RECORDS = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """Own data as it is stored and used.

    Attributes:
      features: [N, ...] records, in the type in which they are stored.
      labels: [N] int32 in 0..K-1.
      classes: Names of the classes 0..K-1.
      encoding: Name of the encoding that makes network inputs of records.
      ranges: Least and largest value of each number of a record; empty where the encoding knows them.
      lines: What a reader must be told.
      digest: 16 hex digits of all of this that defines a number.
    """

    features: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    encoding: str
    ranges: tuple[tuple[float, float], ...]
    lines: tuple[str, ...]
    digest: str


@dataclasses.dataclass(frozen=True)
class _Raw:
    """Data as it was found: records as one array, or as columns; and labels."""

    features: np.ndarray | dict[str, Column]
    labels: Any
    lines: Sequence[str] = ()


def read(
    name: str,
    data: Any,
    label: str | None = None,
    features: str | None = None,
    drop: tuple[str, ...] = (),
    encoding: str | None = None,
) -> Records:
    """Reads own data.

    Args:
      name: Name of the task, for messages about data that is no file.
      data: Path of a .npz, .csv, .tsv or .parquet file, of a folder with a folder of images for each
        class, or of one that TFDS prepared; (records, labels); a mapping of arrays, or of columns (a data
        frame is one); a sequence whose items are (record, label) or mappings; or a function that returns
        one of these.
      label: Column or array of the labels.
      features: Array of the records in an npz or a mapping, or feature of TFDS.
      drop: Columns that are left out.
      encoding: Name of an encoding; None to choose one by the records.

    Raises:
      InputError: something in the data cannot be used.
    """
    if callable(data) and not hasattr(data, "__getitem__"):
        data = data()
    if isinstance(data, (str, Path)):
        where = str(data)
        raw = _from_path(Path(data).expanduser(), label, features, drop)
    else:
        where = name
        raw = _from_object(data, where, label, features, drop)
    classes = read_classes(raw.labels, where)
    if isinstance(raw.features, dict):
        found = from_columns(raw.features, where, encoding)
    else:
        found = from_array(raw.features, where, encoding)
    count = len(found.features)
    if count != len(classes.values):
        raise InputError(f"{where}: {count} records but {len(classes.values)} labels")
    if count < _LEAST_RECORDS:
        raise InputError(
            f"{where} has {count} records, expected at least {_LEAST_RECORDS}: members and others of a "
            "target and of its shadow"
        )
    return Records(
        found.features,
        classes.values,
        classes.names,
        found.encoding,
        found.ranges,
        (
            _summary(name, where, found, len(classes.names)),
            *raw.lines,
            *found.lines,
            *classes.lines(where),
        ),
        fingerprint(
            "own data", found.features, classes.values, list(classes.names), found.encoding
        ),
    )


def _summary(name: str, where: str, found: Features, num_classes: int) -> str:
    count, *shape = found.features.shape
    source = "" if where == name else f" from {where}"
    return (
        f"{name}: {count:,} records of {' x '.join(map(str, shape))} {found.about}{source}, "
        f"{num_classes} classes, encoding {found.encoding.partition('-')[0]}"
    )


def _from_path(path: Path, label: str | None, features: str | None, drop: tuple[str, ...]) -> _Raw:
    """Reads a file, or a folder of images."""
    where = str(path)
    if not path.exists():
        raise InputError(f"{where} does not exist")
    if path.is_dir() and (prepared := tfds_folder.find(path)) is not None:
        _check_unsaid(where, "a dataset of TFDS", {"drop": drop})
        found = tfds_folder.read(prepared, label, features)
        return _Raw(found.records, found.labels, found.lines)
    if path.is_dir():
        _check_unsaid(
            where, "a folder of images", {"label": label, "features": features, "drop": drop}
        )
        return _Raw(*image_folder.read(path))
    if path.suffix == ".npz":
        _check_unsaid(where, "an npz", {"drop": drop})
        _, names = tables.read_npz(path, [])
        wanted = _arrays_of(names, where, label, features)
        arrays, _ = tables.read_npz(path, [name for pair in wanted for name in pair])
        return _joined(arrays, wanted, where)
    table = tables.read_table(path)
    _check_unsaid(where, "a table", {"features": features})
    columns, target, lines = _split(table.columns, where, label, drop)
    return _Raw(columns, target, (*table.lines, *lines))


def _check_unsaid(where: str, kind: str, said: Mapping[str, Any]) -> None:
    """Refuses what would be ignored of data of some kind."""
    for name, value in said.items():
        if value:
            raise InputError(f"{where} is {kind}, of which {name} says nothing; leave it out")


def _from_object(
    data: Any, where: str, label: str | None, features: str | None, drop: tuple[str, ...]
) -> _Raw:
    """Takes what Python holds."""
    if isinstance(data, tuple) and len(data) == 2:
        said = {"label": label, "features": features, "drop": drop}
        _check_unsaid(where, "records and labels", said)
        # Sparse matrices, of scikit-learn's vectorisers, are made whole.
        records = data[0].toarray() if hasattr(data[0], "toarray") else data[0]
        return _Raw(np.asarray(records), np.asarray(data[1]))
    is_frame = hasattr(data, "columns")
    if isinstance(data, Mapping) or is_frame:
        names = [str(key) for key in (data.columns if is_frame else data)]
        for key in names:
            if names.count(key) > 1:
                raise InputError(f"{where} has two columns called {key}; give each its own name")
        arrays = {str(key): np.asarray(data[key]) for key in (data.columns if is_frame else data)}
        if not is_frame and any(array.ndim > 1 for array in arrays.values()):
            return _joined(arrays, _arrays_of(names, where, label, features), where)
        columns = {
            key: tables.column_of(array, f"{where}: column {key}") for key, array in arrays.items()
        }
        columns, target, lines = _split(columns, where, label, drop)
        return _Raw(columns, target, lines)
    if hasattr(data, "__len__") and hasattr(data, "__getitem__"):
        return _from_items(data, where, label, features)
    raise InputError(
        f"{where}: data is a {type(data).__name__}, expected a file, a folder, (records, labels), a "
        "mapping of arrays or columns, or a sequence of (record, label)"
    )


def _from_items(data: Any, where: str, label: str | None, features: str | None) -> _Raw:
    """Takes a sequence whose items are (record, label) or mappings, such as a map-style dataset."""
    records, labels = [], []
    for i in range(len(data)):
        item = data[i]
        if isinstance(item, Mapping):
            ((x, y),) = _arrays_of([*item], where, label, features)
            item = item[x], item[y]
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise InputError(
                f"{where}: item {i} is a {type(item).__name__}, expected (record, label)"
            )
        records.append(np.asarray(item[0]))
        labels.append(np.asarray(item[1]))
        for kind, values in (("record", records), ("label", labels)):
            if values[-1].shape != values[0].shape:
                raise InputError(
                    f"{where}: {kind} {i} has shape {values[-1].shape}, {kind} 0 has {values[0].shape}"
                )
    if not records:
        raise InputError(f"{where} has no records")
    return _Raw(np.stack(records), np.stack(labels))


def _arrays_of(
    names: list[str], where: str, label: str | None, features: str | None
) -> list[tuple[str, str]]:
    """Returns the names of records and labels, of two pairs where a test set lies beside."""
    parts = [(f"x_{part}", f"y_{part}") for part in ("train", "test")]
    if label is None and features is None and all(n in names for pair in parts for n in pair):
        return parts
    return [
        (
            one_of(features, FEATURES, names, where, "features"),
            one_of(label, LABELS, names, where, "label"),
        )
    ]


def one_of(
    chosen: str | None, usual: tuple[str, ...], names: list[str], where: str, flag: str
) -> str:
    """Returns the one array that is meant."""
    found = [chosen] if chosen is not None else [name for name in usual if name in names]
    if len(found) == 1 and found[0] in names:
        return found[0]
    said = f"has no array {chosen}" if chosen is not None else f"has {len(found) or 'none'} of them"
    raise InputError(
        f"{where}: {said}; it has {', '.join(names)}: name the one that is meant with --{flag}=NAME "
        f"(usual: {', '.join(usual)})"
    )


def _joined(arrays: dict[str, np.ndarray], pairs: list[tuple[str, str]], where: str) -> _Raw:
    for x, y in pairs:
        if len(np.atleast_1d(arrays[x])) != len(np.atleast_1d(arrays[y])):
            raise InputError(
                f"{where}: {x} has {len(np.atleast_1d(arrays[x]))} records but {y} has "
                f"{len(np.atleast_1d(arrays[y]))} labels"
            )
    shapes = {arrays[x].shape[1:] for x, _ in pairs}
    if len(shapes) > 1:
        raise InputError(f"{where}: {pairs[0][0]} and {pairs[1][0]} have records of other shapes")
    said = " and then ".join(f"{x} with {y}" for x, y in pairs)
    return _Raw(
        np.concatenate([arrays[x] for x, _ in pairs]) if len(pairs) > 1 else arrays[pairs[0][0]],
        np.concatenate([arrays[y] for _, y in pairs]) if len(pairs) > 1 else arrays[pairs[0][1]],
        (f"{where}: records and labels are {said}",),
    )


def _split(
    columns: dict[str, Column], where: str, label: str | None, drop: tuple[str, ...]
) -> tuple[dict[str, Column], np.ndarray, tuple[str, ...]]:
    """Parts labels from features, and leaves out what numbers the rows."""
    shown = ", ".join([*columns][:20]) + (", ..." if len(columns) > 20 else "")
    for name in drop:
        if name not in columns:
            raise InputError(f"{where} has no column {name} to drop; it has {shown}")
    if label is None:
        usual = [name for name in LABELS if name in columns]
        if len(usual) != 1:
            raise InputError(
                f"{where}: which column holds the classes? Name it with --label=COLUMN, one of {shown}"
            )
        label = usual[0]
    if label not in columns or label in drop:
        raise InputError(f"{where} has no column {label} for labels; it has {shown}")
    target = columns[label]
    if target.missing.any():
        raise InputError(
            f"{where}: column {label} is empty in {target.missing.sum():,} records, the first is record "
            f"{int(np.argmax(target.missing))}; every record needs a label: leave these out of the file"
        )
    lines, kept = [f"{where}: labels are column {label}"], {}
    for name, column in columns.items():
        if name == label or name in drop:
            continue
        if numbers_rows(name, column):
            lines.append(f"{where}: column {name or '(no name)'} numbers the rows: left out")
            continue
        kept[name] = column
    if not kept:
        raise InputError(f"{where} has no columns but {label}; expected features beside the label")
    return kept, target.values, tuple(lines)


def numbers_rows(name: str, column: Column) -> bool:
    """Whether a column is the index that a data frame was written with."""
    is_unnamed = not name or name.startswith(("Unnamed: ", "__index_level_"))
    values = column.values
    return (
        is_unnamed
        and values.dtype.kind in "iu"
        and values.ndim == 1
        and bool((values == np.arange(len(values))).all())
    )
