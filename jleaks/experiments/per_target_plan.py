"""What all plans have in common of attacks that train models anew for each target."""

import dataclasses
from typing import ClassVar, Literal

from jleaks.data.tasks import own_digests
from jleaks.errors import InputError
from jleaks.experiments.bank_plan import MODEL_RECIPE, BankPlan
from jleaks.experiments.base_plan import BasePlan
from jleaks.fields import Count, Number, Seed, problems
from jleaks.training.recipe import Recipe

NUM_REFERENCES = 2
"""Models, twins, whose members the attacker knows; no target's shadows."""


@dataclasses.dataclass(frozen=True)
class PerTargetPlan(BasePlan):
    """A plan of targets, of models that are trained for each of them, and of plain shadows for all.

    Attributes:
      task: Name of the task.
      num_candidates: N, the number of records audited, even; each target trains on half of them.
      num_population: Number of records held out from all models.
      num_targets: Number of models attacked, even.
      seed: Seed of the draw.
      source: Where the records come from: "prepared" (from disk) or "synthetic".
      recipe: Recipe of targets and shadows.
      data: An entry "NAME=DIGEST" if the task brings its own data; found when a plan is made.
    """

    in_pairs: ClassVar[tuple[str, ...]] = ("num_targets",)
    """Fields that are numbers of models which come in pairs."""

    task: str
    num_candidates: Count
    num_population: Number
    num_targets: Count = 8
    seed: Seed = 0
    source: Literal["prepared", "synthetic"] = "synthetic"
    recipe: Recipe = MODEL_RECIPE
    data: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", own_digests([self.task], self.data))

    def problems(self) -> list[str]:
        """Returns what is wrong with it beside single fields."""
        return [
            f"{name} is {value}, expected an even number: models come in pairs that share the records "
            "between them"
            for name in self.in_pairs
            if (value := getattr(self, name)) % 2
        ]

    def validate(self) -> "PerTargetPlan":
        """Checks everything that can be known before any data is read; see `BankPlan.validate`."""
        if found := problems(self) or self.problems():
            raise InputError(f"{self.task}: {'; '.join(found)}")
        self.bank().validate()
        return self

    @property
    def num_plain(self) -> int:
        """How many plain shadows there are."""
        raise NotImplementedError

    @property
    def is_disjoint(self) -> bool:
        """Whether the attacker has none of the records that targets train on halves of."""
        return False

    def bank(self) -> BankPlan:
        """Returns the bank whose first models are the targets, then two references, then plain shadows."""
        return BankPlan(
            task=self.task,
            num_models=self.num_targets + NUM_REFERENCES + self.num_plain,
            num_candidates=self.num_candidates,
            num_population=self.num_population,
            seed=self.seed,
            source=self.source,
            recipe=self.recipe,
            num_queries=1,
            num_targets=self.num_targets if self.is_disjoint else 0,
        )
