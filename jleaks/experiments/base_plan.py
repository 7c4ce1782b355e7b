"""What all plans have in common: a plan is a dataclass, everything that defines the numbers of a run."""

import dataclasses
import json
from typing import Any, ClassVar, Self

from jleaks.fingerprint import FORMAT, fingerprint


@dataclasses.dataclass(frozen=True)
class BasePlan:
    """A plan, of whatever kind.

    Attributes:
      kind: What enters fingerprints beside the fields: plans of two kinds are never the same.
    """

    kind: ClassVar[str]

    def validate(self) -> Self:
        """Checks everything that can be known before any data is read; returns the plan itself.

        Raises:
          InputError: names every problem at once.
        """
        raise NotImplementedError

    def digests(self) -> dict[str, str]:
        """Returns the digests of users' files that define something of the plan, by what they define."""
        return {}

    def defence_digests(self, given: str | None) -> dict[str, str]:
        """Returns the digest of the file of a user's defence, "name:strength"; empty for jleaks' own."""
        if given is None:
            return {}
        # A plan is made and described without JAX.
        from jleaks.defences.defence import DEFENCES

        return {f"defence {name}": d for name, d in DEFENCES.digests(given.split(":")[0]).items()}

    def as_dict(self) -> dict[str, Any]:
        """Returns the plan as JSON values (tuples become lists)."""
        return json.loads(json.dumps({"format": FORMAT, **dataclasses.asdict(self)}))

    def fingerprint(self) -> str:
        """Returns 16 hex digits that differ whenever the plan does."""
        # What jleaks defines itself is left out.
        return fingerprint(self.kind, self, *([digests] if (digests := self.digests()) else []))


@dataclasses.dataclass(frozen=True)
class TaskPlan(BasePlan):
    """A plan of several tasks, each with its own number of seeds.

    Attributes:
      tasks: Names of the tasks, in registry order.
      seeds: Numbers of independent repetitions, parallel to `tasks`: seeds 0..n-1 of each task.
    """

    tasks: tuple[str, ...]
    seeds: tuple[int, ...]

    def num_seeds(self, task: str) -> int:
        """Returns how many seeds a task of the plan has."""
        return self.seeds[self.tasks.index(task)]


def differences(ours: dict[str, Any], theirs: dict[str, Any], prefix: str = "") -> list[str]:
    """Lists where two plans (as dicts) differ, one `name: theirs -> ours` per entry."""
    found = []
    for name in sorted(ours.keys() | theirs.keys()):
        new, old = ours.get(name), theirs.get(name)
        if isinstance(new, dict) and isinstance(old, dict):
            found += differences(new, old, f"{prefix}{name}.")
        elif new != old:
            found.append(f"{prefix}{name}: {old} -> {new}")
    return found
