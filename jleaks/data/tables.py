"""Files from elsewhere as named arrays: npz, parquet and csv.  Nothing in them is ever run.

Only the arrays that are asked for are read: whatever else lies in a file cannot do harm.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jleaks.errors import InputError


@contextlib.contextmanager
def _reading(path: Path, verdict: str) -> Iterator[None]:
    """Takes whatever is raised meanwhile for the file's fault.

    NumPy, zip, zlib and Arrow raise all sorts of exceptions on files that are cut short, damaged,
    encrypted, of another kind or made to harm.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} {verdict}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def read_npz(path: Path, wanted: Iterable[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Reads arrays of an npz file.

    Args:
      path: The file.
      wanted: Names of arrays to read, where they are there.

    Returns:
      Arrays by name, and the names of all others.

    Raises:
      InputError: the file is missing, damaged or no npz, or holds a wanted array twice or as Python
        objects.
    """
    _check_there(path)
    wanted, arrays = set(wanted), {}
    with _reading(path, "is damaged"), path.open("rb") as raw:
        file = np.load(raw, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise InputError(f"{path} holds one array (.npy), expected an npz of named arrays")
        with file:
            names = list(file.files)
            for name in names:
                if name in wanted:
                    if names.count(name) > 1:
                        raise InputError(f"{path} holds the array {name} twice")
                    arrays[name] = _member(path, file, name)
    return arrays, [name for name in names if name not in arrays]


def _member(path: Path, file: Any, name: str) -> np.ndarray:
    try:
        array = file[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise InputError(
            f"{path}: {name} is an array of Python objects (rows of unequal lengths?), which are never "
            "loaded: save one rectangular array of numbers"
        ) from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: {name} is not an array")
    return array


def read_text(path: Path, name: str) -> str | None:
    """Returns a text that an npz file holds; None if there is none of this name that is one text."""
    try:
        arrays, _ = read_npz(path, [name])
    except InputError:
        return None
    array = arrays.get(name)
    return (
        str(array) if array is not None and array.shape == () and array.dtype.kind == "U" else None
    )


def read_parquet(
    path: Path, is_wanted: Callable[[str], bool]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Reads columns of a parquet file.

    Args:
      path: The file.
      is_wanted: Whether a column of this name shall be read.

    Returns:
      Columns by name: [rows] numbers, booleans or text, [rows, width] where each cell is a list; and the
      names of all others.

    Raises:
      InputError: the file is missing or not parquet, a wanted column has an empty cell, lists of unequal
        lengths, or a type that is none of these.
    """
    _check_there(path)
    pyarrow = _pyarrow()
    with _reading(path, "is not a parquet file"):
        held = pyarrow.parquet.read_schema(path).names
        names = [name for name in held if is_wanted(name)]
        if len(set(names)) != len(names):
            raise InputError(f"{path} names a column twice in {','.join(held)}")
        table = pyarrow.parquet.read_table(path, columns=names, page_checksum_verification=True)
        columns = {name: _column(path, name, table[name].combine_chunks()) for name in names}
    return columns, [name for name in held if name not in columns]


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError("csv and parquet files need pyarrow: pip install pyarrow") from error
    return pyarrow


def _column(path: Path, name: str, column: Any) -> np.ndarray:
    """Returns one column, a pyarrow array in one piece."""
    types = _pyarrow().types
    if isinstance(column, _pyarrow().ChunkedArray):
        column = _pyarrow().concat_arrays(column.chunks) if column.num_chunks else column
    _check_full(path, name, column)
    kind = column.type
    if types.is_dictionary(kind):
        return _column(path, name, column.dictionary_decode())
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(lengths != lengths[:1])[:1]:
            raise InputError(
                f"{path}: {name} has a list of {lengths[row]} in row {row}, of {lengths[0]} in row 0"
            )
        width = int(lengths[0]) if len(lengths) else 0
        cells = column.flatten()
        if types.is_nested(cells.type):
            raise InputError(f"{path}: {name} is {kind}, expected lists of numbers")
        _check_full(path, name, cells, width)
        return _column(path, name, cells).reshape(len(lengths), width)
    if types.is_string(kind) or types.is_large_string(kind):
        return np.array(column.to_pylist(), str)
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind):
        return column.to_numpy(zero_copy_only=False)
    raise InputError(f"{path}: column {name} is {kind}, expected numbers, booleans or text")


def _check_full(path: Path, name: str, column: Any, width: int = 1) -> None:
    if column.null_count:
        empty = column.is_null().to_numpy(zero_copy_only=False)
        raise InputError(
            f"{path}: column {name} has {column.null_count} empty cells, the first in row "
            f"{int(np.argmax(empty)) // max(width, 1)}"
        )


def _check_there(path: Path) -> None:
    if not path.exists():
        raise InputError(f"{path} does not exist")


class Column(NamedTuple):
    """One column of a table.

    Attributes:
      values: [N] numbers, booleans or text.
      missing: [N] whether a cell is empty; its value means nothing then.
    """

    values: np.ndarray
    missing: np.ndarray


class Table(NamedTuple):
    """A table of records.

    Attributes:
      columns: By name, in order.
      lines: What a reader must be told of how it was read.
    """

    columns: dict[str, Column]
    lines: tuple[str, ...]


# Endings of files, and what parts their columns; None where the first line tells.
_CSV = {".csv": None, ".tsv": "\t", ".txt": None, ".tab": "\t"}
_PARQUET = (".parquet", ".pq")


def read_table(path: Path) -> Table:
    """Reads all columns of a csv or parquet file.

    Args:
      path: .parquet or .pq; .csv, .tsv or .txt, which may be compressed (.gz). A csv has a header;
        its columns are parted by whatever its first line has most of: commas, semicolons, tabs or bars.

    Raises:
      InputError: the file is missing, of another kind or damaged; a csv has no header; a name occurs
        twice; a column is of dates or of another type that is neither numbers, booleans nor text.
    """
    _check_there(path)
    ending = path.with_suffix("").suffix if path.suffix in (".gz", ".bz2") else path.suffix
    lines: tuple[str, ...] = ()
    if ending not in (*_PARQUET, *_CSV):
        raise InputError(
            f"{path}: own data is a .npz, .csv, .tsv or .parquet file, or a folder with a folder of images "
            "for each class"
        )
    pyarrow = _pyarrow()
    with _reading(path, f"cannot be read as {'parquet' if ending in _PARQUET else 'csv'}"):
        if ending in _PARQUET:
            table = pyarrow.parquet.read_table(path, page_checksum_verification=True)
        else:
            table, lines = _csv_table(path, _CSV[ending])
        names = table.schema.names
        for name in names:
            if names.count(name) > 1:
                raise InputError(
                    f"{path} has two columns called {name}; give each a name of its own"
                )
        if not table.num_rows:
            raise InputError(f"{path} has a header and no records")
        return Table({name: _any_column(path, name, table[name]) for name in names}, lines)


def _csv_table(path: Path, delimiter: str | None) -> tuple[Any, tuple[str, ...]]:
    pyarrow = _pyarrow()
    from pyarrow import csv

    lines: tuple[str, ...] = ()
    with pyarrow.input_stream(str(path)) as stream:
        content = stream.read()
    first = content.partition(b"\n")[0].decode("utf-8-sig").strip()
    if not first:
        raise InputError(f"{path} begins with an empty line, expected a header")
    if delimiter is None:
        delimiter = max(",;\t|", key=first.count)
        if delimiter != ",":
            lines = (f"{path}: columns are parted by {delimiter!r}",)
    names = [name.strip().strip('"') for name in first.split(delimiter)]
    if all(is_number(name) for name in names):
        raise InputError(
            f"{path}: line 1 is numbers, no header; write one line with a name for each of its "
            f"{len(names)} columns above it"
        )
    return csv.read_csv(
        pyarrow.BufferReader(content),
        # Types are those of whole columns, not of their first rows.
        csv.ReadOptions(block_size=min(len(content) + 1, 2**31 - 1)),
        csv.ParseOptions(delimiter=delimiter),
        csv.ConvertOptions(strings_can_be_null=True),
    ), lines


def is_number(text: str) -> bool:
    """Whether a text is one number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _any_column(path: Path, name: str, column: Any) -> Column:
    """Returns one column, empty cells and all."""
    pyarrow = _pyarrow()
    types = pyarrow.types
    column = column.combine_chunks()
    if isinstance(column, pyarrow.ChunkedArray):
        column = pyarrow.concat_arrays(column.chunks) if column.num_chunks else column
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    missing = column.is_null(nan_is_null=types.is_floating(kind))
    missing = missing.to_numpy(zero_copy_only=False)
    if types.is_null(kind):
        return Column(np.zeros(len(column)), missing)
    if types.is_string(kind) or types.is_large_string(kind):
        return Column(np.array(column.fill_null("").to_pylist(), str), missing)
    if types.is_boolean(kind):
        return Column(column.fill_null(False).to_numpy(zero_copy_only=False), missing)
    if types.is_integer(kind):
        return Column(column.fill_null(0).to_numpy(zero_copy_only=False), missing)
    if types.is_floating(kind) or types.is_decimal(kind):
        values = column.cast(pyarrow.float64()).fill_null(0.0).to_numpy(zero_copy_only=False)
        return Column(values, missing)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return Column(_column(path, name, column), np.zeros(len(column), bool))
    raise InputError(
        f"{path}: column {name} is {kind}, expected numbers, booleans or text; turn it into numbers or "
        f"leave it out with --drop={name}"
    )


def _is_empty(cell: Any) -> bool:
    """Whether a Python object stands for nothing; pandas' own do not compare."""
    if type(cell).__name__ in ("NoneType", "NAType", "NaTType"):
        return True
    return isinstance(cell, float) and cell != cell


def column_of(array: np.ndarray, where: str) -> Column:
    """Returns an array of Python's as a column; None and nan are empty cells.

    Raises:
      InputError: it is neither numbers, booleans nor text.
    """
    if array.dtype.kind == "O":
        missing = np.array([_is_empty(cell) for cell in array.ravel()])
        kinds = {
            type(cell) for cell, empty in zip(array.ravel(), missing, strict=True) if not empty
        }
        if all(issubclass(kind, str) for kind in kinds):
            filled = np.where(missing, "", array.ravel())
            return Column(filled.astype(str).reshape(array.shape), missing)
        try:
            return Column(np.where(missing, 0, array.ravel()).astype(np.float64), missing)
        except (TypeError, ValueError) as error:
            raise InputError(f"{where} mixes types: {_reason(error)}") from error
    if array.dtype.kind not in "biufU":
        raise InputError(f"{where} is {array.dtype}, expected numbers, booleans or text")
    missing = np.isnan(array) if array.dtype.kind == "f" else np.zeros(array.shape, bool)
    return Column(np.where(missing, 0, array) if missing.any() else array, missing)


def write_parquet(columns: dict[str, np.ndarray], where: Any) -> None:
    """Writes columns as a parquet file to a path or an open file."""
    pyarrow = _pyarrow()
    pyarrow.parquet.write_table(pyarrow.table(columns), where)
