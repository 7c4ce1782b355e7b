"""Shadow models of a flax network: a fleet, trained side by side and kept in a library."""

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from jleaks.attacks.signals import bank_signal_fn
from jleaks.auditing.answers import SIGNALS, TEMPERATURE, Signals
from jleaks.auditing.records import Records
from jleaks.data.dataset import Dataset
from jleaks.data.perturbations import perturbation
from jleaks.data.tasks import TASKS, Task, get_task
from jleaks.experiments.library import Library
from jleaks.experiments.querier import Querier
from jleaks.experiments.subjects import Subject
from jleaks.keys import Role, identity_key
from jleaks.training.execution import Execution
from jleaks.training.fleet import stack_key_data
from jleaks.training.preemption import StopSignal
from jleaks.training.progress import Progress
from jleaks.training.recipe import Recipe
from jleaks.training.reporter import Reporter


class Fleet(NamedTuple):
    """What the models of a fleet answered.

    Attributes:
      signals: Of each model, [N] each.
      seconds: Of training, summed over models.
      num_trained: How many were trained now; the others were kept.
    """

    signals: list[Signals]
    seconds: float
    num_trained: int


def train_fleet(
    records: Records,
    recipe: Recipe,
    member: Bool[np.ndarray, "models records"],
    folder: str | os.PathLike[str],
    *,
    seed: int = 0,
    execution: Execution | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Fleet:
    """Trains networks, or finds those that are kept, and asks each about every record.

    Args:
      records: What to train on and to ask about; encoded as `jleaks.data.own.read` finds fit, with
        statistics of each model's own training part.
      recipe: How each model is trained, its network included.
      member: Which records each model trains on.
      folder: Where models are kept.
      seed: Of the models' keys.
      execution: How fast.
      tell: Receives lines of progress.

    Raises:
      InputError: the records, or the network, cannot be used.
      Preempted: a stop signal arrived; the same call continues.
      DivergedError: a model's loss was not finite.
    """
    execution = (execution or Execution()).validate()
    task, data = _dataset(records)
    everything = np.arange(records.num_records)
    subjects = [
        Subject(
            name="audited model" if i == 0 else f"shadow {i - 1}",
            task=task.name,
            recipe=recipe,
            members=np.flatnonzero(row),
            others=np.flatnonzero(~row),
            key_data=stack_key_data([identity_key(seed, "audit", Role.BANK_MODEL, i)])[0],
        )
        for i, row in enumerate(member)
    ]
    with StopSignal() as stop:
        library = Library(folder, execution, Reporter(tell, lambda p: tell(_progress(p))), stop)
        querier = Querier(library, lambda _: data, execution)
        keep = bank_signal_fn(TEMPERATURE, perturbation(task, 1, 1.0))
        answers = querier.signals(subjects, everything, keep)
        seconds = querier.cost(subjects).wall_seconds
    # One query: the record itself.
    for name in ("phi", "correct"):
        answers[name] = answers[name][:, :, 0]
    signals = [{name: answers[name][i] for name in SIGNALS} for i in range(len(subjects))]
    return Fleet(signals, seconds, library.num_trained)


def _progress(progress: Progress) -> str:
    return (
        f"  {progress.done}/{progress.total} model-epochs, loss {progress.loss:.4f}, "
        f"{progress.eta:.0f} s to go"
    )


def _labelled(records: Records) -> tuple[Any, str | None]:
    """Returns records with their labels as `jleaks.data.own.read` takes them, and the labels' column."""
    data = records.data
    if isinstance(data, Mapping) or hasattr(data, "columns"):
        columns = {str(name): np.asarray(data[name]) for name in data}
        label = "label"
        while label in columns:
            label = f"_{label}"
        return {**columns, label: records.labels}, label
    if not hasattr(data, "shape"):
        data = np.stack([np.asarray(data[i]) for i in range(len(data))])
    return (data, records.labels), None


def _dataset(records: Records) -> tuple[Task, Dataset]:
    """Returns the records as a task of their own."""
    name = f"audit-{records.digest()[:12]}"
    if name not in TASKS:
        data, label = _labelled(records)
        TASKS.register(name, Task(name, data=data, label=label))
    task = get_task(name)
    assert task.records is not None
    return task, Dataset(task, "own", task.records.features, task.records.labels)
