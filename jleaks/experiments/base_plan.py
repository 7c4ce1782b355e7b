"""What all plans have in common: a plan is a dataclass, everything that defines the numbers of a run."""

import dataclasses
import json
from typing import Annotated, Any, ClassVar, Literal, Self

from jleaks.data.tasks import Task, own_digests
from jleaks.fields import Count, Percentile, Range
from jleaks.fingerprint import FORMAT, fingerprint
from jleaks.models.registry import NetworkName
from jleaks.training.recipe import ATTACK_RECIPE, Recipe

NumRandomPoints = Annotated[Count, Range("at least 10", lambda n: n >= 10)]

_RECIPE = Recipe()


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
    """A plan of targets, their shadows and the three adversaries, on several tasks.

    Attributes:
      tasks: Names of the tasks, in registry order.
      seeds: Numbers of independent repetitions, parallel to `tasks`: seeds 0..n-1 of each task.
      source: Where the records come from: "prepared" (from disk; real or stand-in, as the data says) or
        "synthetic".
      target: Recipe of target and shadow models, but for their network.
      attack: Recipe of the attack models of adversaries 1 and 2.
      top: Number of the largest posteriors that an attack model sees (two where a task is binary).
      num_random_points: Number of random queries from which adversary 3 takes its threshold.
      percentile: Adversary 3's t: its threshold is the statistic's value at the top t percent of the
        random queries.
      model: Network of target and shadow models; None for each task's own in the paper.
      defence: Defence of the targets and its strength, "NAME:STRENGTH", such as "dropout:0.5,0.5" or
        "stacking:100"; None for none.
      attacker: Whether the attacker's shadows lack the targets' defence, "naive", or have it, "aware".
      data: Entries "NAME=DIGEST", one for each task that brings its own data; found when a plan is made.
    """

    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    source: Literal["prepared", "synthetic"] = "synthetic"
    target: Recipe = _RECIPE
    attack: Recipe = ATTACK_RECIPE
    top: Count = 3
    num_random_points: NumRandomPoints = 1000
    percentile: Percentile = 10.0
    model: NetworkName | None = None
    defence: str | None = None
    attacker: Literal["naive", "aware"] = "naive"
    data: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", own_digests(self.tasks, self.data))

    @property
    def shadow_defence(self) -> str | None:
        """Defence of the attacker's shadows, as `defence`."""
        return self.defence if self.attacker == "aware" else None

    def digests(self) -> dict[str, str]:
        """Returns the digest of the file of a user's defence."""
        return self.defence_digests(self.defence)

    def num_seeds(self, task: str) -> int:
        """Returns how many seeds a task of the plan has."""
        return self.seeds[self.tasks.index(task)]

    def recipe(self, task: Task) -> Recipe:
        """Returns the recipe of a task's target and shadow models."""
        return dataclasses.replace(self.target, model=self.model or task.model)


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
