"""What everything in a run shares: the plan, the models; and how an experiment's row is written."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, cast

import numpy as np

from jleaks.data.tasks import get_task
from jleaks.experiments.answers import Answers
from jleaks.experiments.paper_plan import PaperPlan
from jleaks.experiments.plan import Plan
from jleaks.experiments.querier import Querier
from jleaks.experiments.subjects import (
    AnySubject,
    Composed,
    Subject,
    SubjectLayout,
    guarantee,
)
from jleaks.metrics.case_metrics import number
from jleaks.rows import ATTACK_MODEL, Row
from jleaks.training.execution import Execution
from jleaks.training.recipe import Recipe
from jleaks.training.reporter import Reporter, loss_warning

ADVERSARIES = ("adversary 1", "adversary 2", "adversary 3")
"""The three of the paper, by what cases call them; other attacks have a name of their own."""

# Asks subjects through an endpoint; the answers to members, then others.
RemoteFn = Callable[[Sequence[AnySubject]], list[Answers]]


# Of the main job, or of experiments.
P = TypeVar("P", Plan, PaperPlan)


@dataclasses.dataclass(frozen=True, eq=False)
class Job(Generic[P]):
    """One run: of the main job or of experiments.

    Attributes:
      plan: What defines the numbers.
      execution: How fast.
      layout: Lays out targets and shadows.
      querier: Trains and queries them.
      ask_over_http: Queries them through an endpoint.
      reporter: Where the run reports what it is doing.
      about: Fields that every row carries: fingerprint, device, versions, command.
      reported: Warnings that were reported before: many rows share a target and its shadow.
      tasks: Tasks of the plan that take part, in this order; None for all of them.
    """

    plan: P
    execution: Execution
    layout: SubjectLayout
    querier: Querier
    ask_over_http: RemoteFn
    reporter: Reporter
    about: dict[str, Any]
    reported: set[str] = dataclasses.field(default_factory=set)
    tasks: tuple[str, ...] | None = None

    def draws(self, tasks: Sequence[str] | None = None) -> list[tuple[str, int]]:
        """Returns every (task, seed) of those tasks that the plan has; None for all that take part."""
        named = self.tasks if tasks is None else tasks
        named = self.plan.tasks if named is None else named
        chosen = [task for task in named if task in self.plan.tasks]
        return [(task, seed) for task in chosen for seed in range(self.plan.num_seeds(task))]

    def target(self, task: str, seed: int, **given: Any) -> AnySubject:
        """Returns the target model of one draw (see `SubjectLayout.target` for what may be given).

        It has the plan's defence unless another, or None, is given.
        """
        return self.layout.target(task, seed, **{"defence": self.plan.defence, **given})

    def shadow(self, task: str, seed: int, index: int = 0, **given: Any) -> AnySubject:
        """Returns a shadow model of one draw (see `SubjectLayout.shadow` for what may be given)."""
        given = {"defence": self.plan.shadow_defence, **given}
        return self.layout.shadow(task, seed, index, **given)

    def row(
        self,
        experiment: str,
        attack: str,
        seed: int,
        target: AnySubject,
        answers: Answers,
        variant: dict[str, Any],
        fields: dict[str, Any],
    ) -> Row:
        """Returns one row.

        Args:
          experiment: Name of the experiment.
          attack: Name of the case attack.
          seed: Of the draw.
          target: The model attacked.
          answers: Its answers to members, then others.
          variant: What varies in the experiment.
          fields: Metrics, what is known of the shadows, and adversary 3's statistic as "attack"; missing
            ones become None.
        """
        task = get_task(target.task)
        train, test = answers.accuracy(len(target.members))
        empty = dict.fromkeys(
            (
                *(
                    "shadow_task",
                    "shadow_source",
                    "num_shadows",
                    "attack_model",
                    "top",
                    "threshold",
                ),
                *("shadow_train_accuracy", "shadow_test_accuracy", "shadow_train_loss"),
                *("collapsed", "precision_shadow_cut", "recall_shadow_cut", "accuracy_shadow_cut"),
                *("shadow_seconds", "shadow_wall_seconds", "shadow_flops", "attack_seconds"),
            )
        )
        row = {
            "experiment": experiment,
            "task": task.name,
            "seed": seed,
            "source": self.querier.datasets(task.name).source,
            "adversary": int(attack[-1]) if attack in ADVERSARIES else None,
            "attack": ATTACK_MODEL if attack in ADVERSARIES else attack,
            "variant": variant,
            **empty,
            **fields,
            "train_accuracy": number(train),
            "test_accuracy": number(test),
            "train_loss": _train_loss(target, answers),
            "num_members": len(target.members),
            "num_nonmembers": len(target.others),
            "num_classes": task.num_classes,
            "model": model_kind(target),
            "scale": self.plan.scale,
            **guarantee(target),
            **self.about,
        }
        return cast("Row", row)

    def shadow_fields(
        self, shadows: Sequence[AnySubject], answers: Sequence[Answers]
    ) -> dict[str, Any]:
        """Returns the row fields that tell of the shadows: task, mean accuracy and loss, total cost."""
        pairs = list(zip(shadows, answers, strict=True))
        accuracy = [a.accuracy(len(s.members)) for s, a in pairs]
        losses = [_train_loss(s, a) for s, a in pairs]
        known = [loss for loss in losses if loss is not None]
        cost = self.querier.cost(shadows)
        return {
            "shadow_task": shadows[0].task,
            "shadow_source": self.querier.datasets(shadows[0].task).source,
            "num_shadows": len(shadows),
            "shadow_train_accuracy": number(np.mean([pair[0] for pair in accuracy])),
            "shadow_test_accuracy": number(np.mean([pair[1] for pair in accuracy])),
            "shadow_train_loss": float(np.mean(known)) if len(known) == len(losses) else None,
            "shadow_seconds": cost.device_seconds,
            "shadow_wall_seconds": cost.wall_seconds,
            "shadow_flops": cost.flops,
        }

    def compare_losses(
        self,
        target: AnySubject,
        answers: Answers,
        shadows: Sequence[AnySubject],
        shadow_answers: Sequence[Answers],
    ) -> None:
        """Reports, once, shadows that were trained as the target and ended at a very different loss."""
        loss = _train_loss(target, answers)
        for shadow, found in zip(shadows, shadow_answers, strict=True):
            other = _train_loss(shadow, found)
            if loss is None or other is None or _training(shadow) != _training(target):
                continue
            line = loss_warning(f"{target.name} and {shadow.name}", loss, other)
            if line is not None and line not in self.reported:
                self.reported.add(line)
                self.reporter.line(line)

    def attack_seconds(self, fingerprint: str) -> float | None:
        """Returns the device seconds of training one attack model; None for one of the host."""
        library = self.querier.library
        return (
            None if library.find(fingerprint) is None else library.cost(fingerprint).device_seconds
        )


# A run of experiments.
Context = Job[PaperPlan]


def _train_loss(subject: AnySubject, answers: Answers) -> float | None:
    """Mean cross-entropy of a network on its own members; None for forests and stacks."""
    if not isinstance(subject, Subject) or not isinstance(subject.recipe, Recipe):
        return None
    return number(answers.losses[: len(subject.members)].mean())


def _training(subject: AnySubject) -> Any:
    """What equally trained networks have in common."""
    return isinstance(subject, Subject) and (
        *(subject.task, subject.recipe),
        str(subject.defence or ""),
    )


def model_kind(subject: AnySubject) -> str:
    """Returns what rows call a subject's model."""
    if isinstance(subject, Composed):
        return subject.composite.kind
    return getattr(subject.recipe, "model", "forest") if isinstance(subject, Subject) else ""
