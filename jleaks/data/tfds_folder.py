"""A dataset that TFDS prepared, of whomever, as arrays."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jleaks.errors import InputError

_INFO = "dataset_info.json"
# Read at once: more do not make it faster.
_CHUNK = 1024


class Prepared(NamedTuple):
    """All splits of a dataset.

    Attributes:
      records: [N, ...].
      labels: [N].
      lines: What a reader must be told.
      splits: [N] names of the splits that records are of.
    """

    records: np.ndarray
    labels: np.ndarray
    lines: list[str]
    splits: np.ndarray


def find(folder: Path) -> Path | None:
    """Returns where TFDS prepared a dataset: a folder, or the only one of its versions; None if nowhere.

    Raises:
      InputError: there are several.
    """
    found = [path.parent for path in (folder / _INFO, *sorted(folder.glob(f"*/{_INFO}")))]
    found = [path for path in found if (path / _INFO).is_file()]
    if len(found) > 1:
        raise InputError(f"{folder} has several datasets: name one of {', '.join(map(str, found))}")
    return found[0] if found else None


def read(folder: Path, label: str | None = None, features: str | None = None) -> Prepared:
    """Reads all splits of a dataset.

    Args:
      folder: Where TFDS prepared it, to array_record files.
      label: Feature that holds the classes; None for the dataset's supervised one, or "label".
      features: Feature that holds the records; None for the dataset's supervised one, or the only other.

    Raises:
      InputError: TFDS is missing, the files cannot be read, or nothing says which feature is which.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise InputError(
            f"{folder} was prepared by TFDS, which is not installed ({error}): pip install jleaks[datasets]"
        ) from error
    try:
        builder = tfds.builder_from_directory(folder)
        names = sorted(builder.info.features)
        supervised = builder.info.supervised_keys or (None, None)
        y = label or supervised[1] or "label"
        others = [name for name in names if name != y]
        x = features or supervised[0] or (others[0] if len(others) == 1 else "")
        if x not in names or y not in names or x == y:
            raise InputError(
                f"{folder}: which feature holds the records, which the classes? Name them with --features "
                f"and --label, of {', '.join(names)}"
            )
        splits = sorted(builder.info.splits)
        records: list[Any] = []
        labels: list[Any] = []
        sizes: list[int] = []
        for split in splits:
            # Reading and decoding this way needs no TensorFlow; TFDS's faster methods do.
            source = builder.as_data_source(split=split)
            sizes.append(len(source))
            for start in range(0, len(source), _CHUNK):
                at = list(range(start, min(start + _CHUNK, len(source))))
                for example in source.__getitems__(at):
                    records.append(example[x])
                    labels.append(example[y])
        told = (
            f"{folder}: records are {x}, labels {y}, of {len(splits)} splits ({', '.join(splits)})"
        )
        return Prepared(
            np.stack(records), np.array(labels), [told], np.repeat(np.array(splits), sizes)
        )
    except InputError:
        raise
    # TFDS, protocol buffers and array_record raise all sorts of exceptions on files they cannot read.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{folder} cannot be read as a dataset of TFDS: {reason}") from error
