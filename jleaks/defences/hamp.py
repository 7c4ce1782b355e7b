"""HAMP (Chen & Pattabiraman 2024): soft labels in training, confidences of random points in answers.

The output step gives away the order of the classes alone: the sorted confidences are those of a random
point.  The authors draw a point for every record asked about; here some are drawn once, and the order of
the classes says which of them answers, so that the same question is answered alike.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jleaks.defences.defence import AnswerFn, Defence, defence
from jleaks.defences.order_hash import order_hash
from jleaks.defences.training import hamp_training
from jleaks.errors import InputError

NUM_POINTS = 64


def replaced(points: Float[Array, "points k"], share: Any = 1.0) -> AnswerFn:
    """Returns the output step.

    Args:
      points: The model's log posteriors of random points.
      share: Of orders of the classes whose confidences are replaced.
    """
    sizes = -jnp.sort(-points, axis=-1)

    def answer(logits: Float[Array, "*batch k"]) -> Float[Array, "*batch k"]:
        order = jnp.argsort(jnp.argsort(-logits, axis=-1), axis=-1)
        mixed = order_hash(order)
        # High bits say which point, low ones whether.
        mine = sizes[(mixed >> 16) % len(sizes)]
        found = jnp.take_along_axis(mine, order, axis=-1)
        chosen = jnp.float32(mixed & 0xFFFF) < jnp.float32(65536) * share
        return jnp.where(chosen[..., None], found, logits)

    return answer


def _step(strength: Any, share: Any = 1.0) -> AnswerFn:
    """Returns the output step of a strength behind which the log posteriors of the points stand."""
    size = np.size(strength)
    if size < 2 * NUM_POINTS:

        def unknown(_: Array) -> Array:
            raise InputError("HAMP's answers need the model's own answers to random points")

        return unknown
    # However many numbers a strength has, they are fewer than points.
    points = jnp.asarray(strength)[size % NUM_POINTS :].reshape(NUM_POINTS, -1)
    return replaced(points, share)


@defence("hamp_output", strength="share", tried=("1",))
def hamp_output(strength: Any) -> Defence:
    """HAMP's output step alone.

    Args:
      strength: Share of the orders of classes whose confidences are replaced; HAMP's is 1.

    Raises:
      InputError: it is not one number in (0, 1].
    """
    if np.size(strength) < 2 * NUM_POINTS:
        share = float(np.ravel(strength)[0])
        if np.size(strength) != 1 or not 0 < share <= 1:
            raise InputError(f"HAMP's share is {strength}, expected one number in (0, 1]")
        return Defence(answer=_step(strength), points=NUM_POINTS)
    return Defence(answer=_step(strength, strength[0]), points=NUM_POINTS)


@defence("hamp", strength="entropy[, weight]", tried=("0.3,0.01", "0.6,0.01", "0.9,0.01"))
def hamp(strength: Any) -> Defence:
    """HAMP's training (`hamp_training`) and output step.

    Args:
      strength: As of `hamp_training`.

    Raises:
      InputError: a number is out of range.
    """
    made = Defence(answer=_step(strength), points=NUM_POINTS)
    if np.size(strength) >= 2 * NUM_POINTS:
        return made
    return dataclasses.replace(made, training=hamp_training(strength).training)
