"""Prepared datasets on disk: found, described and read.

Below a data directory every task has a small `<task>.json` that points to the TFDS directory with its
records (array_record files) and their description (`metadata.json`): parameters of preparation have
directories of their own, and the pointer says which one counts.
"""

import json
import os
from pathlib import Path
from typing import Any, get_args

import numpy as np

from jleaks.data.dataset import Dataset
from jleaks.data.tasks import Source, Task, get_task
from jleaks.errors import InputError

_METADATA = "metadata.json"
# Of a description, with their types.
_FIELDS = {
    "task": str,
    "num_records": int,
    "class_sizes": list,
    "source": str,
    "feature_shape": list,
    "feature_dtype": str,
    "parameters": dict,
    "details": dict,
    "inputs": list,
    "versions": dict,
}
# Records read at once: more do not make it faster.
_CHUNK = 1024


def describe(task_name: str, data_dir: str | os.PathLike[str]) -> dict[str, Any]:
    """Describes a prepared dataset without reading its records.

    Args:
      task_name: A task.
      data_dir: Where it was prepared.

    Returns:
      `num_records`, `source`, `class_sizes` (list of K), `feature_shape`, `feature_dtype`,
      `parameters` (of preparation), `num_constant` and `num_zero` (records of one value throughout, and
      of zeros; absent from what was prepared before they were counted), `details`, `inputs` (name, bytes
      and sha256 of every raw file), `versions` (of the packages that prepared it), `task` and `path`.

    Raises:
      InputError: not prepared, or damaged.
    """
    task = get_task(task_name)
    pointer = _pointer(task.name, Path(data_dir))
    if not pointer.is_file():
        raise InputError(
            f"{task.name} is not prepared in {data_dir}; run: "
            f"python -m launch.prepare --tasks={task.name} --data_dir={data_dir}"
            " (or: jleaks prepare, with the same flags)"
        )
    try:
        path = Path(data_dir) / json.loads(pointer.read_text("utf-8"))["path"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(task.name, pointer, error) from error
    return read_metadata(task.name, path)


def read_metadata(task_name: str, path: Path) -> dict[str, Any]:
    """Reads the description in a prepared directory.

    Raises:
      InputError: it is missing or damaged.
    """
    try:
        metadata = json.loads((path / _METADATA).read_text("utf-8"))
        if (problem := _problem(get_task(task_name), metadata)) is not None:
            raise ValueError(problem)
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(task_name, path / _METADATA, error) from error
    return metadata | {"path": str(path)}


def _problem(task: Task, metadata: Any) -> str | None:
    """Returns one sentence if a description is not that of a task's prepared records, or None."""
    if not isinstance(metadata, dict):
        return "it is no object"
    for name, kind in _FIELDS.items():
        if type(metadata.get(name)) is not kind:
            return f"{name} is {metadata.get(name)!r:.40}, expected a {kind.__name__}"
    shape, sizes = metadata["feature_shape"], metadata["class_sizes"]
    if not all(type(n) is int and n >= 1 for n in shape) or len(shape) != len(task.feature_shape):
        return f"feature_shape is {shape!r:.40}, expected {len(task.feature_shape)} lengths"
    if not all(type(n) is int and n >= 0 for n in sizes) or len(sizes) != task.num_classes:
        return f"class_sizes are {sizes!r:.40}, expected {task.num_classes} counts"
    for raw in metadata["inputs"]:
        if not isinstance(raw, dict) or not {"name", "bytes", "sha256"} <= raw.keys():
            return f"inputs have {raw!r:.40}, expected name, bytes and sha256"
    for name, found, expected in (
        ("task", metadata["task"], task.name),
        ("num_records", metadata["num_records"], max(1, sum(sizes))),
        ("feature_dtype", metadata["feature_dtype"], task.feature_dtype),
    ):
        if found != expected:
            return f"{name} is {found!r:.40}, expected {expected}"
    if metadata["source"] not in get_args(Source):
        return (
            f"source is {metadata['source']!r:.40}, expected one of {', '.join(get_args(Source))}"
        )
    return None


def is_complete(path: Path) -> bool:
    """Whether a prepared directory was written to its end."""
    return (path / _METADATA).is_file()


def point(task_name: str, data_dir: Path, path: Path) -> None:
    """Makes `path`, below `data_dir`, the directory that counts for a task."""
    pointer = _pointer(task_name, data_dir)
    content = json.dumps({"path": path.relative_to(data_dir).as_posix()}) + "\n"
    if pointer.is_file() and pointer.read_text("utf-8") == content:
        return
    scratch = pointer.with_name(f".{pointer.name}.{os.getpid()}")
    scratch.write_text(content, "utf-8")
    scratch.replace(pointer)


def load(task_name: str, data_dir: str | os.PathLike[str]) -> Dataset:
    """Reads a prepared dataset into memory.

    Args:
      task_name: A task.
      data_dir: Where it was prepared.

    Returns:
      All its records, in the published order.

    Raises:
      InputError: not prepared, damaged, or the packages that read it are not installed.
    """
    description = describe(task_name, data_dir)
    path = Path(description["path"])
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise not_installed(error) from error
    num_records, shape = description["num_records"], tuple(description["feature_shape"])
    try:
        # Reading and decoding this way needs no TensorFlow; TFDS's faster methods do.
        source = tfds.builder_from_directory(path).as_data_source(split="all")
        if len(source) != num_records:
            raise ValueError(f"{len(source)} records, expected {num_records}")
        features = np.empty((num_records, *shape), description["feature_dtype"])
        labels = np.empty(num_records, np.int32)
        for start in range(0, num_records, _CHUNK):
            stop = min(start + _CHUNK, num_records)
            for i, example in enumerate(source.__getitems__(list(range(start, stop))), start):
                record = example["features"]
                # NumPy would repeat a short record until it fits, and cut numbers off.
                if (record.shape, record.dtype) != (shape, features.dtype):
                    raise ValueError(f"a record is {record.dtype} {record.shape}")
                features[i] = record
                labels[i] = example["label"]
        sizes = np.bincount(labels, minlength=len(description["class_sizes"])).tolist()
        if sizes != description["class_sizes"]:
            raise ValueError("the class sizes are not those recorded")
    # TFDS, protocol buffers and array_record raise all sorts of exceptions on damaged files.
    except Exception as error:
        raise damaged(task_name, path, error) from error
    return Dataset(
        task=get_task(task_name), source=description["source"], features=features, labels=labels
    )


def not_installed(error: ImportError) -> InputError:
    """Returns the error that says which packages real datasets need."""
    return InputError(
        f"real datasets need further packages ({error}): pip install jleaks[datasets]"
    )


def _pointer(task_name: str, data_dir: Path) -> Path:
    return data_dir / f"{task_name}.json"


def damaged(task_name: str, path: Path, error: Exception) -> InputError:
    """Returns the error that says which prepared files cannot be used, and why."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return InputError(
        f"{task_name}: prepared data in {path} is damaged ({reason}); remove it and prepare it again"
    )
