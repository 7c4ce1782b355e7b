"""Coins that a question decides: the same answer is always changed alike, however often it is asked for."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int


def order_hash(order: Int[Array, "*batch k"]) -> Array:
    """Returns a number below 2^32 that the order of the classes decides."""
    k = order.shape[-1]
    # Products of distinct odd numbers: any two orders are unlikely to agree.
    factors = np.random.default_rng(k).integers(1, 2**31, k, dtype=np.uint32) * 2 + 1
    return scrambled((order.astype(jnp.uint32) * factors).sum(-1))


def scrambled(word: Array) -> Array:
    """Returns 32-bit words whose high bits depend on all of the given ones."""
    return (word ^ (word >> 15)) * np.uint32(2654435761)
