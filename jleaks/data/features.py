"""Own records as they are stored: which encoding they call for, and what they must be for it.

Numbers are stored as float32 and standardised by each model with its own training part.  Some would lose
their differences in float32 (a timestamp in seconds has steps of two minutes there): such columns are
stored less the middle of their range, which standardising undoes.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jleaks.data.tables import Column, is_number
from jleaks.errors import InputError

# Numbers beyond these, squared and summed, leave float32.
_LARGEST, _SMALLEST = 1e15, 1e-15
# A column is stored less the middle of its range where float32 would move its values by more than this
# share of their standard deviation.
_ROUNDING = 1e-5
# Columns looked at together, to bound memory.
_COLUMNS = 64
# Categories that a column of text may have; more, or as many as half of its records, are no categories.
_MOST_CATEGORIES = 1000
_MISSING = "(missing)"
# Encodings that need no more than numbers.
_CHECKED = ("pixels", "binary", "terms", "real")


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """Own records as they are stored.

    Attributes:
      features: [N, ...] of uint8, int32 or float32.
      encoding: Name of the encoding that makes network inputs of them.
      ranges: Least and largest value of each number of a record; empty where the encoding knows them.
      about: What a record's values are.
      lines: What a reader must be told.
    """

    features: np.ndarray
    encoding: str
    ranges: tuple[tuple[float, float], ...]
    about: str
    lines: tuple[str, ...] = ()


def from_array(
    array: np.ndarray, where: str, encoding: str | None, names: Sequence[str] | None = None
) -> Features:
    """Stores an array of records.

    Args:
      array: [N, ...] numbers or booleans: images are [N, height, width, channels], or [N, side, side].
      where: Whose they are, for messages.
      encoding: Name of an encoding; None for "pixels" of images, "binary" where all are zeros and ones,
        else "real".
      names: Of the columns of [N, d]; None for their positions.

    Raises:
      InputError: names the first value that cannot be stored, by record and column.
    """
    if array.dtype.name in ("bfloat16", "float16"):
        array = array.astype(np.float32)
    if array.ndim == 0 or array.dtype.kind not in "biuf":
        raise InputError(
            f"{where}: records are an array of {array.dtype} and shape {array.shape}, expected numbers "
            "[records, ...]; text goes into columns of a csv or parquet file"
        )
    if array.ndim == 1:
        array = array[:, None]
    if 0 in array.shape:
        raise InputError(f"{where}: records have shape {array.shape}, expected some of everything")
    _check_finite(array, where, names)
    is_square = array.ndim == 3 and array.shape[1] == array.shape[2]
    if encoding == "pixels" or (encoding is None and (array.ndim == 4 or is_square)):
        return _images(array, where)
    if encoding is None:
        encoding = "binary" if ((array == 0) | (array == 1)).all() else "real"
    if encoding == "real":
        return _reals(array, where, names)
    if encoding in ("binary", "terms"):
        most = 1 if encoding == "binary" else np.iinfo(np.int32).max
        kind = "zeros and ones" if encoding == "binary" else "counts"
        bad = (array < 0) | (array > most) | (array != np.floor(array))
        if bad.any():
            at = _at(np.argwhere(bad)[0], names)
            raise InputError(
                f"{where}: {at} is {array[bad][0]}, expected {kind} for encoding {encoding}"
            )
        small = np.uint8 if array.max() <= np.iinfo(np.uint8).max else np.int32
        if encoding == "terms" and array.ndim != 2:
            raise InputError(
                f"{where}: records have shape {array.shape[1:]}, expected one row of counts"
            )
        return Features(array.astype(small), encoding, (), kind)
    if encoding == "columns" or encoding in ("mixed", "posteriors"):
        raise InputError(
            f"{where}: encoding {encoding} is none of plain numbers; expected one of {', '.join(_CHECKED)}"
        )
    # One of the user's own takes numbers as they are.
    with np.errstate(over="ignore"):
        stored = array.astype(np.uint8 if array.dtype in (np.uint8, bool) else np.float32)
    _check_finite(stored, where, names)
    return Features(stored, encoding, _ranges(stored), "values")


def from_columns(columns: dict[str, Column], where: str, encoding: str | None) -> Features:
    """Stores a table: its numbers, then codes of its categories.

    Args:
      columns: By name; booleans count as numbers.
      where: Whose they are, for messages.
      encoding: Name of an encoding; "columns", and None, for numbers and categories as they come.

    Raises:
      InputError: names columns with empty cells that are no categories, or with too many categories.
    """
    numbers: dict[str, np.ndarray] = {}
    texts: dict[str, Column] = {}
    for name, column in columns.items():
        if column.values.dtype.kind == "U":
            texts[name] = column
        else:
            numbers[name] = column.values
    if empty := {
        name: columns[name].missing.sum() for name in numbers if columns[name].missing.any()
    }:
        shown = ", ".join(f"{name} ({count:,})" for name, count in [*empty.items()][:5])
        raise InputError(
            f"{where}: cells are empty in {len(empty)} columns of numbers: {shown}"
            f"{', ...' if len(empty) > 5 else ''}; fill them in the file, or leave columns out with "
            f"--drop={','.join([*empty][:5])} (empty text is a category of its own)"
        )
    if not texts:
        together, names = _together(numbers)
        wanted = None if encoding == "columns" else encoding
        return from_array(together, where, wanted, names)
    if encoding not in (None, "columns"):
        raise InputError(
            f"{where}: columns {', '.join([*texts][:5])} are text, expected numbers for encoding "
            f"{encoding}; leave them out with --drop, or leave --encoding to be columns"
        )
    lines, sizes, codes = [], [], []
    for name, column in texts.items():
        found, code = _categories(name, column, where)
        sizes.append(len(found))
        codes.append(code)
        if column.missing.any():
            lines.append(
                f"{where}: column {name} is empty in {column.missing.sum():,} records: category {_MISSING}"
            )
    count = len(codes[0])
    reals = Features(np.zeros((count, 0), np.float32), "real", (), "")
    if numbers:
        together, names = _together(numbers)
        _check_finite(together, where, names)
        reals = _reals(together, where, names)
    features = np.concatenate([reals.features, np.stack(codes, axis=1).astype(np.float32)], axis=1)
    about = f"columns ({reals.features.shape[1]} numbers, {len(sizes)} categorical)"
    words = ".".join(map(str, sizes))
    return Features(features, f"columns-{words}", reals.ranges, about, (*reals.lines, *lines))


def _together(numbers: dict[str, np.ndarray]) -> tuple[np.ndarray, list[str]]:
    """Returns columns side by side, [N, d] float64, and their names; a column may be of lists."""
    names: list[str] = []
    parts = []
    for name, values in numbers.items():
        parts.append(values.reshape(len(values), -1).astype(np.float64))
        width = parts[-1].shape[1]
        names += [name] if values.ndim == 1 else [f"{name}[{i}]" for i in range(width)]
    return np.concatenate(parts, axis=1), names


def _categories(name: str, column: Column, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the categories of a column of text, sorted, and each record's code."""
    values = np.where(column.missing, _MISSING, np.strings.strip(column.values))
    found, codes = np.unique(values, return_inverse=True)
    if len(found) > _MOST_CATEGORIES or (len(found) > len(values) / 2 and len(found) > 2):
        numeric = np.array([is_number(text) for text in found])
        why = "is it an identifier?"
        if numeric.mean() > 0.5:
            i = int(np.flatnonzero(np.isin(values, found[~numeric]))[0]) if not numeric.all() else 0
            why = f"most are numbers, but record {i} has {str(values[i])!r}: write numbers alone"
        raise InputError(
            f"{where}: column {name} is text with {len(found):,} different values in {len(values):,} "
            f"records ({why}); leave it out with --drop={name}"
        )
    return found, codes


def _at(position: Any, names: Sequence[str] | None) -> str:
    record, *rest = (int(i) for i in position)
    if len(rest) == 1:
        return f"record {record}, column {names[rest[0]] if names else rest[0]}"
    return f"record {record}, value {tuple(rest)}"


def _check_finite(array: np.ndarray, where: str, names: Sequence[str] | None) -> None:
    if array.dtype.kind != "f":
        return
    # A finite sum is the quick answer; that of large numbers may be none.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.sum()):
            return
    bad = ~np.isfinite(array)
    if not bad.any():
        return
    at = np.argwhere(bad)[0]
    count = int(bad.reshape(len(array), -1).any(1).sum())
    raise InputError(
        f"{where}: {_at(at, names)} is {array[tuple(at)]}, expected finite numbers ({count:,} of "
        f"{len(array):,} records have others); fill them, or leave records or columns out"
    )


def _ranges(features: np.ndarray) -> tuple[tuple[float, float], ...]:
    flat = features.reshape(len(features), -1)
    return tuple(zip(flat.min(0).tolist(), flat.max(0).tolist(), strict=True))


def _reals(array: np.ndarray, where: str, names: Sequence[str] | None) -> Features:
    """Stores numbers as float32 that standardising brings to the same as the numbers themselves."""
    flat = array.reshape(len(array), -1)
    stored = np.empty(flat.shape, np.float32)
    shifted, constant = [], 0
    for start in range(0, flat.shape[1], _COLUMNS):
        block = flat[:, start : start + _COLUMNS].astype(np.float64)
        low, high = block.min(0), block.max(0)
        largest = np.maximum(abs(low), abs(high))
        changes = high > low
        constant += int((~changes).sum())
        beyond = (largest > _LARGEST) | (changes & (high - low < _SMALLEST))
        for j in np.flatnonzero(beyond)[:1]:
            name = names[start + j] if names else start + j
            raise InputError(
                f"{where}: column {name} reaches from {low[j]:g} to {high[j]:g}, expected numbers within "
                f"{_LARGEST:g} that differ by {_SMALLEST:g} or more; write it in another unit"
            )
        steps = np.finfo(np.float32).eps * largest
        move = changes & (steps > _ROUNDING * block.std(0))
        stored[:, start : start + _COLUMNS] = block - np.where(move, (low + high) / 2, 0)
        shifted += [start + int(j) for j in np.flatnonzero(move)]
    lines = []
    if shifted:
        shown = ", ".join(str(names[j] if names else j) for j in shifted[:5])
        lines.append(
            f"{where}: {len(shifted)} columns are stored less the middle of their range, for float32 would "
            f"round their differences away: {shown}{', ...' if len(shifted) > 5 else ''}"
        )
    if constant:
        lines.append(f"{where}: {constant} columns never change: they say nothing")
    return Features(stored.reshape(array.shape), "real", _ranges(stored), "numbers", tuple(lines))


def _images(array: np.ndarray, where: str) -> Features:
    """Stores images as grey levels from 0 to 255, bytes or float32, channels last."""
    lines = []
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4:
        raise InputError(
            f"{where}: records have shape {array.shape[1:]}, expected height, width and channels of images"
        )
    if array.shape[-1] > 4 and array.shape[1] <= 4:
        array = np.ascontiguousarray(np.moveaxis(array, 1, -1))
        lines.append(f"{where}: channels came first, they are last now")
    if array.shape[-1] > 4:
        raise InputError(
            f"{where}: records have shape {array.shape[1:]}, expected 1 to 4 channels last (or first) of "
            "images; --encoding=real takes them as numbers"
        )
    if array.dtype == np.uint8:
        return Features(array, "pixels", (), "grey levels", tuple(lines))
    low, high = float(array.min()), float(array.max())
    if array.dtype.kind in "iu" and low >= 0 and 127 < high <= 255:
        return Features(array.astype(np.uint8), "pixels", (), "grey levels", tuple(lines))
    # The usual ranges, else the images' own; 255 levels reach from end to end.
    if low >= 0 and 127 < high <= 255:
        start, end = 0.0, 255.0
    elif low >= 0 and high <= 1:
        start, end = 0.0, 1.0
    elif low >= -1 and high <= 1:
        start, end = -1.0, 1.0
    else:
        start, end = low, high
    if end <= start:
        raise InputError(f"{where}: all pixels of all images are {low:g}")
    levels = ((array.astype(np.float64) - start) * (255 / (end - start))).astype(np.float32)
    if (start, end) != (0.0, 255.0):
        lines.append(
            f"{where}: pixels from {start:g} to {end:g} are stored as levels from 0 to 255"
        )
    return Features(levels, "pixels", (), "grey levels", tuple(lines))
