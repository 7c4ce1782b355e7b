"""What one model takes: bytes and FLOPs, counted from the traced gradient without compiling anything."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jleaks import keys
from jleaks.arrays import AnyArray
from jleaks.models import kernels
from jleaks.training import clipping, epoch
from jleaks.training import private as private_lib
from jleaks.training import step as step_lib
from jleaks.training.learner import Batch, Learner
from jleaks.training.memory import has_operation, peak_bytes


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one model takes, counted without compiling anything.

    Attributes:
      state_bytes: Parameters, optimiser state, statistics and running averages.
      activation_bytes: Alive at once in one step, gradient included, if nothing were fused.
      flops_per_epoch: Of the gradients, as XLA counts them.
      convolves: Whether a step has convolutions other than as products.
    """

    state_bytes: int
    activation_bytes: int
    flops_per_epoch: float
    convolves: bool


def measure(
    learner: Learner,
    features: jax.ShapeDtypeStruct | AnyArray,
    num_members: int,
    private: bool = False,
) -> Cost:
    """Counts what one model takes.

    Args:
      learner: What the models share.
      features: Shape and type of the dataset's records, [N, ...].
      num_members: Records in the model's training part.
      private: Whether it is trained by DP-SGD.
    """
    found = _measure(learner, features.shape[1:], np.dtype(features.dtype), private)
    return dataclasses.replace(found, flops_per_epoch=found.flops_per_epoch * num_members)


@functools.cache
def _measure(
    learner: Learner, record_shape: tuple[int, ...], dtype: np.dtype, private: bool
) -> Cost:
    """Counts what one model takes that trains on one record."""
    shape: Any = jax.ShapeDtypeStruct
    state = epoch.template(learner, shape((1, *record_shape), dtype))

    def traced(learner: Learner) -> jax.stages.Traced:
        size = private_lib.block_size(learner) if private else learner.recipe.batch_size
        key = jax.eval_shape(lambda: keys.wrap(jnp.zeros(2, jnp.uint32)))
        batch = Batch(
            shape((size, *record_shape), dtype),
            shape((size,), np.int32),
            key=key if learner.network.draws else None,
        )
        if private:
            clip, real = shape((), np.float32), shape((size,), np.bool_)
            clipped = functools.partial(clipping.clipped_sum, learner)
            return jax.jit(clipped).trace(state, batch, clip, real)
        return jax.jit(lambda s, b: step_lib.gradient(learner, s, b)).trace(state, batch)

    block = learner.recipe.batch_size // learner.num_blocks
    # XLA cannot look into the kernels, and counts a loop's body once.
    plain = dataclasses.replace(
        learner,
        kernels=kernels.XLA,
        recipe=dataclasses.replace(learner.recipe, batch_size=block),
        records_per_block=None,
    )
    records = private_lib.block_size(plain) if private else block
    step = traced(learner)
    counted = step if plain == learner else traced(plain)
    cost = counted.lower().cost_analysis() or {}
    return Cost(
        state_bytes=sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)),
        activation_bytes=peak_bytes(step.jaxpr.jaxpr),
        flops_per_epoch=float(cost.get("flops", 0)) / records,
        convolves=has_operation(step.jaxpr.jaxpr, "conv_general_dilated"),
    )
