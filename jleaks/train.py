"""Training ONE model: state, step and epoch, all pure.

Targets, shadows and attack models all go through these functions; `jleaks.fleet` adds the model axis
and the devices.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int, Num

from jleaks import encodings, models, optimizer
from jleaks.arrays import AnyArray
from jleaks.augmentation import augment
from jleaks.convolution import Form, Precision
from jleaks.host import operations as host
from jleaks.host.operations import Kernels
from jleaks.keys import Key, Stream
from jleaks.plan import Recipe

PyTree = Any


class State(NamedTuple):
    """Everything of one model that training changes or that querying needs.

    Attributes:
      params: The network's parameters.
      opt_state: Adam's moments and step count.
      statistics: The encoding's, fitted on the model's own training part.
      losses: [E] mean cross-entropy of each epoch so far, zero where still to come.
      bad_step: Index of the first step whose loss was not finite, or -1.
      averages: Running means and variances of batch normalisation, by which the network is queried;
        an empty dict for networks without it.
    """

    params: PyTree
    opt_state: PyTree
    statistics: encodings.Statistics
    losses: Float[Array, "epochs"]
    bad_step: Int[Array, ""]
    averages: PyTree


class Members(NamedTuple):
    """The training part of one model (or, stacked, of many).

    Attributes:
      indices: [n] int32 positions in the dataset; entries beyond `size` are padding.
      size: How many are valid.
      answers: [n] what a quantile regression learns of each of these records; None otherwise.
      dropout: [2] shares of the network's inputs and of its hidden activations that a training step
        drops, in [0, 1); None for training without dropout.
    """

    indices: Int[AnyArray, "*models members"]
    size: Int[AnyArray, "*models"]
    answers: Float[AnyArray, "*models members"] | None = None
    dropout: Float[AnyArray, "*models 2"] | None = None


class Data(NamedTuple):
    """A dataset on the device, shared by all models: stored features [N, ...], labels [N] int32."""

    features: Num[AnyArray, "records ..."]
    labels: Int[AnyArray, "records"]


class Factors(NamedTuple):
    """What dropout multiplies by in one step: 0, or 1 / (1 - ratio) for what is kept.

    Attributes:
      inputs: [B, ...] of the encoded inputs.
      hidden: [B, width] of each hidden layer that may drop.
    """

    inputs: Array
    hidden: tuple[Array, ...]


class Batch(NamedTuple):
    """What one step learns from; every leaf has the batch's records on axis 0.

    Attributes:
      records: [B, ...] stored records.
      labels: [B] classes, or what a quantile regression learns.
      factors: Of dropout, if there is any.
    """

    records: Array
    labels: Array
    factors: Factors | None = None


@dataclasses.dataclass(frozen=True)
class Learner:
    """What is the same for all models of a fleet; hashable, so that it can key compiled programs.

    Attributes:
      recipe: How each model is trained.
      encoding: Name of the encoding (see `jleaks.encodings`).
      num_classes: K.
      form: How convolutions are computed (speed only).
      records_per_block: Records whose activations are alive at once (speed only); None for whole
        batches.
      kernels: "host" where `jleaks.host` computes layers, gradients, order and optimiser (speed only).
    """

    recipe: Recipe
    encoding: str
    num_classes: int
    form: Form = "native"
    records_per_block: int | None = None
    kernels: Kernels = "xla"

    @property
    def num_blocks(self) -> int:
        """Blocks per batch: the smallest divisor of the batch that respects the block size."""
        batch = self.recipe.batch_size
        block = min(self.records_per_block or batch, batch)
        return next(n for n in range(-(-batch // block), batch + 1) if batch % n == 0)

    @functools.cached_property
    def module(self) -> models.Network:
        """The network."""
        named = self.recipe.precision
        precision: Precision = None if named == "default" else named
        return models.build(
            self.recipe.model,
            self.recipe.hidden,
            self.num_classes,
            models.Computing(self.form, precision, self.kernels),
        )

    @property
    def reads_bytes(self) -> bool:
        """Whether the first layer's kernel takes records as they are stored, zeros and ones."""
        flat = self.recipe.model in ("mlp", "logistic")
        exact = self.recipe.precision in ("default", "float32")
        return self.kernels == "host" and self.encoding == "binary" and flat and exact

    def gather(
        self, features: Num[AnyArray, "records ..."], rows: Int[Array, "batch"]
    ) -> Num[Array, "batch ..."]:
        """Returns the records of a batch, as their encoding takes them."""
        if self.kernels != "host":
            return features[rows]
        if features.dtype != jnp.uint8 or self.reads_bytes:
            return host.gather(features, rows)
        return host.gather_floats(features, rows)

    def encode(
        self, state: State, records: Num[AnyArray, "batch ..."]
    ) -> Float[Array, "batch ..."]:
        """Turns stored records into one model's network inputs."""
        return encodings.encode(self.encoding, state.statistics, records)

    def answer(self, state: State, inputs: Float[Array, "batch ..."]) -> Float[Array, "batch k"]:
        """Queries one model on network inputs; answers logits."""
        return self.module.apply({"params": state.params, "batch_stats": state.averages}, inputs)

    def respond(self, state: State, batch: Batch) -> tuple[Float[Array, "batch k"], PyTree]:
        """Answers a batch as in training: logits, and the running averages after it."""
        if self.reads_bytes and batch.factors is None:
            inputs, hidden = batch.records, None
        else:
            inputs, hidden = self.encode(state, batch.records), None
        if batch.factors is not None:
            inputs, hidden = inputs * batch.factors.inputs, batch.factors.hidden
        logits, updated = self.module.apply(
            {"params": state.params, "batch_stats": state.averages},
            inputs,
            models.Training(hidden),
            mutable=["batch_stats"],
        )
        return logits, updated.get("batch_stats", {})

    def logits(self, state: State, records: Num[AnyArray, "batch ..."]) -> Float[Array, "batch k"]:
        """Queries one model on stored records."""
        return self.answer(state, self.encode(state, records))


def init(
    learner: Learner, data: Data, members: Members, key: Key, mask: Float[Array, "top"] | None
) -> State:
    """Returns the state of one untrained model.

    Args:
      learner: What all models of the fleet share.
      data: The dataset.
      members: The model's training part, on which its encoding's statistics are fitted.
      key: The model's own key.
      mask: Attack models only: which of the largest posteriors this one may see.
    """
    statistics = encodings.fit(learner.encoding, data.features, members.indices, members.size)
    if mask is not None:
        statistics = {"mask": mask}
    sample = encodings.encode(learner.encoding, statistics, data.features[:1])
    variables = learner.module.init(jax.random.fold_in(key, Stream.INIT), sample)
    return State(
        params=variables["params"],
        opt_state=optimizer.make(learner.recipe).init(variables["params"]),
        statistics=statistics,
        losses=jnp.zeros(learner.recipe.epochs, jnp.float32),
        bad_step=jnp.int32(-1),
        averages=variables.get("batch_stats", {}),
    )


def shuffled(
    learner: Learner, members: Members, key: Key, epoch: Int[Array, ""]
) -> Int[Array, "members"]:
    """Returns positions in the training part in the order of `epoch`, padding last.

    The order depends on key, epoch and size alone: one random word per position, whose value does
    not depend on how far the part is padded.
    """
    key = jax.random.fold_in(jax.random.fold_in(key, Stream.SHUFFLE), epoch)
    n = members.indices.shape[0]
    words = (host.bits if learner.kernels == "host" else jax.random.bits)(key, (n,)) >> 1
    words = jnp.where(jnp.arange(n) < members.size, words, jnp.uint32(0xFFFFFFFF))
    return host.order(words) if learner.kernels == "host" else jnp.argsort(words)


def drop(
    learner: Learner,
    state: State,
    records: Num[Array, "batch ..."],
    ratios: Float[AnyArray, "2"],
    key: Key,
) -> Factors:
    """Draws what one step drops (inverted dropout, Srivastava et al. 2014).

    Args:
      learner: What all models of the fleet share.
      state: The model, for its encoding.
      records: [B, ...] the step's stored records, of which only the shape matters.
      ratios: Shares of inputs and of hidden activations to drop.
      key: Of the step.
    """
    inputs = jax.eval_shape(learner.encode, state, records).shape
    shapes = [inputs, *((inputs[0], width) for width in learner.module.drop_widths)]

    def factors(layer: int, shape: tuple[int, ...]) -> Array:
        keep, of_layer = 1 - ratios[min(layer, 1)], jax.random.fold_in(key, layer)
        if learner.kernels == "host":
            return host.drop(of_layer, keep, shape)
        return jnp.where(jax.random.bernoulli(of_layer, keep, shape), 1 / keep, 0)

    first, *others = (factors(layer, shape) for layer, shape in enumerate(shapes))
    return Factors(first, tuple(others))


def draw(
    learner: Learner,
    data: Data,
    members: Members,
    key: Key,
    state: State,
    at: Int[Array, "batch"],
    epoch: Int[Array, ""],
    step: Int[Array, ""],
) -> Batch:
    """Returns the batch of one step, with everything random about it.

    Drawn for the batch as a whole, from key, epoch and step alone: neither blocks of records nor other
    models change it.

    Args:
      learner: What all models of the fleet share.
      data: The dataset.
      members: The model's training part.
      key: The model's own key.
      state: The model, for its encoding.
      at: [B] positions in the training part.
      epoch: Index of the epoch.
      step: Index of the step within it.
    """

    def step_key(stream: Stream) -> Key:
        of_epoch = jax.random.fold_in(jax.random.fold_in(key, stream), epoch)
        return jax.random.fold_in(of_epoch, step)

    rows = members.indices[at]
    records = learner.gather(data.features, rows)
    labels = data.labels[rows] if members.answers is None else members.answers[at]
    if learner.recipe.augmentation != "none":
        augmentation = learner.recipe.augmentation
        records = augment(augmentation, records, step_key(Stream.AUGMENTATION))
    factors = None
    if members.dropout is not None:
        factors = drop(learner, state, records, members.dropout, step_key(Stream.DROPOUT))
    return Batch(records, labels, factors)


def gradient(
    learner: Learner, state: State, batch: Batch
) -> tuple[Float[Array, ""], PyTree, PyTree]:
    """Mean loss of one batch and its gradient, summed over the learner's blocks.

    Args:
      learner: What all models of the fleet share.
      state: The model.
      batch: B records.

    Returns:
      The loss, its gradient, and the running averages after the batch.

    Raises:
      ValueError: batch normalisation was asked for in blocks, which would change the numbers.
    """
    cross_entropy = (
        host.cross_entropy
        if learner.kernels == "host"
        else optax.softmax_cross_entropy_with_integer_labels
    )

    def loss_fn(params: PyTree, block: Batch) -> tuple[Array, PyTree]:
        logits, averages = learner.respond(state._replace(params=params), block)
        if learner.recipe.loss == "quantile":
            above = block.labels - logits[:, 0]
            level = learner.recipe.quantile
            return jnp.maximum(level * above, (level - 1) * above).sum(), averages
        losses = cross_entropy(logits, block.labels)
        return losses.sum(), averages

    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
    size, blocks = learner.recipe.batch_size, learner.num_blocks
    if blocks == 1:
        (loss, averages), grads = grad_fn(state.params, batch)
    elif state.averages:
        raise ValueError("a batch that is normalised as a whole cannot be split into blocks")
    else:

        def add(total: PyTree, block: Batch) -> tuple[PyTree, None]:
            (loss, _), grads = grad_fn(state.params, block)
            return jax.tree.map(jnp.add, total, (loss, grads)), None

        split = jax.tree.map(lambda a: a.reshape(blocks, size // blocks, *a.shape[1:]), batch)
        zero = (jnp.float32(0), jax.tree.map(jnp.zeros_like, state.params))
        (loss, grads), _ = lax.scan(add, zero, split)
        averages = state.averages
    loss, grads = jax.tree.map(lambda leaf: leaf / size, (loss, grads))
    return loss, grads, averages


def epoch(
    learner: Learner, data: Data, members: Members, key: Key, state: State, epoch: Int[Array, ""]
) -> State:
    """Passes once over the training part in a fresh random order.

    A model with fewer records than the padded part takes fewer steps: the surplus steps of a fleet
    leave it unchanged.
    """
    recipe = learner.recipe
    batch = recipe.batch_size
    order = shuffled(learner, members, key, epoch)
    on_host = learner.kernels == "host" and recipe.optimizer == "adam"
    update = optimizer.update_on_host if on_host else optimizer.update
    num_steps = members.size // batch

    def step(i: Array, carry: tuple[State, Array]) -> tuple[State, Array]:
        state, total = carry
        at = lax.dynamic_slice(order, (i * batch,), (batch,))
        drawn = draw(learner, data, members, key, state, at, epoch, i)
        loss, grads, averages = gradient(learner, state, drawn)
        active = i < num_steps
        factor = optimizer.scheduled(recipe, epoch * num_steps + i, recipe.epochs * num_steps)
        params, opt_state = update(recipe, grads, state.opt_state, state.params, factor, active)
        failed = active & ~jnp.isfinite(loss) & (state.bad_step < 0)
        averages = jax.tree.map(
            lambda new, old: jnp.where(active, new, old), averages, state.averages
        )
        state = state._replace(
            params=params,
            opt_state=opt_state,
            bad_step=jnp.where(failed, epoch * num_steps + i, state.bad_step),
            averages=averages,
        )
        return state, total + jnp.where(active, loss, 0.0)

    max_steps = members.indices.shape[0] // batch
    state, total = lax.fori_loop(0, max_steps, step, (state, jnp.float32(0)))
    return state._replace(losses=state.losses.at[epoch].set(total / num_steps))


def fit(
    learner: Learner,
    data: Data,
    members: Members,
    key: Key,
    state: State,
    start: Int[Array, ""],
    stop: Int[Array, ""],
) -> State:
    """Trains one model from epoch `start` up to, not including, epoch `stop`.

    The bounds are values, not constants: chunks of any length run the same compiled program.
    """
    return lax.fori_loop(
        start, stop, lambda i, state: epoch(learner, data, members, key, state, i), state
    )
