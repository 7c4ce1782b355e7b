"""Defences of answers alone: coarser posteriors of the same weights, at a strength that is data.

An attacker who knows of one asks shadows whose answers are as coarse.  No weights change, so that one
trained model answers at every strength.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jleaks.defences.defence import Defence, defence
from jleaks.errors import InputError


def _checked(what: str, given: Any, expected: str, low: float, high: float) -> Any:
    """Returns one number in [low, high], or what stands for it while JAX traces.

    Raises:
      InputError: it is out of the range.
    """
    if isinstance(given, jax.Array | jax.core.Tracer):
        return given
    if np.size(given) != 1 or not low <= float(np.ravel(given)[0]) <= high:
        raise InputError(f"{what} is {given}, expected {expected}")
    return given


@defence("temperature", strength="temperature", tried=("2", "10"))
def temperature(strength: Any) -> Defence:
    """Divides the logits: above one, posteriors are flatter; who is right stays the same."""
    by = _checked("temperature", strength, "a number from 1e-3 to 1e3", 1e-3, 1e3)
    return Defence(answer=lambda logits: logits / by)


@defence("rounding", strength="digits", tried=("2", "1"))
def rounding(digits: Any) -> Defence:
    """Rounds posteriors to so many decimal digits; of those that are all zero then, every class is alike.

    A posterior of zero is the smallest float32 above it, so that logarithms stay finite.
    """
    count = _checked("rounding's number of digits", digits, "a number from 0 to 6", 0, 6)

    def answer(logits: Float[Array, "*batch k"]) -> Float[Array, "*batch k"]:
        scale = jnp.float32(10) ** count
        rounded = jnp.round(jax.nn.softmax(logits) * scale) / scale
        return jnp.log(jnp.maximum(rounded, jnp.finfo(jnp.float32).tiny))

    return Defence(answer=answer)


@defence("top_k", strength="classes", tried=("3", "1"))
def top_k(classes: Any) -> Defence:
    """Answers the largest posteriors; the classes beyond share what is left alike (ties by class)."""
    kept = _checked("top_k's number of classes", classes, "a number from 1 to 1e6", 1, 1e6)

    def answer(logits: Float[Array, "*batch k"]) -> Float[Array, "*batch k"]:
        k = logits.shape[-1]
        rank = jnp.argsort(jnp.argsort(-logits, axis=-1), axis=-1)
        inside = jnp.float32(rank) < kept
        rest = jax.nn.logsumexp(jnp.where(inside, -jnp.inf, logits), axis=-1, keepdims=True)
        beyond = jnp.maximum(k - jnp.minimum(jnp.floor(jnp.float32(kept)), k), 1)
        return jnp.where(inside, logits, rest - jnp.log(beyond))

    return Defence(answer=answer)
