"""What defines the numbers of a cascade."""

import dataclasses
from typing import ClassVar, Literal

from jleaks.experiments.per_target_plan import PerTargetPlan
from jleaks.fields import Count, Number, Share


@dataclasses.dataclass(frozen=True)
class CascadePlan(PerTargetPlan):
    """Everything that defines the numbers of one cascade (see `jleaks.experiments.cascade`).

    Attributes:
      num_shadows: S, the number of shadows that each round trains anew for each target, even; the first
        round's are shared by all targets.
      num_rounds: Number of rounds, the first, in which nothing is assumed, included.
      attack: Attack of each round, on all shadows so far.
      false_others: Members of a reference model that may be beyond the threshold for non-members.
      false_members: Non-members of one that may be beyond the threshold for members.
      most_anchored: Share of the records left that may become non-members for certain in a round.
      anchor_sides: Sides on which records become certain: "both" in every round, or as the "authors" have
        it, members only in rounds in which no non-members do.
    """

    kind: ClassVar[str] = "cascade"
    in_pairs: ClassVar[tuple[str, ...]] = ("num_targets", "num_shadows")

    num_shadows: Count = 16
    num_rounds: Count = 3
    attack: Literal["lira_online", "rmia_online", "bavaria"] = "lira_online"
    false_others: Number = 1
    false_members: Number = 1
    most_anchored: Share = 0.05
    anchor_sides: Literal["authors", "both"] = "authors"

    @property
    def num_plain(self) -> int:
        """As many as the rounds of one target have together."""
        return self.num_shadows * self.num_rounds
