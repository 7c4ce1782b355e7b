"""The main job: targets and shadows of many tasks and seeds, and the three adversaries.

It is the paper's experiments E10 and E13: adversary 1 is the diagonal of the transfer matrix, and adversary
3 has each statistic.
"""

import dataclasses
import itertools
import math
import os
import time
from typing import Any, cast

import jax
import numpy as np

from jleaks.activity import doing
from jleaks.data.origin import num_records, record_shape
from jleaks.data.splits import null_orders
from jleaks.data.tasks import get_task
from jleaks.experiments.answers import Answers
from jleaks.experiments.case import Case
from jleaks.experiments.case_attacks import CASE_ATTACKS, Answered, Attack
from jleaks.experiments.cases import ask, complete, evaluated, scored
from jleaks.experiments.context import Job, model_kind
from jleaks.experiments.engine import checked, opened, reread
from jleaks.experiments.plan import Plan
from jleaks.experiments.subjects import AnySubject, guarantee
from jleaks.experiments.workdir import Workdir
from jleaks.metrics.case_metrics import number
from jleaks.rows import ATTACK_MODEL, Row, read_rows, write_rows
from jleaks.training import packing, processes
from jleaks.training.cost import measure
from jleaks.training.execution import Execution
from jleaks.training.reporter import Reporter

# The target and the shadow of every seed of a task.
_Draws = list[tuple[AnySubject, AnySubject]]


def run(
    plan: Plan,
    execution: Execution,
    workdir: str | os.PathLike[str],
    data_dir: str | None = None,
    reporter: Reporter | None = None,
) -> list[Row]:
    """Runs the main job, or continues it, or reads its results if it has finished.

    Args:
      plan: What defines the numbers.
      execution: What defines only the speed.
      workdir: Directory of this run (see `jleaks.experiments.workdir`).
      data_dir: Where prepared datasets are; needed unless the plan is synthetic.
      reporter: Where to tell what is going on.

    Returns:
      One row per attack, target and seed.

    Raises:
      InputError: anything about the input, before any long work.
      Preempted: a stop signal arrived; the same call continues.
      DivergedError: a model's loss was not finite.
    """
    reporter = checked(plan, execution, reporter)
    outcome = Workdir(workdir, plan).outcome("rows.jsonl")
    told = f"finished before: reading {outcome.path}"
    found = processes.first(lambda: reread(outcome, read_rows, lambda rows: rows, reporter, told))
    if found is not None:
        return found
    # Tasks are asked one after another.
    with opened(plan, execution, workdir, data_dir, reporter=reporter, num_datasets=1) as job:
        reporter.expect(_work(plan, execution, data_dir))
        rows = _rows(job)
    if processes.is_first():
        with outcome.writing() as path:
            write_rows(path, rows)
    return processes.first(lambda: rows)


def _work(plan: Plan, execution: Execution, data_dir: str | None) -> dict[str, float]:
    """Returns the FLOPs of training each task's targets and shadows; defended ones are not counted."""
    if plan.defence is not None:
        return {}
    found = {}
    for name in plan.tasks:
        task = get_task(name)
        recipe = plan.recipe(task)
        learner = packing.make_learner(recipe, task.encoding, task.num_classes, execution)
        shape = (1, *record_shape(name, plan.source, data_dir))
        like = jax.ShapeDtypeStruct(shape, task.feature_dtype)
        count = plan.quarter(task, plan.size(task, num_records(name, plan.source, data_dir)))
        cost = measure(learner, like, count)
        found[name] = cost.flops_per_epoch * recipe.epochs * 2 * plan.num_seeds(name)
    return found


def _rows(job: Job[Plan]) -> list[Row]:
    """Trains, asks and attacks everything."""
    plan, library = job.plan, job.querier.library
    draws: dict[str, _Draws] = {}
    answered, about = Answered(), {}
    for at, task in enumerate(plan.tasks, 1):
        draws[task] = _draws(job, task)
        with doing(f"task {at} of {len(plan.tasks)}"):
            found, about[task] = _asked(job, task, draws[task])
        answered.rows.update(found.rows)
        answered.random.update(found.random)
    attacks = scored(job, complete(job, _cases(job, draws)), answered)
    learned = {name for attack in attacks for name in attack.learned}
    stages = {"attack models": sum((library.cost(name).wall_seconds for name in learned), 0.0)}
    tick = time.monotonic()
    metrics = evaluated(job, attacks)
    stages["evaluation"] = time.monotonic() - tick
    job.reporter.line(
        f"{len(attacks)} attacks evaluated in one compiled call, {stages['evaluation']:.1f} s"
    )
    return [
        _row(job, attack, fields, about[attack.case.target.task], stages)
        for attack, fields in zip(attacks, metrics, strict=True)
    ]


def _draws(job: Job[Plan], task: str) -> _Draws:
    """Lays out target and shadow of every seed; in the null check a coin says who is a member."""
    found = []
    for seed in range(job.plan.num_seeds(task)):
        pair = job.target(task, seed), job.shadow(task, seed)
        if job.plan.membership == "shuffled":
            target, shadow = null_orders(task, seed, len(pair[0].rows))
            pair = (
                dataclasses.replace(pair[0], null_order=target),
                dataclasses.replace(pair[1], null_order=shadow),
            )
        found.append(pair)
    return found


def _asked(job: Job[Plan], task: str, draws: _Draws) -> tuple[Answered, dict[str, Any]]:
    """Trains and asks the targets and shadows of all seeds of one task, one fleet.

    Returns:
      What they answered; and of the task's rows the fields that tell of its data, and seconds.
    """
    library, tick = job.querier.library, time.monotonic()
    data = job.querier.datasets(task)
    seconds = {"load": time.monotonic() - tick}
    tick, trained, before = time.monotonic(), library.num_trained, library.seconds_trained
    # Whatever attacks them, targets and shadows are asked about their records.
    cases = [Case("adversary 1", target, (shadow,)) for target, shadow in draws]
    if "none" in _adversaries(job):
        cases += [Case(_adversaries(job)["none"], target) for target, _ in draws]
    answered = ask(job, complete(job, cases))
    asking = time.monotonic() - tick - (library.seconds_trained - before)
    models = list(itertools.chain(*draws))
    seconds |= {"training": job.querier.cost(models).wall_seconds, "query": asking}
    targets = [(t, answered.rows[job.querier.identity(t), "direct"]) for t, _ in draws]
    accuracy = [_accuracy(*pair) for pair in targets if not pair[1].diverged]
    members, others = np.mean(accuracy or [(math.nan, math.nan)], 0)
    count = library.num_trained - trained
    job.reporter.line(
        f"{task}: {len(models)} models of {len(models[0].members)} records, "
        f"{count or 'none'} of them trained now; "
        f"targets' accuracy {members:.3f} on members, {others:.3f} on non-members"
    )
    return answered, {
        "source": data.source,
        "num_records": data.num_records,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
    }


def _adversaries(job: Job[Plan]) -> dict[str, str]:
    """Returns the names of the plan's adversaries by the shadows that each needs."""
    names = [f"adversary {number}" for number in job.plan.adversaries]
    return {CASE_ATTACKS[name].shadows: name for name in names}


def _cases(job: Job[Plan], draws: dict[str, _Draws]) -> list[Case]:
    """Every shadow task against every target task for the seeds that both have; then targets alone."""
    cases: list[Case] = []
    adversaries = _adversaries(job)
    for shadow, target in itertools.product(draws, repeat=2):
        attack = adversaries.get("own task" if shadow == target else "other task")
        if attack is not None:
            pairs = zip(draws[target], draws[shadow], strict=False)
            cases += [Case(attack, attacked, (model,)) for (attacked, _), (_, model) in pairs]
    if "none" in adversaries:
        targets = [target for pairs in draws.values() for target, _ in pairs]
        cases += [Case(adversaries["none"], target) for target in targets]
    return cases


def _accuracy(subject: AnySubject, answers: Answers) -> tuple[float, float]:
    return answers.accuracy(len(subject.members))


def _row(
    job: Job[Plan],
    attack: Attack,
    metrics: dict[str, Any],
    about: dict[str, Any],
    stages: dict[str, float],
) -> Row:
    case = attack.case
    target, task = case.target, get_task(case.target.task)
    train, test = _accuracy(target, attack.target)
    shadow_train = shadow_test = shadow_loss = shadow = None
    if case.shadows:
        (shadow,), (answers,) = case.shadows, attack.shadows
        shadow_train, shadow_test = map(number, answers.accuracy(len(shadow.members)))
        shadow_loss = number(answers.losses[: len(shadow.members)].mean())
    fields = {
        "task": task.name,
        "shadow_task": None if shadow is None else shadow.task,
        "seed": case.seed,
        "source": about["source"],
        "collapsed": attack.fields.get("collapsed"),
        **metrics,
        "train_accuracy": number(train),
        "test_accuracy": number(test),
        "train_loss": number(attack.target.losses[: len(target.members)].mean()),
        "shadow_train_accuracy": shadow_train,
        "shadow_test_accuracy": shadow_test,
        "shadow_train_loss": shadow_loss,
        "num_members": len(target.members),
        "num_nonmembers": len(target.others),
        "num_records": about["num_records"],
        "num_classes": task.num_classes,
        "epochs": job.plan.target.epochs,
        "model": model_kind(target),
        "seconds": {**about["seconds"], **stages},
        "adversary": int(case.attack[-1]),
        "attack": attack.fields.get("attack", ATTACK_MODEL),
        # Of an attack model the posterior of "member", not the logit.
        "threshold": number(attack.fields.get("threshold", 0.5)),
        **job.about,
    }
    if job.plan.defence is not None:
        fields |= {"defence": job.plan.defence, "attacker": job.plan.attacker}
        fields |= guarantee(target)
    return cast("Row", fields)
