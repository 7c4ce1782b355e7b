"""Fingerprints: what defines a number, as a few hex digits.

A fingerprint is taken over what a plan, recipe or subject *states*: fields at their declared defaults are
left out.  So a field that is added at a neutral default changes the fingerprint of nothing that was made
before.  A default that changes, or a change that gives the same plan other numbers, raises `FORMAT`.
What a user's own file defines enters by the file's contents beside its name.
"""

import dataclasses
import hashlib
import json
from typing import Any

import numpy as np

from jleaks.fields import hints
from jleaks.registry import named_digests

# Enters every fingerprint.  Raise it when the same plan gives other numbers than before.
FORMAT = 2


def stated(value: Any) -> Any:
    """Returns a value as JSON values; of a dataclass, the fields that are not at their defaults.

    Args:
      value: A dataclass, a JSON value, or tuples, lists and dicts of them.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _field(value, field.name)
            for field in dataclasses.fields(value)
            if not _is_default(field, getattr(value, field.name))
        }
    if isinstance(value, dict):
        return {str(name): stated(part) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [stated(part) for part in value]
    return value


def _field(value: Any, name: str) -> Any:
    """Returns a field as JSON values, and beside a name what made the user's entry that it names."""
    found = getattr(value, name)
    digests = named_digests(hints(value.__class__)[name], found)
    return [stated(found), digests] if digests else stated(found)


def _is_default(field: dataclasses.Field[Any], value: Any) -> bool:
    if field.default is not dataclasses.MISSING:
        return bool(value == field.default)
    if field.default_factory is not dataclasses.MISSING:
        return bool(value == field.default_factory())
    return False


def completed(found: Any, like: Any) -> dict[str, Any]:
    """Returns what was written of a dataclass, the fields that it lacks at their declared defaults.

    A file that was written before there was a field stated its default.

    Args:
      found: JSON values.
      like: A dataclass of the same kind; its own values do not matter.

    Raises:
      TypeError: `found` is no object of JSON.
    """
    if not isinstance(found, dict):
        raise TypeError(f"{found!r:.40} is no object")
    complete = dict(found)
    for field in dataclasses.fields(like):
        value = getattr(like, field.name)
        if field.name not in found:
            if field.default is not dataclasses.MISSING:
                complete[field.name] = _written(field.default)
            elif field.default_factory is not dataclasses.MISSING:
                complete[field.name] = _written(field.default_factory())
        elif dataclasses.is_dataclass(value) and isinstance(found[field.name], dict):
            complete[field.name] = completed(found[field.name], value)
    return complete


def _written(value: Any) -> Any:
    """Returns a value as JSON has it, every field of a dataclass included."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    return json.loads(json.dumps(value))


def fingerprint(*parts: Any, digits: int = 16) -> str:
    """Returns hex digits that differ whenever a part, or `FORMAT`, does.

    Args:
      *parts: Whatever `stated` takes, and arrays (by type, shape and contents).
      digits: How many, at most 64.
    """
    digest = hashlib.sha256()
    for part in (FORMAT, *parts):
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(json.dumps(stated(part), sort_keys=True, allow_nan=False).encode())
    return digest.hexdigest()[:digits]
