"""The directory of one run: what lies where, and the refusal to mix two plans in one place.

plan.json                   what defines the numbers, with its fingerprint
<task>/checkpoints/         orbax: the latest two states of the task's fleet, the final one last
<task>/signals.npz          what the task's models answered: the task is finished
attack models/checkpoints/  likewise for the attack models
rows.jsonl results.csv tables.txt tables.md figures/   written at the end
"""

import json
import os
import zipfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jleaks.errors import InputError
from jleaks.plan import differences
from jleaks.report.files import replace_file
from jleaks.stack import TaskSignals


class AnyPlan(Protocol):
    """What a directory needs to know of the plan it belongs to."""

    def as_dict(self) -> dict[str, Any]:
        """Returns the plan as JSON values."""
        ...

    def fingerprint(self) -> str:
        """Returns what tells plans apart."""
        ...


class Workdir:
    """Paths and files of one run."""

    def __init__(self, path: str | os.PathLike[str], plan: AnyPlan):
        """Opens the directory for a plan, creating it if need be.

        Raises:
          InputError: it cannot be written, or belongs to another plan.
        """
        self.path = Path(path).absolute()
        ours = plan.as_dict()
        record = self.path / "plan.json"
        if record.exists():
            try:
                theirs = json.loads(record.read_text())["plan"]
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise InputError(f"{record} is not a plan: {error}") from error
            if theirs != ours:
                raise InputError(
                    f"{self.path} belongs to another plan; it differs in "
                    f"{', '.join(differences(ours, theirs))} (there -> here); "
                    "choose another --workdir"
                )
            if not os.access(self.path, os.W_OK):
                raise InputError(f"cannot write to {self.path}")
        else:
            text = json.dumps({"fingerprint": plan.fingerprint(), "plan": ours}, indent=2)
            replace_file(record, text.encode())

    @property
    def rows(self) -> Path:
        """The result rows; they exist once the run has finished."""
        return self.path / "rows.jsonl"

    def checkpoints(self, fleet: str) -> Path:
        """Directory of a fleet's checkpoints."""
        return self.path / fleet / "checkpoints"

    def save_signals(self, signals: TaskSignals, fingerprint: str, meta: dict[str, Any]) -> None:
        """Writes a finished task's signals, whole or not at all."""
        path = self.path / signals.task / "signals.npz"
        partial = path.with_name(f".signals.{os.getpid()}.npz")
        arrays = {name: getattr(signals, name) for name in _ARRAYS}
        text = json.dumps({"fingerprint": fingerprint, "num_classes": signals.num_classes, **meta})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(partial, meta=np.array(text), **arrays)
            partial.replace(path)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}") from error
        finally:
            partial.unlink(missing_ok=True)

    def load_signals(
        self, task: str, fingerprint: str
    ) -> tuple[TaskSignals, dict[str, Any]] | None:
        """Reads a finished task's signals and what was noted with them, or None.

        Raises:
          InputError: the file is damaged or was made from other data.
        """
        path = self.path / task / "signals.npz"
        if not path.exists():
            return None
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                meta = json.loads(str(file["meta"]))
                arrays = {name: file[name] for name in _ARRAYS}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is damaged ({error}); delete it to query again") from error
        if meta["fingerprint"] != fingerprint:
            raise InputError(
                f"{path} was made from other data (fingerprint {meta['fingerprint']}, this run has "
                f"{fingerprint}); choose another --workdir"
            )
        return TaskSignals(task=task, num_classes=meta["num_classes"], **arrays), meta


_ARRAYS = ("top", "statistics", "phi", "correct", "random")
