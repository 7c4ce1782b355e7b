"""ONE step of DP-SGD (Abadi et al. 2016, algorithm 1): Poisson sampling, clipped gradients, noise; pure.

Formal guarantee.  Every record of the training part takes part in a step with probability `rate`,
independently of all others and of other steps.  The sum of the gradients of those that do, each scaled to
a norm of at most `clip`, gets Gaussian noise of deviation `noise` times `clip` on every coordinate, and is
divided by the expected number of records, which is no secret.  Neighbours add or remove one record: the
sum's sensitivity is `clip`.  One step is the Poisson-subsampled Gaussian mechanism at (noise, rate), and
training its composition over all steps (`jleaks.metrics.privacy_accounting`).

A batch has no largest size: it is computed in blocks of a fixed size, as many as it takes, the last one
padded and masked.  So nothing overflows, nothing is cut off, and what is accounted is what is run.

How gradients of single records are clipped and summed: `jleaks.training.clipping`.

What an attacker would see who is told every noisy sum can be looked at: `jleaks.training.gradient_canary`.

What the guarantee leaves out: noise is float32 of 23 random bits, not proof against attacks on
floating-point numbers; statistics of an encoding that are fitted on the training part are not private
(encodings "binary" and "pixels" fit none); nor are the losses that progress is told by.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jleaks.arrays import AnyArray
from jleaks.errors import InputError
from jleaks.keys import Key
from jleaks.models.cpu_kernels.operations import Noise
from jleaks.training import clipping, gradient_canary, optimizer
from jleaks.training.gradient_canary import Canary
from jleaks.training.learner import Batch, Learner, Members, State

PyTree = Any

# From positions [B] in the training part and a key to the records there, with everything random about them.
DrawFn = Callable[[Int[Array, "block"], Key], Batch]

_WORDS = 2.0**32
# The largest float32 below it: a rate of one leaves a record out once in 2^24 steps.
_MOST = np.float32(_WORDS - 256)


def check(learner: Learner, members: Members, state: State) -> None:
    """Refuses training in which records do not act alone.

    Args:
      learner: What all models of the fleet share.
      members: Their training parts.
      state: Of one model; shapes are enough.

    Raises:
      InputError: the network normalises batches, or another defence looks at more than one record.
    """
    for name in ("decay", "relax", "mixup", "soft_labels", "adversarial"):
        if getattr(members, name) is not None:
            raise InputError(
                f"DP-SGD beside {name}: its loss is not one of single records; choose one of the two"
            )
    if state.averages:
        raise InputError(
            f"DP-SGD of {learner.recipe.model}: batch normalisation mixes the records of a batch, and no "
            "gradient belongs to one record; choose a model without it, such as mlp or cnn, or register "
            "one with GroupNorm"
        )


def block_size(learner: Learner) -> int:
    """Returns the records of one block: few batches of fully connected networks take more than one.

    Of a CNN a block's padding costs as much as its records: there are many.
    """
    if learner.records_per_block is not None:
        return learner.records_per_block
    few = learner.kernels.cnn_sample_block
    if few is not None and learner.network.layers == "small convolutions":
        return few
    batch = learner.recipe.batch_size
    return batch + math.ceil(3 * math.sqrt(batch))


def _takes_part(
    learner: Learner, rate: Float[AnyArray, ""], key: Key, shape: tuple[int, ...]
) -> Bool[Array, "..."]:
    """Draws whether records take part in a step, each with probability `rate`."""
    words = learner.kernels.bits(key, shape)
    return words < jnp.minimum(rate * jnp.float32(_WORDS), _MOST).astype(jnp.uint32)


def sample(
    learner: Learner, members: Members, rate: Float[AnyArray, ""], key: Key
) -> tuple[Int[Array, "members"], Int[Array, ""]]:
    """Draws a Poisson sample of the training part.

    Args:
      learner: What all models of the fleet share.
      members: The training part.
      rate: Probability of each record.
      key: Of the step.

    Returns:
      Positions in the training part, those that take part first; and how many these are.
    """
    n = members.indices.shape[0]
    taken = _takes_part(learner, rate, key, (n,)) & (jnp.arange(n) < members.size)
    return learner.kernels.order((~taken).astype(jnp.uint32)), taken.sum()


class _Privacy(NamedTuple):
    """Of one model: clipping norm, deviation of the noise, sampling rate, records expected in a sample."""

    clip: Float[AnyArray, ""]
    deviation: Float[AnyArray, ""]
    rate: Float[AnyArray, ""]
    expected: Float[AnyArray, ""]


def step(
    learner: Learner,
    members: Members,
    state: State,
    draw_fn: DrawFn,
    keys: tuple[Key, Key],
    factor: Float[AnyArray, ""],
    active: Bool[AnyArray, ""],
    canary: Canary | None = None,
) -> tuple[Float[Array, ""], State]:
    """Takes one private step of the recipe's optimiser; a model that is not active stays as it is.

    Args:
      learner: What all models of the fleet share.
      members: The training part, with `privacy`.
      state: The model.
      draw_fn: Draws a block's records.
      keys: Of the step's sample and of its noise.
      factor: Of the learning rate.
      active: Whether this model takes the step.
      canary: A gradient that may be inserted, and is looked for in the noisy sum; None for neither.

    Returns:
      The sampled records' loss before the step, summed and divided by their expected number; and the model
      after it.
    """
    assert members.privacy is not None
    noise, clip, rate = members.privacy
    size = block_size(learner)
    order, count = sample(learner, members, rate, keys[0])
    order = jnp.pad(order, (0, size))
    # A canary is not counted: were it, the divisor would tell of it.
    expected = rate * jnp.float32(members.size)
    privacy = _Privacy(clip, noise * clip, rate, expected)

    def block_of(number: Array | int) -> tuple[Batch, Bool[Array, "block"]]:
        start = number * size
        at = lax.dynamic_slice(order, (start,), (size,))
        real = start + jnp.arange(size) < count
        return draw_fn(at, jax.random.fold_in(keys[0], number)), real

    def in_blocks() -> tuple[Float[Array, ""], State]:
        blocks = -(-count // size)
        return _in_blocks(
            learner, state, block_of, blocks, privacy, keys[1], factor, active, canary
        )

    # A canary is looked for in the noisy sum, which one kernel does not write to memory.
    if canary is not None or learner.descend is None:
        return in_blocks()
    if (descend := learner.kernels.descend_privately) is None:
        return in_blocks()
    adam = optimizer.HostAdam(learner.recipe, state.opt_state, factor, active)

    def fused() -> tuple[Float[Array, ""], State]:
        return _fused(learner, descend, state, *block_of(0), privacy, keys[1], adam)

    # Few samples take more than one block.
    return lax.cond(count <= size, fused, in_blocks)


def _in_blocks(
    learner: Learner,
    state: State,
    block_of: Callable[[Array], tuple[Batch, Bool[Array, "block"]]],
    num_blocks: Int[Array, ""],
    privacy: _Privacy,
    key: Key,
    factor: Float[AnyArray, ""],
    active: Bool[AnyArray, ""],
    canary: Canary | None,
) -> tuple[Float[Array, ""], State]:
    """Sums clipped gradients over blocks, adds noise, and updates; see `step`."""
    clip, deviation, rate, expected = privacy

    def add(block: Array, total: tuple[Array, PyTree]) -> tuple[Array, PyTree]:
        batch, real = block_of(block)
        return jax.tree.map(jnp.add, total, clipping.clipped_sum(learner, state, batch, clip, real))

    zero = jnp.float32(0), jax.tree.map(jnp.zeros_like, state.params)
    loss, grads = lax.fori_loop(0, num_blocks, add, zero)
    others = grads
    if canary is not None:
        taken = _takes_part(learner, rate, canary.key, (1,))[0]
        grads = gradient_canary.added(canary, taken, clip, grads)
    leaves, structure = jax.tree.flatten(grads)
    normals = learner.kernels.normals
    noisy = [
        leaf + deviation * normals(jax.random.fold_in(key, i), leaf.shape)
        for i, leaf in enumerate(leaves)
    ]
    if canary is not None:
        trace = gradient_canary.seen(canary, state.trace, others, noisy, clip, active)
        state = state._replace(trace=trace)
    mean = [leaf / expected for leaf in noisy]
    params, opt_state = optimizer.update(
        learner.recipe, learner.kernels.adam, jax.tree.unflatten(structure, mean),
        state.opt_state, state.params, factor, active,
    )  # fmt: skip
    return loss / expected, state._replace(params=params, opt_state=opt_state)


def _fused(
    learner: Learner,
    descend: Callable[..., Any],
    state: State,
    batch: Batch,
    real: Bool[Array, "block"],
    privacy: _Privacy,
    key: Key,
    adam: optimizer.HostAdam,
) -> tuple[Float[Array, ""], State]:
    """The same step of a fully connected network and one block: gradient, noise and Adam in one kernel."""
    clip, deviation, _, expected = privacy
    if learner.reads_bytes:
        # Of padding the kernels see nothing but zeros, which they leave out.
        shape = (-1, *(1,) * (batch.records.ndim - 1))
        batch = batch._replace(records=jnp.where(real.reshape(shape), batch.records, 0))
    found = clipping.clipped_deltas(learner, state, batch, clip, real)
    scalars = jnp.stack([deviation, 1 / expected])
    layers = adam.split(state.params)
    # In the order of the leaves, as the noise of other networks is.
    of_leaf = jax.tree.unflatten(
        jax.tree.structure(state.params),
        [jax.random.fold_in(key, i) for i in range(len(jax.tree.leaves(state.params)))],
    )
    for i, (x, delta) in enumerate(zip(found.inputs, found.outputs, strict=True)):
        name = f"Dense_{i}"
        noise = Noise(of_leaf[name]["bias"], of_leaf[name]["kernel"], scalars)
        layers[name] = descend(layers[name], x, delta, adam.how, adam.decay, noise)
    params, opt_state = adam.join(layers)
    loss = jnp.where(real, found.losses, 0).sum() / expected
    return loss, state._replace(params=params, opt_state=opt_state)
