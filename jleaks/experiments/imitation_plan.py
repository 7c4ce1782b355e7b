"""What defines the numbers of an attack by imitators."""

import dataclasses
from typing import ClassVar, Literal

from jleaks.experiments.per_target_plan import PerTargetPlan
from jleaks.fields import Count, Level, Share


@dataclasses.dataclass(frozen=True)
class ImitationPlan(PerTargetPlan):
    """Everything that defines the numbers of one attack by imitators (see `jleaks.experiments.imitation`).

    Attributes:
      num_imitators: K, the number of models that imitate each target, even.
      num_shadows: S, the number of plain shadows that other attacks compare with, even; 2K at least.
      setting: Whether the attacker has the audited records: "adaptive" (shadows and imitators train on
        halves of them) or "disjoint" (on halves of as many others, which are then candidates, too).
      warm_up: Share of the recipe's epochs before imitation; those that are left are imitation's.
      pivot_epochs: Share of the recipe's epochs on pivots ("disjoint" alone).
      pivots: Share of the attacker's records that are pivots, evenly over the classes.
      null: Null check in which every attack must fail: "none" or "shuffled" (who is a member of a target
        is drawn afresh after all training).
    """

    kind: ClassVar[str] = "imitation"
    in_pairs: ClassVar[tuple[str, ...]] = ("num_targets", "num_imitators", "num_shadows")

    num_imitators: Count = 10
    num_shadows: Count = 200
    setting: Literal["adaptive", "disjoint"] = "adaptive"
    warm_up: Level = 0.5
    pivot_epochs: Share = 0.2
    pivots: Share = 0.5
    null: Literal["none", "shuffled"] = "none"

    def problems(self) -> list[str]:
        """Returns what is wrong with it beside single fields."""
        found = super().problems()
        if self.num_shadows < 2 * self.num_imitators:
            found.append(
                f"num_shadows is {self.num_shadows}, expected {2 * self.num_imitators} at least, as many "
                "as are trained with the imitators"
            )
        if self.recipe.epochs < 2:
            found.append(
                f"epochs is {self.recipe.epochs}, expected 2 at least: imitation comes second"
            )
        return found

    @property
    def num_plain(self) -> int:
        """All of them."""
        return self.num_shadows

    @property
    def is_disjoint(self) -> bool:
        """Whether the attacker has none of the records that targets train on halves of."""
        return self.setting == "disjoint"

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
