"""Attacks on subjects: lists of cases in, scores and rows out.

A case says who attacks whom with what; everything that several cases need (a model, its answers, an
attack model) is made once.  Attack models of a kind are trained as one fleet and kept in the library; all
attacks are evaluated in one compiled call.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jleaks.attacks.attack_models import AttackDataset, fit_attack_models
from jleaks.attacks.evaluate_cases import evaluate_own_rows, evaluate_scores
from jleaks.attacks.signals import STATISTICS
from jleaks.attacks.threshold import random_point_threshold
from jleaks.data.tasks import get_task
from jleaks.experiments.answers import Answers, random_point_sets
from jleaks.experiments.context import Context, Job, P
from jleaks.experiments.subjects import AnySubject, Subject, truth
from jleaks.fingerprint import fingerprint
from jleaks.keys import Role, identity_key
from jleaks.metrics.case_metrics import row_fields
from jleaks.models.forest import ForestRecipe
from jleaks.rows import Row
from jleaks.training.fleet import make_mesh, stack_key_data
from jleaks.training.recipe import Recipe
from jleaks.training.reporter import collapse_line

Access = Literal["direct", "http"]
AttackModel = Literal["mlp", "logistic"] | ForestRecipe


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


@dataclasses.dataclass(frozen=True, eq=False)
class Threshold:
    """Adversary 3 on one target: no shadow, no training; one attack for each statistic.

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


AnyCase = Case | Threshold


@dataclasses.dataclass(frozen=True, eq=False)
class Answered:
    """What the subjects of some cases answered; a key's first part is a subject's identity.

    Attributes:
      rows: By identity and access, about members, then others.
      random: By identity, the statistics [R, 3] of the answers to random points.
    """

    rows: dict[tuple[str, Access], Answers] = dataclasses.field(default_factory=dict)
    random: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class Attack:
    """One attack with its scores of the target's records.

    Attributes:
      case: Who attacks whom.
      target: What the target answered.
      shadows: What each shadow answered.
      scores: [n + m] of members, then others; larger means likelier a member.
      threshold: From which score a record is called a member.
      cut: The same as the attack model's own rows choose it (see `metrics.OwnRows`); NaN for adversary 3.
      collapsed: Whether the attack model has (see `metrics.OwnRows`); None for adversary 3.
      model: The kind of attack model; None for adversary 3.
      learned: Fingerprint of the attack model; None for adversary 3.
      statistic: Of adversary 3; None for the others.
    """

    case: AnyCase
    target: Answers
    shadows: tuple[Answers, ...]
    scores: np.ndarray
    threshold: float
    cut: float = math.nan
    collapsed: bool | None = None
    model: str | None = None
    learned: str | None = None
    statistic: str | None = None


def attacked(context: Context, experiment: str, cases: Sequence[AnyCase]) -> list[Row]:
    """Runs attacks of any kind.

    Returns:
      One row per attack, in the order of the cases.
    """
    if not cases:
        return []
    attacks = scored(context, cases, ask(context, cases), f"{experiment}: ")
    return [
        _row(context, experiment, attack, fields)
        for attack, fields in zip(attacks, evaluated(context, attacks), strict=True)
    ]


def ask(job: Job[P], cases: Sequence[AnyCase]) -> Answered:
    """Asks every target and shadow about its own members and others, and adversary 3's about random points.

    Each is asked once; whatever is not trained yet is trained.  Tells of shadows that were trained as their
    targets and ended at a very different loss.
    """
    subjects: dict[tuple[str, Access], AnySubject] = {}
    learned = [case for case in cases if isinstance(case, Case)]
    unaided = {_who(job, case): case for case in cases if isinstance(case, Threshold)}
    for case in cases:
        if isinstance(case, Threshold):
            subjects[_who(job, case), "direct"] = case.target
            continue
        subjects[_who(job, case), case.access] = case.target
        for shadow in case.shadows:
            subjects[job.querier.identity(shadow), case.shadow_access] = shadow
    most = max((case.width for case in learned), default=1)
    whole = any(case.top == 0 for case in learned)
    direct = [key for key in subjects if key[1] == "direct"]
    asked = job.querier.query([subjects[key] for key in direct], top=None if whole else most)
    answers = dict(zip(direct, asked, strict=True))
    if over_http := [key for key in subjects if key[1] == "http"]:
        remote = job.ask_over_http([subjects[key] for key in over_http])
        answers |= zip(over_http, remote, strict=True)
    for case in learned:
        job.compare_losses(
            case.target,
            answers[_who(job, case), case.access],
            case.shadows,
            [answers[job.querier.identity(s), case.shadow_access] for s in case.shadows],
        )
    for key, subject in subjects.items():
        if isinstance(subject, Subject) and subject.null_order is not None:
            answers[key] = answers[key].reordered(subject.null_order)
    targets = [case.target for case in unaided.values()]
    random = random_statistics(job, targets, [case.seed for case in unaided.values()])
    return Answered(answers, dict(zip(unaided, random, strict=True)))


def _who(job: Job[P], case: AnyCase) -> str:
    return job.querier.identity(case.target)


def scored(
    job: Job[P], cases: Sequence[AnyCase], answered: Answered, label: str = ""
) -> list[Attack]:
    """Scores the targets' records; attack models are trained, all of a kind as one fleet.

    Args:
      job: The run.
      cases: The attacks.
      answered: What all their targets and shadows answered.
      label: Starts the line that tells of attack models that have collapsed.

    Returns:
      One attack per case of adversaries 1 and 2, one per statistic of adversary 3's, in order.
    """
    learned = iter(_learned(job, [c for c in cases if isinstance(c, Case)], answered, label))
    found: list[Attack] = []
    for case in cases:
        found += [next(learned)] if isinstance(case, Case) else _thresholded(job, case, answered)
    return found


def evaluated(job: Job[P], attacks: Sequence[Attack]) -> list[dict[str, Any]]:
    """Computes the metrics of all attacks in one compiled call, as row fields."""
    if not attacks:
        return []
    found = evaluate_scores(
        [attack.scores for attack in attacks],
        [truth(attack.case.target) for attack in attacks],
        [attack.threshold for attack in attacks],
        make_mesh(job.execution.num_devices),
        [attack.cut for attack in attacks],
    )

    def one(at: int) -> dict[str, Any]:
        return row_fields(jax.tree.map(lambda leaf: leaf[at], found))

    return [one(at) for at in range(len(attacks))]


def _learned(job: Job[P], cases: Sequence[Case], answered: Answered, label: str) -> list[Attack]:
    """Adversaries 1 and 2: attack models trained on shadows' largest posteriors."""
    if not cases:
        return []
    datasets: dict[Any, tuple[Recipe | ForestRecipe, AttackDataset]] = {}
    at: list[tuple[Any, int]] = []
    asked: dict[Any, int] = {}
    largest: dict[Any, np.ndarray] = {}
    for case in cases:
        model = case.model or job.plan.attack.model
        key = (
            kind_of(model),
            case.width,
            case.num_inputs,
            case.shadow_access,
            tuple(job.querier.identity(s) for s in case.shadows),
        )
        if key not in datasets:
            recipe = (
                model
                if isinstance(model, ForestRecipe)
                else dataclasses.replace(job.plan.attack, model=model)
            )
            datasets[key] = recipe, _dataset(job, case, _of_shadows(job, case, answered), key)
        dataset, target = datasets[key][1], (_who(job, case), case.access)
        if (key, target) not in asked:
            asked[key, target] = len(dataset.queries)
            if (target, case.width) not in largest:
                largest[target, case.width] = answered.rows[target].largest(case.width)
            dataset.queries.append(largest[target, case.width])
        at.append((key, asked[key, target]))
    fitted = fit_attack_models(job.querier.library.train, list(datasets.values()))
    scores = dict(zip(datasets, fitted, strict=True))
    own = evaluate_own_rows(
        [one[0] for one in scores.values()],
        [dataset.member for _, dataset in datasets.values()],
        make_mesh(job.execution.num_devices),
    )
    models = {key: i for i, key in enumerate(datasets)}
    if own.collapsed.any():
        names = [dataset.name for _, dataset in datasets.values()]
        collapsed = [names[i] for i in np.flatnonzero(own.collapsed)]
        job.reporter.line(f"{label}{collapse_line(collapsed, len(names))}")
    return [
        Attack(
            case=case,
            target=answered.rows[_who(job, case), case.access],
            shadows=_of_shadows(job, case, answered),
            scores=scores[key][1][query],
            threshold=0.0,
            cut=float(own.cut[models[key]]),
            collapsed=bool(own.collapsed[models[key]]),
            model=key[0],
            learned=datasets[key][1].fingerprint,
        )
        for case, (key, query) in zip(cases, at, strict=True)
    ]


def kind_of(model: str | ForestRecipe) -> str:
    """Returns what rows call a kind of attack model."""
    return "forest" if isinstance(model, ForestRecipe) else model


def _of_shadows(job: Job[P], case: Case, answered: Answered) -> tuple[Answers, ...]:
    return tuple(answered.rows[job.querier.identity(s), case.shadow_access] for s in case.shadows)


def _dataset(job: Job[P], case: Case, shadows: Sequence[Answers], key: Any) -> AttackDataset:
    task, width = case.shadows[0].task, case.width
    key_data = stack_key_data([identity_key(case.seed, task, Role.ATTACK, width)])[0]
    return AttackDataset(
        name=f"attack model of {task}, seed {case.seed}, top {width}",
        fingerprint=fingerprint("attack model", job.plan.attack, list(key), key_data, digits=24),
        key_data=key_data,
        features=np.concatenate([a.largest(width) for a in shadows]),
        member=np.concatenate([truth(s) for s in case.shadows]),
        num_inputs=case.num_inputs,
    )


def _thresholded(job: Job[P], case: Threshold, answered: Answered) -> list[Attack]:
    """Adversary 3 with each statistic."""
    who, found = _who(job, case), []
    for name in case.statistics:
        column = STATISTICS.index(name)
        random = jnp.asarray(answered.random[who][:, column])
        target = answered.rows[who, "direct"]
        found.append(
            Attack(
                case=case,
                target=target,
                shadows=(),
                scores=target.statistics[:, column],
                threshold=float(random_point_threshold(random, case.percentile)),
                statistic=name,
            )
        )
    return found


def unaided(job: Job[P], targets: Sequence[tuple[int, AnySubject]], **fields: Any) -> list[AnyCase]:
    """Adversary 3 on some targets, at the plan's percentile."""
    percentile = job.plan.percentile
    return [Threshold(seed, target, percentile=percentile, **fields) for seed, target in targets]


def random_statistics(
    job: Job[P], subjects: Sequence[AnySubject], seeds: Sequence[int]
) -> list[np.ndarray]:
    """Returns the statistics [R, 3] of each subject's answers to its draw's random points."""
    count = job.plan.num_random_points
    points = random_point_sets(job.querier.datasets, subjects, seeds, count)
    return job.querier.query_points(subjects, points)


def _row(context: Context, experiment: str, attack: Attack, fields: dict[str, Any]) -> Row:
    case = attack.case
    if isinstance(case, Case):
        name, variant = case.attack, {**case.variant}
        assert attack.learned is not None
        fields |= {
            "attack_model": attack.model,
            "top": case.width,
            "collapsed": attack.collapsed,
            **context.shadow_fields(case.shadows, attack.shadows),
            "attack_seconds": context.attack_seconds(attack.learned),
        }
    else:
        name, variant = "adversary 3", {**case.variant}
        fields |= {"attack": attack.statistic, "threshold": attack.threshold}
    return context.row(experiment, name, case.seed, case.target, attack.target, variant, fields)
