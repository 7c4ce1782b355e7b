"""Attacks on subjects: lists of cases in, scores and rows out.

A case says who attacks whom with what; everything that several cases need (a model, its answers, an
attack model) is made once.  Attack models of a kind are trained as one fleet and kept in the library; all
attacks are evaluated in one compiled call.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, get_args

import jax
import numpy as np

from jleaks.attacks.evaluate_cases import evaluate_scores
from jleaks.attacks.signals import STATISTICS
from jleaks.errors import InputError
from jleaks.experiments.adversaries import by_attack_models, by_random_points
from jleaks.experiments.case import Access, Case
from jleaks.experiments.case_attacks import CASE_ATTACKS, Answered, Attack, CaseAttack
from jleaks.experiments.context import Context, Job, P
from jleaks.experiments.querier import random_point_sets
from jleaks.experiments.shokri import by_class
from jleaks.experiments.subjects import AnySubject, Composed, Subject, truth
from jleaks.metrics.case_metrics import row_fields
from jleaks.rows import Row
from jleaks.training.fleet import make_mesh
from jleaks.training.recipe import Recipe

for _attack in (
    CaseAttack("adversary 1", "Adversary 1", by_attack_models, "own task"),
    CaseAttack("adversary 2", "Adversary 2", by_attack_models, "other task"),
    CaseAttack("adversary 3", "Adversary 3", by_random_points, random_points=True),
    CaseAttack(*("shokri", "Shokri et al.", by_class, "own task"), labels=True, posteriors="all"),
):
    CASE_ATTACKS.register(_attack.name, _attack)


def attacked(
    context: Context, experiment: str, cases: Iterable[Case], by_task: bool = False
) -> list[Row]:
    """Runs attacks of any kind.

    Args:
      context: The run.
      experiment: Name in rows.
      cases: Who attacks whom.
      by_task: Whether targets of one task are attacked after those of another, so that the answers of one
        task's models alone are in memory; attacks that look at all posteriors always are.

    Returns:
      One row per attack, in the order of the cases.
    """
    filled = complete(context, cases)
    rounds: dict[Any, list[int]] = {}
    for i, case in enumerate(filled):
        whole = CASE_ATTACKS[case.attack].posteriors == "all"
        rounds.setdefault((whole, (whole or by_task) and case.target.task), []).append(i)
    rows: list[list[Row]] = [[] for _ in filled]
    for at in rounds.values():
        chosen = [filled[i] for i in at]
        attacks = scored(context, chosen, ask(context, chosen), f"{experiment}: ")
        places = {id(case): i for case, i in zip(chosen, at, strict=True)}
        for attack, fields in zip(attacks, evaluated(context, attacks), strict=True):
            row = _row(context, experiment, attack, fields)
            rows[places[id(attack.case)]].append(row)
    return list(itertools.chain(*rows))


def complete(job: Job[P], cases: Iterable[Case]) -> list[Case]:
    """Fills in what cases leave to the plan.

    Raises:
      InputError: a case lacks what its attack needs, or has what it cannot use.
    """
    found: list[Case] = []
    places: set[Any] = set()
    for case in cases:
        if not isinstance(case, Case):
            raise InputError(f"an experiment gave {case!r:.60} for a case, expected a Case")
        what = f"case of {case.attack} on {getattr(case.target, 'name', case.target)}"
        if problem := _problem(case, CASE_ATTACKS.find(case.attack)):
            raise InputError(f"{what}: {problem}")
        tasks = tuple(shadow.task for shadow in case.shadows)
        place = case.attack, case.target.task, case.seed, tasks[:1], _shown(case), case.statistics
        if place in places:
            raise InputError(
                f"{what}: there are two where {dict(_shown(case)) or 'nothing'} varies; say in varies "
                "what tells them apart"
            )
        places.add(place)
        found.append(
            dataclasses.replace(
                case,
                top=job.plan.top if case.top is None else case.top,
                percentile=job.plan.percentile if case.percentile is None else case.percentile,
                statistics=case.statistics or STATISTICS,
                shadows=tuple(case.shadows),
                varies=dict(_shown(case)),
            )
        )
    return found


def _shown(case: Case) -> tuple[tuple[str, Any], ...]:
    """Returns what varies as rows hold it: NumPy's numbers as Python's."""
    return tuple(
        (name, value.item() if isinstance(value, np.generic) else value)
        for name, value in case.varies.items()
    )


def _problem(case: Case, attack: CaseAttack) -> str:
    """Returns what is wrong with a case, or ""."""
    asked = [(case.target, case.access), *((s, case.shadow_access) for s in case.shadows)]
    for subject, access in asked:
        if not isinstance(subject, (Subject, Composed)):
            return f"{subject!r:.60} is neither a target nor a shadow"
        if access == "http" and not isinstance(getattr(subject, "recipe", None), Recipe):
            return f"the {subject.name} is not a network; only networks are served"
    for name, value in _shown(case):
        if not isinstance(value, str | int | float | None):
            return f"{name} varies by {value!r:.60}, expected a number or a text"
    for name, access in (("access", case.access), ("shadow_access", case.shadow_access)):
        if access not in get_args(Access):
            return f"{name} is {access}, expected one of {', '.join(get_args(Access))}"
    if unknown := set(case.statistics) - set(STATISTICS):
        return f"statistics are {', '.join(unknown)}, expected some of {', '.join(STATISTICS)}"
    tasks = {shadow.task for shadow in case.shadows}
    if attack.shadows == "none":
        return f"it has {len(case.shadows)} shadows, expected none" if case.shadows else ""
    own = attack.shadows == "own task"
    if not tasks or (tasks == {case.target.task}) != own or len(tasks) > 1:
        expected = f"{case.target.task}" if own else f"one task other than {case.target.task}"
        return f"its shadows are of {', '.join(sorted(tasks)) or 'no task'}, expected some of {expected}"
    return ""


def ask(job: Job[P], cases: Sequence[Case]) -> Answered:
    """Asks every target and shadow about its own members and others, and some about random points.

    Each is asked once; whatever is not trained yet is trained.  Tells of shadows that were trained as their
    targets and ended at a very different loss.
    """
    subjects: dict[tuple[str, Access], AnySubject] = {}
    identity = job.querier.identity
    with_points: dict[str, Case] = {}
    for case in cases:
        subjects[identity(case.target), case.access] = case.target
        for shadow in case.shadows:
            subjects[identity(shadow), case.shadow_access] = shadow
        if CASE_ATTACKS[case.attack].random_points:
            with_points[identity(case.target)] = case
    learned = [case for case in cases if case.shadows]
    most = max((case.width for case in learned), default=1)
    whole = any(case.top == 0 for case in learned) or any(
        CASE_ATTACKS[case.attack].posteriors == "all" for case in cases
    )
    direct = [key for key in subjects if key[1] == "direct"]
    asked = job.querier.query([subjects[key] for key in direct], top=None if whole else most)
    answers = dict(zip(direct, asked, strict=True))
    if over_http := [key for key in subjects if key[1] == "http"]:
        remote = job.ask_over_http([subjects[key] for key in over_http])
        answers |= zip(over_http, remote, strict=True)
    found = Answered(answers)
    for case in learned:
        shadows = found.shadows(job, case)
        job.compare_losses(case.target, found.target(job, case), case.shadows, shadows)
    for key, subject in subjects.items():
        if subject.null_order is not None:
            answers[key] = answers[key].reordered(subject.null_order)
    random = random_statistics(job, [case.target for case in with_points.values()])
    return Answered(answers, dict(zip(with_points, random, strict=True)))


def scored(job: Job[P], cases: Sequence[Case], answered: Answered, label: str = "") -> list[Attack]:
    """Scores the targets' records; attack models are trained, all of a kind as one fleet.

    Args:
      job: The run.
      cases: The attacks, complete.
      answered: What all their targets and shadows answered.
      label: Starts the line that tells of attack models that have collapsed.

    Returns:
      The attacks of each case, in order.
    """
    found: dict[int, list[Attack]] = {}
    for score in dict.fromkeys(CASE_ATTACKS[case.attack].score for case in cases):
        at = [i for i, case in enumerate(cases) if CASE_ATTACKS[case.attack].score is score]
        found |= zip(at, score(job, [cases[i] for i in at], answered, label), strict=True)
    return [attack for i in range(len(cases)) for attack in found[i]]


def evaluated(job: Job[P], attacks: Sequence[Attack]) -> list[dict[str, Any]]:
    """Computes the metrics of all attacks in one compiled call, as row fields.

    Those of attacks that rest on a model that diverged are None, and its name is among the fields.
    """
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
        fields = row_fields(jax.tree.map(lambda leaf: leaf[at], found))
        if diverged := attacks[at].diverged(job):
            return {**dict.fromkeys(fields), "collapsed": None, "diverged": diverged}
        return fields

    return [one(at) for at in range(len(attacks))]


def random_statistics(job: Job[P], subjects: Sequence[AnySubject]) -> list[np.ndarray]:
    """Returns the statistics [R, 3] of each subject's answers to its draw's random points."""
    count, seeds = job.plan.num_random_points, [subject.seed for subject in subjects]
    points = random_point_sets(job.querier.datasets, subjects, seeds, count)
    return job.querier.query_points(subjects, points)


def _row(context: Context, experiment: str, attack: Attack, fields: dict[str, Any]) -> Row:
    case = attack.case
    known = context.shadow_fields(case.shadows, attack.shadows) if case.shadows else {}
    return context.row(
        experiment,
        case.attack,
        case.seed,
        case.target,
        attack.target,
        {**case.varies, **attack.varies},
        attack.fields | fields | known,
    )
