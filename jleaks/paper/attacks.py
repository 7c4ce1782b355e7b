"""Attacks on subjects: lists of cases in, rows out.

A case says who attacks whom with what; everything that several cases need (a model, its answers, an
attack model) is made once.  Attack models of a kind are trained as one fleet and kept in the library.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jleaks.attacks.threshold import random_point_threshold
from jleaks.datasets.registry import get_task
from jleaks.evaluate import judge, judge_own_rows
from jleaks.fingerprint import fingerprint
from jleaks.fleet import key_words, make_mesh
from jleaks.keys import Role, identity_key
from jleaks.metrics import row_fields
from jleaks.paper.answers import Answers, random_point_sets
from jleaks.paper.context import Context, Row
from jleaks.paper.lessons import AttackModel, Lesson, Scores, train_and_ask
from jleaks.paper.subjects import AnySubject, Stacked, truth
from jleaks.reporter import collapse_line
from jleaks.signals import STATISTICS

Access = Literal["direct", "http"]


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """One attack by a trained attack model on one target (adversaries 1 and 2).

    Attributes:
      attack: "adversary 1" or "adversary 2".
      seed: Of the draw.
      target: The model attacked.
      shadows: The models whose answers the attack model learns from.
      variant: What varies in the experiment.
      top: How many of the largest posteriors are used; 0 for all of them.
      model: The kind of attack model; None for that of the plan's attack recipe.
      access: "direct", or "http": the target answers through an endpoint.
      shadow_access: Likewise for the shadows.
    """

    attack: str
    seed: int
    target: AnySubject
    shadows: tuple[AnySubject, ...]
    variant: dict[str, Any] = dataclasses.field(default_factory=dict)
    top: int = 3
    model: AttackModel | None = None
    access: Access = "direct"
    shadow_access: Access = "direct"

    @property
    def width(self) -> int:
        """Posteriors that target and shadows both have."""
        classes = [get_task(s.task).num_classes for s in (self.target, *self.shadows)]
        return min(self.top or max(classes), *classes)

    @property
    def num_inputs(self) -> int:
        """Of a network that attacks: the largest posteriors that it could see of any task."""
        return self.top or self.width


def learned(context: Context, experiment: str, cases: Sequence[Case]) -> list[Row]:
    """Runs adversaries 1 and 2: attack models trained on shadows' largest posteriors.

    Returns:
      One row per case, in order.
    """
    if not cases:
        return []
    answers = _answers(context, cases)
    lessons: dict[Any, Lesson] = {}
    at: list[tuple[Any, int]] = []
    asked: dict[Any, int] = {}
    largest: dict[Any, np.ndarray] = {}
    for case in cases:
        shadows = [answers[_who(context, s), case.shadow_access] for s in case.shadows]
        key = (
            case.model or context.plan.attack.model,
            case.width,
            case.num_inputs,
            case.shadow_access,
            tuple(_who(context, s) for s in case.shadows),
        )
        if key not in lessons:
            lessons[key] = _lesson(context, case, shadows, key)
        target = (_who(context, case.target), case.access)
        if (key, target) not in asked:
            asked[key, target] = len(lessons[key].queries)
            if (target, case.width) not in largest:
                largest[target, case.width] = answers[target].largest(case.width)
            lessons[key].queries.append(largest[target, case.width])
        at.append((key, asked[key, target]))
    scores = train_and_ask(
        context.plan.attack, context.plan.num_trees, context.asker.library, lessons
    )
    return _rows(context, experiment, cases, answers, lessons, at, scores)


def _who(context: Context, subject: AnySubject) -> str:
    """Identity of a subject: equal ones are asked once."""
    if isinstance(subject, Stacked):
        parts = [context.asker.name(part) for part in (subject.network, subject.forest)]
        return f"stack of {' and '.join(parts)}, {subject.combiner.c:g}"
    return context.asker.name(subject)


def _answers(context: Context, cases: Sequence[Case]) -> dict[tuple[str, str], Answers]:
    """Asks every target and shadow about its own members and others, each once."""
    subjects: dict[tuple[str, str], AnySubject] = {}
    for case in cases:
        subjects[_who(context, case.target), case.access] = case.target
        for shadow in case.shadows:
            subjects[_who(context, shadow), case.shadow_access] = shadow
    most = max(case.width for case in cases)
    direct = [key for key in subjects if key[1] == "direct"]
    top = most if most <= 8 else None
    found = dict(
        zip(direct, context.asker.ask([subjects[k] for k in direct], top=top), strict=True)
    )
    over_http = [key for key in subjects if key[1] == "http"]
    if over_http:
        remote = context.ask_over_http([subjects[key] for key in over_http])
        found |= dict(zip(over_http, remote, strict=True))
    return found


def _lesson(context: Context, case: Case, shadows: Sequence[Answers], key: Any) -> Lesson:
    task, width = case.shadows[0].task, case.width
    words = key_words([identity_key(case.seed, task, Role.ATTACK, width)])[0]
    return Lesson(
        name=f"attack model of {task}, seed {case.seed}, top {width}",
        fingerprint=fingerprint("attack model", context.plan.attack, list(key), words, digits=24),
        words=words,
        features=np.concatenate([a.largest(width) for a in shadows]),
        member=np.concatenate([truth(s) for s in case.shadows]),
        num_inputs=case.num_inputs,
    )


def _rows(
    context: Context,
    experiment: str,
    cases: Sequence[Case],
    answers: dict[tuple[str, str], Answers],
    lessons: dict[Any, Lesson],
    at: list[tuple[Any, int]],
    scores: Scores,
) -> list[Row]:
    mesh = make_mesh(context.execution.num_devices)
    chosen = [scores[key][1][query] for key, query in at]
    truths = [truth(case.target) for case in cases]
    models = list(scores)
    own = judge_own_rows([scores[m][0] for m in models], [lessons[m].member for m in models], mesh)
    if own.collapsed.any():
        names = [lessons[models[i]].name for i in np.flatnonzero(own.collapsed)]
        context.reporter.line(f"{experiment}: {collapse_line(names, len(models))}")
    learned_by = [models.index(key) for key, _ in at]
    cuts = [float(own.cut[model]) for model in learned_by]
    found = judge(chosen, truths, [0.0] * len(cases), mesh, cuts)
    rows = []
    for i, case in enumerate(cases):
        key = at[i][0]
        target = answers[_who(context, case.target), case.access]
        shadows = [answers[_who(context, s), case.shadow_access] for s in case.shadows]
        context.compare_losses(case.target, target, case.shadows, shadows)
        rows.append(
            context.row(
                experiment,
                case.attack,
                case.seed,
                case.target,
                target,
                {**case.variant},
                row_fields(jax.tree.map(lambda leaf, at=i: leaf[at], found))
                | {"attack_model": key[0], "top": case.width}
                | {"collapsed": bool(own.collapsed[learned_by[i]])}
                | context.shadow_fields(case.shadows, shadows)
                | {"attack_seconds": context.attack_seconds(lessons[key].fingerprint)},
            )
        )
    return rows


@dataclasses.dataclass(frozen=True, eq=False)
class Threshold:
    """One attack by adversary 3 on one target.

    Attributes:
      seed: Of the draw.
      target: The model attacked.
      variant: What varies in the experiment.
      percentile: t: the threshold is at the top t percent of random points.
      statistics: Names from `signals.STATISTICS`.
    """

    seed: int
    target: AnySubject
    variant: dict[str, Any] = dataclasses.field(default_factory=dict)
    percentile: float = 10.0
    statistics: tuple[str, ...] = STATISTICS


def unaided(
    context: Context, targets: Sequence[tuple[int, AnySubject]], **fields: Any
) -> list[Threshold]:
    """Adversary 3 on some targets, at the plan's percentile."""
    percentile = context.plan.percentile
    return [Threshold(seed, target, percentile=percentile, **fields) for seed, target in targets]


def random_statistics(
    context: Context, subjects: Sequence[AnySubject], seeds: Sequence[int]
) -> list[np.ndarray]:
    """Returns the statistics [R, 3] of each subject's answers to its draw's random points."""
    count = context.plan.num_random_points
    points = random_point_sets(context.asker.datasets, subjects, seeds, count)
    return context.asker.ask_points(subjects, points)


def thresholds(context: Context, experiment: str, cases: Sequence[Threshold]) -> list[Row]:
    """Runs adversary 3: no shadow, no training.

    Returns:
      One row per case and statistic, in order.
    """
    if not cases:
        return []
    unique: dict[str, tuple[int, AnySubject]] = {}
    for case in cases:
        unique[_who(context, case.target)] = case.seed, case.target
    subjects = [subject for _, subject in unique.values()]
    answers = dict(zip(unique, context.asker.ask(subjects, top=1), strict=True))
    seeds = [seed for seed, _ in unique.values()]
    random = dict(zip(unique, random_statistics(context, subjects, seeds), strict=True))
    attacks = [(case, name) for case in cases for name in case.statistics]
    scores, cuts, truths = [], [], []
    for case, name in attacks:
        who, column = _who(context, case.target), STATISTICS.index(name)
        scores.append(answers[who].statistics[:, column])
        level = random_point_threshold(jnp.asarray(random[who][:, column]), case.percentile)
        cuts.append(float(level))
        truths.append(truth(case.target))
    found = judge(scores, truths, cuts, make_mesh(context.execution.num_devices))
    return [
        context.row(
            experiment,
            "adversary 3",
            case.seed,
            case.target,
            answers[_who(context, case.target)],
            {**case.variant, "statistic": name},
            row_fields(jax.tree.map(lambda leaf, at=i: leaf[at], found)) | {"threshold": cuts[i]},
        )
        for i, (case, name) in enumerate(attacks)
    ]
