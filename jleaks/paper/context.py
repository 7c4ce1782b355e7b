"""What every experiment of a run shares: the plan, the models, and how a row is written."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jleaks.datasets.registry import get_task
from jleaks.paper.answers import Answers, Asker
from jleaks.paper.plan import PaperPlan
from jleaks.paper.subjects import AnySubject, Cast, Stacked, Subject
from jleaks.plan import Execution
from jleaks.reporter import Reporter

# One attack on one target, flat but for `variant` and `versions`; `docs/paper.md` is made from these.
Row = dict[str, Any]

# Asks subjects through an endpoint; the answers to members, then others.
RemoteFn = Callable[[Sequence[AnySubject]], list[Answers]]


@dataclasses.dataclass(frozen=True, eq=False)
class Context:
    """One run of experiments.

    Attributes:
      plan: What defines the numbers.
      execution: How fast.
      cast: Lays out targets and shadows.
      asker: Trains and asks them.
      ask_over_http: Asks them through an endpoint.
      reporter: Where to tell what is going on.
      about: Fields that every row carries: fingerprint, device, versions, command.
    """

    plan: PaperPlan
    execution: Execution
    cast: Cast
    asker: Asker
    ask_over_http: RemoteFn
    reporter: Reporter
    about: dict[str, Any]

    def draws(self, tasks: Sequence[str]) -> list[tuple[str, int]]:
        """Returns every (task, seed) of those tasks that the plan has."""
        chosen = [task for task in tasks if task in self.plan.tasks]
        return [(task, seed) for task in chosen for seed in range(self.plan.num_seeds(task))]

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
          experiment: "E1" to "E18".
          attack: "adversary 1", "adversary 2", "adversary 3" or "shokri".
          seed: Of the draw.
          target: The model attacked.
          answers: Its answers to members, then others.
          variant: What varies in the experiment.
          fields: Metrics, and what is known of the shadows; missing ones become None.
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
                *("shadow_train_accuracy", "shadow_test_accuracy"),
                *("precision_shadow_cut", "recall_shadow_cut", "accuracy_shadow_cut"),
                *("shadow_seconds", "shadow_wall_seconds", "shadow_flops", "attack_seconds"),
            )
        )
        return {
            "experiment": experiment,
            "task": task.name,
            "seed": seed,
            "source": self.asker.datasets(task.name).source,
            "attack": attack,
            "variant": variant,
            **empty,
            **fields,
            "target_train_accuracy": train,
            "target_test_accuracy": test,
            "num_members": len(target.members),
            "num_nonmembers": len(target.others),
            "num_classes": task.num_classes,
            "model": _kind(target),
            "scale": self.plan.scale,
            **self.about,
        }

    def shadow_fields(
        self, shadows: Sequence[AnySubject], answers: Sequence[Answers]
    ) -> dict[str, Any]:
        """Returns the row fields that tell of the shadows: task, mean accuracy and total cost."""
        accuracy = [a.accuracy(len(s.members)) for s, a in zip(shadows, answers, strict=True)]
        cost = self.asker.cost(shadows)
        return {
            "shadow_task": shadows[0].task,
            "shadow_source": self.asker.datasets(shadows[0].task).source,
            "num_shadows": len(shadows),
            "shadow_train_accuracy": float(np.mean([pair[0] for pair in accuracy])),
            "shadow_test_accuracy": float(np.mean([pair[1] for pair in accuracy])),
            "shadow_seconds": cost.device_seconds,
            "shadow_wall_seconds": cost.wall_seconds,
            "shadow_flops": cost.flops,
        }

    def attack_seconds(self, fingerprint: str) -> float | None:
        """Returns the device seconds of training one attack model; None for one of the host."""
        library = self.asker.library
        return (
            library.cost(fingerprint).device_seconds if library.path(fingerprint).exists() else None
        )


def _kind(subject: AnySubject) -> str:
    if isinstance(subject, Stacked):
        return "stack"
    return getattr(subject.recipe, "model", "forest") if isinstance(subject, Subject) else ""
