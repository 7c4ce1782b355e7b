"""Sums of float32 kept in two of them, about 48 bits, so that what is taken out of a sum leaves no trace.

A sum over all models, less a target's own answer, is the sum over its references up to rounding.  Among
records whose scores are equal on paper that rounding would tell who is a member: only a member's answer was
ever in the sum over the models that trained on the record.  The arithmetic is Dekker's (1971) and Knuth's;
it needs additions and products that round to nearest, which XLA has on every backend, and no float64, which
accelerators lack or are slow at.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

# Splits a float32 into two of twelve bits.
_SPLIT = 4097.0


class TwoFloats(NamedTuple):
    """The number high + low, of which `high` is the nearest float32; arrays of one shape."""

    high: Array
    low: Array


def _ordered_sum(a: Array, b: Array) -> TwoFloats:
    """A + b without error where |a| >= |b|."""
    total = a + b
    return TwoFloats(total, b - (total - a))


def exact_sum(a: Array, b: Array) -> TwoFloats:
    """A + b without error."""
    total = a + b
    part = total - a
    return TwoFloats(total, (a - (total - part)) + (b - part))


def exact_product(a: Array, b: Array) -> TwoFloats:
    """A * b without error, for factors below 1e34."""

    def split(x: Array) -> tuple[Array, Array]:
        large = _SPLIT * x
        high = large - (large - x)
        return high, x - high

    product = a * b
    (a_high, a_low), (b_high, b_low) = split(a), split(b)
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return TwoFloats(product, error)


def add(a: TwoFloats, b: TwoFloats) -> TwoFloats:
    """A + b."""
    high, low = exact_sum(a.high, b.high), exact_sum(a.low, b.low)
    first = _ordered_sum(high.high, high.low + low.high)
    return _ordered_sum(first.high, first.low + low.low)


def subtract(a: TwoFloats, b: TwoFloats) -> TwoFloats:
    """A - b."""
    return add(a, TwoFloats(-b.high, -b.low))


def multiply(a: TwoFloats, b: TwoFloats) -> TwoFloats:
    """A * b."""
    product = exact_product(a.high, b.high)
    return _ordered_sum(product.high, product.low + (a.high * b.low + a.low * b.high))


def divide(a: TwoFloats, by: Array) -> TwoFloats:
    """A / by, for a float32 divisor."""
    quotient = a.high / by
    rest = subtract(a, exact_product(quotient, by))
    return _ordered_sum(quotient, rest.high / by)


def sum_rows(rows: TwoFloats) -> TwoFloats:
    """Sums [M, N] over the first axis."""

    def step(total: TwoFloats, row: TwoFloats) -> tuple[TwoFloats, None]:
        return add(total, row), None

    nothing = jnp.zeros(rows.high.shape[1:], jnp.float32)
    return lax.scan(step, TwoFloats(nothing, nothing), rows)[0]


def less_rows(whole: TwoFloats, rows: TwoFloats) -> TwoFloats:
    """Takes the few rows [O, N] out of a sum [N]."""
    for high, low in zip(rows.high, rows.low, strict=True):
        whole = subtract(whole, TwoFloats(high, low))
    return whole


def single(values: Float[Array, "*shape"]) -> TwoFloats:
    """A float32 as it is."""
    return TwoFloats(values, jnp.zeros_like(values))
