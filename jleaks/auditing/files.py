"""An audit's records as files have them: one table or npz with records, labels and membership in it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jleaks.auditing.records import Records, read_records
from jleaks.data import own
from jleaks.errors import InputError

# What membership is usually called.
_MEMBER = ("member", "members", "is_member", "trained_on", "in_training")


class Columns(NamedTuple):
    """Which columns of a table, or arrays of an npz, are no features.

    Attributes:
      label: The classes; None for whichever has a usual name.
      member: Whether the audited model was trained on the record; None likewise.
      ids: What a reader calls each record; None for positions.
      groups: Groups of records, for risk per group.
      features: Of an npz, the array of the records.
    """

    label: str | None = None
    member: str | None = None
    ids: str | None = None
    groups: Sequence[str] = ()
    features: str | None = None


_USUAL = Columns()


def read(path: str | os.PathLike[str], columns: Columns = _USUAL, encoded: bool = False) -> Records:
    """Reads the records of an audit.

    Args:
      path: A .npz, .csv, .tsv or .parquet file.
      columns: What its columns, or arrays, are.
      encoded: Whether records are wanted as networks take them (numbers), and not as they are (a data
        frame of a table, an array of an npz).

    Raises:
      InputError: names the file and what cannot be read of it.
    """
    path = Path(path)
    whole = _read(path)
    names = [str(name) for name in whole]
    member = own.one_of(columns.member, _MEMBER, names, str(path), "member")
    apart = [member, *([columns.ids] if columns.ids else []), *columns.groups]
    for name in apart:
        if name not in names:
            raise InputError(f"{path} has no {name}; it has {', '.join(names[:20])}")
    taken = {name: np.asarray(whole[name]) for name in apart}
    rest: Any
    if isinstance(whole, pd.DataFrame):
        rest = whole.drop(columns=apart)
    else:
        rest = {name: array for name, array in whole.items() if name not in apart}
    found = own.read(str(path), rest, columns.label, columns.features)
    if encoded:
        data, labels = found.features, np.asarray(found.classes)[found.labels]
    else:
        data, labels = _as_is(rest, path, columns)
    return read_records(
        data,
        labels,
        taken[member],
        None if columns.ids is None else taken[columns.ids],
        {name: taken[name] for name in columns.groups},
    )


def _read(path: Path) -> Any:
    """Returns a data frame, or the arrays of an npz by name."""
    if not path.is_file():
        raise InputError(f"{path} is no file; expected a .npz, .csv, .tsv or .parquet file")
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        if path.suffix in (".csv", ".tsv"):
            return pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",")
    # NumPy, pandas and pyarrow raise all sorts of exceptions on files that are something else.
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise InputError(f"{path} cannot be read as {path.suffix[1:]}: {said}") from error
    raise InputError(f"{path} ends in {path.suffix!r}; expected .npz, .csv, .tsv or .parquet")


def _as_is(rest: Any, path: Path, columns: Columns) -> tuple[Any, np.ndarray]:
    """Returns records and labels in the form that they have in the file."""
    names = [str(name) for name in rest]
    label = own.one_of(columns.label, own.LABELS, names, str(path), "label")
    labels = np.asarray(rest[label])
    if isinstance(rest, pd.DataFrame):
        return rest.drop(columns=[label]), labels
    return rest[own.one_of(columns.features, own.FEATURES, names, str(path), "features")], labels
