"""The files of a library: each holds what its name says, or is refused in one line.

A file's name is a fingerprint, and the file holds it as well: two swapped ones are noticed.  A model's
leaves are arrays named by their path, of a fleet stacked on axis 0.
"""

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from jleaks import npz
from jleaks.errors import InputError
from jleaks.files import replace_file
from jleaks.training import processes
from jleaks.training.learner import State

# What to do about a file of models that cannot be used.
RETRAIN = "delete it to train again"


def write_kept(path: Path, arrays: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Writes what is kept under a fingerprint, which is the file's name; the file holds it as well.

    Raises:
      InputError: it cannot be written.
    """
    npz.save(
        path,
        {name: np.asarray(array) for name, array in arrays.items()},
        {"fingerprint": path.stem, **meta},
    )


def read_kept(
    path: Path, remedy: str, only: Collection[str] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads what is kept under a fingerprint.

    Args:
      path: Whose name is the fingerprint.
      remedy: What to do about a file that cannot be used.
      only: Names of the arrays to read; None for all.

    Raises:
      InputError: it is missing or damaged, or the file of another fingerprint.
    """
    arrays, meta = npz.load(path, remedy, only)
    if "fingerprint" not in meta:
        raise InputError(f"{path} does not hold its fingerprint (an earlier version's?); {remedy}")
    if meta["fingerprint"] != path.stem:
        raise InputError(f"{path} holds {meta['fingerprint']!r:.40}, another fingerprint; {remedy}")
    return arrays, meta


def read_models(path: Path, expected: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Reads a file of models, leaves [M, ...].

    Args:
      path: Where they are kept.
      expected: Shapes and types of one model's leaves.
    """
    arrays, meta = read_kept(path, RETRAIN)
    count = len(meta["models"])
    if arrays.keys() != expected.keys():
        raise npz.damaged(
            path, f"it has {_named(arrays)}, this model has {_named(expected)}", RETRAIN
        )
    for name, like in expected.items():
        found, shape = arrays[name], (count, *like.shape)
        if found.shape != shape or found.dtype != like.dtype:
            what = f"{found.dtype} {found.shape}, expected {like.dtype} {shape}"
            raise npz.damaged(path, f"{name} is {what}", RETRAIN)
        if not np.isfinite(found).all():
            raise npz.damaged(path, f"{name} is not finite", RETRAIN)
    return arrays


def nested(leaves: Mapping[str, np.ndarray]) -> State:
    """Undoes `flat`."""
    fields: dict[str, Any] = {"opt_state": ()}
    for field in State._fields:
        own = {
            tuple(key.split("/")[1:]): leaf
            for key, leaf in leaves.items()
            if key.split("/")[0] == field
        }
        if field != "opt_state":
            fields[field] = own[()] if () in own else traverse_util.unflatten_dict(own)
    return State(**fields)


def flat(state: State) -> dict[str, Any]:
    """Returns the leaves of a model by path, without those of its optimiser."""
    return {
        "/".join((field, *key)): leaf
        for field, value in state._asdict().items()
        if field != "opt_state"
        for key, leaf in (
            traverse_util.flatten_dict(value) if isinstance(value, dict) else {(): value}
        ).items()
    }


def _named(arrays: Mapping[str, Any]) -> str:
    return ", ".join(name for name in sorted(arrays) if name.startswith("params/")) or "no layers"


class Spent:
    """Seconds of training, those of earlier processes included."""

    def __init__(self, path: Path):
        """Reads what earlier processes left."""
        self.path = path
        self._before = 0.0
        if not processes.is_first():
            return
        try:
            self._before = float(json.loads(path.read_bytes())["training"])
            if not 0 <= self._before < math.inf:
                raise ValueError(f"training is {self._before}")
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{path} is damaged ({error}); delete it to count the seconds from now on"
            ) from error

    def keep(self, seconds: float) -> float:
        """Notes the seconds of this process; returns those of all."""
        total = self._before + seconds
        if processes.is_first():
            replace_file(self.path, json.dumps({"training": round(total, 3)}).encode())
        return total
