"""What defines the numbers of an attack by imitators."""

import dataclasses
from typing import ClassVar, Literal

from jleaks.data.tasks import own_digests
from jleaks.errors import InputError
from jleaks.experiments.bank_plan import MODEL_RECIPE, BankPlan
from jleaks.experiments.base_plan import BasePlan
from jleaks.fields import Count, Level, Number, Seed, Share, problems
from jleaks.training.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class ImitationPlan(BasePlan):
    """Everything that defines the numbers of one attack by imitators (see `jleaks.experiments.imitation`).

    Attributes:
      task: Name of the task.
      num_candidates: N, the number of records, even; "disjoint": targets' and attacker's, a multiple of 4.
      num_population: Number of records held out from all models.
      num_targets: Number of models attacked, even.
      num_imitators: K, the number of models that imitate each target, even.
      num_shadows: S, the number of plain shadows that other attacks compare with, even; 2K at least.
      setting: Whether the attacker has the audited records: "adaptive" (shadows and imitators train on
        halves of them) or "disjoint" (on halves of as many others).
      warm_up: Share of the recipe's epochs before imitation; those that are left are imitation's.
      pivot_epochs: Share of the recipe's epochs on pivots ("disjoint" alone).
      pivots: Share of the attacker's records that are pivots, evenly over the classes.
      null: Null check in which every attack must fail: "none" or "shuffled" (who is a member of a target
        is drawn afresh after all training).
      seed: Seed of the draw.
      source: Where the records come from: "prepared" (from disk) or "synthetic".
      recipe: Recipe of targets and shadows; its number of epochs is shared out for imitators.
      data: An entry "NAME=DIGEST" if the task brings its own data; found when a plan is made.
    """

    kind: ClassVar[str] = "imitation"

    task: str
    num_candidates: Count
    num_population: Number
    num_targets: Count = 8
    num_imitators: Count = 10
    num_shadows: Count = 200
    setting: Literal["adaptive", "disjoint"] = "adaptive"
    warm_up: Level = 0.5
    pivot_epochs: Share = 0.2
    pivots: Share = 0.5
    null: Literal["none", "shuffled"] = "none"
    seed: Seed = 0
    source: Literal["prepared", "synthetic"] = "synthetic"
    recipe: Recipe = MODEL_RECIPE
    data: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", own_digests([self.task], self.data))

    def validate(self) -> "ImitationPlan":
        """Checks everything that can be known before any data is read; see `BankPlan.validate`."""
        if found := problems(self):
            raise InputError(f"{self.task}: {'; '.join(found)}")
        for name in ("num_targets", "num_imitators", "num_shadows"):
            if (value := getattr(self, name)) % 2:
                found.append(
                    f"{name} is {value}, expected an even number: models come in pairs that share the "
                    "records between them"
                )
        if self.num_shadows < 2 * self.num_imitators:
            found.append(
                f"num_shadows is {self.num_shadows}, expected {2 * self.num_imitators} at least, as many "
                "as are trained with the imitators"
            )
        if self.recipe.epochs < 2:
            found.append(
                f"epochs is {self.recipe.epochs}, expected 2 at least: imitation comes second"
            )
        if found:
            raise InputError(f"{self.task}: {'; '.join(found)}")
        self.bank().validate()
        return self

    @property
    def epochs(self) -> dict[str, int]:
        """Epochs of each stage: "warm_up", "imitation" and "pivots"."""
        whole = self.recipe.epochs
        first = min(max(round(self.warm_up * whole), 1), whole - 1)
        return {
            "warm_up": first,
            "imitation": whole - first,
            "pivots": max(round(self.pivot_epochs * whole), 1),
        }

    def bank(self) -> BankPlan:
        """Returns the bank whose first models are the targets, then two references, then plain shadows."""
        return BankPlan(
            task=self.task,
            num_models=self.num_targets + 2 + self.num_shadows,
            num_candidates=self.num_candidates,
            num_population=self.num_population,
            seed=self.seed,
            source=self.source,
            recipe=self.recipe,
            num_queries=1,
            num_targets=self.num_targets if self.setting == "disjoint" else 0,
        )
