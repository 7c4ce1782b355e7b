"""Sums over one side of every record: means, deviations, and means of posteriors in the log domain.

As in `jleaks.attacks.sides`, the definitions are for one record of one target.  For all targets at once the
sum over all models of a side is made once, and what a target must not look at is taken out of it, in two
floats: the result is that of the references alone, to the last bit but once in a million, so that equal
records stay equal whatever was taken out.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jleaks.attacks import two_floats
from jleaks.attacks.sides import Chosen
from jleaks.attacks.two_floats import TwoFloats

# log 2 as a number of few bits and the rest: a whole number up to 2^15 times the first has no error.
_LOG_2 = (355 / 512, -2.1219444005469057e-4)
# Of a sum of squares in two floats.
_ROUNDING = 2.0**-44
# The exponent of nothing.
_NOTHING = -(2**30)


class Moments(NamedTuple):
    """One side's values, summarised; all of one shape.

    Attributes:
      size: References on this side.
      mean: Of their values; 0 where there is none.
      deviations: Sum of squared deviations from the mean.
    """

    size: Array
    mean: Array
    deviations: Array


def summarise(values: Float[Array, "models"], chosen: Bool[Array, "models"]) -> Moments:
    """The definition, for one record: summarises the chosen values."""
    count = chosen.sum().astype(jnp.float32)
    mean = jnp.where(chosen, values, 0).sum() / jnp.maximum(count, 1)
    return Moments(count, mean, jnp.where(chosen, (values - mean) ** 2, 0).sum())


def summaries(values: Float[Array, "models records"], side: Chosen) -> Moments:
    """`summarise` for every target and record."""
    if not side.few_left_out:
        found = side.by_target(lambda v, c: jnp.stack(summarise(v, c)), values)
        return Moments(*jnp.moveaxis(found, -1, 0))
    listed = jnp.where(side.listed, values, 0)
    size = side.listed.sum(0).astype(jnp.float32)
    total = two_floats.sum_rows(two_floats.single(listed))
    squares = two_floats.sum_rows(two_floats.exact_product(listed, listed))

    def one(removed: Callable[..., tuple[Array, Array]]) -> Array:
        rows, there = removed(values)
        rows = jnp.where(there, rows, 0)
        count = size - there.sum(0)
        mine = two_floats.less_rows(total, two_floats.single(rows))
        around_zero = two_floats.less_rows(squares, two_floats.exact_product(rows, rows))
        mean = two_floats.divide(mine, jnp.maximum(count, 1))
        deviations = two_floats.subtract(around_zero, two_floats.multiply(mine, mean)).high
        # What is left of equal values, or of one, is rounding.
        deviations = jnp.where(deviations > _ROUNDING * around_zero.high, deviations, 0)
        return jnp.stack([count, jnp.where(count > 0, mean.high, 0), deviations])

    return Moments(*jnp.moveaxis(side.per_target(one), 1, 0))


def log_mean(log_values: Float[Array, "models"], chosen: Bool[Array, "models"]) -> Float[Array, ""]:
    """The definition, for one record: log of the mean of the chosen values; -inf where there is none."""
    total = jax.nn.logsumexp(jnp.where(chosen, log_values, -jnp.inf))
    return total - jnp.log(jnp.maximum(chosen.sum(), 1))


def log_means(
    log_values: Float[Array, "models records"], side: Chosen
) -> Float[Array, "targets records"]:
    """`log_mean` for every target and record, without leaving the range of float32.

    A sum that is scaled by its largest value underflows if a target takes that value out and all others
    are much smaller.  So the largest values are kept apart, as many as a target can take out; the others
    are summed relative to the largest of their own.  All scales are powers of two, which round nothing.
    """
    if not side.few_left_out:
        return side.by_target(log_mean, log_values)
    fractions, exponents = _exp(jnp.where(side.listed, log_values, -jnp.inf))
    apart = side.left_out.shape[1] + (0 if side.spare is None else len(side.spare))
    models = jnp.arange(len(log_values))[:, None]
    rest = jnp.where(side.listed, log_values, -jnp.inf)
    largest, whose = [], []
    for _ in range(apart):
        first = jnp.argmax(rest, axis=0)[None]
        there = jnp.isfinite(jnp.take_along_axis(rest, first, 0))[0]
        fraction, exponent = (jnp.take_along_axis(a, first, 0)[0] for a in (fractions, exponents))
        largest.append((jnp.where(there, fraction, 0), jnp.where(there, exponent, _NOTHING)))
        whose.append(first[0])
        rest = jnp.where(models == first, -jnp.inf, rest)
    small = jnp.isfinite(rest)
    scale = jnp.where(small, exponents, _NOTHING).max(0)
    total = two_floats.sum_rows(
        two_floats.single(jnp.where(small, _scaled(fractions, exponents - scale), 0))
    )
    numbers = jnp.broadcast_to(models, rest.shape)
    count = side.listed.sum(0)

    def one(removed: Callable[..., tuple[Array, Array]]) -> Array:
        (names, there), (fraction, _), (exponent, _) = map(removed, (numbers, fractions, exponents))
        gone = [(there & (names == model)).any(0) for model in whose]
        among = functools.reduce(jnp.logical_or, (names == model for model in whose))
        taken = jnp.where(there & ~among, _scaled(fraction, exponent - scale), 0)
        others = two_floats.less_rows(total, two_floats.single(taken))
        # Of what is kept: if others are taken out, one that is as large is kept among the largest.
        top = functools.reduce(
            jnp.maximum,
            (jnp.where(g, _NOTHING, e) for g, (_, e) in zip(gone, largest, strict=True)),
            scale,
        )
        shift = _scaled(jnp.float32(1), scale - top)
        found = TwoFloats(others.high * shift, others.low * shift)
        for g, (f, e) in zip(gone, largest, strict=True):
            found = two_floats.add(found, two_floats.single(jnp.where(g, 0, _scaled(f, e - top))))
        kept = count - there.sum(0)
        mean = two_floats.divide(found, jnp.maximum(kept, 1).astype(jnp.float32)).high
        tops = top.astype(jnp.float32)
        return jnp.where(kept > 0, jnp.log(mean) + tops * _LOG_2[1] + tops * _LOG_2[0], -jnp.inf)

    return side.per_target(one)


def _exp(log_values: Array) -> tuple[Array, Array]:
    """Exp as fraction * 2^exponent, of any finite number up to 2^14 in size; of -inf 0 and `_NOTHING`."""
    finite = jnp.isfinite(log_values)
    inside = jnp.where(finite, log_values, 0)
    exponent = jnp.floor(inside / sum(_LOG_2))
    fraction = jnp.exp((inside - exponent * _LOG_2[0]) - exponent * _LOG_2[1])
    return jnp.where(finite, fraction, 0), jnp.where(finite, exponent.astype(jnp.int32), _NOTHING)


def _scaled(fraction: Array, exponent: Array) -> Array:
    """Fraction * 2^exponent for exponents of at most 0, without rounding; 0 below 2^-126."""
    inside = jnp.clip(exponent, -127, 0)
    # The bits of a power of two; -127 has none.
    return fraction * lax.bitcast_convert_type((inside + 127) << 23, jnp.float32)
