"""Who is attacked and who stands in for it: targets and shadows of every kind, laid out by identity."""

import dataclasses
import functools
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt32

from jleaks.data.splits import Quarters, quarters, shadow_part
from jleaks.data.tasks import get_task
from jleaks.defences.defence import Composite, Defence, Part, Strength, get_defence
from jleaks.defences.dpsgd import accounted
from jleaks.errors import InputError
from jleaks.experiments.paper_plan import PaperPlan
from jleaks.experiments.plan import Plan
from jleaks.keys import Role, identity_key
from jleaks.models.forest import ForestRecipe
from jleaks.training.fleet import stack_key_data
from jleaks.training.recipe import Recipe

KeyData = UInt32[np.ndarray, "2"]

# A defence, or one by name and strength.
AnyDefence = Defence | tuple[str, Strength] | str


@dataclasses.dataclass(frozen=True, eq=False)
class Watch:
    """Records whose loss is kept while a network trains.

    Attributes:
      records: [n] their positions.
      points: Points of the training, evenly spaced over its epochs, at which it is kept.
    """

    records: Int[np.ndarray, "watched"]
    points: int


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
      defence: What keeps it from telling who its members are; None for nothing.
      null_order: [n + m] of the null check (see `jleaks.data.splits.null_orders`): its answers are put
        into this order, after which the first n are called members; None for the truth.
      seed: Of the draw that it belongs to.
      watch: Of which records its loss is kept while it trains; None for none.
      reference: [r] records that its defence compares members with, which it is neither trained on nor
        asked about; None for none.
    """

    name: str
    task: str
    recipe: Recipe | ForestRecipe
    members: Int[np.ndarray, "members"]
    others: Int[np.ndarray, "others"]
    key_data: KeyData
    defence: Defence | None = None
    null_order: Int[np.ndarray, "rows"] | None = None
    seed: int = 0
    watch: Watch | None = None
    reference: Int[np.ndarray, "reference"] | None = None

    @property
    def rows(self) -> Int[np.ndarray, "rows"]:
        """The records that an evaluation asks it about: members, then others."""
        return np.concatenate([self.members, self.others])


@dataclasses.dataclass(frozen=True, eq=False)
class Composed:
    """Several models that answer as one, such as a model stack.

    Attributes:
      name: For messages.
      task: Name of its task.
      parts: What answers in the place of one model; each learns from some of the members.
      held: [h] members from which whatever combines the parts' answers learns.
      composite: How they are combined.
      defence: Whose composite it is.
      members: [n] all that any of them learns from.
      others: [m] records that none of them does.
      null_order: As of a `Subject`.
      seed: Of the draw that it belongs to.
    """

    name: str
    task: str
    parts: tuple[Subject, ...]
    held: Int[np.ndarray, "held"]
    composite: Composite
    defence: Defence
    members: Int[np.ndarray, "members"]
    others: Int[np.ndarray, "others"]
    null_order: Int[np.ndarray, "rows"] | None = None
    seed: int = 0

    @property
    def rows(self) -> Int[np.ndarray, "rows"]:
        """The records that an evaluation asks it about: members, then others."""
        return np.concatenate([self.members, self.others])


AnySubject = Subject | Composed


def truth(subject: AnySubject) -> Bool[np.ndarray, "rows"]:
    """Returns which of a subject's rows are members."""
    return np.arange(len(subject.members) + len(subject.others)) < len(subject.members)


def guarantee(subject: AnySubject) -> dict[str, float | None]:
    """Returns the row fields of what a subject's training guarantees (see `dpsgd.accounted`)."""
    if isinstance(subject, Composed):
        return {}
    return accounted(subject.defence, subject.recipe, len(subject.members))


def defended(subject: Subject, given: AnyDefence | None, split_key: KeyData) -> AnySubject:
    """Returns a subject with a defence.

    Args:
      subject: Without one.
      given: The defence; None for none.
      split_key: Key data from which a composite's parts are drawn.

    Raises:
      InputError: there is no such defence, or the subject is of a kind that cannot have it.
    """
    if given is None:
        return subject
    defence = get_defence(given)
    of_network = not defence.of_answers_alone or defence.points
    if isinstance(subject.recipe, ForestRecipe) and of_network:
        raise InputError(f"{subject.name} is a forest; {defence} defends networks alone")
    if defence.held_back:
        subject = _holding_back(subject, defence, split_key)
    if defence.composite is None:
        tailored = defence.tailored(subject.recipe, len(subject.members))
        return dataclasses.replace(subject, defence=tailored)
    parts, held = defence.composite.cut(subject.members, split_key)
    alone = dataclasses.replace(defence, answer=None, composite=None)

    def own_defence(part: Part) -> Defence | None:
        if part.recipe is not None or not (alone.training or alone.tailor):
            return None
        return alone.tailored(subject.recipe, len(part.members))

    return Composed(
        name=f"{defence.name} {subject.name}",
        task=subject.task,
        parts=tuple(
            dataclasses.replace(
                subject,
                name=f"{part.name} of the {defence.name} {subject.name}",
                recipe=part.recipe or subject.recipe,
                members=part.members,
                defence=own_defence(part),
            )
            for part in parts
        ),
        held=held,
        composite=defence.composite,
        defence=defence,
        members=subject.members,
        others=subject.others,
        seed=subject.seed,
    )


def _holding_back(subject: Subject, defence: Defence, split_key: KeyData) -> Subject:
    """Returns a subject that keeps some of its training part for comparison, and as many others as members.

    Raises:
      InputError: nothing would be left to train on, or to compare with.
    """
    count = round(defence.held_back * len(subject.members))
    if not 0 < count < len(subject.members):
        raise InputError(
            f"{defence} keeps {count} of the {len(subject.members)} members of the {subject.name} for "
            "comparison, expected at least one, and one to train on"
        )
    order = np.random.default_rng(split_key).permutation(subject.members)
    return dataclasses.replace(
        subject,
        members=order[count:],
        others=subject.others[: len(order) - count],
        reference=order[:count],
    )


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
        defence: AnyDefence | None = None,
        **changes: Any,
    ) -> AnySubject:
        """Returns the target model of one draw.

        Args:
          task: Name of its task.
          seed: Of the draw.
          recipe: How it is trained; None for the task's own recipe.
          defence: Its defence, such as ("dropout", 0.5); None for none.
          **changes: Fields of the recipe that are another, such as `hidden=(512,)`.

        Raises:
          InputError: the defence or a change cannot be used.
        """
        split = self.split(task, seed)
        subject = Subject(
            name=f"target model of {task}, seed {seed}",
            task=task,
            recipe=self._recipe(task, recipe, changes),
            members=split.target_train,
            others=split.target_out,
            key_data=stack_key_data([identity_key(seed, task, Role.TARGET)])[0],
            seed=seed,
        )
        return defended(subject, defence, _split_key(seed, task, Role.TARGET))

    def shadow(
        self,
        task: str,
        seed: int,
        index: int = 0,
        recipe: Recipe | ForestRecipe | None = None,
        defence: AnyDefence | None = None,
        **changes: Any,
    ) -> AnySubject:
        """Returns shadow model `index` of one draw; see `target` for the other arguments."""
        members, others = shadow_part(self.split(task, seed), task, seed, index)
        subject = Subject(
            name=f"shadow model {index} of {task}, seed {seed}",
            task=task,
            recipe=self._recipe(task, recipe, changes),
            members=members,
            others=others,
            key_data=stack_key_data([identity_key(seed, task, Role.SHADOW, index)])[0],
            seed=seed,
        )
        return defended(subject, defence, _split_key(seed, task, Role.SHADOW))

    def _recipe(
        self, task: str, recipe: Recipe | ForestRecipe | None, changes: dict[str, Any]
    ) -> Recipe | ForestRecipe:
        if recipe is None and not changes:
            return self.network(task)
        found = recipe or self.network(task)
        fields = [field.name for field in dataclasses.fields(found)]
        if unknown := set(changes) - set(fields):
            raise InputError(
                f"a model of {task} was asked for with {', '.join(sorted(unknown))}, expected some of "
                f"{', '.join(fields)}"
            )
        found = dataclasses.replace(found, **changes)
        problems = found.problems("")
        if not problems and isinstance(found, Recipe):
            problems = found.misfits(get_task(task))
        if problems:
            raise InputError(f"a model of {task}: {'; '.join(problems)}")
        return found


def _split_key(seed: int, task: str, role: Role) -> KeyData:
    return stack_key_data([identity_key(seed, task, Role.STACK_SPLIT, int(role))])[0]
