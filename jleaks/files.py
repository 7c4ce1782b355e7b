"""Files that appear whole or not at all; folders in which nobody else can have put anything."""

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from jleaks.errors import InputError

_STORE = re.compile(r"(gs|gcs|s3|s3a|az|abfss?|hdfs|r2)://")
_MOUNTS = {"gs": "gcsfuse", "gcs": "gcsfuse", "s3": "mount-s3", "s3a": "mount-s3"}


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


def on_disk(path: str | os.PathLike[str], flag: str) -> Path:
    """Returns a path, unless it is an address of an object store.

    Args:
      path: As a user gave it.
      flag: Where.

    Raises:
      InputError: it begins as "gs://" and the like do.  A directory of that name would be made otherwise,
        and be lost with the machine.
    """
    if found := _STORE.match(os.fspath(path)):
        mount = _MOUNTS.get(found[1], "rclone mount")
        raise InputError(
            f"{flag} is {path}, in an object store; jleaks locks, maps and renames files, which takes a "
            f"file system: mount the bucket ({mount}), or copy the directory there afterwards"
        )
    return Path(path)


def private_folder(path: Path) -> Path:
    """Makes a folder for machine code that is run unseen, or checks the one that is there.

    Args:
      path: The folder; missing ones above it are made as well.

    Returns:
      `path`.

    Raises:
      InputError: it cannot be made, or somebody else owns it or may write to it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        check_private(path)
    except OSError as error:
        raise InputError(f"cannot make {path}: {error.strerror or error}") from None
    return path


def check_private(path: Path) -> None:
    """Checks that only this user can have written a file, or into a folder.

    Raises:
      InputError: somebody else owns it or may write to it.
      OSError: it does not exist.
    """
    found = path.stat()
    if found.st_uid not in (os.geteuid(), 0):
        raise InputError(
            f"{path} belongs to another user (id {found.st_uid}), and its code would be run: delete it, or "
            "choose another --cache_dir"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise InputError(
            f"{path} can be written by others ({stat.filemode(found.st_mode)}), and its code would be run: "
            f"delete it, or choose another --cache_dir"
        )
