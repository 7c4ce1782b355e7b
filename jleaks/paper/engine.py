"""Runs experiments one after another, each resumable, all over one library of trained models."""

import contextlib
import functools
import time
from collections.abc import Iterator, Sequence

from jleaks import datasets
from jleaks.bank.results import read_records, write_records
from jleaks.datasets.dataset import Dataset
from jleaks.datasets.registry import get_task
from jleaks.datasets.synthetic import synthetic
from jleaks.errors import InputError
from jleaks.fleet import make_mesh
from jleaks.outcome import Outcome
from jleaks.paper.answers import Asker
from jleaks.paper.context import Context, Row
from jleaks.paper.experiments import RUNS
from jleaks.paper.library import Library
from jleaks.paper.plan import PaperPlan
from jleaks.paper.remote import Endpoint
from jleaks.paper.subjects import Cast
from jleaks.plan import Execution
from jleaks.preemption import StopSignal
from jleaks.reporter import Reporter, provenance
from jleaks.workdir import Workdir


def run(
    plan: PaperPlan,
    experiments: Sequence[str],
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
      experiments: Names from "E1" to "E18".
      execution: How fast.
      workdir: Directory of this plan's results: one folder per experiment.
      data_dir: Where prepared datasets are; needed unless the plan is synthetic.
      models_dir: Where trained models are kept, `workdir` itself by default; plans may share one.
      command: Recorded in every row.
      reporter: Where to tell what is going on.

    Returns:
      For each experiment one row per attack, target and seed; none if none of its tasks were chosen.

    Raises:
      InputError: anything about the input, before any long work.
      Preempted: a stop signal arrived; the same call continues.
      DivergedError: a model's loss was not finite.
    """
    if unknown := set(experiments) - set(RUNS):
        raise InputError(
            f"unknown experiment {', '.join(sorted(unknown))}; allowed: {', '.join(RUNS)}"
        )
    plan.validate()
    work, reporter = Workdir(workdir, plan), reporter or Reporter()
    found: dict[str, list[Row] | None] = dict.fromkeys(experiments)
    for name in found:
        outcome = work.outcome(f"{name}/rows.jsonl")
        if outcome.finished():
            # Neither data nor models are needed.
            reporter.line(f"{name}: finished before")
            found[name] = rows = read_records(outcome.path)
            outcome.check(rows)
    missing = [name for name, rows in found.items() if rows is None]
    if missing:
        with opened(plan, execution, workdir, data_dir, models_dir, command, reporter) as context:
            for name in missing:
                found[name] = _experiment(context, name, work.outcome(f"{name}/rows.jsonl"))
    return {name: rows or [] for name, rows in found.items()}


def _experiment(context: Context, name: str, outcome: Outcome) -> list[Row]:
    """Runs one experiment."""
    library, tell = context.asker.library, context.reporter.line
    tick, before = time.monotonic(), library.num_trained
    rows = RUNS[name](context, name, outcome.path.parent)
    if not rows:
        tell(f"{name}: none of its tasks were chosen")
        return rows
    # Last, because it says that the experiment has finished.
    with outcome.writing() as path:
        write_records(path, rows)
    tell(
        f"{name}: {len(rows)} attacks in {time.monotonic() - tick:.1f} s, "
        f"{library.num_trained - before} models trained"
    )
    return rows


@contextlib.contextmanager
def opened(
    plan: PaperPlan,
    execution: Execution,
    workdir: str,
    data_dir: str | None = None,
    models_dir: str | None = None,
    command: str = "",
    reporter: Reporter | None = None,
) -> Iterator[Context]:
    """Opens a run: checks everything that can be checked, and makes what its experiments share.

    While the context is open a stop signal is caught; training then saves and raises `Preempted`.

    Args:
      plan: As in `run`, and all others too.
      execution: How fast.
      workdir: Directory of this plan's results.
      data_dir: Where prepared datasets are.
      models_dir: Where trained models are kept.
      command: Recorded in every row.
      reporter: Where to tell what is going on.

    Raises:
      InputError: anything about the input.
    """
    plan.validate()
    execution.validate()
    reporter = reporter or Reporter()
    make_mesh(execution.num_devices)
    sizes = {}
    for name in plan.tasks:
        sizes[name] = _num_records(plan, name, data_dir)
        plan.main_plan().quarter(get_task(name), sizes[name])
    work = Workdir(workdir, plan)
    work.claim()

    @functools.cache
    def load(task: str) -> Dataset:
        if plan.source == "synthetic":
            return synthetic(task, sizes[task])
        assert data_dir is not None
        return datasets.load(task, data_dir)

    about = {**provenance(plan.fingerprint(), execution), "command": command}
    with StopSignal() as stop:
        library = Library(models_dir or work.path, execution, reporter, stop)
        asker = Asker(library, load, execution)
        endpoint = Endpoint(asker, library.folder / "answers over http")
        cast = Cast(plan, sizes)
        yield Context(plan, execution, cast, asker, endpoint.ask, reporter, about)


def _num_records(plan: PaperPlan, task: str, data_dir: str | None) -> int:
    """Returns how many records a task's data has, without reading them."""
    if plan.source == "synthetic":
        # As the main job: the published number, scaled; always enough for four parts.
        known = get_task(task)
        quarter = plan.main_plan().quarter(known, known.num_records)
        return max(round(plan.share * known.num_records), 4 * quarter)
    if data_dir is None:
        raise InputError("real data was asked for without --data_dir")
    return int(datasets.describe(task, data_dir)["num_records"])
