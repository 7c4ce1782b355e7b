"""Files from elsewhere as named arrays: npz and parquet.  Nothing in them is ever run.

Only the arrays that are asked for are read: whatever else lies in a file cannot do harm.
"""

import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from jleaks.errors import InputError

# What NumPy and zipfile raise on files that are cut short, damaged, encrypted or of another kind.
_DAMAGE = (
    *(OSError, ValueError, TypeError, EOFError, KeyError, MemoryError, OverflowError),
    *(RuntimeError, NotImplementedError, SyntaxError, zipfile.BadZipFile, zlib.error),
)


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
    try:
        with path.open("rb") as raw:
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
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(f"{path} is damaged: {_reason(error)}") from error
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
    try:
        schema = pyarrow.parquet.read_schema(path)
        names = [name for name in schema.names if is_wanted(name)]
        if len(set(names)) != len(names):
            raise InputError(f"{path} names a column twice in {','.join(schema.names)}")
        table = pyarrow.parquet.read_table(path, columns=names, page_checksum_verification=True)
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"{path} is not a parquet file: {_reason(error)}") from error
    columns = {name: _column(path, name, table[name].combine_chunks()) for name in names}
    return columns, [name for name in schema.names if name not in columns]


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError("parquet files need pyarrow: pip install pyarrow") from error
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


def write_parquet(columns: dict[str, np.ndarray], where: Any) -> None:
    """Writes columns as a parquet file to a path or an open file."""
    pyarrow = _pyarrow()
    pyarrow.parquet.write_table(pyarrow.table(columns), where)
