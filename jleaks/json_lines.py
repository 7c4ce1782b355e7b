"""Rows on disk: one JSON object per line, UTF-8."""

import gzip
import json
import math
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jleaks.errors import InputError
from jleaks.files import replace_file


def number(value: float) -> float | None:
    """Returns a number of six digits, as rows have it; None, JSON's null, for one that is not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def write(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> Path:
    """Writes rows, whole or not at all; missing folders are created.

    Args:
      path: The file to write.
      rows: JSON values; a number that is not finite is refused, as JSON has no word for it.

    Returns:
      `path`.

    Raises:
      InputError: the file cannot be written.
      ValueError: a number is not finite.
    """
    text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    return replace_file(path, text.encode())


def read(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads rows; blank lines are passed over.

    Args:
      path: The file, compressed if it ends in `.gz`.

    Raises:
      InputError: the file cannot be read, or a line is no object of JSON; the message names file and line.
    """
    found = numbered(path)
    for number, row in found:
        if not isinstance(row, dict):
            raise InputError(f"{path}:{number}: expected an object of JSON, got {row!r:.60}")
    return [row for _, row in found]


def numbered(path: str | os.PathLike[str]) -> list[tuple[int, Any]]:
    """Reads JSON values, each with the number of its line from 1 (see `read`)."""
    path = Path(path)
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {path}: {reason}") from error
    found = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            found.append((number, json.loads(line.decode())))
        except UnicodeDecodeError as error:
            raise InputError(f"{where}: not UTF-8 text ({error.reason})") from error
        except json.JSONDecodeError as error:
            raise InputError(f"{where}: not JSON ({error.msg} at column {error.colno})") from error
        except RecursionError as error:
            raise InputError(f"{where}: not JSON of ours (nested too deeply)") from error
    return found
