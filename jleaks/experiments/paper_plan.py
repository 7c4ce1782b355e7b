"""What defines the numbers of the paper's experiments, and the three sizes they are run at."""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal, get_args

from jleaks.data.tasks import PAPER_TASKS, TASKS, Task, get_task
from jleaks.errors import InputError, refuse
from jleaks.experiments.base_plan import NumRandomPoints, TaskPlan
from jleaks.experiments.plan import Plan
from jleaks.fields import SOME, Count, Number, Percentile, Positive, Ratio, Share, problems
from jleaks.models.registry import NETWORKS
from jleaks.training.recipe import ATTACK_RECIPE, Recipe

Scale = Literal["smoke", "small", "paper"]

# What E8 can vary.
Hyperparameter = Literal["hidden", "epochs", "batch_size", "learning_rate", "all"]
HYPERPARAMETERS: tuple[Hyperparameter, ...] = get_args(Hyperparameter)

_Counts = Annotated[tuple[Count, ...], SOME]

# What the scale "smoke" changes of attack recipes.
SMOKE_ATTACK: dict[str, Any] = {"epochs": 10, "batch_size": 50}

_SMOKE_RECIPE = Recipe(epochs=10)
_SMOKE_ATTACK_RECIPE = dataclasses.replace(ATTACK_RECIPE, **SMOKE_ATTACK)


@dataclasses.dataclass(frozen=True)
class PaperPlan(TaskPlan):
    """Everything that defines the numbers of a run of experiments (see `TaskPlan` for the rest).

    Attributes:
      scale: Preset that the other values come from: "smoke" (minutes, shows that everything runs, with
        attack models of 10 epochs and batches of 50), "small" (a fifth of the paper's records, three
        seeds) or "paper" (the paper's sizes, five seeds).
      share: Fraction of the paper's records per part, of which at least `plan.MIN_QUARTER` are kept.
      tops: Values of `top` that E5 tries; 0 stands for all.
      num_shokri_shadows: Number k of shadow models of the baseline (Shokri et al. 2017).
      epochs: Numbers of the target's epochs that E3 tries.
      shadow_counts: Numbers of shadow models that E6 tries.
      shadow_counts_mlp: Numbers that E6 tries on tasks with the MLP, which is cheap enough for more.
      hyperparameters: Hyper-parameters of the shadow that E8 makes differ from the target's, "all" for all
        at once.
      ratios: Dropout ratios of input and hidden layer that E17 tries.
      dropout: Dropout ratios of input and hidden layer in E16.
      percentiles: Values of `percentile` that E14 tries.
      num_trees: Number of trees in a random forest.
      combiner_c: Inverse penalty of a stack's combiner in E18.  At scikit-learn's default of 1 it answers
        almost uniform posteriors where there are many classes, and loses half of the accuracy.
      num_embedded: Number of points of each kind in E11's t-SNE figure.
    """

    kind: ClassVar[str] = "paper"

    scale: Scale = "smoke"
    share: Share = 0.03
    target: Recipe = _SMOKE_RECIPE
    attack: Recipe = _SMOKE_ATTACK_RECIPE
    tops: Annotated[tuple[Number, ...], SOME] = (1, 3, 0)
    num_shokri_shadows: Count = 3
    epochs: _Counts = (5, 10)
    shadow_counts: _Counts = (1, 2, 3)
    shadow_counts_mlp: _Counts = (1, 2, 3, 5)
    hyperparameters: tuple[Hyperparameter, ...] = ("hidden", "all")
    ratios: tuple[Ratio, ...] = (0.0, 0.5)
    dropout: tuple[Ratio, Ratio] = (0.5, 0.5)
    num_random_points: NumRandomPoints = 200
    percentiles: tuple[Percentile, ...] = (1.0, 5.0, 10.0, 25.0, 50.0)
    num_trees: Count = 20
    combiner_c: Positive = 100.0
    num_embedded: Count = 100

    def validate(self) -> "PaperPlan":
        """Checks everything that can be known before any data is read.

        Returns:
          The plan itself.

        Raises:
          InputError: names every problem at once.
        """
        refuse(problems(self))
        self.main_plan().validate()
        return self

    def main_plan(self) -> Plan:
        """Returns the main job's plan with the same targets, shadows and adversaries."""
        shared = {field.name: getattr(self, field.name) for field in dataclasses.fields(TaskPlan)}
        return Plan(**shared, scale=self.share)

    def quarter(self, task: Task, num_records: int) -> int:
        """Returns the records in each part of a split (see `jleaks.experiments.plan.Plan.quarter`)."""
        return self.main_plan().quarter(task, num_records)

    def size(self, task: Task, available: int) -> int:
        """Returns how many records of a task the run looks at (see `jleaks.experiments.plan.Plan.size`)."""
        return self.main_plan().size(task, available)

    def counts(self, task: Task) -> tuple[int, ...]:
        """Returns the numbers of shadow models that E6 tries on a task, ascending."""
        cheap = NETWORKS[self.recipe(task).model].layers == "dense"
        return tuple(sorted(set(self.shadow_counts_mlp if cheap else self.shadow_counts)))


_FULL: dict[str, Any] = {
    "target": Recipe(),
    "attack": ATTACK_RECIPE,
    "tops": (1, 2, 3, 4, 0),
    "num_shokri_shadows": 10,
    "epochs": (10, 20, 30, 40, 50),
    "shadow_counts": (1, 2, 3, 5, 7, 10),
    "shadow_counts_mlp": (1, 2, 3, 5, 7, 10, 20, 50, 100),
    "hyperparameters": HYPERPARAMETERS,
    "ratios": (0.0, 0.25, 0.5, 0.75),
    "num_random_points": 1000,
    "percentiles": (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 50.0),
    "num_trees": 100,
    "num_embedded": 250,
}

# What each scale changes of the defaults above, and how many seeds it has.
PRESETS: dict[Scale, tuple[int, dict[str, Any]]] = {
    "smoke": (2, {}),
    "small": (3, {**_FULL, "share": 0.2, "shadow_counts_mlp": (1, 2, 3, 5, 7, 10)}),
    "paper": (5, {**_FULL, "share": 1.0}),
}


def make_plan(
    scale: Scale,
    tasks: tuple[str, ...] = PAPER_TASKS,
    source: Literal["prepared", "synthetic"] = "synthetic",
    num_seeds: int | None = None,
    task_seeds: dict[str, int] | None = None,
    changes: dict[str, Any] | None = None,
) -> PaperPlan:
    """Returns the plan of a scale.

    Args:
      scale: "smoke", "small" or "paper".
      tasks: Names of tasks.
      source: Where the records come from.
      num_seeds: Of every task; None for the scale's.
      task_seeds: Exceptions to it.
      changes: Values of `PaperPlan` that differ from the scale's.

    Raises:
      InputError: names everything that cannot be used.
    """
    if scale not in PRESETS:
        raise InputError(f"scale is {scale}, expected one of {', '.join(PRESETS)}")
    default, values = PRESETS[scale]
    names = sorted({get_task(name).name for name in tasks}, key=list(TASKS).index)
    seeds = dict.fromkeys(names, default if num_seeds is None else num_seeds)
    if unknown := set(task_seeds or {}) - set(names):
        raise InputError(f"task_seeds names {', '.join(sorted(unknown))}, not among the tasks")
    seeds |= task_seeds or {}
    return PaperPlan(
        tasks=tuple(names),
        seeds=tuple(seeds[name] for name in names),
        scale=scale,
        source=source,
        **{**values, **(changes or {})},
    ).validate()
