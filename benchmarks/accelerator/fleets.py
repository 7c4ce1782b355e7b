"""What is timed on one device: fleets, a whole bank, and PyTorch in turns with jleaks."""

import dataclasses
import functools
import importlib.util
import sys
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import harness
from benchmarks.accelerator.roofline import Counts, step_counts
from benchmarks.fleets import random_parts, random_records
from jleaks.data.tasks import get_task
from jleaks.errors import InputError
from jleaks.fields import Form
from jleaks.keys import Role, identity_key
from jleaks.training import packing
from jleaks.training.execution import Execution
from jleaks.training.fleet import Fleet, make_mesh, stack_key_data
from jleaks.training.learner import Learner, Members, State
from jleaks.training.recipe import RECIPES, Recipe


class Case(NamedTuple):
    """A fleet whose training is timed.

    Attributes:
      section: Of the benchmark.
      task: Whose records the models' are like.
      recipe: Of each model.
      form: Of convolutions.
      num_models: All on one device.
      group: Models that advance together; None for all.
      num_members: Records of each training part.
    """

    section: str
    task: str
    recipe: Recipe
    form: Form
    num_models: int
    group: int | None
    num_members: int

    def about(self) -> dict[str, Any]:
        """Returns the fields of a row that say what was measured."""
        sizes = self.recipe.hidden if self.recipe.model == "mlp" else ()
        return {
            "what": "fleet",
            "section": self.section,
            "task": self.task,
            "network": "-".join(map(str, (self.recipe.model, *sizes))),
            "precision": self.recipe.precision,
            "form": self.form if self.recipe.model in ("cnn", "resnet18", "wrn28_2") else None,
            "num_models": self.num_models,
            "group": self.group or self.num_models,
            "batch": self.recipe.batch_size,
        }


def _key_data(name: str, count: int) -> np.ndarray:
    return stack_key_data([identity_key(i, name, Role.TARGET) for i in range(count)])


@functools.cache
def _untrained(name: str, recipe: Recipe) -> State:
    """Returns one model, [1, ...], on the host; compiled once, whatever the fleets that start from it."""
    task, total = get_task(name), 2 * recipe.batch_size
    fleet = Fleet(Learner(recipe, task.encoding, task.num_classes), make_mesh(1))
    members = Members(np.arange(total, dtype=np.int32)[None], np.full(1, total, np.int32))
    return fleet.init(fleet.put_data(*random_records(task, total)), members, _key_data(name, 1))


class Timed:
    """A fleet on the device, ready to be timed."""

    def __init__(self, case: Case):
        """Compiles the training program, moves the fleet onto the device and trains one epoch."""
        task, count, size = get_task(case.task), case.num_models, case.num_members
        self.case = case
        self.steps = size // case.recipe.batch_size
        execution = Execution(convolution=case.form)
        learner = packing.make_learner(case.recipe, task.encoding, task.num_classes, execution)
        fleet = Fleet(learner, make_mesh(1), case.group or count)
        self.data = fleet.put_data(*random_records(task, 2 * size))
        indices = np.resize(random_parts(min(count, 8), size, 2 * size), (count, size))
        members = Members(indices, np.full(count, size, np.int32))
        key_data = _key_data(case.task, count)
        # Only the time matters: all models start alike, and as in float32.
        one = _untrained(case.task, dataclasses.replace(case.recipe, precision="float32"))
        state = jax.tree.map(lambda leaf: np.repeat(leaf, count, 0), one)
        tick = time.perf_counter()
        self.program_bytes = fleet.prepare(self.data, state, members, key_data).num_bytes
        self.compile_seconds = time.perf_counter() - tick
        self._pack = fleet.load(state, members, key_data)
        tick = time.perf_counter()
        self._pack.fit(self.data, 0, 1)
        self.first_epoch_seconds = time.perf_counter() - tick
        self._epochs = 1

    def calibrate(self, seconds: float) -> None:
        """Chooses so many epochs a call that it takes about so long."""
        once = self.turn()
        wanted = int(seconds / max(once * self.steps, 1e-6))
        self._epochs = min(max(1, wanted), self.case.recipe.epochs)

    def turn(self) -> float:
        """Trains for one call; returns the seconds of a step of all models."""
        tick = time.perf_counter()
        self._pack.fit(self.data, 0, self._epochs)
        return (time.perf_counter() - tick) / (self._epochs * self.steps)

    def loss(self) -> float | None:
        """Returns the mean loss of the last epoch, or None if it is not finite."""
        losses, _ = self._pack.losses()
        mean = float(losses[:, self._epochs - 1].mean())
        return round(mean, 4) if np.isfinite(mean) else None


def counts_of(case: Case) -> Counts | None:
    """Returns what a step of one of the case's models takes; None for residual networks."""
    if case.section == "resnet":
        return None
    task = get_task(case.task)
    stored = int(np.prod(task.feature_shape)) * np.dtype(task.feature_dtype).itemsize
    return step_counts(case.recipe, task.feature_shape, stored, task.num_classes)


def steps_per_model(case: Case) -> int:
    """Returns the steps of one whole training: the recipe's epochs on a part of the paper's size."""
    task = get_task(case.task)
    members = case.num_members if case.section == "wide" else task.quarter
    named = {"wide": "wide", "resnet": case.recipe.model}.get(case.section, "ml_leaks")
    epochs = RECIPES[named].recipe.epochs
    return max(1, members // case.recipe.batch_size) * epochs


def memory(name: str) -> int | None:
    """Returns what the device says of its memory under this name, in bytes; None where it does not."""
    found = (jax.devices()[0].memory_stats() or {}).get(name)
    return None if found is None else int(found)


class Torch:
    """The process that trains with PyTorch."""

    def __init__(self) -> None:
        """Starts it, where PyTorch is installed."""
        self._process: harness.Answering | None = None
        self._reason = "torch is not installed"
        if importlib.util.find_spec("torch") is not None:
            self._process = harness.Answering(
                [sys.executable, "-m", "benchmarks.accelerator.with_torch"]
            )

    def turn(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Returns what the process answers, `failed` included."""
        if self._process is None:
            return {"failed": self._reason}
        try:
            return self._process.ask(request, timeout)
        except (InputError, OSError) as error:
            self.stop()
            self._reason = str(error)
            return {"failed": self._reason}

    def stop(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.close()
            self._process = None


def turns(case: Case, contenders: Torch, seconds: float, count: int) -> dict[str, Any]:
    """Times jleaks, PyTorch and PyTorch graphed, one after another and again; returns rates and ratios.

    Args:
      case: The fleet.
      contenders: The process of the others.
      seconds: Of each.
      count: How often.
    """
    task = get_task(case.task)
    request = {
        "network": case.recipe.model,
        "record": list(task.feature_shape),
        "hidden": list(case.recipe.hidden),
        "num_classes": task.num_classes,
        "batch": case.recipe.batch_size,
        "learning_rate": case.recipe.learning_rate,
        "precision": case.recipe.precision,
        "seconds": seconds,
    }
    timed = Timed(case)
    timed.calibrate(seconds)

    def turn(name: str, _: int) -> dict[str, Any]:
        if name == "jleaks":
            return {"steps_per_second": case.num_models / timed.turn()}
        return contenders.turn({**request, "variant": name}, 90)

    def told(name: str, answer: dict[str, Any]) -> str:
        return f"{name}: {answer.get('failed') or answer['steps_per_second']}"

    found = harness.take_turns(count, ("jleaks", "eager", "graphed"), turn, told)
    failed = {
        name: a["failed"] for name, answers in found.items() for a in answers if "failed" in a
    }
    if len(failed) == 2:
        return {"failed": "; ".join(f"{k}: {v}" for k, v in failed.items())}
    rates = {
        name: [answer["steps_per_second"] for answer in answers if "failed" not in answer]
        for name, answers in found.items()
    }
    versions = (
        answer["torch"] for answers in found.values() for answer in answers if "torch" in answer
    )
    ours = rates["jleaks"]
    return {
        "torch": next(versions, None),
        "model_steps_per_second": {k: harness.spread(v, 2) for k, v in rates.items() if v},
        "times_torch": {
            k: harness.spread([a / b for a, b in zip(ours, v, strict=True)], 2)
            for k, v in rates.items()
            if k != "jleaks" and len(v) == len(ours)
        },
        "without": failed or None,
    }
