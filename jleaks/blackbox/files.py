"""Files of posteriors, for attacks that need nothing else; and files of records to ask about.

Posteriors (N records, K classes), one row per record:

    npz              posteriors [N, K]; optionally member [N], label [N], role [N]
    csv, parquet     columns p0, p1, ..., pK-1; optionally member, label, role.  In parquet also one column
                     `posteriors` of lists.  Files of members, of non-members and of random points may be
                     csv without a header: the K columns in order

    p, posteriors    finite, not negative.  Each record's sum to 1 within 0.001; those further off, but no
                     further than the rounding seen explains (K / 2 units of the last decimal, bfloat16),
                     are divided by their sum.  Sums of 100 are percent.  Of a binary model one column,
                     p1 or [N, 1], will do: the posterior of class 1
    member           1 if the model that answered was trained on the record, 0 if not; also True and False.
                     What is attacked or learned from must have it; answers to random points do not
    label            true class, 0..K-1 (as whole numbers of any type), or the names of all K classes, in
                     whose sorted order the columns are.  With labels there are more attacks
    role             "target" or "shadow": which model answered, where one file holds both

Records to ask about, npz only: records [N, ...] in the storage format of the dataset, member [N] and
optionally label [N].
"""

import contextlib
import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np

from jleaks.blackbox.box import read_answer
from jleaks.blackbox.posteriors import Posteriors, Records, assembled, make_posteriors, make_records
from jleaks.data import tables
from jleaks.data.truth import read_flags
from jleaks.errors import InputError
from jleaks.fields import whole_number
from jleaks.files import replace_file

Role = Literal["target", "shadow"]
_ROLES: tuple[str, ...] = get_args(Role)
_COLUMNS = ("member", "label", "role")
_SUFFIXES = (".npz", ".csv", ".parquet")


class _File(NamedTuple):
    """What a file of posteriors holds, not yet checked.

    Attributes:
      posteriors: What should be [N, K].
      truth: member, label and role, where they are there.
      notes: What a reader must be told.
    """

    posteriors: np.ndarray
    truth: dict[str, np.ndarray]
    notes: tuple[str, ...]


def read(
    path: str | os.PathLike[str], role: Role | None = None, headerless: bool = False
) -> Posteriors:
    """Reads a file of posteriors.

    Args:
      path: npz, csv or parquet.
      role: Keeps the rows of this model, where the file says which model answered.
      headerless: Whether a csv may lack a header, and with it all but posteriors.

    Raises:
      InputError: the file is missing or damaged, lacks something, or a record in it cannot be used.
    """
    path = Path(path)
    found = _read(path, headerless)
    member, label, roles = (found.truth.get(name) for name in _COLUMNS)
    whole = make_posteriors(found.posteriors, member, label, str(path), found.notes)
    if roles is None:
        return whole
    if roles.shape != whole.posteriors.shape[:1]:
        raise InputError(f"{path}: role has shape {roles.shape}, expected one per record")
    for i in np.flatnonzero(~np.isin(roles.astype(str), _ROLES))[:1]:
        raise InputError(f"{path}: record {i} has role {roles[i]!s}, expected target or shadow")
    if role is None:
        if len(present := np.unique(roles)) > 1:
            raise InputError(f"{path} has answers of {' and '.join(present)}: say whose are wanted")
        return whole
    keep = roles == role
    if not keep.any():
        raise InputError(f"{path} has no answers of the {role} (role is {roles[0]})")
    return whole.take(keep, f"{path} ({role})")


def read_pair(members: str | os.PathLike[str], nonmembers: str | os.PathLike[str]) -> Posteriors:
    """Reads what one model answered to its members and to others, from a file of each.

    The same as one file with a member column, members first.

    Args:
      members: npz, csv or parquet; a csv needs no header.
      nonmembers: Likewise.

    Raises:
      InputError: a file is missing or damaged or says otherwise in a column member, or the two do not have
        the same classes.
    """
    paths = [Path(members), Path(nonmembers)]
    name = f"{paths[0]} and {paths[1]}"
    if paths[0].resolve() == paths[1].resolve():
        raise InputError(f"{paths[0]} is given for members and for non-members")
    found = [_read(path, headerless=True) for path in paths]
    parts = [
        read_answer(one.posteriors, None, None, str(path))
        for path, one in zip(paths, found, strict=True)
    ]
    widths = [part.shape[1] for part, _ in parts]
    if widths[0] != widths[1]:
        raise InputError(
            f"{paths[0]} has {widths[0]} posteriors a record, {paths[1]} has {widths[1]}"
        )
    for path, one, is_member in zip(paths, found, (True, False), strict=True):
        if "role" in one.truth:
            raise InputError(
                f"{path} has a column role: files of members and others are of one model"
            )
        flags = read_flags(one.truth["member"], str(path)) if "member" in one.truth else ()
        for i in np.flatnonzero(np.asarray(flags) != is_member)[:1]:
            raise InputError(
                f"{path}: record {i} has member {int(not is_member)}, but is among the "
                f"{'members' if is_member else 'non-members'}"
            )
    labels = [one.truth.get("label") for one in found]
    notes = [note for one in found for note in one.notes]
    if (labels[0] is None) != (labels[1] is None):
        lacking = paths[0] if labels[0] is None else paths[1]
        notes.append(f"{lacking} has no labels, so those of the other file are not used")
        labels = [None, None]
    counts = [len(part) for part, _ in parts]
    return assembled(
        parts,
        np.repeat([True, False], counts),
        None if labels[0] is None else _joined(name, cast(Any, labels)),
        name,
        notes,
    )


def _joined(name: str, labels: list[np.ndarray]) -> np.ndarray:
    """Puts the labels of two files one after the other: both names, or both numbers."""
    found = []
    for label in labels:
        if label.dtype.kind in "US":
            # What is read from a csv is text.
            with contextlib.suppress(ValueError):
                label = np.array([float(text) for text in label])
        found.append(label)
    if len({label.dtype.kind in "US" for label in found}) > 1:
        raise InputError(f"{name}: labels are names in one file and numbers in the other")
    if len({label.dtype.kind for label in found}) > 1:
        # Of two types NumPy would choose one that need not hold the values of both.
        found = [
            label.astype(np.float64) if label.dtype.kind in "biuf" else label for label in found
        ]
    return np.concatenate(found)


def _read(path: Path, headerless: bool = False) -> _File:
    """Reads what there is; whether it can be used is not looked at."""
    if path.suffix not in _SUFFIXES:
        raise InputError(f"{path} is none of {', '.join(_SUFFIXES)}")
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.suffix == ".npz":
        arrays, unused = tables.read_npz(path, ("posteriors", *_COLUMNS))
        if "posteriors" not in arrays:
            held = ", ".join([*arrays, *unused]) or "nothing"
            raise InputError(f"{path} has no array posteriors (it has {held})")
        posteriors = arrays.pop("posteriors")
    else:
        if path.suffix == ".csv":
            columns, unused = _read_csv(path, headerless)
        else:
            columns, unused = tables.read_parquet(path, _is_read)
        posteriors = _from_columns(path, columns, unused)
        arrays = {name: columns[name] for name in _COLUMNS if name in columns}
    notes = (f"{path}: not used: {', '.join(unused)}",) if unused else ()
    return _File(posteriors, arrays, notes)


def _is_read(name: str) -> bool:
    return name in _COLUMNS or name == "posteriors" or _is_posterior(name)


def _is_posterior(name: str) -> bool:
    return name[:1] == "p" and whole_number(name[1:]) is not None


def _from_columns(path: Path, columns: dict[str, np.ndarray], unused: list[str]) -> np.ndarray:
    """Gathers the posteriors of a table: a column of lists, or columns p0..pK-1."""
    named = sorted((int(name[1:]), name) for name in columns if _is_posterior(name))
    if "posteriors" in columns:
        if named:
            raise InputError(f"{path} has columns posteriors and {named[0][1]}, expected one form")
        return columns["posteriors"]
    classes = [k for k, _ in named]
    if classes != [1] and (len(classes) < 2 or classes != list(range(len(classes)))):
        held = ", ".join([*columns, *unused]) or "of no name"
        raise InputError(
            f"{path} has columns {held}; expected p0, p1, ... without a gap (or p1 alone, the posterior "
            "of class 1 of a binary model)"
        )
    for _, name in named:
        if columns[name].dtype.kind not in "fiu":
            raise InputError(f"{path}: column {name} is {columns[name].dtype}, expected numbers")
    return np.stack([columns[name] for _, name in named], axis=1)


def _read_csv(path: Path, headerless: bool) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns the columns that are read, posteriors as numbers, and the names of the others."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a csv file: {error}") from error
    heads = [cell.strip() for cell in lines[0][1]] if lines else []
    if heads and all(_number(cell) is not None for cell in heads):
        if not headerless:
            raise InputError(
                f"{path}: line 1 is numbers: no header, expected names such as p0,p1,...,member; files "
                "of members and of non-members (--target_members, --target_nonmembers) need none"
            )
        if _are_positions(path, heads, lines[1:]):
            lines = lines[1:]
        heads = [f"p{k}" for k in range(len(heads))] if len(heads) > 1 else ["p1"]
    else:
        lines = lines[1:]
    if len(set(heads)) != len(heads):
        raise InputError(f"{path} names a column twice in {','.join(heads)}")
    for number, row in lines:
        if len(row) != len(heads):
            raise InputError(f"{path}:{number} has {len(row)} cells, expected {len(heads)}")
    found: dict[str, np.ndarray] = {}
    for i, name in enumerate(heads):
        if _is_posterior(name):
            found[name] = _numbers(path, name, [(number, row[i]) for number, row in lines])
        elif name in _COLUMNS:
            found[name] = np.array([row[i] for _, row in lines], str)
    return found, [name for name in heads if name not in found]


def _are_positions(path: Path, heads: list[str], lines: list[tuple[int, list[str]]]) -> bool:
    """Whether numbers in line 1 are the names 0, 1, ..., K-1 that pandas gives columns, not a record."""
    if len(heads) < 2 or heads != [str(k) for k in range(len(heads))]:
        return False
    # 0,1 is also what a model answers that is certain of class 1.
    if len(heads) == 2 and all(cell.strip().isdecimal() for _, row in lines for cell in row):
        raise InputError(
            f"{path}: line 1 is 0,1: names or a record?  Write the header p0,p1 above it"
        )
    return True


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _numbers(path: Path, name: str, cells: Sequence[tuple[int, str]]) -> np.ndarray:
    """Returns a column of a csv file, given as line and text, as numbers."""
    found = np.empty(len(cells))
    for i, (line, text) in enumerate(cells):
        number = _number(text)
        if number is None:
            raise InputError(f"{path}:{line}: {name} is {text!r}, expected a number")
        found[i] = number
    return found


def write(path: str | os.PathLike[str], answers: Posteriors, role: Role | None = None) -> Path:
    """Writes a file of posteriors, whole or not at all; reading it gives the same float32 numbers.

    Args:
      path: npz, csv or parquet; missing folders are created.
      answers: What to write.
      role: Whose answers they are; None leaves that out.

    Returns:
      `path`.

    Raises:
      InputError: the file cannot be written.
    """
    path = Path(path)
    columns: dict[str, np.ndarray] = {}
    if answers.member is not None:
        columns["member"] = answers.member.astype(np.uint8)
    if answers.label is not None:
        columns["label"] = answers.label
    if role is not None:
        columns["role"] = np.full(answers.num_records, role)
    content = io.BytesIO()
    if path.suffix == ".npz":
        np.savez(content, posteriors=answers.posteriors, **cast(Any, columns))
        return replace_file(path, content.getvalue())
    table = {f"p{k}": column for k, column in enumerate(answers.posteriors.T)} | columns
    if path.suffix == ".csv":
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(table)
        # NumPy writes a float32 in the fewest digits that give it back.
        writer.writerows(zip(*(column.astype(str) for column in table.values()), strict=True))
        return replace_file(path, text.getvalue().encode())
    if path.suffix == ".parquet":
        tables.write_parquet(table, content)
        return replace_file(path, content.getvalue())
    raise InputError(f"{path} is none of {', '.join(_SUFFIXES)}")


def read_records(path: str | os.PathLike[str]) -> Records:
    """Reads records to ask about (npz).

    Raises:
      InputError: the file is missing or damaged, or lacks something.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.suffix != ".npz":
        raise InputError(f"{path} is not .npz")
    arrays, unused = tables.read_npz(path, ("records", "member", "label"))
    lacking = [name for name in ("records", "member") if name not in arrays]
    if lacking:
        held = ", ".join([*arrays, *unused]) or "nothing"
        raise InputError(f"{path} has no array {', no '.join(lacking)} (it has {held})")
    return make_records(arrays["records"], arrays["member"], arrays.get("label"), str(path))


def write_records(path: str | os.PathLike[str], records: Records) -> Path:
    """Writes records to ask about (npz), whole or not at all.

    Raises:
      InputError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise InputError(f"{path} is not .npz")
    arrays: dict[str, Any] = {"member": records.member.astype(np.uint8)}
    if records.label is not None:
        arrays["label"] = records.label
    content = io.BytesIO()
    np.savez(content, records=records.records, **arrays)
    return replace_file(path, content.getvalue())
