"""npz files of our own: written whole or not at all, read back or refused in one line.

A file may have a description of itself beside its arrays: JSON values under the name `meta`.  The zip
format keeps a CRC-32 of every array, so that a flipped bit is noticed.
"""

import json
import os
import shutil
import struct
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from jleaks.alignment import aligned
from jleaks.errors import InputError
from jleaks.files import replacing

_META = "meta"
# Bytes read at a time where a checksum is taken.
_BLOCK = 1 << 22
# Of a zip file's local header, and where in it the lengths of name and extra field stand.
_HEADER, _LENGTHS = 30, 26


def save(
    path: str | os.PathLike[str],
    arrays: Mapping[str, np.ndarray],
    meta: Mapping[str, Any] | None = None,
    files: Mapping[str, Path] | None = None,
) -> Path:
    """Writes arrays, whole or not at all; missing folders are created.

    Args:
      path: Where the file shall be.
      arrays: By name.
      meta: JSON values; None for no description.
      files: Further arrays, in npy files, that are copied without being read as a whole.

    Returns:
      `path`.

    Raises:
      InputError: it cannot be written.
    """
    path = Path(path)
    text = {} if meta is None else {_META: np.array(json.dumps(meta))}
    with replacing(path) as file:
        np.savez(file, **cast(Any, {**text, **arrays}))
        if files:
            file.seek(0)
            with zipfile.ZipFile(file, "a") as archive:
                for name, source in files.items():
                    # As NumPy writes its own: of any size.
                    member = archive.open(f"{name}.npy", "w", force_zip64=True)
                    with source.open("rb") as content, member:
                        shutil.copyfileobj(content, member, _BLOCK)
    return path


def load(
    path: str | os.PathLike[str], remedy: str, only: Collection[str] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads arrays, and the description (empty if there is none).

    Args:
      path: The file.
      remedy: What a user can do about a damaged one, for the message.
      only: Names of the arrays to read; None for all.

    Raises:
      InputError: it does not exist, is damaged, or is something else.
    """
    try:
        with Path(path).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            if len(set(file.files)) != len(file.files):
                raise ValueError("two arrays have one name")
            arrays = {
                name: aligned(file[name])
                for name in file.files
                if only is None or name == _META or name in only
            }
        meta = json.loads(str(arrays.pop(_META))) if _META in arrays else {}
        if not isinstance(meta, dict):
            raise ValueError(f"{_META} is not an object of JSON")
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    # NumPy, zip and zlib raise all sorts of exceptions on damaged files, and on files made to harm:
    # encrypted, of unknown compression, with a header that asks for more memory than there is.
    except Exception as error:
        raise damaged(path, str(error) or type(error).__name__, remedy) from error
    return arrays, meta


def mapped(
    path: str | os.PathLike[str], remedy: str
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads as `load` does, but leaves arrays on the disk: read-only maps, whose checksums were compared.

    Compressed arrays, which `save` does not write, are read.

    Args:
      path: The file.
      remedy: What a user can do about a damaged one, for the message.

    Raises:
      InputError: it does not exist, is damaged, or is something else.
    """
    _, meta = load(path, remedy, only=())
    try:
        arrays: dict[str, np.ndarray] = {}
        with Path(path).open("rb") as raw, zipfile.ZipFile(raw) as archive:
            for entry in archive.infolist():
                name = entry.filename.removesuffix(".npy")
                if name == _META:
                    continue
                if entry.compress_type == zipfile.ZIP_STORED:
                    arrays[name] = _map(path, raw, entry)
                else:
                    arrays |= load(path, remedy, only=(name,))[0]
    except InputError:
        raise
    except Exception as error:
        raise damaged(path, str(error) or type(error).__name__, remedy) from error
    return arrays, meta


def _map(path: str | os.PathLike[str], raw: BinaryIO, entry: zipfile.ZipInfo) -> np.ndarray:
    """Maps one stored array of an open file, once its checksum is right."""
    raw.seek(entry.header_offset + _LENGTHS)
    start = entry.header_offset + _HEADER + sum(struct.unpack("<HH", raw.read(4)))
    raw.seek(start)
    found, left = 0, entry.file_size
    while left and (block := raw.read(min(_BLOCK, left))):
        found, left = zlib.crc32(block, found), left - len(block)
    if left or found != entry.CRC:
        raise ValueError(f"{entry.filename} is not what was written")
    raw.seek(start)
    version = np.lib.format.read_magic(raw)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, fortran, dtype = read(raw)
    if dtype.hasobject:
        raise ValueError(f"{entry.filename} holds objects")
    order: Any = "F" if fortran else "C"
    if not shape or 0 in shape:
        return np.fromfile(raw, dtype, int(np.prod(shape))).reshape(shape)
    return np.memmap(path, dtype, "r", raw.tell(), shape, order)


def damaged(path: str | os.PathLike[str], why: str, remedy: str) -> InputError:
    """Returns the error that says what is wrong with a file, and what to do about it."""
    return InputError(f"{path} is damaged ({' '.join(why.split())[:200]}); {remedy}")
