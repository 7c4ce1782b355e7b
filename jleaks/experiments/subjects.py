"""Who is attacked and who stands in for it: targets and shadows of every kind, laid out by identity."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool, Int, UInt32

from jleaks.data.splits import Quarters, quarters, shadow_part
from jleaks.data.tasks import get_task
from jleaks.experiments.paper_plan import PaperPlan
from jleaks.experiments.plan import Plan
from jleaks.keys import Role, identity_key
from jleaks.models.forest import ForestRecipe
from jleaks.models.stacking import CombinerRecipe, thirds
from jleaks.training.fleet import stack_key_data
from jleaks.training.recipe import Recipe

KeyData = UInt32[np.ndarray, "2"]


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """One model and the records it is asked about: everything that defines its weights and answers.

    Attributes:
      name: For messages.
      task: Name of its task.
      recipe: Of a network, or of a random forest.
      members: [n] records it trains on.
      others: [m] records it does not.
      key_data: Its PRNG key, as two words.
      dropout: Ratios of input and hidden layer, or None.
      null_order: [n + m] of the null check (see `jleaks.data.splits.null_orders`): its answers are put
        into this order, after which the first n are called members; None for the truth.
    """

    name: str
    task: str
    recipe: Recipe | ForestRecipe
    members: Int[np.ndarray, "members"]
    others: Int[np.ndarray, "others"]
    key_data: KeyData
    dropout: tuple[float, float] | None = None
    null_order: Int[np.ndarray, "rows"] | None = None

    @property
    def rows(self) -> Int[np.ndarray, "rows"]:
        """The records that an evaluation asks it about: members, then others."""
        return np.concatenate([self.members, self.others])


@dataclasses.dataclass(frozen=True, eq=False)
class Stacked:
    """A model stack (Salem et al. 2019, section VII-B): the defended model answers as one.

    Attributes:
      name: For messages.
      task: Name of its task.
      network: Learns from the first third of the members.
      forest: Learns from the second.
      held: [n3] the last third, from which the combiner learns.
      combiner: How it learns.
      members: [n] all three thirds.
      others: [m] records in none of them.
    """

    name: str
    task: str
    network: Subject
    forest: Subject
    held: Int[np.ndarray, "held"]
    combiner: CombinerRecipe
    members: Int[np.ndarray, "members"]
    others: Int[np.ndarray, "others"]

    @property
    def rows(self) -> Int[np.ndarray, "rows"]:
        """The records that an evaluation asks it about: members, then others."""
        return np.concatenate([self.members, self.others])


AnySubject = Subject | Stacked


def truth(subject: AnySubject) -> Bool[np.ndarray, "rows"]:
    """Returns which of a subject's rows are members."""
    return np.arange(len(subject.members) + len(subject.others)) < len(subject.members)


@dataclasses.dataclass(frozen=True, eq=False)
class SubjectLayout:
    """Lays out the targets and shadows of a plan.

    Attributes:
      plan: Says which tasks are split how, and how their networks are trained.
      sizes: Records of each task's data.
    """

    plan: Plan | PaperPlan
    sizes: dict[str, int]

    @functools.lru_cache(maxsize=256)  # noqa: B019 - a run has one layout
    def split(self, task: str, seed: int) -> Quarters:
        """Returns one draw of the paper's split."""
        size = self.sizes[task]
        return quarters(task, seed, size, self.plan.quarter(get_task(task), size))

    def network(self, task: str) -> Recipe:
        """Returns the recipe of a task's own network."""
        return self.plan.recipe(get_task(task))

    def target(
        self,
        task: str,
        seed: int,
        recipe: Recipe | ForestRecipe | None = None,
        dropout: tuple[float, float] | None = None,
    ) -> Subject:
        """Returns the target model of one draw; None for the task's own recipe."""
        split = self.split(task, seed)
        return Subject(
            name=f"target model of {task}, seed {seed}",
            task=task,
            recipe=recipe or self.network(task),
            members=split.target_train,
            others=split.target_out,
            key_data=stack_key_data([identity_key(seed, task, Role.TARGET)])[0],
            dropout=dropout,
        )

    def shadow(
        self,
        task: str,
        seed: int,
        index: int = 0,
        recipe: Recipe | ForestRecipe | None = None,
        dropout: tuple[float, float] | None = None,
    ) -> Subject:
        """Returns shadow model `index` of one draw; None for the task's own recipe."""
        members, others = shadow_part(self.split(task, seed), task, seed, index)
        return Subject(
            name=f"shadow model {index} of {task}, seed {seed}",
            task=task,
            recipe=recipe or self.network(task),
            members=members,
            others=others,
            key_data=stack_key_data([identity_key(seed, task, Role.SHADOW, index)])[0],
            dropout=dropout,
        )

    def stacked(
        self, role: Role, task: str, seed: int, forest: ForestRecipe, combiner: CombinerRecipe
    ) -> Stacked:
        """Returns the stacked target or shadow (`Role.TARGET` or `Role.SHADOW`) of one draw."""
        whole = self.target(task, seed) if role == Role.TARGET else self.shadow(task, seed)
        parts = thirds(
            whole.members,
            stack_key_data([identity_key(seed, task, Role.STACK_SPLIT, int(role))])[0],
        )
        network = dataclasses.replace(
            whole, name=f"network of the stacked {whole.name}", members=parts.network
        )
        grown = dataclasses.replace(
            whole,
            name=f"forest of the stacked {whole.name}",
            recipe=forest,
            members=parts.forest,
        )
        return Stacked(
            name=f"stacked {whole.name}",
            task=task,
            network=network,
            forest=grown,
            held=parts.combiner,
            combiner=combiner,
            members=whole.members,
            others=whole.others,
        )
