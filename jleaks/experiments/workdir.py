"""The directory of one run: what lies where, and the refusal to mix two plans in one place.

.lock             who works here, while somebody does
plan.json         what defines the numbers, with its fingerprint
models/ fleets/   the library: trained models, and those in training (see `jleaks.experiments.library`)
rows.jsonl        the results: they exist once the run has finished
finished.json     size and checksum of the results, by which they are known again
results.csv tables.txt tables.md figures/   the report, made from the rows
"""

import contextlib
import json
import os
from collections.abc import Iterator

from jleaks import locks
from jleaks.errors import InputError
from jleaks.experiments.base_plan import BasePlan, differences
from jleaks.files import on_disk, replace_file
from jleaks.fingerprint import completed
from jleaks.outcome import Outcome
from jleaks.training import processes


class Workdir:
    """Paths and files of one run."""

    def __init__(self, path: str | os.PathLike[str], plan: BasePlan):
        """Looks at the directory, which need not exist; nothing is written.

        Raises:
          InputError: it belongs to another plan, or is in an object store.
        """
        self.path = on_disk(path, "workdir").absolute()
        self._plan = plan
        self._record = self.path / "plan.json"
        if not self._record.exists():
            return
        try:
            record = json.loads(self._record.read_bytes())
            theirs = completed(record["plan"], plan)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"{self._record} is not a plan: {error}") from error
        if theirs != (ours := plan.as_dict()):
            raise InputError(
                f"{self.path} belongs to another plan; it differs in "
                f"{', '.join(differences(ours, theirs))} (there -> here); "
                "choose another --workdir"
            )
        if record.get("fingerprint") != plan.fingerprint():
            raise InputError(
                f"{self.path} belongs to another plan: what your own files define of it was edited since; "
                "choose another --workdir"
            )

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Creates the directory if need be, makes it this plan's, and keeps other processes out meanwhile.

        Of several processes that train together the first does so for all.

        Raises:
          InputError: it cannot be written, or another process works in it.
        """
        if not processes.is_first():
            yield
            return
        if self._record.exists() and not os.access(self.path, os.W_OK):
            raise InputError(f"cannot write to {self.path}")
        with locks.alone(self.path / locks.FILE):
            if not self._record.exists():
                about = {"fingerprint": self._plan.fingerprint(), "plan": self._plan.as_dict()}
                replace_file(self._record, json.dumps(about, indent=2).encode())
            yield

    def outcome(self, name: str) -> Outcome:
        """Returns one of the run's results, which exists once what made it has finished."""
        return Outcome(self.path / name, self._plan.fingerprint())
