"""Clipped gradients of the records of a block, summed: what a step of DP-SGD begins with; pure.

The gradients of single records are never formed for fully connected layers: one of inputs a and
output gradient d has the gradient a d^T and the bias' d, whose squared norm is (|a|^2 + 1) |d|^2
(Goodfellow 2015, "Efficient per-example gradient computations").  As d scales with its record's clip
factor c, the clipped sum is A^T (c D), and one backward pass does.

The paper's CNN begins with convolutions of few weights and many windows, where such a norm would take the
products of all pairs of windows.  Their gradients are formed, one of each record, which takes as many
products as their sum ("mixed ghost clipping" of Bu et al. 2022, "Scalable and efficient training of large
convolutional neural networks with differential privacy").

Of other networks the gradients of a block are formed, which `jleaks.training.packing` counts.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jleaks.arrays import AnyArray
from jleaks.keys import Key
from jleaks.models.convolution import multiply
from jleaks.models.networks import CNN
from jleaks.training.learner import Batch, Learner, State
from jleaks.training.step import dense_forward, record_losses

PyTree = Any


def _factors(
    squares: Float[Array, "block"], clip: Float[AnyArray, ""], real: Bool[Array, "block"]
) -> Float[Array, "block"]:
    """Returns what brings gradients of these squared norms to at most `clip`; 0 for padding."""
    tiny = jnp.finfo(jnp.float32).tiny
    return jnp.where(real, jnp.minimum(1, clip / jnp.sqrt(jnp.maximum(squares, tiny))), 0)


def clipped_sum(
    learner: Learner,
    state: State,
    batch: Batch,
    clip: Float[AnyArray, ""],
    real: Bool[Array, "block"],
) -> tuple[Float[Array, ""], PyTree]:
    """Returns the summed loss of a block, and the sum of its records' clipped gradients.

    Args:
      learner: What all models of the fleet share.
      state: The model.
      batch: The block.
      clip: Largest norm of a record's gradient over all parameters.
      real: Which records are no padding.
    """
    if learner.network.layers == "dense":
        of_kind = _of_dense
    else:
        of_kind = _of_cnn if isinstance(learner.module, CNN) else _of_any
    losses, grads = of_kind(learner, state, batch, clip, real)
    return jnp.where(real, losses, 0).sum(), grads


class Deltas(NamedTuple):
    """What backpropagation through fully connected layers gave.

    Attributes:
      losses: [B] of the records.
      inputs: Of every layer, [B, inputs].
      outputs: Of every layer, [B, outputs]: gradients of the records' losses in what it answered before its
        activation.
      squares: [B] squared norms of the gradients in all weights.
    """

    losses: Float[Array, "block"]
    inputs: list[Array]
    outputs: list[Array]
    squares: Float[Array, "block"]

    def sums(self) -> PyTree:
        """Returns the gradient of every layer, summed over the records."""
        return {
            f"Dense_{i}": {
                "kernel": multiply(x.astype(jnp.float32).T, delta, "float32"),
                "bias": delta.sum(0),
            }
            for i, (x, delta) in enumerate(zip(self.inputs, self.outputs, strict=True))
        }

    def scaled(self, factors: Float[Array, "block"], real: Bool[Array, "block"]) -> "Deltas":
        """Returns the gradients times the records' factors; nothing of padding, whatever it is."""
        outputs = [_scaled(delta, factors, real) for delta in self.outputs]
        return self._replace(outputs=outputs)


def _scaled(
    x: Float[Array, "block ..."], factors: Float[Array, "block"], real: Bool[Array, "block"]
) -> Float[Array, "block ..."]:
    column = (-1, *(1,) * (x.ndim - 1))
    # Padding repeats a record: zero times its delta, whatever that is.
    return jnp.where(real.reshape(column), factors.reshape(column) * x, 0)


def clipped_deltas(
    learner: Learner, state: State, batch: Batch, clip: Float[AnyArray, ""], real: Array
) -> Deltas:
    """Backpropagates the block's records, clipped, through a network of fully connected layers."""
    found = _backpropagated(learner, state.params, *learner.inputs(state, batch), batch)
    return found.scaled(_factors(found.squares, clip, real), real)


def _of_dense(
    learner: Learner, state: State, batch: Batch, clip: Float[AnyArray, ""], real: Array
) -> tuple[Array, PyTree]:
    """Fully connected layers, one after another: ghost norms, and one backward pass."""
    found = clipped_deltas(learner, state, batch, clip, real)
    return found.losses, found.sums()


def _backpropagated(
    learner: Learner, params: PyTree, x: Array, factors: Sequence[Array] | None, batch: Batch
) -> Deltas:
    """Backpropagates the block's records through layers that see `x`; arguments as of `dense_forward`."""
    tanh = learner.recipe.activation == "tanh"
    inputs, outputs, logits = dense_forward(learner, params, x, factors)
    losses, pull = jax.vjp(lambda z: record_losses(learner, z, batch), logits)
    (delta,) = pull(jnp.ones_like(losses))
    deltas, squares = [delta], jnp.zeros_like(losses)
    for i in reversed(range(len(inputs))):
        squares += ((inputs[i].astype(jnp.float32) ** 2).sum(1) + 1) * (delta**2).sum(1)
        if i > 0:
            delta = multiply(delta, params[f"Dense_{i}"]["kernel"].T, "float32")
            delta = delta if factors is None else delta * factors[i - 1]
            y = outputs[i - 1]
            delta = delta * (1 - y**2) if tanh else jnp.where(y > 0, delta, 0)
            deltas.insert(0, delta)
    return Deltas(losses, inputs, deltas, squares)


def _of_cnn(
    learner: Learner, state: State, batch: Batch, clip: Float[AnyArray, ""], real: Array
) -> tuple[Array, PyTree]:
    """The paper's CNN: the gradients of its convolutions, and ghost norms of the layers behind them."""
    params, how = state.params, learner.module.how
    x, factors = learner.inputs(state, batch)
    pulls = []
    for i, padding in enumerate(CNN.paddings):
        layer = params[f"Conv_{i}"]
        x, pull = how.layers.convolve_apart(
            x, layer["kernel"], layer["bias"], padding, how.form, how.precision, i == 0
        )
        pulls.append(pull)
    dense = params["MLP_0"]
    found = _backpropagated(learner, dense, x, factors, batch)
    dy = multiply(found.outputs[0], dense["Dense_0"]["kernel"].T, "float32").reshape(x.shape)
    grads = {}
    for i, pull in reversed(list(enumerate(pulls))):
        dx, kernel, bias = pull(dy)
        grads[f"Conv_{i}"] = {"kernel": kernel, "bias": bias}
        dy = dy if dx is None else dx
    share = _factors(found.squares + _squares(grads, found.squares), clip, real)
    sums = _clipped(grads, share, real)
    return found.losses, {**sums, "MLP_0": found.scaled(share, real).sums()}


def _clipped(grads: PyTree, factors: Float[Array, "block"], real: Bool[Array, "block"]) -> PyTree:
    """Returns the records' gradients times their factors, summed; every leaf is [block, ...]."""
    return jax.tree.map(lambda leaf: _scaled(leaf, factors, real).sum(0), grads)


def _squares(grads: PyTree, like: Float[Array, "block"]) -> Float[Array, "block"]:
    """Returns the squared norms of gradients, every leaf [block, ...]."""
    return sum(
        ((leaf**2).sum(tuple(range(1, leaf.ndim))) for leaf in jax.tree.leaves(grads)),
        jnp.zeros_like(like),
    )


def _of_any(
    learner: Learner, state: State, batch: Batch, clip: Float[AnyArray, ""], real: Array
) -> tuple[Array, PyTree]:
    """Any network without batch normalisation: the gradient of every record."""
    count = real.shape[0]
    keys = None if batch.key is None else jax.random.split(batch.key, count)

    def loss_fn(params: PyTree, record: Batch) -> Array:
        logits, _ = learner.apply(state._replace(params=params), record)
        return record_losses(learner, logits, record).sum()

    def one(record: Batch, key: Key | None) -> tuple[Array, PyTree]:
        record = jax.tree.map(lambda leaf: leaf[None], record)
        return jax.value_and_grad(loss_fn)(state.params, record._replace(key=key))

    losses, grads = jax.vmap(one)(batch._replace(key=None), keys)
    share = _factors(_squares(grads, losses), clip, real)
    return losses, _clipped(grads, share, real)
