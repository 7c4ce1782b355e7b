"""Opens runs; runs experiments one after another, each resumable, over one library of trained models."""

import contextlib
import dataclasses
import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax

from jleaks.activity import doing
from jleaks.data.dataset import Dataset
from jleaks.data.origin import num_records, record_shape, records
from jleaks.data.tasks import Task, get_task
from jleaks.defences.defence import DEFENCES
from jleaks.errors import InputError
from jleaks.experiments import paper  # noqa: F401 - the experiments that it registers
from jleaks.experiments.base_plan import BasePlan
from jleaks.experiments.case import Case
from jleaks.experiments.case_attacks import CASE_ATTACKS
from jleaks.experiments.cases import attacked
from jleaks.experiments.context import Context, Job, P
from jleaks.experiments.experiment import EXPERIMENTS, Experiment, get_experiment
from jleaks.experiments.library import Library
from jleaks.experiments.paper_plan import PaperPlan
from jleaks.experiments.querier import Querier
from jleaks.experiments.remote import Endpoint
from jleaks.experiments.subjects import SubjectLayout
from jleaks.experiments.workdir import Workdir
from jleaks.models.registry import NETWORKS
from jleaks.outcome import Outcome
from jleaks.registry import Registry
from jleaks.rows import OF_EXPERIMENT, Row, read_rows, write_rows
from jleaks.training import epoch, packing, processes
from jleaks.training.execution import Execution
from jleaks.training.fleet import make_mesh
from jleaks.training.preemption import StopSignal
from jleaks.training.recipe import Recipe
from jleaks.training.reporter import Reporter, provenance

T = TypeVar("T")


def run(
    plan: PaperPlan,
    experiments: Sequence[str | Experiment],
    execution: Execution,
    workdir: str,
    data_dir: str | None = None,
    models_dir: str | None = None,
    command: str = "",
    reporter: Reporter | None = None,
) -> dict[str, list[Row]]:
    """Runs experiments, or continues them, or reads those that have finished.

    Args:
      plan: What defines the numbers.
      execution: How fast.
      experiments: Names from "E1" to "E18", or of a user's own; or experiments that are in no registry.
      workdir: Directory of this plan's results: one folder per experiment.
      data_dir: Where prepared datasets are; needed unless the plan is synthetic.
      models_dir: Where trained models are kept, `workdir` itself by default; plans may share one.
      command: Recorded in every row.
      reporter: Where to tell what is going on.

    Returns:
      For each experiment one row per attack, target and seed.

    Raises:
      InputError: anything about the input, before any long work.
      Preempted: a stop signal arrived; the same call continues.
      DivergedError: a model's loss was not finite.
    """
    chosen = [
        get_experiment(one) if isinstance(one, str) else one for one in dict.fromkeys(experiments)
    ]
    reporter = checked(plan, execution, reporter)
    work = Workdir(workdir, plan)
    outcomes = {e.name: work.outcome(f"{e.name}/rows.jsonl") for e in chosen}
    found: dict[str, list[Row] | None] = {}
    for name, outcome in outcomes.items():
        told = f"{name}: finished before"
        found[name] = reread(outcome, _read, lambda rows: rows, reporter, told)
        _check_plugins(outcome, name, found[name] or [])
    missing = [e for e in chosen if found[e.name] is None]
    if missing:
        with opened(plan, execution, workdir, data_dir, models_dir, command, reporter) as context:
            for experiment in missing:
                with doing(f"experiment {experiment.name}"):
                    found[experiment.name] = _run(context, experiment, outcomes[experiment.name])
    return {name: rows or [] for name, rows in found.items()}


def _read(path: Path) -> list[Row]:
    return read_rows(path, OF_EXPERIMENT)


def _run(context: Context, experiment: Experiment, outcome: Outcome) -> list[Row]:
    """Runs one experiment."""
    library, tell = context.querier.library, context.reporter.line
    tick, before = time.monotonic(), library.num_trained
    rows = rows_of(context, experiment, outcome.path.parent)
    # Last, because it says that the experiment has finished.
    with outcome.writing() as path:
        write_rows(path, rows, OF_EXPERIMENT)
    tell(
        f"{experiment.name}: {len(rows)} attacks in {time.monotonic() - tick:.1f} s, "
        f"{library.num_trained - before} models trained"
    )
    return rows


def _check_network(
    recipe: Recipe, task: Task, shape: tuple[int, ...], execution: Execution
) -> None:
    """Traces a user's network on one task's records, before any is trained on another's.

    Raises:
      InputError: it cannot be trained on them.
    """
    if NETWORKS.origin(recipe.model) is not None:
        learner = packing.make_learner(recipe, task.encoding, task.num_classes, execution)
        epoch.template(learner, jax.ShapeDtypeStruct((1, *shape), task.feature_dtype))


def rows_of(context: Context, experiment: Experiment, folder: Path | None = None) -> list[Row]:
    """Runs one experiment's cases, and what it has beside them; returns one row per attack.

    Args:
      context: The run.
      experiment: Run on its tasks; where the plan has none of them, on the plan's.
      folder: Where it leaves its further files; None to leave none.

    Raises:
      InputError: it has no case, or one that cannot be run.
    """
    own = dataclasses.replace(context, tasks=_tasks(context, experiment))
    try:
        cases = list(experiment.cases(own))
    except InputError:
        raise
    except Exception as error:
        if (origin := EXPERIMENTS.origin(experiment.name)) is None:
            raise
        said = " ".join(str(error).split())[:200]
        raise InputError(
            f"experiment {experiment.name} of {origin.path}: {type(error).__name__}: {said}"
        ) from error
    if not cases:
        raise InputError(
            f"{experiment.name} has no case on {', '.join(context.plan.tasks)}; choose other --tasks"
        )
    rows = attacked(own, experiment.name, cases, experiment.by_task)
    if experiment.further is not None:
        rows += experiment.further(own)
    if experiment.files is not None and folder is not None:
        experiment.files(own, folder)
    if plugins := _plugins(experiment, cases):
        rows = [{**row, "plugins": plugins} for row in rows]
    return rows


def _tasks(context: Context, experiment: Experiment) -> tuple[str, ...] | None:
    """Returns the tasks that an experiment runs on; None for all of the plan's."""
    named, chosen = experiment.tasks, context.plan.tasks
    if named is None:
        return None
    if set(named) & set(chosen):
        if others := [task for task in chosen if task not in named]:
            context.reporter.line(
                f"{experiment.name}: made for {', '.join(named)}; not run on {', '.join(others)}"
            )
        return named
    context.reporter.line(
        f"{experiment.name}: made for {', '.join(named)}, of which none was chosen; run on "
        f"{', '.join(chosen)}"
    )
    return None


_REGISTRIES: tuple[Registry[Any], ...] = (EXPERIMENTS, CASE_ATTACKS, DEFENCES)


def _plugins(experiment: Experiment, cases: Sequence[Case]) -> dict[str, str]:
    """Returns the digests of the users' files that define rows, by what they define."""
    subjects = [s for case in cases for s in (case.target, *case.shadows)]
    names = (
        [experiment.name],
        [case.attack for case in cases],
        [subject.defence.name for subject in subjects if subject.defence is not None],
    )
    return {
        f"{registry.kind} {name}": digest
        for registry, used in zip(_REGISTRIES, names, strict=True)
        for name, digest in registry.digests(*used).items()
    }


def _check_plugins(outcome: Outcome, name: str, rows: Sequence[Row]) -> None:
    """Checks that users' files are what they were when rows were made.

    Raises:
      InputError: one was edited since, or is not loaded.
    """
    if not rows:
        return
    made: Mapping[str, str] = rows[0].get("plugins", {})
    now = {
        f"{registry.kind} {entry}": digest
        for registry in _REGISTRIES
        for entry, digest in registry.digests(*registry).items()
    }
    own = f"{EXPERIMENTS.kind} {name}"
    for what in dict.fromkeys((*made, *([own] if own in now else []))):
        if made.get(what) != now.get(what):
            state = "its file was edited" if what in now else "its file is not loaded"
            raise InputError(
                f"{outcome.path} was made with another {what} ({state}); delete it to run {name} again "
                "from what is kept"
            )


def checked(plan: BasePlan, execution: Execution, reporter: Reporter | None) -> Reporter:
    """Checks a plan and an execution; returns where to report, nowhere for None.

    Raises:
      InputError: one cannot be used.
    """
    plan.validate()
    execution.validate()
    if processes.count() > 1:
        stated = {k: v for k, v in dataclasses.asdict(execution).items() if v is not None}
        processes.same(f"plan {plan.fingerprint()}", "with the same flags and files")
        processes.same(f"{stated}", "with the same flags and kernels")
        processes.same(f"{provenance(None, execution)['versions']}", "with the same packages")
    return reporter or Reporter()


def reread(
    outcome: Outcome,
    read_fn: Callable[[Path], T],
    parts_fn: Callable[[T], Sequence[Mapping[str, Any]]],
    reporter: Reporter,
    told: str,
) -> T | None:
    """Reads a run's result if it has finished: neither data nor models are needed.

    Args:
      outcome: Where the result is.
      read_fn: Reads it.
      parts_fn: What of it says whose it is (see `Outcome.check`).
      reporter: Is told.
      told: What it is told.

    Returns:
      The result; None for a run that has not finished.

    Raises:
      InputError: something is there that the run did not write.
    """
    if not outcome.finished():
        return None
    reporter.line(told)
    found = read_fn(outcome.path)
    outcome.check(parts_fn(found))
    return found


@contextlib.contextmanager
def training(
    work: Workdir,
    execution: Execution,
    load_fn: Callable[[str], Dataset],
    reporter: Reporter,
    models_dir: str | None = None,
) -> Iterator[tuple[Querier, StopSignal]]:
    """Makes a directory the run's, and opens its models; meanwhile a stop signal is caught.

    Training then saves and raises `Preempted`.

    Args:
      work: The run's directory.
      execution: How fast.
      load_fn: From a task's name to its data.
      reporter: Where to tell what is going on.
      models_dir: Where trained models are kept; None for the run's directory.

    Raises:
      InputError: a directory cannot be written.
    """
    with work.claimed(), StopSignal() as stop:
        library = Library(models_dir or work.path, execution, reporter, stop)
        yield Querier(library, load_fn, execution), stop


@contextlib.contextmanager
def opened(
    plan: P,
    execution: Execution,
    workdir: str | os.PathLike[str],
    data_dir: str | None = None,
    models_dir: str | None = None,
    command: str | None = None,
    reporter: Reporter | None = None,
    num_datasets: int | None = None,
) -> Iterator[Job[P]]:
    """Opens a run: checks everything that can be checked, and makes what is shared in it.

    Args:
      plan: What defines the numbers.
      execution: What defines only the speed.
      workdir: Directory of this plan's results.
      data_dir: Where prepared datasets are; needed unless the plan is synthetic.
      models_dir: Where trained models are kept, `workdir` itself by default; runs may share one.
      command: Recorded in every row; None to leave it out.
      reporter: Where to tell what is going on.
      num_datasets: How many datasets stay in memory; None for all.

    Raises:
      InputError: anything about the input.
    """
    reporter = checked(plan, execution, reporter)
    make_mesh(execution.num_devices)
    sizes = {}
    for name in plan.tasks:
        task = get_task(name)
        sizes[name] = plan.size(task, num_records(name, plan.source, data_dir))
        plan.quarter(task, sizes[name])
        shape = record_shape(name, plan.source, data_dir)
        _check_network(plan.recipe(task), task, shape, execution)
    work = Workdir(workdir, plan)

    @functools.lru_cache(maxsize=num_datasets)
    def load(task: str) -> Dataset:
        return records(task, plan.source, data_dir, sizes[task])

    about = provenance(plan.fingerprint(), execution)
    if command is not None:
        about["command"] = command
    if plan.defence is not None:
        about |= {"defence": plan.defence, "attacker": plan.attacker}
    with training(work, execution, load, reporter, models_dir) as (querier, _):
        endpoint = Endpoint(querier, querier.library.folder / "answers over http")
        layout = SubjectLayout(plan, sizes)
        yield Job(plan, execution, layout, querier, endpoint.ask, reporter, about)
