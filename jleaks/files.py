"""Files of a report: each one appears whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from jleaks.errors import InputError


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Gives a file beside `path` to write to, then renames it into place.

    A reader, or a run that was killed while writing, sees the old file or the new one, never a
    part.  Missing folders are created.

    Args:
      path: Where the file shall be.

    Raises:
      InputError: the folder or the file cannot be written.
    """
    path = Path(path)
    # The process id keeps two runs that write the same report apart.
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("w+b") as file:
                yield file
                file.flush()
                # Without it a power cut after the rename can leave an empty file.
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


def replace_file(path: str | os.PathLike[str], content: bytes) -> Path:
    """Writes `content` as `replacing` does; what is there already is left alone.

    So the report of a finished run can be made again where nothing can be written.

    Args:
      path: Where the file shall be.
      content: All of its bytes.

    Returns:
      `path`.

    Raises:
      InputError: the folder or the file cannot be written.
    """
    path = Path(path)
    with contextlib.suppress(OSError):
        if path.read_bytes() == content:
            return path
    with replacing(path) as file:
        file.write(content)
    return path
