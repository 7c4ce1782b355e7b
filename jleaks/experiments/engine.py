"""Opens runs; runs experiments one after another, each resumable, over one library of trained models."""

import contextlib
import functools
import os
import time
from collections.abc import Iterator, Sequence

from jleaks.data.dataset import Dataset
from jleaks.data.origin import num_records, records
from jleaks.data.tasks import get_task
from jleaks.errors import InputError
from jleaks.experiments.answers import Querier
from jleaks.experiments.context import Context, Job, P
from jleaks.experiments.library import Library
from jleaks.experiments.paper import RUNS
from jleaks.experiments.paper_plan import PaperPlan
from jleaks.experiments.remote import Endpoint
from jleaks.experiments.subjects import SubjectLayout
from jleaks.experiments.workdir import Workdir
from jleaks.outcome import Outcome
from jleaks.rows import OF_EXPERIMENT, Row, read_rows, write_rows
from jleaks.training.execution import Execution
from jleaks.training.fleet import make_mesh
from jleaks.training.preemption import StopSignal
from jleaks.training.reporter import Reporter, provenance


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
            found[name] = rows = read_rows(outcome.path, OF_EXPERIMENT)
            outcome.check(rows)
    missing = [name for name, rows in found.items() if rows is None]
    if missing:
        with opened(plan, execution, workdir, data_dir, models_dir, command, reporter) as context:
            for name in missing:
                found[name] = _experiment(context, name, work.outcome(f"{name}/rows.jsonl"))
    return {name: rows or [] for name, rows in found.items()}


def _experiment(context: Context, name: str, outcome: Outcome) -> list[Row]:
    """Runs one experiment."""
    library, tell = context.querier.library, context.reporter.line
    tick, before = time.monotonic(), library.num_trained
    rows = RUNS[name](context, name, outcome.path.parent)
    if not rows:
        tell(f"{name}: none of its tasks were chosen")
        return rows
    # Last, because it says that the experiment has finished.
    with outcome.writing() as path:
        write_rows(path, rows, OF_EXPERIMENT)
    tell(
        f"{name}: {len(rows)} attacks in {time.monotonic() - tick:.1f} s, "
        f"{library.num_trained - before} models trained"
    )
    return rows


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

    While the job is open a stop signal is caught; training then saves and raises `Preempted`.

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
    plan.validate()
    execution.validate()
    reporter = reporter or Reporter()
    make_mesh(execution.num_devices)
    sizes = {}
    for name in plan.tasks:
        task = get_task(name)
        sizes[name] = plan.size(task, num_records(name, plan.source, data_dir))
        plan.quarter(task, sizes[name])
    work = Workdir(workdir, plan)
    work.claim()

    @functools.lru_cache(maxsize=num_datasets)
    def load(task: str) -> Dataset:
        return records(task, plan.source, data_dir, sizes[task])

    about = provenance(plan.fingerprint(), execution)
    if command is not None:
        about["command"] = command
    with StopSignal() as stop:
        library = Library(models_dir or work.path, execution, reporter, stop)
        querier = Querier(library, load, execution)
        endpoint = Endpoint(querier, library.folder / "answers over http")
        layout = SubjectLayout(plan, sizes)
        yield Job(plan, execution, layout, querier, endpoint.ask, reporter, about)
