"""Shadow models trained with JAX: jleaks as its launchers run it, and what JAX users write."""

import dataclasses
import functools
import math
import time
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks import harness
from benchmarks.fleets import fleet_spec
from benchmarks.training.workload import (
    BATCH,
    EPOCHS,
    GEMM_SIZES,
    HIDDEN,
    LEARNING_RATE,
    Found,
    Weights,
    Workload,
    best_rate,
    flops_per_step,
    make_group,
    time_group,
    train_groups,
)
from jleaks.attacks.signals import signal_fn
from jleaks.keys import Role
from jleaks.training.execution import Execution
from jleaks.training.fleet import make_mesh
from jleaks.training.preemption import Preempted, StopSignal
from jleaks.training.progress import Progress
from jleaks.training.recipe import Recipe
from jleaks.training.trainer import FleetSpec, Trainer
from launch.app import start

# Steps that one call of a scan takes at most: MLPs' an epoch, CNNs' two, which are seconds.
_SCANNED = {"mlp": 100, "cnn": 2}
# For guessing how many epochs fill the time: only the order of magnitude matters.
_FLOPS_PER_SECOND = 1e11
# A run of the trainer is so many times as long as other measurements.
_RUN = 10


class Network(nn.Module):
    """The networks as flax's documentation would have them: `nn.Conv`, `nn.max_pool`, `nn.Dense`."""

    is_cnn: bool
    num_classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns logits."""
        if self.is_cnn:
            for padding in ("SAME", "VALID"):
                x = nn.relu(nn.Conv(32, (5, 5), padding=padding)(x))
                x = nn.max_pool(x, (2, 2), (2, 2))
        x = x.reshape(x.shape[0], -1)
        x = nn.tanh(nn.Dense(HIDDEN)(x))
        return nn.Dense(self.num_classes)(x)


def _params(weights: Weights) -> dict[str, Any]:
    """Returns weights by flax's names."""
    convolutions = [w for w in weights if w[0].ndim == 4]
    layers = {f"Conv_{i}": w for i, w in enumerate(convolutions)}
    layers |= {f"Dense_{i}": w for i, w in enumerate(weights[len(convolutions) :])}
    return {"params": {n: {"kernel": k, "bias": b} for n, (k, b) in layers.items()}}


class Vmapped:
    """One device, `jit` of `vmap` over models of a `lax.scan` over steps with `optax.adam`.

    Calls of one step have no scan, and a group of one model no vmap.
    """

    def __init__(
        self, per_call: int, workload: Workload, models: Sequence[int], weights: Sequence[Weights]
    ):
        """Prepares everything, and compiles."""
        self.num_models, self.per_call = len(models), per_call
        self._weights, self._workload = weights, workload
        self._members = workload.members[list(models)]
        scales = [workload.scale(m) for m in models]
        self._scale = tuple(jnp.stack(one) for one in zip(*scales, strict=True))
        self._data = jnp.asarray(workload.features), jnp.asarray(workload.labels)
        self._network = Network(workload.task.model == "cnn", workload.task.num_classes)
        self._optimizer = optax.adam(LEARNING_RATE)
        self._generator = np.random.default_rng(models[0])
        self.restart()
        tick = time.perf_counter()
        rows = np.zeros((self.num_models, per_call, BATCH), np.int32)
        lowered = self._program().lower(self._scale, self._data, self._carry, rows)
        self._compiled = lowered.compile()
        self.compile_seconds: float | None = time.perf_counter() - tick

    def _program(self) -> Any:
        def inputs(scale: Any, data: Any, rows: Any) -> Any:
            features, labels = data
            mean, std = scale
            return (features[rows].astype(jnp.float32) - mean) / std, labels[rows]

        def step(scale: Any, data: Any, carry: Any, rows: Any) -> Any:
            params, state = carry
            records, labels = inputs(scale, data, rows)

            def loss_fn(params: Any) -> Any:
                logits = self._network.apply(params, records)
                return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

            loss, grads = jax.value_and_grad(loss_fn)(params)
            updates, state = self._optimizer.update(grads, state)
            return (optax.apply_updates(params, updates), state), loss

        def steps(scale: Any, data: Any, carry: Any, rows: Any) -> Any:
            if self.per_call == 1:
                return step(scale, data, carry, rows[0])
            carry, losses = lax.scan(functools.partial(step, scale, data), carry, rows)
            return carry, losses.sum()

        def all_models(scale: Any, data: Any, carry: Any, rows: Any) -> Any:
            if self.num_models == 1:
                one = jax.tree.map(lambda leaf: leaf[0], (scale, carry, rows))
                found = steps(one[0], data, *one[1:])
                return jax.tree.map(lambda leaf: leaf[None], found)
            return jax.vmap(steps, (0, None, 0, 0))(scale, data, carry, rows)

        return jax.jit(all_models, donate_argnums=2)

    def restart(self) -> None:
        """Returns to the initial weights."""
        params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(_params, self._weights))
        self._carry = params, jax.vmap(self._optimizer.init)(params)

    def call(self, step: int) -> Any:
        """Takes `per_call` steps of an epoch; returns summed losses, [models]."""
        if step == 0:
            order = np.stack([self._generator.permutation(part) for part in self._members])
            count = self._workload.num_steps
            self._order = order[:, : count * BATCH].reshape(len(order), count, BATCH)
        return self.step(self._order[:, step : step + self.per_call])

    def step(self, rows: np.ndarray) -> Any:
        """Takes steps on positions [models, per_call, B] of the dataset; returns summed losses."""
        self._carry, losses = self._compiled(self._scale, self._data, self._carry, rows)
        return losses

    def correct(self) -> np.ndarray:
        """Returns which of the workload's tests are answered correctly, [models, t]."""
        features, labels = (np.asarray(array)[self._workload.tests] for array in self._data)

        def one(params: Any, mean: jax.Array, std: jax.Array) -> jax.Array:
            logits = self._network.apply(params, (features.astype(np.float32) - mean) / std)
            return logits.argmax(1) == labels

        return np.asarray(lax.map(lambda model: one(*model), (self._carry[0], *self._scale)))


_PLAIN = ("jax_vmap", "jax_steps")


def make_spec(
    workload: Workload,
    execution: Execution,
    num_models: int,
    epochs: int,
    privacy: Sequence[float] | None = None,
) -> FleetSpec:
    """Lays out the first models of a workload as a fleet; `privacy` as of `Members`, the same for all."""
    task = workload.task
    recipe = Recipe(task.model, (HIDDEN,), epochs, BATCH, LEARNING_RATE, l2=0.0)
    records, parts = (workload.features, workload.labels), workload.members[:num_models]
    spec = fleet_spec(task, recipe, records, parts, execution, Role.SHADOW)
    if privacy is None:
        return spec
    values = np.tile(np.array(privacy, np.float32), (num_models, 1))
    return dataclasses.replace(spec, members=spec.members._replace(privacy=values))


def time_fleet(
    workload: Workload,
    execution: Execution,
    num_models: int,
    seconds: float,
    privacy: Sequence[float] | None = None,
) -> Found:
    """Times whole runs of the trainer, after one that was stopped at its first chunk (see `make_spec`)."""
    steps = num_models * workload.num_steps
    guess = steps * flops_per_step(workload.task) / _FLOPS_PER_SECOND
    # A run also begins and ends, which is nothing beside the paper's epochs and must be little here.
    epochs = min(max(2, math.ceil(_RUN * seconds / guess)), EPOCHS)
    stop = StopSignal()
    first: list[Progress] = []

    def halt(progress: Progress) -> None:
        if not first:
            first.append(progress)
            stop.received = 1

    tick = time.perf_counter()
    spec = make_spec(workload, execution, num_models, epochs, privacy)
    trainer = Trainer(spec, execution, halt, stop)
    try:
        trainer.run()
    except Preempted:
        stop.received = None
    first_seconds = time.perf_counter() - tick
    runs, tick = 0, time.perf_counter()
    while runs == 0 or time.perf_counter() - tick < seconds:
        trainer.run()
        runs += 1
    spent = time.perf_counter() - tick
    done = runs * epochs * steps
    steady = first[0].done * workload.num_steps * spent / done
    return {
        "first_call_seconds": max(0.0, first_seconds - steady),
        "seconds": spent,
        "model_steps": done,
        "measured_models": num_models,
        "packing": dataclasses.asdict(trainer.packing),
        "kernels": execution.kernels or "xla",
    }


def _gemm(num_devices: int) -> float:
    """Returns the best FLOP/s of XLA's dot, one product on each of the first devices at once."""
    mesh, rates = make_mesh(num_devices), []
    spec = PartitionSpec("model")
    product = jax.jit(
        jax.shard_map(lambda a: (a[0] @ a[0])[None], mesh=mesh, in_specs=spec, out_specs=spec)
    )
    for size in GEMM_SIZES:
        generator = np.random.default_rng(0)
        a = generator.random((num_devices, size, size), np.float32)
        a = jax.device_put(a, NamedSharding(mesh, spec))
        multiply = lambda a=a: product(a).block_until_ready()  # noqa: E731
        rates.append(best_rate(multiply, size, num_devices))
    return max(rates)


@functools.cache
def _execution(name: str) -> Execution:
    return start(Execution(kernels="xla") if name == "jleaks_xla" else Execution())


def measure(name: str, workload: Workload, count: int, seconds: float) -> Found:
    """Times a contender (see `workload.Contender`)."""
    if name in _PLAIN:
        per_call = 1
        if name == "jax_vmap":
            per_call = min(workload.num_steps, _SCANNED[workload.task.model])
        make = functools.partial(Vmapped, per_call)
        found = time_group(make_group(make, workload, range(count)), workload, seconds)
    else:
        found = time_fleet(workload, _execution(name), count, seconds)
    found["peak_megabytes"] = harness.peak_megabytes()
    return {**found, "gemm_flops": _gemm(jax.device_count())}


def learn(
    name: str, workload: Workload, num_models: int, count: int, epochs: int
) -> dict[str, list[float]]:
    """Trains models to compare what they have learned (see `workload.Contender`)."""
    if name in _PLAIN:
        # Steps one by one: XLA is very slow at convolutions within its loops.
        make = functools.partial(Vmapped, 1)
        return train_groups(make, workload, num_models, count, epochs)
    execution = _execution(name)
    spec = make_spec(workload, execution, num_models, epochs)
    trainer = Trainer(spec, execution, lambda _: None, StopSignal())
    state = trainer.run()
    rows = np.broadcast_to(workload.tests, (num_models, len(workload.tests)))
    correct = trainer.query(state, rows, signal_fn(1))["correct"]
    return {
        "train_loss": np.asarray(state.losses)[:, -1].tolist(),
        "test_accuracy": correct.mean(1).tolist(),
    }
