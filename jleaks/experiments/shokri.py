"""The baseline: several shadow models, one attack network per class on the whole posterior.

Shokri et al. 2017, sections V-B and V-C, as compared with in Salem et al. 2019, section IV-B.  Its attack
networks have a hidden layer whatever kind of attack model the plan has; all else is the plan's recipe.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jleaks.attacks.attack_models import AttackDataset, fit_networks
from jleaks.attacks.evaluate_cases import evaluate_own_rows
from jleaks.data.tasks import get_task
from jleaks.experiments.case import Case
from jleaks.experiments.case_attacks import Answered, Attack
from jleaks.experiments.context import Job
from jleaks.experiments.subjects import truth
from jleaks.fingerprint import fingerprint
from jleaks.keys import Role, identity_key
from jleaks.training.fleet import make_mesh, stack_key_data
from jleaks.training.recipe import Recipe
from jleaks.training.reporter import collapse_line

# The score of a record of a class from which no attack network could learn: "non-member".
_UNKNOWN = -1.0


def by_class(
    job: Job[Any], cases: Sequence[Case], answered: Answered, label: str
) -> list[list[Attack]]:
    """Scores by class; the attack networks of all cases are trained in few fleets.

    A class of which the shadows have less than a batch of rows, or rows of one side only, has no
    attack network: its records are called non-members.

    Args:
      job: The run.
      cases: Of one task, so that their networks have equally many inputs.
      answered: What targets and shadows answered.
      label: Starts the line that tells of attack networks that have collapsed.
    """
    recipe = dataclasses.replace(job.plan.attack, model="mlp")
    datasets: dict[tuple[int, int], AttackDataset] = {}
    own_scores: dict[tuple[int, int], np.ndarray] = {}
    scores, places = [], []
    for i, case in enumerate(cases):
        own = _datasets(job, case, answered, recipe)
        datasets |= {(i, k): dataset for k, (dataset, _) in own.items()}
        scores.append(np.full(len(case.target.rows), _UNKNOWN, np.float32))
        places.append({k: place for k, (_, place) in own.items()})
    found = fit_networks(recipe, job.querier.library.train, list(datasets.values()))
    for (i, k), (own_rows, (answer,)) in zip(datasets, found, strict=True):
        scores[i][places[i][k]], own_scores[i, k] = answer, own_rows
    collapsed = _collapsed(job, label, datasets, own_scores)
    attacks = []
    for i, case in enumerate(cases):
        mine = [dataset for (j, _), dataset in datasets.items() if j == i]
        num_collapsed = sum(j == i for j, _ in collapsed)
        attack = Attack(
            case=case,
            target=answered.target(job, case),
            shadows=answered.shadows(job, case),
            scores=scores[i],
            threshold=0.0,
            learned=tuple(dataset.fingerprint for dataset in mine),
            fields={
                "attack_model": recipe.model,
                # With no network left that tells records apart, the class alone decides.
                "collapsed": num_collapsed == len(mine),
                "collapsed_classes": num_collapsed,
                "attacked_classes": len(mine),
                "attack_seconds": sum(job.attack_seconds(d.fingerprint) or 0.0 for d in mine),
            },
        )
        attacks.append([attack])
    return attacks


def _datasets(
    job: Job[Any], case: Case, answered: Answered, recipe: Recipe
) -> dict[int, tuple[AttackDataset, np.ndarray]]:
    """Returns, of each class that has one, what its network learns from, and its records' positions."""
    task = get_task(case.target.task)
    labels = job.querier.datasets(task.name).labels
    posteriors = np.concatenate([a.whole() for a in answered.shadows(job, case)])
    classes = np.concatenate([labels[s.rows] for s in case.shadows])
    member = np.concatenate([truth(s) for s in case.shadows])
    target, asked = answered.target(job, case).whole(), labels[case.target.rows]
    names = [job.querier.identity(s) for s in case.shadows]
    found = {}
    for k in range(task.num_classes):
        at, place = classes == k, np.flatnonzero(asked == k)
        if at.sum() < recipe.batch_size or len(set(member[at])) < 2:
            continue
        key_data = stack_key_data([identity_key(case.seed, task.name, Role.ATTACK, 1000 + k)])[0]
        dataset = AttackDataset(
            name=f"attack model of class {k} of {task.name}, seed {case.seed}",
            fingerprint=fingerprint("class", recipe, names, k, key_data, digits=24),
            key_data=key_data,
            features=posteriors[at],
            member=member[at],
            num_inputs=posteriors.shape[1],
            queries=[target[place]],
        )
        found[k] = dataset, place
    return found


def _collapsed(
    job: Job[Any],
    label: str,
    datasets: dict[tuple[int, int], AttackDataset],
    scores: dict[tuple[int, int], np.ndarray],
) -> list[tuple[int, int]]:
    """Returns case and class of every attack network that has collapsed, and tells of them."""
    if not datasets:
        return []
    truths = [dataset.member for dataset in datasets.values()]
    mesh = make_mesh(job.execution.num_devices)
    own = evaluate_own_rows([scores[key] for key in datasets], truths, mesh)
    found = [key for key, collapsed in zip(datasets, own.collapsed, strict=True) if collapsed]
    if found:
        names = [datasets[key].name for key in found]
        job.reporter.line(f"{label}{collapse_line(names, len(datasets))}")
    return found
