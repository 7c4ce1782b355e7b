"""The main job, top-down: datasets -> fleets -> signals -> attack models -> evaluation -> rows."""

import dataclasses
import time
from typing import Any

import jax
import numpy as np

from jleaks import datasets, packing
from jleaks.attacks.shadow import Pairs, attack_models
from jleaks.checkpoints import Store
from jleaks.datasets.dataset import Dataset
from jleaks.datasets.random_points import random_points
from jleaks.datasets.registry import Task, get_task
from jleaks.datasets.synthetic import synthetic
from jleaks.errors import InputError
from jleaks.evaluate import Evaluation, evaluate
from jleaks.fingerprint import fingerprint
from jleaks.fleet import key_words, make_mesh
from jleaks.keys import Role, identity_key
from jleaks.learner import Members, State
from jleaks.metrics import Metrics, number, row_fields
from jleaks.plan import Execution, Plan
from jleaks.preemption import StopSignal
from jleaks.report.rows import Row, read_rows, write_rows
from jleaks.reporter import Reporter, collapse_line, loss_warning, provenance
from jleaks.signals import STATISTICS, signal_fn
from jleaks.splits import Quarters, quarters
from jleaks.stack import Stack, TaskSignals, stack
from jleaks.trainer import Crew, Trainer
from jleaks.workdir import Workdir

_ROLES = (Role.TARGET, Role.SHADOW)


def run(
    plan: Plan,
    execution: Execution,
    workdir: str,
    data_dir: str | None = None,
    reporter: Reporter | None = None,
) -> list[Row]:
    """Runs the main job, or continues it, or reads its results if it has finished.

    Args:
      plan: What defines the numbers.
      execution: How fast.
      workdir: Directory of this run (see `jleaks.workdir`).
      data_dir: Where prepared datasets are; needed unless the plan is synthetic.
      reporter: Where to tell what is going on.

    Returns:
      One row per attack, target and seed.

    Raises:
      InputError: anything about the input, before any long work.
      Preempted: a stop signal arrived; the same call continues.
      DivergedError: a model's loss was not finite.
    """
    plan.validate()
    execution.validate()
    reporter = reporter or Reporter()
    mesh = make_mesh(execution.num_devices)
    work = Workdir(workdir, plan)
    outcome = work.outcome("rows.jsonl")
    if outcome.finished():
        # The data is no longer needed.
        reporter.line(f"finished before: reading {outcome.path}")
        rows = read_rows(outcome.path)
        outcome.check(rows)
        return rows
    tasks = [get_task(name) for name in plan.tasks]
    sizes = {task.name: _num_records(plan, task, data_dir) for task in tasks}
    for task in tasks:
        plan.quarter(task, sizes[task.name])
    work.claim()

    parts: list[TaskSignals] = []
    metas: list[dict[str, Any]] = []
    with StopSignal() as stop:
        for task, num_seeds in zip(tasks, plan.seeds, strict=True):
            signals, meta = _task(
                plan, execution, task, num_seeds, sizes, data_dir, work, reporter, stop
            )
            parts.append(signals)
            metas.append(meta)

        for line in _loss_warnings(parts):
            reporter.line(line)
        if plan.membership == "shuffled":
            parts = [part.shuffled() for part in parts]
        stacked = stack(parts)
        tick = time.monotonic()
        crew, pairs = attack_models(stacked, plan.attack, plan.adversaries)
        attack = None
        if crew.num_models:
            learned_from = [meta["fingerprint"] for meta in metas]
            name = fingerprint("attack models", plan.fingerprint(), learned_from)
            store = Store(work.checkpoints(crew.name), name, reporter.line)
            attack = Trainer(crew, execution, reporter.progress, stop).run(store)
            store.close()
        attack_seconds = time.monotonic() - tick
        reporter.line(f"{crew.num_models} attack models trained in {attack_seconds:.1f} s")

    tick = time.monotonic()
    found = evaluate(stacked, pairs, crew.learner, attack, plan.percentile, mesh)
    seconds = time.monotonic() - tick
    count = len(pairs.target) + (found.thresholds.size if 3 in plan.adversaries else 0)
    reporter.line(f"{count} attacks evaluated in one compiled call, {seconds:.1f} s")
    if found.collapsed.any():
        models = np.unique(pairs.model[found.collapsed])
        reporter.line(collapse_line([crew.names[i] for i in models], crew.num_models))
    stages = {"attack models": attack_seconds, "evaluation": seconds}
    about = provenance(plan.fingerprint(), execution)
    rows = _rows(plan, parts, metas, stacked, pairs, found, stages, about)
    with outcome.writing() as path:
        write_rows(path, rows)
    return rows


def _num_records(plan: Plan, task: Task, data_dir: str | None) -> int:
    """Returns how many records a task's data has, without reading them."""
    if plan.source == "synthetic":
        # The published number, scaled; always enough for four parts.
        q = plan.quarter(task, task.num_records)
        return max(round(plan.scale * task.num_records), 4 * q)
    if data_dir is None:
        raise InputError("real data was asked for without --data_dir")
    return int(datasets.describe(task.name, data_dir)["num_records"])


def _load(plan: Plan, task: Task, num_records: int, data_dir: str | None) -> Dataset:
    if plan.source == "synthetic":
        return synthetic(task.name, num_records)
    assert data_dir is not None
    return datasets.load(task.name, data_dir)


def _task(
    plan: Plan,
    execution: Execution,
    task: Task,
    num_seeds: int,
    sizes: dict[str, int],
    data_dir: str | None,
    work: Workdir,
    reporter: Reporter,
    stop: StopSignal,
) -> tuple[TaskSignals, dict[str, Any]]:
    """Trains the targets and shadows of all seeds of one task and queries them."""
    tick = time.monotonic()
    data = _load(plan, task, sizes[task.name], data_dir)
    seconds = {"load": time.monotonic() - tick}
    fleet = plan.fleet_fingerprint(task, data.fingerprint())
    asked = fingerprint("signals", fleet, plan.top, plan.num_random_points)
    q = plan.quarter(task, data.num_records)
    shapes = {
        "top": (num_seeds, 2, 2, q, plan.top),
        "statistics": (num_seeds, 2, 2, q, len(STATISTICS)),
        "phi": (num_seeds, 2, 2, q),
        "correct": (num_seeds, 2, 2, q),
        "random": (num_seeds, plan.num_random_points, len(STATISTICS)),
    }
    found = work.load_signals(task.name, asked, task.num_classes, shapes)
    if found is not None:
        reporter.line(f"{task.name}: finished before")
        return found

    draws = [quarters(task.name, seed, data.num_records, q) for seed in range(num_seeds)]
    crew = _crew(plan, execution, task, data, draws)
    store = Store(work.checkpoints(task.name), fleet, reporter.line)
    tick = time.monotonic()
    trainer = Trainer(crew, execution, reporter.progress, stop, reporter.line)
    state = trainer.run(store)
    seconds["training"] = time.monotonic() - tick
    tick = time.monotonic()
    signals = _query(plan, trainer, data, draws, state)
    seconds["query"] = time.monotonic() - tick
    store.close()
    meta = {
        "source": data.source,
        "num_records": data.num_records,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "packing": dataclasses.asdict(trainer.packing),
    }
    work.save_signals(signals, asked, meta)
    accuracy = signals.accuracy()[:, 0].mean(0)
    reporter.line(
        f"{task.name}: {crew.num_models} models of {q} records in {seconds['training']:.1f} s; "
        f"targets' accuracy {accuracy[0]:.3f} on members, {accuracy[1]:.3f} on non-members"
    )
    return signals, {"fingerprint": asked, **meta}


def _crew(
    plan: Plan, execution: Execution, task: Task, data: Dataset, draws: list[Quarters]
) -> Crew:
    """Lays out targets and shadows of all seeds: model 2s is seed s's target, 2s + 1 its shadow."""
    recipe = plan.recipe(task)
    learner = packing.make_learner(recipe, task.encoding, task.num_classes, execution)
    members = np.stack([part for d in draws for part in (d.target_train, d.shadow_train)])
    identities = [(seed, role) for seed in range(len(draws)) for role in _ROLES]
    return Crew(
        name=task.name,
        names=[
            f"{role.name.lower()} model of {task.name}, seed {seed}" for seed, role in identities
        ],
        learner=learner,
        features=data.features,
        labels=data.labels,
        members=Members(members, np.full(len(members), members.shape[1], np.int32)),
        words=key_words([identity_key(seed, task.name, role) for seed, role in identities]),
    )


def _query(
    plan: Plan, trainer: Trainer, data: Dataset, draws: list[Quarters], state: State
) -> TaskSignals:
    """Asks every model about its own members and non-members, and targets about random points."""
    keep = signal_fn(plan.top)
    rows = np.stack(
        [
            np.concatenate(part)
            for d in draws
            for part in ((d.target_train, d.target_out), (d.shadow_train, d.shadow_out))
        ]
    )
    answers = trainer.query(state, rows, keep)
    shape = (len(draws), 2, 2, rows.shape[1] // 2)
    answers = {name: a.reshape(*shape, *a.shape[2:]) for name, a in answers.items()}

    points = np.concatenate(
        [
            random_points(data.task, seed, data.features.shape[1:], plan.num_random_points)
            for seed in range(len(draws))
        ]
    )
    targets = jax.tree.map(lambda leaf: leaf[::2], state)
    own = np.arange(len(points), dtype=np.int32).reshape(len(draws), -1)
    queries = trainer.fleet.put_data(points, np.zeros(len(points), np.int32))
    random = trainer.query(targets, own, keep, queries)["statistics"]
    return TaskSignals(
        task=data.task.name, num_classes=data.task.num_classes, random=random, **answers
    )


def _loss_warnings(parts: list[TaskSignals]) -> list[str]:
    """Returns a line for every seed whose target and shadow ended at very different losses."""
    found = [
        loss_warning(f"{part.task}, seed {seed}", target[0], shadow[0])
        for part in parts
        for seed, (target, shadow) in enumerate(part.loss())
    ]
    return [line for line in found if line is not None]


def _rows(
    plan: Plan,
    parts: list[TaskSignals],
    metas: list[dict[str, Any]],
    stacked: Stack,
    pairs: Pairs,
    found: Evaluation,
    stages: dict[str, float],
    about: dict[str, Any],
) -> list[Row]:
    accuracy, loss = [part.accuracy() for part in parts], [part.loss() for part in parts]

    def row(target: int, seed: int, values: Metrics, **attack: Any) -> Row:
        task, meta = get_task(stacked.tasks[target]), metas[target]
        shadow = attack.pop("shadow")

        def of(found: list[np.ndarray], at: int | None, role: int, side: int) -> float | None:
            return None if at is None else number(found[at][seed, role, side])

        count = int(stacked.counts[target])
        fields: dict[str, Any] = {
            "task": task.name,
            "shadow_task": None if shadow is None else stacked.tasks[shadow],
            "seed": seed,
            "source": meta["source"],
            **row_fields(values),
            "train_accuracy": of(accuracy, target, 0, 0),
            "test_accuracy": of(accuracy, target, 0, 1),
            "train_loss": of(loss, target, 0, 0),
            "shadow_train_accuracy": of(accuracy, shadow, 1, 0),
            "shadow_test_accuracy": of(accuracy, shadow, 1, 1),
            "shadow_train_loss": of(loss, shadow, 1, 0),
            "num_members": count,
            "num_nonmembers": count,
            "num_records": meta["num_records"],
            "num_classes": task.num_classes,
            "epochs": plan.target.epochs,
            "model": plan.recipe(task).model,
            "seconds": {**meta["seconds"], **stages},
            **attack,
            **about,
        }
        return fields  # type: ignore[return-value]

    rows = []
    for i in range(len(pairs.target)):
        shadow, target = int(pairs.shadow[i]), int(pairs.target[i])
        values = jax.tree.map(lambda leaf, at=i: leaf[at], found.pairs)
        rows.append(
            row(
                target,
                int(pairs.seed[i]),
                values,
                shadow=shadow,
                adversary=1 if shadow == target else 2,
                statistic="attack model",
                threshold=0.5,
                collapsed=bool(found.collapsed[i]),
            )
        )
    if 3 in plan.adversaries:
        for target, num_seeds in enumerate(stacked.seeds):
            for seed in range(num_seeds):
                for i, statistic in enumerate(STATISTICS):
                    at = (target, seed, i)
                    values = jax.tree.map(lambda leaf, at=at: leaf[at], found.statistics)
                    threshold = number(found.thresholds[at])
                    rows.append(
                        row(
                            target,
                            seed,
                            values,
                            shadow=None,
                            adversary=3,
                            statistic=statistic,
                            threshold=threshold,
                            collapsed=None,
                        )
                    )
    return rows
