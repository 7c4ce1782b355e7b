"""Locks on folders: one process works in one, and others wait or are told who does."""

import contextlib
import errno
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from jleaks.errors import InputError

FILE = ".lock"
"""The lock of a run, in its directory."""
# Seconds between two looks at whether another process has finished.
_LOOK = 0.2


class InUseError(InputError):
    """Somebody else holds a lock that is not waited for."""


@contextlib.contextmanager
def alone(path: Path, wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Keeps other processes out; the lock ends with the process, however that ends.

    Where a file system has no locks nobody is kept out.

    Args:
      path: The lock's file, which stays; its folder is made if need be.
      wait: Told who holds the lock, before this process waits for it; None to refuse.

    Raises:
      InputError: the file cannot be written.
      InUseError: somebody else holds the lock and is not waited for.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise InputError(f"cannot write {path.parent}: {error.strerror or error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _named(path)
            if wait is None:
                raise InUseError(
                    f"{path.parent} is in use by {holder}: wait for it, stop it there (what it has done is "
                    "kept), or choose another folder"
                ) from None
            wait(holder)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            yield
            return
        file.truncate(0)
        print(f"process {os.getpid()} on {socket.gethostname()}", file=file, flush=True)
        yield


@contextlib.contextmanager
def parts(path: Path, places: Iterable[int], wait: Callable[[], None]) -> Iterator[None]:
    """Keeps other processes out of parts of what a file stands for, each a place in it, of one byte.

    Where a file system has no locks nobody is kept out.

    Args:
      path: The lock's file, which stays.
      places: Of the bytes that are locked.
      wait: Called while another process has one of them, again and again.

    Raises:
      InputError: the file cannot be written.
    """
    try:
        file = path.open("wb")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
    with file:
        # In one order for all processes, so that none waits for another that waits for it.
        for place in sorted(places):
            while _is_taken(file.fileno(), place):
                wait()
                time.sleep(_LOOK)
        # Closing the file ends all locks.
        yield


def _is_taken(file: int, place: int) -> bool:
    """Tries to lock one byte for this process; returns whether another has it."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EACCES)
    return False


def holder(path: Path) -> str | None:
    """Returns which process holds a lock, None if none does; nothing is written."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _named(path)
    except OSError:
        # There is no such file, or the file system has no locks.
        pass
    return None


def _named(path: Path) -> str:
    """Returns what a lock's holder has written of itself."""
    try:
        return " ".join(path.read_text().split()) or "another process"
    except (OSError, ValueError):
        return "another process"
