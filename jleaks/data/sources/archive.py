"""Archives from outside: read in memory and checked; nothing is ever unpacked onto the disk."""

import gzip
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from jleaks.errors import InputError

# What gzip and tarfile raise on files that are cut short, damaged or of another kind.
# A size that no file has makes Python ask for more memory than there is.
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError, MemoryError)
# Of one file once it is unpacked, ten times the largest of the official ones.
_MOST_BYTES = 1 << 30
_GZIP = b"\x1f\x8b"


def read_whole(path: Path) -> bytes:
    """Returns the content of a file, of a gzip file what is packed in it, its checksum verified.

    The content decides, whatever the name: some tools unpack what they download.

    Raises:
      InputError: a gzip file that is truncated or damaged, or a file that is unreadable.
    """
    try:
        with path.open("rb") as raw:
            if raw.read(len(_GZIP)) != _GZIP:
                raw.seek(0)
                return raw.read()
    except OSError as error:
        raise InputError(f"cannot read {path}: {_reason(error)}") from error
    try:
        with gzip.open(path) as file:
            content = file.read(_MOST_BYTES)
            if file.read(1):
                raise InputError(f"{path}: more than {_MOST_BYTES:,} bytes are packed in it")
    except (OSError, *_DAMAGE) as error:
        raise InputError(f"{path}: not a complete gzip file ({_reason(error)})") from error
    return content


def read_members(path: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """Reads files of a gzipped tar archive whose names are wanted.

    Args:
      path: The archive.
      wanted: Says of a name, without a leading "./", whether its content is needed.

    Returns:
      Content of each wanted file by name, in the archive's order.

    Raises:
      InputError: not such an archive, truncated, damaged, unreadable, or with a member that points
        outside the folder it would be unpacked in or that is a link or device.
    """
    contents = {}
    try:
        with gzip.open(path) as file:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    name = _checked_name(path, member)
                    if not member.isfile() or not wanted(name):
                        continue
                    if member.size > _MOST_BYTES:
                        raise InputError(
                            f"{path}: member {member.name!r:.200} has {member.size:,} bytes, expected "
                            f"{_MOST_BYTES:,} at most"
                        )
                    content = tar.extractfile(member)
                    assert content is not None
                    contents[name] = content.read()
            # The checksum stands at the very end, behind what tarfile reads.
            while file.read(1 << 20):
                pass
    except (OSError, *_DAMAGE) as error:
        raise InputError(f"{path}: not a complete .tar.gz archive ({_reason(error)})") from error
    return contents


def _checked_name(path: Path, member: tarfile.TarInfo) -> str:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise InputError(f"{path}: member {member.name!r} points outside its folder")
    if not (member.isfile() or member.isdir()):
        raise InputError(
            f"{path}: member {member.name!r} is a link or device, expected files and folders only"
        )
    return str(name)


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text or type(error).__name__
