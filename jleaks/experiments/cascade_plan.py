"""What defines the numbers of a cascade."""

import dataclasses
from typing import ClassVar, Literal

from jleaks.data.tasks import own_digests
from jleaks.errors import InputError
from jleaks.experiments.bank_plan import MODEL_RECIPE, BankPlan
from jleaks.experiments.base_plan import BasePlan
from jleaks.fields import Count, Number, Seed, Share, problems
from jleaks.training.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class CascadePlan(BasePlan):
    """Everything that defines the numbers of one cascade (see `jleaks.experiments.cascade`).

    Attributes:
      task: Name of the task.
      num_candidates: N, the number of records audited, even; each target trains on half of them.
      num_population: Number of records held out from all models.
      num_targets: Number of models attacked, even.
      num_shadows: S, the number of shadows that each round trains anew for each target, even; the first
        round's are shared by all targets.
      num_rounds: Number of rounds, the first, in which nothing is assumed, included.
      attack: Attack of each round, on all shadows so far.
      seed: Seed of the draw.
      source: Where the records come from: "prepared" (from disk) or "synthetic".
      recipe: Recipe of targets and shadows.
      false_others: Members of a reference model that may be beyond the threshold for non-members.
      false_members: Non-members of one that may be beyond the threshold for members.
      most_anchored: Share of the records left that may become non-members for certain in a round.
      anchor_sides: Sides on which records become certain: "both" in every round, or as the "authors" have
        it, members only in rounds in which no non-members do.
      data: An entry "NAME=DIGEST" if the task brings its own data; found when a plan is made.
    """

    kind: ClassVar[str] = "cascade"

    task: str
    num_candidates: Count
    num_population: Number
    num_targets: Count = 8
    num_shadows: Count = 16
    num_rounds: Count = 3
    attack: Literal["lira_online", "rmia_online", "bavaria"] = "lira_online"
    seed: Seed = 0
    source: Literal["prepared", "synthetic"] = "synthetic"
    recipe: Recipe = MODEL_RECIPE
    false_others: Number = 1
    false_members: Number = 1
    most_anchored: Share = 0.05
    anchor_sides: Literal["authors", "both"] = "authors"
    data: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", own_digests([self.task], self.data))

    def validate(self) -> "CascadePlan":
        """Checks everything that can be known before any data is read; see `BankPlan.validate`."""
        if found := problems(self):
            raise InputError(f"{self.task}: {'; '.join(found)}")
        for name in ("num_targets", "num_shadows"):
            if (value := getattr(self, name)) % 2:
                raise InputError(
                    f"{self.task}: {name} is {value}, expected an even number: models come in pairs that "
                    "share the records between them"
                )
        self.bank().validate()
        return self

    def bank(self) -> BankPlan:
        """Returns the bank whose first models are the targets, then two references, then plain shadows."""
        return BankPlan(
            task=self.task,
            num_models=self.num_targets + 2 + self.num_shadows * self.num_rounds,
            num_candidates=self.num_candidates,
            num_population=self.num_population,
            seed=self.seed,
            source=self.source,
            recipe=self.recipe,
            num_queries=1,
        )
