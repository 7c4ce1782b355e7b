"""The baseline: several shadow models, one attack network per class on the whole posterior.

Shokri et al. 2017, sections V-B and V-C, as compared with in Salem et al. 2019, section IV-B.  Its attack
networks have a hidden layer whatever kind of attack model the plan has; all else is the plan's recipe.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jleaks.attacks.attack_models import AttackDataset, fit_networks
from jleaks.attacks.evaluate_cases import evaluate_own_rows, evaluate_scores
from jleaks.data.tasks import get_task
from jleaks.experiments.context import Context
from jleaks.experiments.subjects import Subject, truth
from jleaks.fingerprint import fingerprint
from jleaks.keys import Role, identity_key
from jleaks.metrics.case_metrics import row_fields
from jleaks.rows import Row
from jleaks.training.fleet import make_mesh, stack_key_data
from jleaks.training.reporter import collapse_line

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
    querier = context.querier
    subjects = {querier.name(s): s for case in cases for s in (case.target, *case.shadows)}
    answers = dict(zip(subjects, querier.query(list(subjects.values())), strict=True))
    task = get_task(cases[0].target.task)
    labels = querier.datasets(task.name).labels
    recipe = dataclasses.replace(context.plan.attack, model="mlp")
    datasets: dict[tuple[int, int], AttackDataset] = {}
    own_scores: dict[tuple[int, int], np.ndarray] = {}
    scores, places = [], []
    for i, case in enumerate(cases):
        shadows = [answers[querier.name(s)] for s in case.shadows]
        posteriors = np.concatenate([a.whole() for a in shadows])
        classes = np.concatenate([labels[s.rows] for s in case.shadows])
        member = np.concatenate([truth(s) for s in case.shadows])
        target = answers[querier.name(case.target)].whole()
        asked = labels[case.target.rows]
        scores.append(np.full(len(asked), _UNKNOWN, np.float32))
        places.append([np.flatnonzero(asked == k) for k in range(task.num_classes)])
        names = [querier.name(s) for s in case.shadows]
        for k in range(task.num_classes):
            at = classes == k
            if at.sum() < recipe.batch_size or len(set(member[at])) < 2:
                continue
            key_data = stack_key_data([identity_key(case.seed, task.name, Role.ATTACK, 1000 + k)])[
                0
            ]
            datasets[i, k] = AttackDataset(
                name=f"attack model of class {k} of {task.name}, seed {case.seed}",
                fingerprint=fingerprint("class", recipe, names, k, key_data, digits=24),
                key_data=key_data,
                features=posteriors[at],
                member=member[at],
                num_inputs=posteriors.shape[1],
                queries=[target[places[i][k]]],
            )
    found = fit_networks(recipe, context.querier.library.train, list(datasets.values()))
    for (i, k), (own, (answer,)) in zip(datasets, found, strict=True):
        scores[i][places[i][k]], own_scores[i, k] = answer, own
    truths = [truth(case.target) for case in cases]
    mesh = make_mesh(context.execution.num_devices)
    collapsed = _collapsed(context, experiment, datasets, own_scores)
    metrics = evaluate_scores(scores, truths, [0.0] * len(cases), mesh)
    rows = []
    for i, case in enumerate(cases):
        mine = [dataset for (j, _), dataset in datasets.items() if j == i]
        num_collapsed = sum(j == i for j, _ in collapsed)
        spent = sum(context.attack_seconds(dataset.fingerprint) or 0.0 for dataset in mine)
        rows.append(
            context.row(
                experiment,
                "shokri",
                case.seed,
                case.target,
                answers[querier.name(case.target)],
                {**case.variant},
                row_fields(jax.tree.map(lambda leaf, at=i: leaf[at], metrics))
                # With no network left that tells records apart, the class alone decides.
                | {"attack_model": recipe.model, "collapsed": num_collapsed == len(mine)}
                | {"collapsed_classes": num_collapsed, "attacked_classes": len(mine)}
                | context.shadow_fields(
                    case.shadows, [answers[querier.name(s)] for s in case.shadows]
                )
                | {"attack_seconds": spent},
            )
        )
    return rows


def _collapsed(
    context: Context,
    experiment: str,
    datasets: dict[tuple[int, int], AttackDataset],
    scores: dict[tuple[int, int], np.ndarray],
) -> list[tuple[int, int]]:
    """Returns case and class of every attack network that has collapsed, and tells of them."""
    if not datasets:
        return []
    truths = [dataset.member for dataset in datasets.values()]
    mesh = make_mesh(context.execution.num_devices)
    own = evaluate_own_rows([scores[key] for key in datasets], truths, mesh)
    found = [key for key, collapsed in zip(datasets, own.collapsed, strict=True) if collapsed]
    if found:
        names = [datasets[key].name for key in found]
        context.reporter.line(f"{experiment}: {collapse_line(names, len(datasets))}")
    return found
