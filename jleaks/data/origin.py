"""Where the records of a run come from: own data, prepared data on disk, or synthetic stand-ins."""

from typing import Literal

from jleaks.activity import doing
from jleaks.data import encodings
from jleaks.data.dataset import Dataset
from jleaks.data.prepared import describe, load
from jleaks.data.synthetic import synthetic
from jleaks.data.tasks import get_task
from jleaks.errors import InputError

Origin = Literal["prepared", "synthetic"]


def num_records(task: str, origin: Origin, data_dir: str | None) -> int:
    """Returns how many records a task's data has; only own data is read for it.

    Args:
      task: Name of the task.
      origin: A synthetic stand-in may have as many as the complete published dataset; own data does not
        care.
      data_dir: Where prepared datasets are; needed unless the origin is synthetic.

    Raises:
      InputError: the data was not prepared, or nobody said where it is; own data cannot be used, or its
        encoding is unknown.
    """
    found = get_task(task)
    encodings.find(found.encoding)
    if found.records is not None or origin == "synthetic":
        return found.num_records
    if data_dir is None:
        raise InputError("real data was asked for without --data_dir")
    return int(describe(task, data_dir)["num_records"])


def record_shape(task: str, origin: Origin, data_dir: str | None) -> tuple[int, ...]:
    """Returns the shape of one of a task's records, without reading any.

    Args:
      task: Name of the task.
      origin: Prepared data decides itself.
      data_dir: Where prepared datasets are; needed unless the origin is synthetic.
    """
    if origin == "synthetic" or data_dir is None:
        return get_task(task).feature_shape
    return tuple(describe(task, data_dir)["feature_shape"])


@doing("reading records")
def records(task: str, origin: Origin, data_dir: str | None, count: int) -> Dataset:
    """Returns a task's own records, reads its prepared ones, or makes a synthetic stand-in of `count`.

    Raises:
      InputError: the data was not prepared, is damaged, or nobody said where it is.
    """
    found = get_task(task)
    if found.records is not None:
        return Dataset(found, "own", found.records.features, found.records.labels)
    if origin == "synthetic":
        return synthetic(task, count)
    if data_dir is None:
        raise InputError("real data was asked for without --data_dir")
    return load(task, data_dir)
