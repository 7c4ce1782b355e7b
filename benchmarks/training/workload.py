"""What benchmarks.training trains, what it necessarily takes, and the ways to train it.

Nothing here imports JAX or PyTorch: every contender has a process of its own, whose memory is its own.
"""

import dataclasses
import importlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from jleaks.data.tasks import Task, get_task

BATCH = 100
LEARNING_RATE = 1e-3
HIDDEN = 128
# Passes of the paper's recipe.
EPOCHS = 50
# Width, kernel size and borders of the CNN's two convolutions (see `jleaks.models.networks.CNN`).
_FEATURES, _KERNEL, _BORDERS = 32, 5, (2, 0)
# Records that trained models are asked about, at most.
_MOST_TESTS = 1_000
# Calls that may be under way at once: JAX returns before the work is done.
_CALLS_AHEAD = 8

# What a contender found, as JSON.
Found = dict[str, Any]
# Kernel and bias of every layer, in jleaks' layouts: [inputs, outputs] or [height, width, in, out].
Weights = list[tuple[np.ndarray, np.ndarray]]


class Network(NamedTuple):
    """A network and what it learns.

    Attributes:
      task: Whose records and classes these are.
      num_records: Each model trains on, unless the user says otherwise.
      quality_epochs: Passes in which the contenders' answers are compared.
    """

    task: str
    num_records: int
    quality_epochs: int

    def describe(self) -> Task:
        """Returns what is known of the task."""
        return get_task(self.task)


# The MLPs' parts are the paper's; of the CNNs' an epoch would be minutes of one contender or another.
NETWORKS = {
    "purchase_mlp": Network("purchase100", 10_005, 3),
    "location_mlp": Network("location", 1_252, 20),
    "cifar_cnn": Network("cifar10", 500, 4),
    "mnist_cnn": Network("mnist", 500, 4),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Workload:
    """What all contenders train on.

    Attributes:
      network: Its name.
      features: [N, ...] stored records, uint8.
      labels: [N] int32.
      members: [M, n] int32 positions that each model trains on.
      tests: [t] int32 positions that no model trains on.
    """

    network: str
    features: np.ndarray
    labels: np.ndarray
    members: np.ndarray
    tests: np.ndarray

    @property
    def task(self) -> Task:
        """The task."""
        return NETWORKS[self.network].describe()

    @property
    def num_steps(self) -> int:
        """Steps per epoch; the incomplete last batch is dropped."""
        return self.members.shape[1] // BATCH

    def save(self, path: Path) -> None:
        """Writes everything to an .npz file."""
        arrays = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        np.savez(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> "Workload":
        """Reads what `save` wrote."""
        with np.load(path) as arrays:
            return cls(network=str(arrays["network"]), **{k: arrays[k] for k in arrays.files[1:]})

    def scale(self, model: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns what a model's inputs are records minus, and divided by.

        Images are standardised by the model's own training part, as jleaks' encoding "pixels" does; of
        binary records nothing is subtracted and they are divided by one.
        """
        shape = self.features.shape[1:]
        if self.task.encoding != "pixels":
            return np.zeros(shape, np.float32), np.ones(shape, np.float32)
        part = self.features[self.members[model]].astype(np.float32)
        return part.mean(0), np.maximum(part.std(0), 1.0)

    def initial(self, model: int) -> Weights:
        """Draws a model's Glorot-uniform kernels and zero biases, for all contenders but jleaks."""
        generator = np.random.default_rng((20190226, model))
        weights = []
        for shape in kernel_shapes(self.task):
            window = int(np.prod(shape[:-2]))
            limit = np.sqrt(6 / (window * (shape[-2] + shape[-1])))
            kernel = generator.uniform(-limit, limit, shape).astype(np.float32)
            weights.append((kernel, np.zeros(shape[-1], np.float32)))
        return weights


def make_workload(
    name: str, num_records: int, num_models: int, data_dir: str | None
) -> tuple[Workload, str]:
    """Lays out shadow models as the paper's experiments on their number do.

    Args:
      name: Of the network.
      num_records: n, that each model trains on.
      num_models: M.
      data_dir: Of prepared datasets; None for the synthetic stand-in.

    Returns:
      4n records, of which models train on halves of the second half and are tested on the first; and the
      source of the records.

    Raises:
      InputError: the data is not prepared, or has fewer records.
    """
    from jleaks import data as data_lib
    from jleaks.data.splits import Quarters, quarters, shadow_part
    from jleaks.data.synthetic import synthetic

    task = NETWORKS[name].describe()
    needed = 4 * num_records
    data = synthetic(task.name, needed) if data_dir is None else data_lib.load(task.name, data_dir)
    drawn = quarters(task.name, 0, data.num_records, num_records)
    rows = np.concatenate(
        [drawn.target_train, drawn.target_out, drawn.shadow_train, drawn.shadow_out]
    )
    local = Quarters(*np.arange(needed, dtype=np.int32).reshape(4, -1))
    members = np.stack([shadow_part(local, task.name, 0, i)[0] for i in range(num_models)])
    tests = np.arange(min(_MOST_TESTS, 2 * num_records), dtype=np.int32)
    return Workload(name, data.features[rows], data.labels[rows], members, tests), data.source


def kernel_shapes(task: Task) -> list[tuple[int, ...]]:
    """Returns the shape of every layer's kernel, from the records on."""
    if task.model == "mlp":
        (width,) = task.feature_shape
        return [(width, HIDDEN), (HIDDEN, task.num_classes)]
    height, width, channels = task.feature_shape
    shapes: list[tuple[int, ...]] = []
    for border in _BORDERS:
        shapes.append((_KERNEL, _KERNEL, channels, _FEATURES))
        height, width = (_positions(size, border) // 2 for size in (height, width))
        channels = _FEATURES
    return [*shapes, (height * width * channels, HIDDEN), (HIDDEN, task.num_classes)]


def _positions(size: int, border: int) -> int:
    """Returns at how many places a kernel lies along an axis."""
    return size + 2 * border - _KERNEL + 1


def _meetings(size: int, border: int) -> int:
    """Returns how often, along an axis, an element of the kernel lies on the image."""
    places = range(_positions(size, border))
    return sum(0 <= place + at - border < size for place in places for at in range(_KERNEL))


def multiply_adds(task: Task) -> list[int]:
    """Returns the multiplications (each with an addition) of every layer on one record.

    A convolution's products with the zeros around an image are not necessary and not counted.
    """
    *windows, hidden, out = kernel_shapes(task)
    counts = []
    if task.model == "cnn":
        height, width, _ = task.feature_shape
        for (*_, channels, features), border in zip(windows, _BORDERS, strict=True):
            meetings = _meetings(height, border) * _meetings(width, border)
            counts.append(meetings * channels * features)
            height, width = (_positions(size, border) // 2 for size in (height, width))
    return [*counts, *(int(np.prod(shape)) for shape in (hidden, out))]


def flops_per_step(task: Task) -> int:
    """Returns the necessary floating-point operations of one training step of one model.

    For every record of a batch, with a_l the multiply-adds of layer l: 2 a_l for the answer, 2 a_l for the
    gradient of the layer's weights, and 2 a_l for the gradient of its inputs in all layers but the first,
    whose inputs are the records.  Biases, activations, pooling, loss and optimiser are not counted: they
    are a few percent, and no contender gets credit for them.
    """
    counts = multiply_adds(task)
    return 2 * BATCH * (2 * sum(counts) + sum(counts[1:]))


class Group(Protocol):
    """Models that a contender trains at once; a single one where they are trained one after another.

    Attributes:
      num_models: How many they are.
      per_call: Steps that one call takes.
      compile_seconds: What compiling ahead of the first call took; None if the first call does it.
    """

    num_models: int
    per_call: int
    compile_seconds: float | None

    def restart(self) -> None:
        """Returns to the initial weights."""

    def call(self, step: int) -> Any:
        """Takes `per_call` steps from `step` of an epoch on; returns their losses' sum, [models].

        Step 0 draws the order of another epoch.
        """

    def correct(self) -> np.ndarray:
        """Returns which of the workload's tests each model answers correctly, [models, t] bool."""


# Makes a group of some of a workload's models, from their initial weights.
Maker = Callable[[Workload, Sequence[int], Sequence[Weights]], Group]


def make_group(make: Maker, workload: Workload, models: Sequence[int]) -> Group:
    """Returns a group of some models of a workload."""
    return make(workload, models, [workload.initial(model) for model in models])


def time_group(group: Group, workload: Workload, seconds: float) -> Found:
    """Times the steady steps of a group.

    Args:
      group: The models, before their first step.
      workload: What they train on.
      seconds: At least so long, but for the last call.
    """
    tick = time.perf_counter()
    if group.compile_seconds is None:
        np.asarray(group.call(0))
    first, spent, calls, epochs = time.perf_counter() - tick, 0.0, 0, 0
    while spent <= seconds:
        if epochs % EPOCHS == 0:
            # Models that have learned everything by heart would compute with other numbers than real ones.
            group.restart()
        epochs += 1
        tick = time.perf_counter()
        for step in range(0, workload.num_steps - group.per_call + 1, group.per_call):
            losses = group.call(step)
            calls += 1
            if calls % _CALLS_AHEAD == 0:
                np.asarray(losses)
            if spent + time.perf_counter() - tick > seconds:
                break
        np.asarray(losses)
        spent += time.perf_counter() - tick
    extra = group.compile_seconds
    return {
        "first_call_seconds": max(0.0, first - spent / calls) if extra is None else extra,
        "seconds": spent,
        "model_steps": calls * group.per_call * group.num_models,
        "measured_models": group.num_models,
    }


def train_groups(
    make: Maker, workload: Workload, num_models: int, size: int, epochs: int
) -> dict[str, list[float]]:
    """Trains the first models of a workload, in groups that take one step a call.

    Returns:
      By model `train_loss`, the mean over the last epoch, and `test_accuracy`.
    """
    losses: list[float] = []
    accuracies: list[float] = []
    for start in range(0, num_models, size):
        models = range(start, min(start + size, num_models))
        group = make_group(make, workload, models)
        for _ in range(epochs):
            total = sum(np.asarray(group.call(step)) for step in range(workload.num_steps))
        losses += (np.asarray(total) / workload.num_steps).tolist()
        accuracies += group.correct().mean(1).tolist()
    return {"train_loss": losses, "test_accuracy": accuracies}


class Contender(NamedTuple):
    """One way to train shadow models.

    Attributes:
      title: In tables.
      module: That does it, with functions `measure(name, workload, count, seconds)`, which returns `Found`,
        and `learn(name, workload, num_models, count, epochs)`, which returns what `train_groups` does.
      sizes: Largest number of models that are trained at once, by kind of network: the fastest of 1, 2,
        4, 8, 16, 32 and 256 on two cores of an AMD EPYC.  More take turns.  None for a contender that
        decides by itself, and trains really all models.
    """

    title: str
    module: str
    sizes: dict[str, int] | None

    def trained(self, network: str, num_models: int, largest: int | None) -> int:
        """Returns how many models are trained for a measurement of `num_models`.

        Args:
          network: Its name.
          num_models: Asked for.
          largest: The user's choice in place of `sizes`; contenders that train one model after another
            keep theirs.
        """
        if self.sizes is None:
            return num_models
        size = self.sizes[NETWORKS[network].describe().model]
        if largest is not None and self.sizes != _ONE:
            size = largest
        return min(num_models, size)

    def load(self) -> Any:
        """Imports the module that does it."""
        return importlib.import_module(self.module)


_ONE = {"mlp": 1, "cnn": 1}
_JAX, _TORCH = "benchmarks.training.with_jax", "benchmarks.training.with_torch"
CONTENDERS = {
    "jleaks": Contender("jleaks", _JAX, None),
    "jleaks_xla": Contender("jleaks, XLA's kernels", _JAX, None),
    "jax_vmap": Contender("JAX, vmap of a scan", _JAX, {"mlp": 8, "cnn": 2}),
    "jax_steps": Contender("JAX, step by step", _JAX, _ONE),
    "torch_eager": Contender("PyTorch", _TORCH, _ONE),
    "torch_fused": Contender("PyTorch, fused Adam", _TORCH, _ONE),
    "torch_processes": Contender("PyTorch in processes", _TORCH, _ONE),
    "torch_func": Contender("torch.func", _TORCH, {"mlp": 32, "cnn": 2}),
    "torch_func_compiled": Contender("torch.func, compiled", _TORCH, {"mlp": 8, "cnn": 2}),
}
STACKED_TORCH = ("torch_func", "torch_func_compiled")


def is_torch(name: str) -> bool:
    """Says whether a contender needs PyTorch."""
    return CONTENDERS[name].module == _TORCH


GEMM_SIZES = (512, 1024, 2048)


def best_rate(multiply: Any, size: int, products: int) -> float:
    """Returns the best FLOP/s of a function that multiplies square matrices and waits for it.

    Args:
      multiply: Called without arguments.
      size: Of the matrices.
      products: That one call computes.
    """
    multiply()
    best = float("inf")
    for _ in range(5):
        tick = time.perf_counter()
        multiply()
        best = min(best, time.perf_counter() - tick)
    return 2 * size**3 * products / best
