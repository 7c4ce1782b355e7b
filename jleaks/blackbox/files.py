"""Files of posteriors, for attacks that need nothing else; and files of records to ask about.

Posteriors (N records, K classes), one row per record:

    npz              posteriors [N, K]; optionally member [N], label [N], role [N]
    csv, parquet     columns p0, p1, ..., pK-1; optionally member, label, role

    p, posteriors    finite, not negative, each record's summing to 1 within 0.001
    member           1 if the model that answered was trained on the record, 0 if not.  What is attacked
                     or learned from must have it; answers to random points do not.
    label            true class, 0..K-1: gives the model's own accuracy, no attack looks at it
    role             "target" or "shadow": which model answered, where one file holds both

Records to ask about, npz only: records [N, ...] in the storage format of the dataset, member [N] and
optionally label [N].
"""

import csv
import io
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np

from jleaks.blackbox.posteriors import Posteriors, Records, make_posteriors, make_records
from jleaks.errors import InputError
from jleaks.report.files import replace_file

Role = Literal["target", "shadow"]
_ROLES: tuple[str, ...] = get_args(Role)
_COLUMNS = ("member", "label", "role")
_SUFFIXES = (".npz", ".csv", ".parquet")


def read(path: str | os.PathLike[str], role: Role | None = None) -> Posteriors:
    """Reads a file of posteriors.

    Args:
      path: npz, csv or parquet.
      role: Keeps the rows of this model, where the file says which model answered.

    Raises:
      InputError: the file is missing or damaged, lacks something, or a record in it cannot be used.
    """
    path = Path(path)
    if path.suffix not in _SUFFIXES:
        raise InputError(f"{path} is none of {', '.join(_SUFFIXES)}")
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.suffix == ".npz":
        arrays = _read_npz(path)
        if "posteriors" not in arrays:
            raise InputError(f"{path} has no array posteriors (it has {', '.join(arrays)})")
    else:
        columns = _read_csv(path) if path.suffix == ".csv" else _read_parquet(path)
        arrays = _from_columns(path, columns)
    member, label, roles = (arrays.get(name) for name in _COLUMNS)
    whole = make_posteriors(arrays["posteriors"], member, label, str(path))
    if roles is None:
        return whole
    if roles.shape != whole.posteriors.shape[:1]:
        raise InputError(f"{path}: role has shape {roles.shape}, expected one per record")
    for i in np.flatnonzero(~np.isin(roles, _ROLES))[:1]:
        raise InputError(f"{path}: record {i} has role {roles[i]!s}, expected target or shadow")
    if role is None:
        if len(present := np.unique(roles)) > 1:
            raise InputError(f"{path} has answers of {' and '.join(present)}: say whose are wanted")
        return whole
    keep = roles == role
    if not keep.any():
        raise InputError(f"{path} has no answers of the {role} (role is {roles[0]})")
    return whole.take(keep, f"{path} ({role})")


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is damaged: {error}") from error


def _from_columns(path: Path, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Gathers the columns p0..pK-1 of a table."""
    classes = sorted(int(name[1:]) for name in columns if _is_posterior(name))
    if len(classes) < 2 or classes != list(range(len(classes))):
        named = ", ".join(columns) or "of no name"
        raise InputError(f"{path} has columns {named}; expected p0, p1, ... without a gap")
    for k in classes:
        if columns[f"p{k}"].dtype.kind not in "fiu":
            raise InputError(f"{path}: column p{k} is {columns[f'p{k}'].dtype}, expected numbers")
    posteriors = np.stack([columns[f"p{k}"] for k in classes], axis=1)
    return {"posteriors": posteriors, **{n: columns[n] for n in _COLUMNS if n in columns}}


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a csv file: {error}") from error
    heads = lines[0][1] if lines else []
    if len(set(heads)) != len(heads):
        raise InputError(f"{path} names a column twice in {','.join(heads)}")
    for number, row in lines:
        if len(row) != len(heads):
            raise InputError(f"{path}:{number} has {len(row)} cells, expected {len(heads)}")
    found: dict[str, np.ndarray] = {}
    for i, name in enumerate(heads):
        cells = [(number, row[i]) for number, row in lines[1:]]
        if _is_posterior(name) or name in ("member", "label"):
            found[name] = _numbers(path, name, cells)
        elif name == "role":
            found[name] = np.array([cell for _, cell in cells], str)
    return found


def _is_posterior(name: str) -> bool:
    return name[:1] == "p" and name[1:].isdecimal()


def _numbers(path: Path, name: str, cells: Sequence[tuple[int, str]]) -> np.ndarray:
    """Returns a column of a csv file, given as line and text, as numbers; labels as integers."""
    found = np.empty(len(cells))
    for i, (line, text) in enumerate(cells):
        try:
            found[i] = float(text)
        except ValueError:
            raise InputError(f"{path}:{line}: {name} is {text!r}, expected a number") from None
    if name == "label" and np.isfinite(found).all() and (found == np.floor(found)).all():
        return found.astype(np.int64)
    return found


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError("parquet files need pyarrow: pip install pyarrow") from error
    return pyarrow


def _read_parquet(path: Path) -> dict[str, np.ndarray]:
    pyarrow = _pyarrow()
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise InputError(f"{path} is not a parquet file: {error}") from error
    found = {}
    for name in table.column_names:
        if table[name].null_count:
            raise InputError(f"{path}: column {name} has {table[name].null_count} empty cells")
        column = table[name].to_numpy()
        found[name] = column.astype(str) if column.dtype == object else column
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
        pyarrow = _pyarrow()
        pyarrow.parquet.write_table(pyarrow.table(table), content)
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
    arrays = _read_npz(path)
    lacking = [name for name in ("records", "member") if name not in arrays]
    if lacking:
        raise InputError(f"{path} has no array {', no '.join(lacking)} (has {', '.join(arrays)})")
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
