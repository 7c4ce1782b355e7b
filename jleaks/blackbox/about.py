"""The requests and answers of a black box behind HTTP, all JSON in UTF-8.

    GET  /about       -> {"task": "location", "num_classes": 30, "shape": [446], "dtype": "uint8",
                          "most_records": 500, "fingerprint": "9f0c..."}
    POST /posteriors  {"records": [[0, 1, ...], ...]}  ->  {"posteriors": [[0.1, 0.9, ...], ...]}
    GET  /healthz     -> {"status": "ok"}

A record is a *stored* record: the numbers of the dataset, not a network's inputs (uint8 pixels
`[height][width][channel]`, 0 and 1 of binary features, Adult's numbers and codes, term counts).
Encoding them is the endpoint's business.  `shape` and `dtype` say what one record is, `most_records` how
many one request may have.  `fingerprint` is optional: an endpoint that states one promises that
whoever states the same gives the same answers.

What cannot be answered is {"error": "one line"} with status 400 (no such records), 413 (too many of
them), 404 and 405 (no such request) or 500 (the model failed).  429 and 503 may carry Retry-After.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Num

from jleaks.errors import InputError

ABOUT = "/about"
POSTERIORS = "/posteriors"
HEALTH = "/healthz"


@dataclasses.dataclass(frozen=True)
class About:
    """What an endpoint says of itself.

    Attributes:
      task: What it classifies: a task of the registry, or any name.
      num_classes: K.
      shape: Of one record.
      dtype: NumPy's name of the numbers in a record.
      most_records: The largest batch of one request.
      fingerprint: Names the model behind it; empty if it does not say.
    """

    task: str
    num_classes: int
    shape: tuple[int, ...]
    dtype: str
    most_records: int
    fingerprint: str = ""

    def __post_init__(self) -> None:
        found = []
        for name, least in (("num_classes", 2), ("most_records", 1)):
            if getattr(self, name) < least:
                found.append(f"{name} is {getattr(self, name)}, expected at least {least}")
        if any(size < 1 for size in self.shape):
            found.append(f"shape is {list(self.shape)}, expected positive sizes")
        try:
            is_number = np.dtype(self.dtype).kind in "fiu"
        except TypeError:
            is_number = False
        if not is_number:
            found.append(f"dtype is {self.dtype!r}, expected a type of numbers such as uint8")
        if found:
            raise InputError(f"about {self.task}: {'; '.join(found)}")

    def as_dict(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        return {**dataclasses.asdict(self), "shape": list(self.shape)}


_FIELDS: dict[str, type] = {
    "task": str,
    "num_classes": int,
    "shape": list,
    "dtype": str,
    "most_records": int,
}


def read_about(value: Any, where: str) -> About:
    """Reads what an endpoint said of itself; fields that `About` does not name are passed over.

    Args:
      value: Parsed JSON.
      where: Who said it, for messages.

    Raises:
      InputError: a field is missing or is not what it must be.
    """
    if not isinstance(value, dict):
        raise InputError(f"{where} answered {value!s:.60}, expected an object")
    value = {"fingerprint": "", **value}
    for name, expected in {**_FIELDS, "fingerprint": str}.items():
        if name not in value:
            raise InputError(f"{where} has no {name}, expected {', '.join(_FIELDS)}")
        items = value[name] if expected is list and isinstance(value[name], list) else []
        # To Python true is a number.
        if not isinstance(value[name], expected) or any(type(i) is not int for i in items):
            raise InputError(f"{where}: {name} is {value[name]!r:.60}")
    try:
        return About(
            task=value["task"],
            num_classes=value["num_classes"],
            shape=tuple(value["shape"]),
            dtype=value["dtype"],
            most_records=value["most_records"],
            fingerprint=value["fingerprint"],
        )
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def check_records(records: Any, about: About) -> Num[np.ndarray, "batch ..."]:
    """Checks records against what an endpoint takes; client and server do it alike.

    Args:
      records: What should be [B, *shape] with B >= 1, as an array or nested lists.
      about: What the endpoint says of itself.

    Returns:
      The records in the endpoint's own type.

    Raises:
      InputError: names the first record that cannot be asked about, and why.
    """
    sizes = ", ".join(map(str, about.shape))
    expected = f"expected [batch{', ' if sizes else ''}{sizes}]"
    if isinstance(records, list) and not _are_numbers(records):
        # Before NumPy makes room for the longest string as many times as there are records.
        raise InputError(f"records hold other things than numbers, {expected}")
    try:
        array = np.asarray(records)
    except (ValueError, OverflowError):
        raise InputError(f"records are not all of one shape, {expected}") from None
    if array.dtype.kind not in "biuf":
        raise InputError(f"records hold other things than numbers ({array.dtype}), {expected}")
    if array.ndim == 0 or array.shape[1:] != about.shape:
        raise InputError(f"records have shape {list(array.shape)}, {expected}")
    if not len(array):
        raise InputError("there are no records to answer")
    wanted = np.dtype(about.dtype)
    flat = array.reshape(len(array), -1)
    if wanted.kind == "f":
        limits: Any = np.finfo(wanted)
        allowed = f"{wanted} numbers"
        good = np.isfinite(flat)
    else:
        limits = np.iinfo(wanted)
        allowed = f"whole numbers {limits.min}..{limits.max} ({wanted})"
        good = np.isfinite(flat) & (flat == np.floor(flat))
    good &= (flat >= limits.min) & (flat <= limits.max)
    if not good.all():
        first = int(np.argmin(good.all(1)))
        value = flat[first][~good[first]][0]
        raise InputError(f"record {first} has {value}, expected {allowed}")
    return array.astype(wanted)


def _are_numbers(values: list[Any]) -> bool:
    """Whether nested lists hold nothing but numbers."""
    kinds = set(map(type, values))
    inner = all(_are_numbers(value) for value in values if type(value) is list)
    return inner and kinds <= {int, float, bool, list}
