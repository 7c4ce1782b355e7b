"""Adversarial regularisation (Nasr, Shokri & Houmansadr 2018): a network that tells members trains along.

Before each of its own steps (algorithm 1, with k = 1), the model that is defended faces an adversary: a
small network that sees a posterior and its true class, and learns to tell answers about records that are
trained on from answers about reference records, which are not.  The model's loss is then its cross-entropy
plus a weight times the mean log probability with which the adversary calls the batch's records members.

What differs from the authors: the adversary is one network of hidden layers of 128 and 64 units that also
sees the cross-entropy, theirs has three branches and about a million weights.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from jleaks.arrays import AnyArray
from jleaks.errors import InputError
from jleaks.keys import Key, Stream
from jleaks.training.learner import Data, Learner, Members, State

PyTree = Any

_HIDDEN = (128, 64)
_OPTIMIZER = optax.adam(1e-3)


def widths(num_classes: int) -> list[tuple[int, int]]:
    """Returns inputs and outputs of the adversary's layers."""
    sizes = (2 * num_classes + 1, *_HIDDEN, 1)
    return list(itertools.pairwise(sizes))


def state_bytes(num_classes: int) -> int:
    """Returns the bytes of an adversary and of its optimiser."""
    return 3 * 4 * sum((inputs + 1) * outputs for inputs, outputs in widths(num_classes)) + 4


def init(learner: Learner, key: Key) -> PyTree:
    """Returns an untrained adversary: parameters and its optimiser's state.

    Args:
      learner: What all models of the fleet share.
      key: The model's own.
    """
    params = {
        f"layer_{i}": {
            "kernel": jax.random.normal(
                jax.random.fold_in(jax.random.fold_in(key, Stream.ADVERSARY), i), shape
            )
            * np.float32(np.sqrt(1 / shape[0])),
            "bias": jnp.zeros(shape[1]),
        }
        for i, shape in enumerate(widths(learner.num_classes))
    }
    return {"params": params, "opt_state": _OPTIMIZER.init(params)}


def odds(
    params: PyTree, logits: Float[Array, "batch k"], labels: Int[Array, "batch"]
) -> Float[Array, "batch"]:
    """Returns the logarithm of the odds that these answers are about members.

    Args:
      params: The adversary's.
      logits: Of the model that is defended.
      labels: True classes.
    """
    logs = jax.nn.log_softmax(logits)
    loss = -jnp.take_along_axis(logs, labels[:, None], 1)
    x = jnp.concatenate([jnp.exp(logs), jax.nn.one_hot(labels, logits.shape[-1]), loss], axis=1)
    for i in range(len(params)):
        layer = params[f"layer_{i}"]
        x = x @ layer["kernel"] + layer["bias"][None]
        x = jnp.tanh(x) if i + 1 < len(params) else x
    return x[:, 0]


def gain(
    params: PyTree,
    logits: Float[Array, "batch k"],
    labels: Int[Array, "batch"],
    weight: Float[Array, "batch"],
) -> Float[Array, "batch"]:
    """Returns what is added to each record's loss: the weight times the log probability of a member."""
    return weight * jax.nn.log_sigmoid(odds(params, logits, labels))


def step(
    learner: Learner,
    data: Data,
    members: Members,
    state: State,
    key: Key,
    active: Bool[AnyArray, ""],
) -> State:
    """Takes one step of the adversary, on a batch of random members and one of reference records.

    Args:
      learner: What all models of the fleet share.
      data: The dataset.
      members: The training part, with reference records.
      state: The model and its adversary.
      key: Of the step.
      active: Whether this model takes the step.
    """
    assert members.reference is not None
    assert members.reference_size is not None
    size = (learner.recipe.batch_size,)
    of_members, of_reference = jax.random.split(key)
    at = jax.random.randint(of_members, size, 0, members.size)
    beside = jax.random.randint(of_reference, size, 0, members.reference_size)
    rows = jnp.concatenate([members.indices[at], members.reference[beside]])
    logits, labels = learner.logits(state, data.features[rows]), data.labels[rows]
    member = (jnp.arange(rows.shape[0]) < size[0]).astype(jnp.float32)

    def loss(params: PyTree) -> Float[Array, ""]:
        found = odds(params, logits, labels)
        return optax.sigmoid_binary_cross_entropy(found, member).mean()

    own = state.adversary
    updates, opt_state = _OPTIMIZER.update(jax.grad(loss)(own["params"]), own["opt_state"])
    new = {"params": optax.apply_updates(own["params"], updates), "opt_state": opt_state}
    kept = jax.tree.map(lambda new, old: jnp.where(active, new, old), new, own)
    return state._replace(adversary=kept)


def check(name: str, members: Members, batch_size: int) -> None:
    """Refuses training without anything to compare with.

    Raises:
      InputError: there are fewer reference records than a batch.
    """
    if members.adversarial is None:
        return
    sizes = members.reference_size
    if sizes is None or (least := int(np.min(sizes))) < batch_size:
        found = 0 if sizes is None else least
        raise InputError(
            f"{name}: adversarial regularisation has {found} reference records, expected at least a "
            f"batch, {batch_size}: raise its share, lower batch_size, or take more data"
        )
