"""The baseline: several shadow models, one attack network per class on the whole posterior.

Shokri et al. 2017, sections V-B and V-C, as compared with in Salem et al. 2019, section IV-B.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jleaks.datasets.registry import get_task
from jleaks.evaluate import judge
from jleaks.fingerprint import fingerprint
from jleaks.fleet import key_words, make_mesh
from jleaks.keys import Role, identity_key
from jleaks.paper.attacks import metric_fields
from jleaks.paper.context import Context, Row
from jleaks.paper.lessons import Lesson, attack_fleet
from jleaks.paper.subjects import Subject, truth

# The score of a record of a class from which no attack network could learn: "non-member".
_UNKNOWN = -1.0


@dataclasses.dataclass(frozen=True, eq=False)
class Baseline:
    """One attack of Shokri et al. on one target; target and shadows are of one task.

    Attributes:
      seed: Of the draw.
      target: The model attacked.
      shadows: The models whose answers the attack networks learn from.
      variant: What varies in the experiment.
    """

    seed: int
    target: Subject
    shadows: tuple[Subject, ...]
    variant: dict[str, Any] = dataclasses.field(default_factory=dict)


def baseline(context: Context, experiment: str, cases: Sequence[Baseline]) -> list[Row]:
    """Runs the baseline; all classes' attack networks are trained in few fleets.

    A class of which the shadows have less than a batch of rows, or rows of one side only, has no
    attack network: its records are called non-members.

    Returns:
      One row per case, in order.
    """
    rows: list[Row] = []
    for task in dict.fromkeys(case.target.task for case in cases):
        mine = [case for case in cases if case.target.task == task]
        rows += _task(context, experiment, mine)
    return rows


def _task(context: Context, experiment: str, cases: Sequence[Baseline]) -> list[Row]:
    """All cases of one task: their networks have equally many inputs."""
    asker = context.asker
    subjects = {asker.name(s): s for case in cases for s in (case.target, *case.shadows)}
    answers = dict(zip(subjects, asker.ask(list(subjects.values())), strict=True))
    task = get_task(cases[0].target.task)
    labels = asker.datasets(task.name).labels
    lessons: dict[tuple[int, int], Lesson] = {}
    scores, places = [], []
    for i, case in enumerate(cases):
        shadows = [answers[asker.name(s)] for s in case.shadows]
        posteriors = np.concatenate([a.whole() for a in shadows])
        classes = np.concatenate([labels[s.rows] for s in case.shadows])
        member = np.concatenate([truth(s) for s in case.shadows])
        target = answers[asker.name(case.target)].whole()
        own = labels[case.target.rows]
        scores.append(np.full(len(own), _UNKNOWN, np.float32))
        places.append([np.flatnonzero(own == k) for k in range(task.num_classes)])
        names = [asker.name(s) for s in case.shadows]
        for k in range(task.num_classes):
            at = classes == k
            if at.sum() < context.plan.attack.batch_size or len(set(member[at])) < 2:
                continue
            words = key_words([identity_key(case.seed, task.name, Role.ATTACK, 1000 + k)])[0]
            lessons[i, k] = Lesson(
                name=f"attack model of class {k} of {task.name}, seed {case.seed}",
                fingerprint=fingerprint("class", context.plan.attack, names, k, words, digits=24),
                words=words,
                features=posteriors[at],
                member=member[at],
                queries=[target[places[i][k]]],
            )
    # Lessons of a fleet are padded to the longest: classes within a factor of four go together.
    groups: dict[int, list[tuple[int, int]]] = {}
    for key, lesson in lessons.items():
        groups.setdefault(len(lesson.member).bit_length() // 2, []).append(key)
    for keys in groups.values():
        chosen = [lessons[key] for key in keys]
        found = attack_fleet(context.plan.attack, context.asker.library, chosen)
        for (i, k), (_, (own,)) in zip(keys, found, strict=True):
            scores[i][places[i][k]] = own
    truths = [truth(case.target) for case in cases]
    mesh = make_mesh(context.execution.num_devices)
    judged = judge(scores, truths, [0.0] * len(cases), mesh)
    rows = []
    for i, case in enumerate(cases):
        mine = [lesson for (j, _), lesson in lessons.items() if j == i]
        spent = sum(context.attack_seconds(lesson.fingerprint) or 0.0 for lesson in mine)
        rows.append(
            context.row(
                experiment,
                "shokri",
                case.seed,
                case.target,
                answers[asker.name(case.target)],
                {**case.variant},
                metric_fields(judged, i)
                | {"attack_model": "mlp"}
                | context.shadow_fields(
                    case.shadows, [answers[asker.name(s)] for s in case.shadows]
                )
                | {"attack_seconds": spent},
            )
        )
    return rows
