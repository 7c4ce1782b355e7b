"""A case: who attacks whom with what.  Data alone; `jleaks.experiments.cases` runs it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from jleaks.data.tasks import get_task

# Experiments are listed without JAX.
if TYPE_CHECKING:
    from jleaks.experiments.subjects import AnySubject
    from jleaks.models.forest import ForestRecipe

Access = Literal["direct", "http"]


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """One attack on one target.  What an attack does not look at is left out.

    Attributes:
      attack: Name of a case attack, such as "adversary 1" (see `jleaks.experiments.case_attacks`).
      target: The model attacked.
      shadows: The models whose answers the attack learns from.
      varies: What varies in the experiment, by name, and its value here.
      top: How many of the largest posteriors are used; 0 for all of them, None for the plan's number.
      model: The kind of attack model; None for that of the plan's attack recipe.
      access: "direct", or "http": the target answers through an endpoint.
      shadow_access: Likewise for the shadows.
      percentile: The threshold is at the top so many percent of random points; None for the plan's.
      statistics: Statistics of the posteriors, one attack each, from `signals.STATISTICS`; () for all.
    """

    attack: str
    target: "AnySubject"
    shadows: "Sequence[AnySubject]" = ()
    varies: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    top: int | None = None
    model: "Literal['mlp', 'logistic'] | ForestRecipe | None" = None
    access: Access = "direct"
    shadow_access: Access = "direct"
    percentile: float | None = None
    statistics: tuple[str, ...] = ()

    @property
    def seed(self) -> int:
        """Seed of the target's draw."""
        return self.target.seed

    @property
    def width(self) -> int:
        """Posteriors that target and shadows both have, of those that are used."""
        assert self.top is not None, "the plan's number is not filled in yet"
        classes = [get_task(s.task).num_classes for s in (self.target, *self.shadows)]
        return min(self.top or max(classes), *classes)

    @property
    def num_inputs(self) -> int:
        """Inputs of a network that attacks: the largest posteriors that it could see of any task."""
        return self.top or self.width
