"""The directory of one run: what lies where, and the refusal to mix two plans in one place.

plan.json                   what defines the numbers, with its fingerprint
<task>/checkpoints/         orbax: the latest two states of the task's fleet, the final one last
<task>/signals.npz          what the task's models answered: the task is finished
attack models/checkpoints/  likewise for the attack models
rows.jsonl                  the results: they exist once the run has finished
finished.json               size and checksum of the results, by which they are known again
results.csv tables.txt tables.md figures/   the report, made from the rows
"""

import json
import math
import os
from pathlib import Path
from typing import Any, Protocol, get_args

import numpy as np

from jleaks import npz
from jleaks.datasets.registry import Source
from jleaks.errors import InputError
from jleaks.fingerprint import completed
from jleaks.outcome import Outcome
from jleaks.plan import differences
from jleaks.report.files import replace_file
from jleaks.stack import TaskSignals


class AnyPlan(Protocol):
    """What a directory needs to know of the plan it belongs to, a dataclass."""

    def as_dict(self) -> dict[str, Any]:
        """Returns the plan as JSON values."""
        ...

    def fingerprint(self) -> str:
        """Returns what tells plans apart."""
        ...


class Workdir:
    """Paths and files of one run."""

    def __init__(self, path: str | os.PathLike[str], plan: AnyPlan):
        """Looks at the directory, which need not exist; nothing is written.

        Raises:
          InputError: it belongs to another plan.
        """
        self.path = Path(path).absolute()
        self._plan = plan
        self._record = self.path / "plan.json"
        if not self._record.exists():
            return
        try:
            found = json.loads(self._record.read_bytes())["plan"]
            theirs = completed(found, plan)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"{self._record} is not a plan: {error}") from error
        if theirs != (ours := plan.as_dict()):
            raise InputError(
                f"{self.path} belongs to another plan; it differs in "
                f"{', '.join(differences(ours, theirs))} (there -> here); "
                "choose another --workdir"
            )

    def claim(self) -> None:
        """Creates the directory if need be, and makes it this plan's.

        Raises:
          InputError: it cannot be written.
        """
        if not self._record.exists():
            about = {"fingerprint": self._plan.fingerprint(), "plan": self._plan.as_dict()}
            replace_file(self._record, json.dumps(about, indent=2).encode())
        elif not os.access(self.path, os.W_OK):
            raise InputError(f"cannot write to {self.path}")

    def outcome(self, name: str) -> Outcome:
        """Returns one of the run's results, which exists once what made it has finished."""
        return Outcome(self.path / name, self._plan.fingerprint())

    def checkpoints(self, fleet: str) -> Path:
        """Directory of a fleet's checkpoints."""
        return self.path / fleet / "checkpoints"

    def save_signals(self, signals: TaskSignals, fingerprint: str, meta: dict[str, Any]) -> None:
        """Writes a finished task's signals, whole or not at all.

        Raises:
          InputError: they cannot be written, or no attack can use them.
        """
        arrays = {name: getattr(signals, name) for name in _ARRAYS}
        if bad := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
            raise InputError(
                f"{signals.task}: what the models answered is not finite ({', '.join(bad)}); lower the "
                "learning rate"
            )
        about = {"fingerprint": fingerprint, "num_classes": signals.num_classes, **meta}
        npz.save(self.path / signals.task / "signals.npz", arrays, about)

    def load_signals(
        self, task: str, fingerprint: str, num_classes: int, shapes: dict[str, tuple[int, ...]]
    ) -> tuple[TaskSignals, dict[str, Any]] | None:
        """Reads a finished task's signals and what was noted with them, or None.

        Args:
          task: Its name.
          fingerprint: Of what the signals depend on.
          num_classes: K.
          shapes: Of each array.

        Raises:
          InputError: the file is damaged or was made from other data.
        """
        path = self.path / task / "signals.npz"
        if not path.exists():
            return None
        remedy = "delete it to query again"
        arrays, meta = npz.load(path, remedy)
        if (theirs := meta.get("fingerprint")) != fingerprint:
            raise InputError(
                f"{path} was made from other data (fingerprint {theirs}, this run has "
                f"{fingerprint}); choose another --workdir"
            )
        problem = _meta_problem(meta, num_classes) or _array_problem(arrays, shapes)
        if problem is not None:
            raise npz.damaged(path, problem, remedy)
        return TaskSignals(task=task, num_classes=num_classes, **arrays), meta


_ARRAYS = ("top", "statistics", "phi", "correct", "random")


def _array_problem(arrays: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]]) -> str | None:
    """Returns one sentence if a task's signals are not what its models answered, or None."""
    if arrays.keys() != shapes.keys():
        return f"it has {', '.join(arrays)}, expected {', '.join(shapes)}"
    for name, shape in shapes.items():
        array, dtype = arrays[name], np.dtype(bool if name == "correct" else np.float32)
        if array.shape != shape or array.dtype != dtype:
            return f"{name} is {array.dtype} {array.shape}, expected {dtype} {shape}"
        if not np.isfinite(array).all():
            return f"{name} is not finite"
    return None


def _meta_problem(meta: dict[str, Any], num_classes: int) -> str | None:
    """Returns one sentence if what was noted with a task's signals cannot be used, or None."""
    if meta.get("num_classes") != num_classes:
        return f"it is of {meta.get('num_classes')} classes, expected {num_classes}"
    if meta.get("source") not in get_args(Source):
        return f"source is {meta.get('source')}"
    if type(meta.get("num_records")) is not int or not isinstance(meta.get("packing"), dict):
        return "num_records or packing is not noted"
    seconds = meta.get("seconds")
    if not isinstance(seconds, dict) or not all(
        isinstance(value, (int, float)) and math.isfinite(value) for value in seconds.values()
    ):
        return "seconds are not noted"
    return None
