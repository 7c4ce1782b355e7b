"""How many models go into one call, and how many of them into one instruction.

On CPU the models of a device take turns unless they are so small that several stay in cache together:
a model's parameters, gradient and two Adam moments must be found there at every step.  On accelerators
as many models as fit in memory advance together.
"""

import dataclasses
import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jleaks import train
from jleaks.errors import InputError
from jleaks.host import library
from jleaks.plan import NORMALISED_MODELS, Execution, Recipe
from jleaks.train import Batch, Data, Learner, Members

# Of one core's cache, what the state of models that advance together may take.
_CACHE_BYTES = 1 << 20
_MAX_GROUP = 256
# A device's sustained rate in a training step, for guessing how long an epoch takes before the first
# one has run: only the order of magnitude matters.
_FLOPS_PER_SECOND = {"cpu": 4e10, "gpu": 1e13, "tpu": 1e13}
_MEMORY_SHARE = 0.6


@dataclasses.dataclass(frozen=True)
class Packing:
    """What was chosen, for the log and the result rows.

    Attributes:
      models_per_call: P, over all devices.
      models_per_vmap: Models of one device that advance in the same instruction.
      bytes_per_model: Estimated memory of one model in training.
    """

    models_per_call: int
    models_per_vmap: int
    bytes_per_model: int


def make_learner(recipe: Recipe, encoding: str, num_classes: int, execution: Execution) -> Learner:
    """Returns the learner of a fleet, its form of convolution and its blocks chosen by backend.

    Raises:
      InputError: `execution` splits batches that are normalised as a whole, or asks for kernels that
        are not there.
    """
    if execution.records_per_block is not None and recipe.model in NORMALISED_MODELS:
        raise InputError(
            f"records_per_block is {execution.records_per_block}, but {recipe.model} normalises every "
            "batch as a whole: leave it unset"
        )
    on_cpu = jax.default_backend() == "cpu"
    kernels = execution.kernels or "xla"
    if kernels == "host" and not (on_cpu and library.loaded()):
        raise InputError(
            "kernels is host, which needs CPU devices and its library"
            f" (devices: {jax.default_backend()}, library loaded: {library.loaded()})"
        )
    block = execution.records_per_block
    if block is None and on_cpu and recipe.model == "cnn" and kernels == "xla":
        # Five images' windows and feature maps stay in a core's cache; a batch's do not.
        block = 5
    form = execution.convolution or ("products" if on_cpu else "native")
    return Learner(recipe, encoding, num_classes, form, block, kernels)


def device_memory(device: jax.Device) -> int:
    """Returns the bytes one device may use; host devices share the machine's available memory."""
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"]) - int(stats.get("bytes_in_use", 0))
    total = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return total // jax.local_device_count()


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one model takes, counted without running it.

    Attributes:
      state_bytes: Parameters, optimiser state, statistics and running averages.
      activation_bytes: Alive in one step.
      flops_per_epoch: Of the gradients, as XLA counts them.
    """

    state_bytes: int
    activation_bytes: int
    flops_per_epoch: float


def measure(learner: Learner, features: jax.ShapeDtypeStruct | Array, num_members: int) -> Cost:
    """Counts what one model takes.

    Args:
      learner: What the models share.
      features: Shape and type of the dataset's records, [N, ...].
      num_members: Records in the model's training part.
    """
    state, activations, flops = _measure(learner, features.shape[1:], np.dtype(features.dtype))
    return Cost(state, activations, flops * num_members)


@functools.cache
def _measure(
    learner: Learner, record_shape: tuple[int, ...], dtype: np.dtype
) -> tuple[int, int, float]:
    """Returns state bytes, activation bytes and FLOPs per record, whatever the number of records."""
    shape: Any = jax.ShapeDtypeStruct
    block = learner.recipe.batch_size // learner.num_blocks
    records, labels = shape((block, *record_shape), dtype), shape((block,), np.int32)
    members = Members(labels, shape((), np.int32))
    key = jax.eval_shape(lambda: jax.random.key(0))
    mask = shape(record_shape, np.float32) if learner.encoding == "posteriors" else None
    state = jax.eval_shape(
        lambda d, m, k, s: train.init(learner, d, m, k, s),
        Data(records, labels),
        members,
        key,
        mask,
    )
    whole = dataclasses.replace(
        learner,
        # XLA cannot look into the kernels.
        kernels="xla",
        recipe=dataclasses.replace(learner.recipe, batch_size=block),
        records_per_block=None,
    )
    lowered = jax.jit(lambda s, b: train.gradient(whole, s, b)).lower(state, Batch(records, labels))
    cost = lowered.cost_analysis() or {}
    return (
        sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)),
        # Each byte an operation touches is counted at least twice (written, then read).
        int(cost.get("bytes accessed", 0)) // 2,
        float(cost.get("flops", 0)) / block,
    )


def choose(
    learner: Learner,
    data: Data,
    num_members: int,
    num_models: int,
    devices: list[jax.Device],
    execution: Execution,
) -> Packing:
    """Chooses a packing; what `execution` states is taken as it is.

    Args:
      learner: What the models share.
      data: Their dataset, on the devices.
      num_members: Records in one model's training part.
      num_models: M, models in the fleet.
      devices: The devices they are spread over.
      execution: The user's choices, None where automatic.
    """
    cost = measure(learner, jnp.asarray(data.features), num_members)
    platform = devices[0].platform
    bytes_per_model = 2 * cost.state_bytes + cost.activation_bytes
    share = -(-num_models // len(devices))
    fits = max(1, int(_MEMORY_SHARE * device_memory(devices[0]) // max(bytes_per_model, 1)))
    if platform == "cpu":
        group = max(1, min(_MAX_GROUP, _CACHE_BYTES // max(cost.state_bytes * 4 // 3, 1)))
    else:
        group = _MAX_GROUP
    group = execution.models_per_vmap or min(group, share, fits)
    if execution.models_per_call:
        per_call = execution.models_per_call
    else:
        seconds = cost.flops_per_epoch / _FLOPS_PER_SECOND.get(platform, 1e12)
        turns = max(1, int(execution.chunk_seconds / max(seconds * group, 1e-9)))
        per_device = min(share, fits, group * turns)
        # Equal calls: the last one should not be a small remainder of another shape.
        calls = -(-share // per_device)
        per_call = min(num_models, -(-share // calls) * len(devices))
    return Packing(per_call, min(group, -(-per_call // len(devices))), bytes_per_model)
