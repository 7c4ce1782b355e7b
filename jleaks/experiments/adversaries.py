"""How the paper's three adversaries score a target's records (Salem et al. 2019, sections IV to VI).

Adversaries 1 and 2 learn an attack model from shadows' largest posteriors, of the target's task and of
another; adversary 3 has no shadow, and a threshold from random points.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jleaks.attacks.attack_models import AttackDataset, fit_attack_models
from jleaks.attacks.evaluate_cases import evaluate_own_rows
from jleaks.attacks.signals import STATISTICS
from jleaks.attacks.threshold import random_point_threshold
from jleaks.experiments.answers import Answers
from jleaks.experiments.case import Case
from jleaks.experiments.case_attacks import Answered, Attack
from jleaks.experiments.context import Job
from jleaks.experiments.subjects import truth
from jleaks.fingerprint import fingerprint
from jleaks.keys import Role, identity_key
from jleaks.models.forest import ForestRecipe
from jleaks.training.fleet import make_mesh, stack_key_data
from jleaks.training.recipe import Recipe
from jleaks.training.reporter import collapse_line


def by_attack_models(
    job: Job[Any], cases: Sequence[Case], answered: Answered, label: str
) -> list[list[Attack]]:
    """Adversaries 1 and 2: attack models of shadows' largest posteriors, all of a kind as one fleet."""
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
            datasets[key] = recipe, _dataset(job, case, answered.shadows(job, case), key)
        dataset, target = datasets[key][1], (job.querier.identity(case.target), case.access)
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
    found = []
    for case, (key, query) in zip(cases, at, strict=True):
        learned = datasets[key][1].fingerprint
        attack = Attack(
            case=case,
            target=answered.target(job, case),
            shadows=answered.shadows(job, case),
            scores=scores[key][1][query],
            threshold=0.0,
            cut=float(own.cut[models[key]]),
            learned=(learned,),
            fields={
                "attack_model": key[0],
                "top": case.width,
                "collapsed": bool(own.collapsed[models[key]]),
                "attack_seconds": job.attack_seconds(learned),
            },
        )
        found.append([attack])
    return found


def kind_of(model: str | ForestRecipe) -> str:
    """Returns what rows call a kind of attack model."""
    return "forest" if isinstance(model, ForestRecipe) else model


def _dataset(job: Job[Any], case: Case, shadows: Sequence[Answers], key: Any) -> AttackDataset:
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


def by_random_points(
    job: Job[Any], cases: Sequence[Case], answered: Answered, _: str
) -> list[list[Attack]]:
    """Adversary 3: statistics of the posteriors against those of random points, one attack each."""
    return [[_statistic(job, case, answered, name) for name in case.statistics] for case in cases]


def _statistic(job: Job[Any], case: Case, answered: Answered, name: str) -> Attack:
    column, target = STATISTICS.index(name), answered.target(job, case)
    random = jnp.asarray(answered.random[job.querier.identity(case.target)][:, column])
    assert case.percentile is not None
    threshold = float(random_point_threshold(random, case.percentile))
    return Attack(
        case=case,
        target=target,
        shadows=(),
        scores=target.statistics[:, column],
        threshold=threshold,
        fields={"attack": name, "threshold": threshold},
    )
