"""A white-box canary for DP-SGD: an artificial record whose gradient is as large as clipping allows, pure.

What an attacker sees who is told every noisy sum, the adversary against whom DP-SGD's guarantee is stated
(Nasr et al. 2021, "Adversary instantiation"; Nasr et al. 2023, "Tight auditing of differentially private
machine learning").  The record's gradient is the clipping norm times a unit vector g of the parameters,
drawn once from the model's key, whatever the parameters are.  Like any record it takes part in a step with
the sampling rate, independently.  The score that tells whether it was inserted is the sum over the steps
of <g, noisy sum> / clip (Steinke et al. 2023, "Privacy auditing with one (1) training run", white box):

  score = steps that it took part in + N(0, steps * noise^2) + the other records' gradients along g.

The first is zero where it was not inserted.  The last is a nuisance, kept apart: g is random, so that a sum
of gradients of norm s has about s / sqrt(parameters) along it.

Over many models that are trained on the same records, each with the canary by a coin of its own, bounds on
epsilon from these scores (`jleaks.metrics.epsilon`, `jleaks.metrics.gaussian_dp`) are about neighbours that
add or remove one record, as what is accounted is.  A bound above that shows that the training is not what
was accounted.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jleaks.arrays import AnyArray
from jleaks.errors import InputError
from jleaks.keys import Key
from jleaks.training.learner import Members

PyTree = Any


class Canary(NamedTuple):
    """What a step must know of it.

    Attributes:
      direction: g, shaped like the parameters.
      inserted: 1 where the model has the canary, 0 where it has not.
      key: Of whether it takes part in the step.
    """

    direction: PyTree
    inserted: Float[AnyArray, ""]
    key: Key


def check(members: Members) -> None:
    """Refuses a canary that no noisy sum would tell of.

    Args:
      members: Training parts, on the host.

    Raises:
      InputError: training is not private, or a canary is neither inserted nor left out.
    """
    if members.canary is None:
        return
    if members.privacy is None:
        raise InputError(
            "a gradient canary without DP-SGD: there are no noisy sums to look for it in"
        )
    values = np.asarray(members.canary)
    if unfit := [value for value in values.ravel().tolist() if value not in (0, 1)]:
        raise InputError(
            f"a gradient canary is {unfit[0]:g}, expected 1 (inserted) or 0 (left out)"
        )


def unseen() -> dict[str, Float[Array, ""]]:
    """Returns what the trace of a model holds before the first step.

    "canary" is the score; "others" what of it the gradients of the other records contributed.
    """
    return {"canary": jnp.float32(0), "others": jnp.float32(0)}


def direction(params: PyTree, key: Key) -> PyTree:
    """Returns a uniformly random unit vector of the parameters.

    Args:
      params: Of the model; shapes are enough.
      key: Of the direction.
    """
    leaves, structure = jax.tree.flatten(params)
    drawn = [
        jax.random.normal(jax.random.fold_in(key, i), leaf.shape, jnp.float32)
        for i, leaf in enumerate(leaves)
    ]
    norm = jnp.sqrt(along(drawn, drawn))
    return jax.tree.unflatten(structure, [leaf / norm for leaf in drawn])


def along(first: PyTree | Sequence[Array], second: PyTree | Sequence[Array]) -> Float[Array, ""]:
    """Returns the inner product of two vectors of the parameters."""
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return sum(((a * b).sum() for a, b in pairs), jnp.float32(0))


def added(
    canary: Canary, taken: Bool[Array, ""], clip: Float[AnyArray, ""], grads: PyTree
) -> PyTree:
    """Returns the clipped sum of a step with the canary's gradient, if it is inserted and takes part.

    Args:
      canary: The canary.
      taken: Whether it takes part in the step.
      clip: Norm of its gradient.
      grads: The clipped sum of the other records.
    """
    size = canary.inserted * clip * taken
    return jax.tree.map(lambda leaf, unit: leaf + size * unit, grads, canary.direction)


def seen(
    canary: Canary,
    trace: dict[str, Array],
    others: PyTree,
    noisy: Sequence[Array],
    clip: Float[AnyArray, ""],
    active: Bool[AnyArray, ""],
) -> dict[str, Array]:
    """Returns a model's trace after a step.

    Args:
      canary: The canary.
      trace: Before the step.
      others: The clipped sum of the other records.
      noisy: Leaves of the sum that the optimiser is given, before it is divided by the expected batch.
      clip: The clipping norm, in whose units the score is.
      active: Whether the model takes the step.
    """
    now = {"canary": noisy, "others": others}
    return trace | {
        name: trace[name] + jnp.where(active, along(canary.direction, whole) / clip, 0)
        for name, whole in now.items()
    }
