"""What every contender trains by DP-SGD, and how one of them is asked for it.

Runs in the other tools' environments: nothing here imports more than NumPy.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

# Steps that may be under way at once: JAX returns before the work is done.
_STEPS_AHEAD = 8
# Steps before the clock starts.
_WARM = 10

# Kernel [inputs, outputs] and bias of both layers.
Layers = list[np.ndarray]


class Job(NamedTuple):
    """MLPs of one hidden layer (tanh), trained by Adam on noisy sums of clipped gradients.

    Attributes:
      records: [N, d] zeros and ones.
      labels: [N] classes.
      members: [M, n] positions that each model trains on.
      kernels: Initial ones of both layers, each [M, inputs, outputs]; biases are zero.
      batch: Expected records of a step; n is a multiple of it.
      learning_rate: Of Adam.
      noise: Deviation of the noise, in clipping norms.
      clip: Largest norm of a record's gradient.
    """

    records: np.ndarray
    labels: np.ndarray
    members: np.ndarray
    kernels: Sequence[np.ndarray]
    batch: int
    learning_rate: float
    noise: float
    clip: float

    @property
    def num_steps(self) -> int:
        """Steps of an epoch; the inverse of a record's probability in one of them."""
        return self.members.shape[1] // self.batch

    def part(self, model: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns records and labels of a model's training part, as networks take them."""
        rows = self.members[model]
        return self.records[rows].astype(np.float32), self.labels[rows]

    def layers(self, model: int) -> Layers:
        """Returns a model's initial weights."""
        first, second = (kernels[model] for kernels in self.kernels)
        return [first, np.zeros(first.shape[1:], np.float32),
                second, np.zeros(second.shape[1:], np.float32)]  # fmt: skip

    def save(self, path: Path) -> None:
        """Writes everything to an .npz file."""
        first, second = self.kernels
        np.savez(path, first=first, second=second, **self._replace(kernels=())._asdict())

    @classmethod
    def load(cls, path: Path) -> "Job":
        """Reads what `save` wrote."""
        with np.load(path) as arrays:
            found = {name: arrays[name] for name in cls._fields if arrays[name].ndim}
            numbers = {name: arrays[name].item() for name in cls._fields if not arrays[name].ndim}
            return cls(**{**found, **numbers, "kernels": (arrays["first"], arrays["second"])})


class Model(Protocol):
    """One model in training by one tool."""

    def step(self) -> None:
        """Takes a step on a sample of its own."""

    def layers(self) -> Layers:
        """Returns the weights, after the steps so far."""


def trained(job: Job, model: Model, epochs: int) -> Layers:
    """Returns a model's weights after so many epochs."""
    for _ in range(epochs * job.num_steps):
        model.step()
    return model.layers()


def timed(model: Model, seconds: float) -> dict[str, Any]:
    """Returns how many steps a model that is warm takes in at least so many seconds."""
    model.layers()
    steps, tick = 0, time.perf_counter()
    while (spent := time.perf_counter() - tick) < seconds or not steps:
        for _ in range(_STEPS_AHEAD):
            model.step()
        model.layers()
        steps += _STEPS_AHEAD
    return {"seconds": spent, "model_steps": steps, "measured_models": 1}


def answer(make: Callable[[Job, int], Model], packages: Sequence[str]) -> None:
    """Learns if asked to, gets warm, says so in a line, waits for one, measures, and tells it in another.

    The process is started with a folder, the name of the contender, seconds, models that learn and
    their epochs.

    Args:
      make: Returns a model of the job in its initial state.
      packages: Distributions whose versions are told, the tool's own first.
    """
    folder, _, seconds, num_models, epochs = sys.argv[1:6]
    job = Job.load(Path(folder, "job.npz"))
    if count := int(num_models):
        found = [trained(job, make(job, i), int(epochs)) for i in range(count)]
        save_layers(Path(folder), [np.stack(layer) for layer in zip(*found, strict=True)])
    tick, model = time.perf_counter(), make(job, 0)
    for _ in range(_WARM):
        model.step()
    model.layers()
    print(json.dumps({"first_call_seconds": time.perf_counter() - tick}), flush=True)
    sys.stdin.readline()
    tool, *others = packages
    beside = ", ".join(f"{package} {version(package)}" for package in others)
    versions = {tool: f"{version(tool)} ({beside})"}
    print(json.dumps({**timed(model, float(seconds)), "versions": versions}), flush=True)


def save_layers(folder: Path, layers: Layers) -> None:
    """Leaves what models have learned, each array [models, ...]."""
    np.savez(folder / "learned.npz", *layers)
