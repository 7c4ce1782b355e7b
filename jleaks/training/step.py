"""ONE step of training: from a batch to a loss, its gradient and the next parameters, all pure."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jleaks.arrays import AnyArray
from jleaks.models.convolution import Rounded, rounded
from jleaks.models.kernels import Descend
from jleaks.training import optimizer
from jleaks.training.adversarial import gain
from jleaks.training.learner import Batch, Learner, State
from jleaks.training.objective import changed, imitated

PyTree = Any


def record_losses(
    learner: Learner, logits: Float[Array, "records k"], batch: Batch
) -> Float[Array, "records"]:
    """Returns the loss of each record, all but a penalty on weights.

    Args:
      learner: What all models of the fleet share.
      logits: Answers to a batch or a block of it.
      batch: The batch, or the block.
    """
    labels = batch.labels
    if learner.recipe.loss == "quantile":
        above, level = labels - logits[:, 0], learner.recipe.quantile
        return jnp.maximum(level * above, (level - 1) * above)
    losses = learner.kernels.cross_entropy(logits, labels)
    if (mixed := batch.mixed) is not None:
        partners = learner.kernels.cross_entropy(logits, mixed.labels)
        losses = mixed.share * losses + (1 - mixed.share) * partners
    if batch.objective is not None and learner.recipe.loss == "imitation":
        return imitated(batch.objective, logits, losses)
    if batch.objective is not None:
        losses = changed(batch.objective, logits, labels, losses)
    return losses


def mean_loss(
    learner: Learner, state: State, logits: Float[Array, "records k"], batch: Batch
) -> Float[Array, ""]:
    """Returns the loss of a batch, or the share that some of its records have in it (`record_losses`)."""
    losses = record_losses(learner, logits, batch)
    if batch.objective is not None and (weight := batch.objective.adversarial) is not None:
        losses = losses + gain(state.adversary["params"], logits, batch.labels, weight)
    # Divided here, where the gradient is small: that of all weights is not.
    return losses.sum() / learner.recipe.batch_size


def _decays(batch: Batch) -> bool:
    """Whether a defence adds a penalty on squared weights to the loss."""
    return batch.objective is not None and batch.objective.decay is not None


def _decay(learner: Learner, params: PyTree, batch: Batch) -> Float[Array, ""]:
    """Returns what such a defence adds to the loss of a batch, or the share of a block of it."""
    assert batch.objective is not None
    assert batch.objective.decay is not None
    squares = [(leaf**2).sum() for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
    return batch.objective.decay.sum() / learner.recipe.batch_size * sum(squares, jnp.float32(0))


def prepared(learner: Learner, params: PyTree) -> PyTree | None:
    """Returns parameters with their kernels rounded, as products take them; None if each product rounds.

    In a loop of steps they are what the next step reads: rounded in the same pass that makes them.
    """
    narrow = learner.recipe.precision
    if not learner.rounds_once or narrow not in ("tensorfloat32", "bfloat16"):
        return None
    return jax.tree.map(
        lambda leaf: Rounded(rounded(leaf, narrow)) if leaf.ndim > 1 else leaf, params
    )


def gradient(
    learner: Learner, state: State, batch: Batch, ready: PyTree | None = None
) -> tuple[Float[Array, ""], PyTree, PyTree]:
    """Mean loss of one batch and its gradient, summed over the learner's blocks.

    Args:
      learner: What all models of the fleet share.
      state: The model.
      batch: B records.
      ready: What `prepared` made of the model's parameters: rounding has derivative one, so the gradient
        is theirs, too.

    Returns:
      The loss, its gradient, and the running averages after the batch.

    Raises:
      ValueError: batch normalisation was asked for in blocks, which would change the numbers.
    """

    def loss_fn(params: PyTree, block: Batch) -> tuple[Array, PyTree]:
        logits, averages = learner.apply(state._replace(params=params), block)
        loss = mean_loss(learner, state, logits, block)
        return loss + _decay(learner, params, block) if _decays(block) else loss, averages

    # A penalty on weights is one on those that are not rounded.
    at = state.params if ready is None or _decays(batch) else ready

    def grad_fn(block: Batch) -> tuple[tuple[Array, PyTree], PyTree]:
        found, grads = jax.value_and_grad(loss_fn, has_aux=True)(at, block)
        leaves = jax.tree.leaves(grads)
        return found, jax.tree.unflatten(jax.tree.structure(state.params), leaves)

    size, blocks = learner.recipe.batch_size, learner.num_blocks
    if batch.objective is not None and batch.objective.relax is not None:
        # RelaxLoss asks for the mean loss of the whole.
        blocks = 1
    if blocks == 1:
        (loss, averages), grads = grad_fn(batch)
        return loss, grads, averages
    if state.averages:
        raise ValueError("a batch that is normalised as a whole cannot be split into blocks")

    def add(total: PyTree, block: Batch) -> tuple[PyTree, None]:
        (loss, _), grads = grad_fn(block)
        return jax.tree.map(jnp.add, total, (loss, grads)), None

    split = jax.tree.map(lambda a: a.reshape(blocks, size // blocks, *a.shape[1:]), batch)
    zero = (jnp.float32(0), jax.tree.map(jnp.zeros_like, state.params))
    (loss, grads), _ = lax.scan(add, zero, split)
    return loss, grads, state.averages


def step(
    learner: Learner,
    state: State,
    batch: Batch,
    factor: Float[AnyArray, ""],
    active: Bool[AnyArray, ""],
    ready: PyTree | None = None,
) -> tuple[Float[Array, ""], State]:
    """Takes one step of the recipe's optimiser; a model that is not active stays as it is.

    Args:
      learner: What all models of the fleet share.
      state: The model.
      batch: B records.
      factor: Of the learning rate.
      active: Whether this model takes the step.
      ready: What `prepared` made of the model's parameters.

    Returns:
      The mean loss before the step, and the model after it.
    """
    recipe = learner.recipe
    if learner.descend and not _decays(batch):
        adam = optimizer.HostAdam(recipe, state.opt_state, factor, active)
        return _fused_step(learner, learner.descend, state, batch, adam)
    loss, grads, averages = gradient(learner, state, batch, ready)
    params, opt_state = optimizer.update(
        recipe, learner.kernels.adam, grads, state.opt_state, state.params, factor, active
    )
    averages = jax.tree.map(lambda new, old: jnp.where(active, new, old), averages, state.averages)
    return loss, state._replace(params=params, opt_state=opt_state, averages=averages)


class Forward(NamedTuple):
    """What a fully connected network computed of a batch.

    Attributes:
      inputs: Of every layer, [B, inputs].
      outputs: Of every layer, [B, outputs]: after tanh, but before ReLU and dropout.
      logits: [B, K].
    """

    inputs: list[Array]
    outputs: list[Array]
    logits: Array


def dense_forward(
    learner: Learner, params: PyTree, x: Array, factors: Sequence[Array] | None
) -> Forward:
    """Applies fully connected layers to a batch as in training, and keeps what they computed.

    Args:
      learner: What all models of the fleet share.
      params: Of each layer, by its name.
      x: What the first of them sees, [B, ...].
      factors: What hidden activations are multiplied by; None without dropout.
    """
    depth, how = len(params), learner.module.how
    # The kernel ends a layer with tanh or nothing: other activations are XLA's, between two kernels.
    in_kernel = learner.recipe.activation == "tanh"
    x = x.reshape(x.shape[0], -1)
    inputs, outputs = [], []
    for i in range(depth):
        weights, hidden = params[f"Dense_{i}"], i + 1 < depth
        tanh = "tanh" if hidden and in_kernel else None
        y = how.layers.dense(x, weights["kernel"], weights["bias"], tanh, how.precision)
        inputs.append(x)
        outputs.append(y)
        x = jax.nn.relu(y) if hidden and not in_kernel else y
        x = x * factors[i] if hidden and factors is not None else x
    return Forward(inputs, outputs, x)


def _fused_step(
    learner: Learner, descend: Descend, state: State, batch: Batch, adam: optimizer.HostAdam
) -> tuple[Float[Array, ""], State]:
    """The same step of a fully connected network, backpropagation and Adam of a layer in one kernel.

    The gradient of the weights, as large as the network, is never written to memory: a tile of it is
    used as soon as it is summed.
    """
    layers = adam.split(state.params)
    encoded, factors = learner.inputs(state, batch)
    in_kernel = learner.recipe.activation == "tanh"
    inputs, outputs, x = dense_forward(learner, state.params, encoded, factors)
    depth = len(inputs)
    loss, dy = jax.value_and_grad(lambda z: mean_loss(learner, state, z, batch))(x)
    for i in reversed(range(depth)):
        layers[f"Dense_{i}"], dx = descend(
            layers[f"Dense_{i}"], inputs[i], outputs[i], dy, adam.how, adam.decay,
            tanh=i + 1 < depth and in_kernel, first=i == 0,
        )  # fmt: skip
        if dx is not None:
            dy = dx if factors is None else dx * factors[i - 1]
            dy = dy if in_kernel else jnp.where(outputs[i - 1] > 0, dy, 0)
    params, opt_state = adam.join(layers)
    return loss, state._replace(params=params, opt_state=opt_state)
