"""An audit's records as files have them: a table, an npz, a folder of images, or what TFDS prepared.

Who was trained on is a column, an array, a split of TFDS's, a list of files' names, or which of two files a
record is in.  Reading is `jleaks.data`'s own; records stay as their owner wrote them, for `fit` and
`predict`.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jleaks.auditing.records import join, take
from jleaks.data import image_folder, own, tables, tfds_folder
from jleaks.data.tables import Column
from jleaks.errors import InputError

# What membership is usually called.
_MEMBER = ("member", "members", "is_member", "trained_on", "in_training")
# Of an npz, or of TFDS's splits: who was trained on, and who was not.
_PARTS = ("train", "test")
_TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".tab", ".parquet", ".pq", ".gz", ".bz2")


class Columns(NamedTuple):
    """Which columns of a table, or arrays of an npz, are no features.

    Attributes:
      label: The classes; None for whichever has a usual name.
      member: Whether the audited model was trained on the record; None likewise.  Of TFDS, the splits that
        it was trained on, parted by commas; of a folder of images, a text file with a name a line.
      ids: What a reader calls each record; None for positions, or images' names.
      groups: Groups of records, for risk per group.
      features: Of an npz or of TFDS, the array of the records.
      drop: Columns of a table that are left out.
    """

    label: str | None = None
    member: str | None = None
    ids: str | None = None
    groups: Sequence[str] = ()
    features: str | None = None
    drop: Sequence[str] = ()


_USUAL = Columns()


class Own(NamedTuple):
    """Records as they are in a file.

    Attributes:
      data: N records: a data frame of a table, an array else.
      labels: [N] classes.
      member: [N] whether the audited model was trained on each; None where nobody asked.
      ids: [N] names; None for positions.
      groups: By name, [N].
      lines: What a reader must be told.
    """

    data: Any
    labels: np.ndarray
    member: np.ndarray | None
    ids: np.ndarray | None
    groups: dict[str, np.ndarray]
    lines: tuple[str, ...]

    def part(self, rows: np.ndarray) -> "Own":
        """Returns some of the records, by their positions."""
        return self._replace(
            data=take(self.data, rows),
            labels=self.labels[rows],
            member=None if self.member is None else self.member[rows],
            ids=None if self.ids is None else self.ids[rows],
            groups={name: values[rows] for name, values in self.groups.items()},
        )


def read(
    path: str | os.PathLike[str],
    columns: Columns = _USUAL,
    *,
    nonmembers: str | os.PathLike[str] | None = None,
    is_audited: bool = True,
) -> Own:
    """Reads the records of an audit.

    Args:
      path: A .npz, .csv, .tsv or .parquet file, a folder with a folder of images for each class, or of a
        dataset that TFDS prepared.
      columns: What its columns, or arrays, are.
      nonmembers: Another of its kind with the records that the model was not trained on; those of `path`
        are its members then.
      is_audited: Whether membership is asked for; a column of it is passed over otherwise.

    Raises:
      InputError: names the file and what cannot be read of it.
    """
    path = Path(path).expanduser()
    if nonmembers is not None:
        if columns.member is not None:
            raise InputError(
                f"{path}: member={columns.member} and nonmembers={nonmembers} are given, expected one"
            )
        sides = [_read(one, columns, False) for one in (path, Path(nonmembers).expanduser())]
        for where, side in zip((path, nonmembers), sides, strict=True):
            lacking = [name for name in columns.groups if name not in side.groups]
            if columns.ids is not None and side.ids is None:
                lacking.append(columns.ids)
            if lacking:
                raise InputError(
                    f"{where} has no {lacking[0]}, expected in members and others alike"
                )
        return _pair(sides[0], sides[1], nonmembers)
    return _read(path, columns, is_audited)


def _pair(inside: Own, outside: Own, where: Any) -> Own:
    """Joins members and non-members."""
    sizes = len(inside.labels), len(outside.labels)
    names = None
    if inside.ids is not None and outside.ids is not None:
        names = np.concatenate([inside.ids, outside.ids])
        if len(np.unique(names)) < len(names):
            names = None
    return Own(
        join(inside.data, outside.data, str(where)),
        join(inside.labels, outside.labels, f"{where}: labels"),
        np.repeat([True, False], sizes),
        names,
        {
            name: join(values, outside.groups[name], f"{where}: {name}")
            for name, values in inside.groups.items()
        },
        (*inside.lines, *outside.lines),
    )


def _read(path: Path, columns: Columns, is_audited: bool) -> Own:
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.is_dir():
        prepared = tfds_folder.find(path)
        _check_unsaid(path, columns, ("ids", "groups", "drop"))
        if prepared is not None:
            return _tfds(prepared, columns, is_audited)
        _check_unsaid(path, columns, ("label", "features"))
        return _images(path, columns, is_audited)
    if path.suffix == ".npz":
        _check_unsaid(path, columns, ("drop",))
        return _npz(path, columns, is_audited)
    if path.suffix in _TABLE_ENDINGS:
        _check_unsaid(path, columns, ("features",))
        return _table(path, columns, is_audited)
    raise InputError(
        f"{path}: expected a .npz, .csv, .tsv or .parquet file, or a folder with a folder of images for "
        "each class, or of a dataset of TFDS"
    )


def _check_unsaid(path: Path, columns: Columns, names: Sequence[str]) -> None:
    """Refuses what would be ignored of a file of this kind."""
    for name in names:
        if getattr(columns, name):
            raise InputError(f"{path} has no columns of which {name} could be one; leave it out")


def _apart(
    path: Path, columns: Columns, names: list[str], is_audited: bool
) -> tuple[str, list[str]]:
    """Returns the column of membership ("" for none), and all that are neither features nor labels."""
    member = ""
    if is_audited or columns.member in names:
        member = own.one_of(columns.member, _MEMBER, names, str(path), "member")
    elif usual := [name for name in _MEMBER if name in names]:
        member = usual[0]
    wanted = [*([columns.ids] if columns.ids else []), *columns.groups]
    for name in wanted if is_audited else ():
        if name not in names:
            raise InputError(f"{path} has no {name}; it has {', '.join(names[:20])}")
    return member, [name for name in (member, *wanted) if name in names]


def _npz(path: Path, columns: Columns, is_audited: bool) -> Own:
    _, names = tables.read_npz(path, [])
    parts = [f"{kind}_{part}" for part in _PARTS for kind in "xy"]
    if all(name in names for name in parts) and not any(columns[:2]) and is_audited:
        arrays, _ = tables.read_npz(path, parts)
        x_train, y_train, x_test, y_test = (arrays[name] for name in parts)
        inside, outside = (
            Own(x, y, None, None, {}, ()) for x, y in ((x_train, y_train), (x_test, y_test))
        )
        return _pair(inside, outside, f"{path}: x_test")
    member, apart = _apart(path, columns, names, is_audited)
    label = own.one_of(columns.label, own.LABELS, names, str(path), "label")
    features = own.one_of(columns.features, own.FEATURES, names, str(path), "features")
    arrays, _ = tables.read_npz(path, [label, features, *apart])
    return Own(
        arrays[features],
        arrays[label],
        arrays[member] if is_audited else None,
        arrays.get(columns.ids or ""),
        {name: arrays[name] for name in columns.groups if name in arrays},
        (),
    )


def _table(path: Path, columns: Columns, is_audited: bool) -> Own:
    import pandas as pd

    table = tables.read_table(path)
    lines, names = list(table.lines), [*table.columns]
    member, apart = _apart(path, columns, names, is_audited)
    label = own.one_of(columns.label, own.LABELS, names, str(path), "label")
    needed = [
        label,
        *([member] if is_audited else []),
        *([columns.ids] if columns.ids in names else []),
    ]
    for name in needed:
        if (missing := table.columns[name].missing).any():
            raise InputError(
                f"{path}: column {name} is empty in {missing.sum():,} records, the first is record "
                f"{int(np.argmax(missing))}; fill it, or leave these out of the file"
            )
    kept: dict[str, Any] = {}
    for name, column in table.columns.items():
        if name in (label, *apart, *columns.drop):
            continue
        if own.numbers_rows(name, column):
            lines.append(f"{path}: column {name or '(no name)'} numbers the rows: left out")
            continue
        if column.missing.any():
            lines.append(
                f"{path}: column {name} is empty in {column.missing.sum():,} records, the first is record "
                f"{int(np.argmax(column.missing))}: fit and predict are given nan there"
            )
        kept[name] = _cells(column)
    for name in columns.drop:
        if name not in names:
            raise InputError(f"{path} has no column {name} to drop; it has {', '.join(names[:20])}")
    if not kept:
        raise InputError(f"{path} has no features beside {', '.join((label, *apart))}")
    if groups := [name for name in columns.groups if name in names]:
        lines.append(
            f"{path}: {', '.join(groups)} tell groups apart and are no features of a record"
        )
    data: Any = next(iter(kept.values()))
    if len(kept) > 1 or data.ndim == 1:
        data = pd.DataFrame(
            {name: cells if cells.ndim == 1 else list(cells) for name, cells in kept.items()}
        )
    return Own(
        data,
        table.columns[label].values,
        table.columns[member].values if is_audited else None,
        table.columns[columns.ids].values if columns.ids in names else None,
        {
            name: np.where(
                table.columns[name].missing, "(missing)", table.columns[name].values.astype(str)
            )
            for name in groups
        },
        tuple(lines),
    )


def _cells(column: Column) -> np.ndarray:
    """Returns a column as a data frame has it: nan where a cell is empty."""
    values = column.values
    if not column.missing.any():
        return values.astype(object) if values.dtype.kind == "U" else values
    if values.dtype.kind == "U":
        cells = values.astype(object)
        cells[column.missing] = np.nan
        return cells
    return np.where(column.missing, np.nan, values.astype(np.float64))


def _images(path: Path, columns: Columns, is_audited: bool) -> Own:
    images, labels, lines = image_folder.read(path)
    names = [str(file.relative_to(path)) for file in image_folder.images_of(path)]
    member = None
    if is_audited:
        if columns.member is None:
            raise InputError(
                f"{path}: which images was the model trained on? Name a text file with a name a line "
                "(CLASS/IMAGE.png) with --member=FILE, or a folder of others with --nonmembers=FOLDER"
            )
        member = _listed(Path(columns.member), names, path)
    return Own(images, labels, member, np.array(names), {}, tuple(lines))


def _listed(path: Path, names: list[str], folder: Path) -> np.ndarray:
    """Returns which names a text file lists."""
    try:
        wanted = {line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}, a list of members: {error}") from error
    if unknown := sorted(wanted - set(names)):
        raise InputError(
            f"{path} lists {unknown[0]}, which is no image in {folder}; expected such as {names[0]}"
        )
    return np.isin(names, [*wanted])


def _tfds(path: Path, columns: Columns, is_audited: bool) -> Own:
    found = tfds_folder.read(path, columns.label, columns.features)
    member, lines = None, found.lines
    if is_audited:
        there = np.unique(found.splits).tolist()
        trained = [_PARTS[0]] if columns.member is None else columns.member.split(",")
        if [name for name in trained if name not in there] or len(set(trained)) == len(there):
            raise InputError(
                f"{path} has the splits {', '.join(there)}: which of them was the model trained on? Name "
                "some of them with --member=SPLIT, and leave others"
            )
        member = np.isin(found.splits, trained)
        lines = [*lines, f"{path}: members are those of {', '.join(trained)}"]
    return Own(found.records, found.labels, member, None, {}, tuple(lines))
