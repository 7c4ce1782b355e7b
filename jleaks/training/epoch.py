"""Training ONE model: initial state, batches and epochs, all pure.

Targets, shadows and attack models all go through these functions; `jleaks.training.fleet` adds the model
axis and the devices.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Num

from jleaks import keys
from jleaks.arrays import AnyArray
from jleaks.data import encodings
from jleaks.data.augmentation import augment
from jleaks.errors import InputError
from jleaks.keys import Key, Stream
from jleaks.training import adversarial as adversarial_lib
from jleaks.training import gradient_canary, optimizer
from jleaks.training import private as private_lib
from jleaks.training import step as step_lib
from jleaks.training.learner import Batch, Data, Factors, Learner, Members, State
from jleaks.training.objective import Mixed, Objective

# Watched records that are answered at a time.
_WATCHED = 500


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
    trace = {}
    if members.watched is not None:
        shape = learner.trace_points, len(members.watched)
        trace["loss"] = jnp.zeros(shape, jnp.float32)
    if members.canary is not None:
        trace |= gradient_canary.unseen()
    variables = learner.module.init(jax.random.fold_in(key, Stream.INIT), sample)
    return State(
        params=variables["params"],
        opt_state=optimizer.make(learner.recipe).init(variables["params"]),
        statistics=statistics,
        losses=jnp.zeros(learner.recipe.epochs, jnp.float32),
        bad_step=jnp.int32(-1),
        averages=variables.get("batch_stats", {}),
        trace=trace,
        adversary={} if members.adversarial is None else adversarial_lib.init(learner, key),
    )


def template(
    learner: Learner,
    features: jax.ShapeDtypeStruct | AnyArray,
    num_members: int = 1,
    num_watched: int = 0,
    canary: bool = False,
) -> State:
    """Returns shapes and types of one model's state; nothing is computed.

    Args:
      learner: What all models of the fleet share.
      features: Shape and type of the dataset's records, [N, ...].
      num_members: Records in the model's training part.
      num_watched: Records whose loss is kept over the training.
      canary: Whether a gradient canary is looked for.
    """
    shape: Any = jax.ShapeDtypeStruct

    def one(records: Any, labels: Any, members: Members, key_data: Any, mask: Any) -> State:
        return init(learner, Data(records, labels), members, keys.wrap(key_data), mask)

    posteriors = learner.encoding == "posteriors"
    return jax.eval_shape(
        one,
        shape(features.shape, features.dtype),
        shape(features.shape[:1], np.int32),
        Members(
            shape((num_members,), np.int32),
            shape((), np.int32),
            watched=shape((num_watched,), np.int32) if num_watched else None,
            canary=shape((), np.float32) if canary else None,
        ),
        shape((2,), np.uint32),
        shape(features.shape[1:], np.float32) if posteriors else None,
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
    words = learner.kernels.bits(key, (n,)) >> 1
    words = jnp.where(jnp.arange(n) < members.size, words, jnp.uint32(0xFFFFFFFF))
    return learner.kernels.order(words)


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

    Raises:
      InputError: the network does not let hidden activations drop.
    """
    widths = learner.module.drop_widths
    if widths is None:
        raise InputError(
            f"{learner.recipe.model} does not let its hidden activations drop: put dropout into the "
            "network itself, or choose a defence other than dropout"
        )
    inputs = jax.eval_shape(learner.encode, state, records).shape
    shapes = [inputs, *((inputs[0], width) for width in widths)]

    def factors(layer: int, shape: tuple[int, ...]) -> Array:
        keep, of_layer = 1 - ratios[min(layer, 1)], jax.random.fold_in(key, layer)
        return learner.kernels.drop(of_layer, keep, shape)

    first, *others = (factors(layer, shape) for layer, shape in enumerate(shapes))
    return Factors(first, tuple(others))


def draw(
    learner: Learner,
    data: Data,
    members: Members,
    key: Key,
    state: State,
    rows: Int[Array, "batch"],
    labels: Num[Array, "batch"],
    epoch: Int[Array, ""],
    step: Int[Array, ""],
    soft_labels: Float[Array, "batch k"] | None = None,
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
      rows: [B] positions in the dataset.
      labels: [B] what is learned of these records.
      epoch: Index of the epoch.
      step: Index of the step within it.
      soft_labels: [B, K] what is learned in the place of classes; None for these.
    """
    step_key = functools.partial(_step_key, key, epoch, step)
    records = learner.kernels.gather(data.features, rows, not learner.reads_bytes)
    if learner.recipe.augmentation != "none":
        augmentation = learner.recipe.augmentation
        records = augment(augmentation, records, step_key(Stream.AUGMENTATION))
    factors = None
    if members.dropout is not None:
        factors = drop(learner, state, records, members.dropout, step_key(Stream.DROPOUT))
    own = step_key(Stream.NETWORK) if learner.network.draws else None
    mixed = None
    if members.mixup is not None:
        share = jax.random.beta(step_key(Stream.MIXUP), members.mixup, members.mixup)
        # In an order drawn for the epoch, the next record is a random one.
        partners = jnp.roll(records, 1, 0), jnp.roll(labels, 1)
        mixed = Mixed(*partners, jnp.broadcast_to(share, labels.shape))
    objective = _objective(members, labels, epoch, soft_labels)
    return Batch(records, labels, factors, own, objective, mixed)


def _objective(
    members: Members, labels: Array, epoch: Int[Array, ""], soft_labels: Array | None
) -> Objective | None:
    """Returns what is changed of a batch's loss, from each record's point of view; None for nothing."""
    given = {
        name: getattr(members, name)
        for name in ("smoothing", "entropy", "penalty", "decay", "relax", "adversarial")
        if getattr(members, name) is not None
    }
    if not given and soft_labels is None:
        return None
    even = {"even": epoch % 2 == 0} if "relax" in given else {}
    return Objective(
        soft_labels=soft_labels,
        **{name: jnp.broadcast_to(value, labels.shape) for name, value in (given | even).items()},
    )


def _step_key(key: Key, epoch: Int[Array, ""], step: Int[Array, ""], stream: Stream) -> Key:
    """Returns the key of one use of randomness in one step."""
    of_epoch = jax.random.fold_in(jax.random.fold_in(key, stream), epoch)
    return jax.random.fold_in(of_epoch, step)


def epoch(
    learner: Learner, data: Data, members: Members, key: Key, state: State, epoch: Int[Array, ""]
) -> State:
    """Passes once over the training part in a fresh random order.

    A model with fewer records than the padded part takes fewer steps: the surplus steps of a fleet
    leave it unchanged.  A private model takes as many steps, each on a sample of its own.
    """
    recipe = learner.recipe
    batch = recipe.batch_size
    order = None if members.privacy is not None else shuffled(learner, members, key, epoch)
    num_steps = members.size // batch
    unit = None
    if members.canary is not None:
        # Once an epoch: it is as large as the network, and the same in every step.
        of_canary = jax.random.fold_in(key, Stream.CANARY_GRADIENT)
        unit = gradient_canary.direction(state.params, of_canary)

    def canary(i: Array) -> gradient_canary.Canary | None:
        if members.canary is None:
            return None
        own = _step_key(key, epoch, i, Stream.CANARY_SAMPLE)
        return gradient_canary.Canary(unit, members.canary, own)

    def learned(at: Int[Array, "records"]) -> tuple[Array, Array, Array | None]:
        rows = members.indices[at]
        labels = data.labels[rows] if members.answers is None else members.answers[at]
        return rows, labels, None if members.soft_labels is None else members.soft_labels[at]

    # Once an epoch: on an accelerator every gather of a step is a kernel of its own.
    ordered = None if order is None else learned(order)

    def step(i: Array, carry: tuple[State, Array, Any]) -> tuple[State, Array, Any]:
        state, total, ready = carry
        active = i < num_steps
        if members.last_epoch is not None:
            active &= epoch < jnp.int32(members.last_epoch)
        factor = optimizer.scheduled(recipe, epoch * num_steps + i, recipe.epochs * num_steps)
        if ordered is None:
            loss, new = private_lib.step(
                learner,
                members,
                state,
                lambda at, own: draw(
                    learner, data, members, own, state, *learned(at)[:2], epoch, i
                ),
                (
                    _step_key(key, epoch, i, Stream.SAMPLE),
                    _step_key(key, epoch, i, Stream.NOISE),
                ),
                factor,
                active,
                canary(i),
            )
        else:
            now, labels, soft = jax.tree.map(
                lambda a: lax.dynamic_slice_in_dim(a, i * batch, batch), ordered
            )
            drawn = draw(learner, data, members, key, state, now, labels, epoch, i, soft)
            if members.adversarial is not None:
                own = _step_key(key, epoch, i, Stream.ADVERSARY_BATCH)
                state = adversarial_lib.step(learner, data, members, state, own, active)
            loss, new = step_lib.step(learner, state, drawn, factor, active, ready)
        failed = active & ~jnp.isfinite(loss) & (state.bad_step < 0)
        bad_step = jnp.where(failed, epoch * num_steps + i, state.bad_step)
        state = new._replace(bad_step=bad_step)
        ready = step_lib.prepared(learner, state.params)
        return state, total + jnp.where(active, loss, 0.0), ready

    max_steps = members.indices.shape[0] // batch
    begun = state, jnp.float32(0), step_lib.prepared(learner, state.params)
    state, total, _ = lax.fori_loop(0, max_steps, step, begun)
    loss = total / jnp.float32(num_steps)
    if members.last_epoch is not None:
        loss = jnp.where(epoch < jnp.int32(members.last_epoch), loss, state.losses[epoch - 1])
    return state._replace(losses=state.losses.at[epoch].set(loss))


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

    def one(i: Array, state: State) -> State:
        return watch(learner, data, members, epoch(learner, data, members, key, state, i), i)

    return lax.fori_loop(start, stop, one, state)


def watch(
    learner: Learner, data: Data, members: Members, state: State, epoch: Int[Array, ""]
) -> State:
    """Keeps the watched records' losses if the training has come to one of its points.

    Point p of P is after epoch ceil((p + 1) E / P) of E.

    Args:
      learner: What all models of the fleet share.
      data: The dataset.
      members: Says which records are watched.
      state: The model after the epoch.
      epoch: Index of the epoch that has ended.
    """
    if members.watched is None:
        return state
    points, epochs = learner.trace_points, learner.recipe.epochs
    due = np.array([-(-(p + 1) * epochs // points) for p in range(points)]) == epoch + 1

    def losses(rows: Int[Array, "block"]) -> Float[Array, "block"]:
        logits = learner.logits(state, data.features[rows])
        return learner.kernels.cross_entropy(logits, data.labels[rows])

    def kept(trace: Float[Array, "points watched"]) -> Float[Array, "points watched"]:
        assert members.watched is not None
        count, block = len(members.watched), learner.records_per_block or _WATCHED
        blocks = -(-count // block)
        rows = jnp.pad(members.watched, (0, blocks * block - count), mode="edge")
        found = lax.map(losses, rows.reshape(blocks, block)).reshape(-1)[:count]
        return jnp.where(due[:, None], found, trace)

    # The epoch is no model's own: where models advance together, too, points alone are paid for.
    return state._replace(
        trace=state.trace
        | {"loss": lax.cond(due.any(), kept, lambda trace: trace, state.trace["loss"])}
    )
