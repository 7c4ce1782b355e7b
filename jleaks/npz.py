"""npz files of our own: written whole or not at all, read back or refused in one line.

A file may have a description of itself beside its arrays: JSON values under the name `meta`.  The zip
format keeps a CRC-32 of every array, so that a flipped bit is noticed.
"""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from jleaks.errors import InputError
from jleaks.files import replacing

_META = "meta"


def save(
    path: str | os.PathLike[str],
    arrays: Mapping[str, np.ndarray],
    meta: Mapping[str, Any] | None = None,
) -> Path:
    """Writes arrays, whole or not at all; missing folders are created.

    Args:
      path: Where the file shall be.
      arrays: By name.
      meta: JSON values; None for no description.

    Returns:
      `path`.

    Raises:
      InputError: it cannot be written.
    """
    path = Path(path)
    text = {} if meta is None else {_META: np.array(json.dumps(meta))}
    with replacing(path) as file:
        np.savez(file, **cast(Any, {**text, **arrays}))
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
                name: file[name]
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


def damaged(path: str | os.PathLike[str], why: str, remedy: str) -> InputError:
    """Returns the error that says what is wrong with a file, and what to do about it."""
    return InputError(f"{path} is damaged ({' '.join(why.split())[:200]}); {remedy}")
