"""Sums over one side of every record: means, deviations, and means of posteriors in the log domain.

As everywhere, the definitions are for one record of one target.  For all targets the sum over all models of
a side is made once, and what a target must not look at is taken out of it (`jleaks.attacks.sides`), in two
floats: the result is that of the references alone, to the last bit but once in a million, so that equal
records stay equal whatever was taken out.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jleaks.attacks import two_floats
from jleaks.attacks.sides import Chosen, Removed
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


class Whole(NamedTuple):
    """The sums of all of a side's values of every record.

    Attributes:
      size: [N] how many there are.
      total: [N] their sum.
      squares: [N] the sum of their squares.
    """

    size: Float[Array, "records"]
    total: TwoFloats
    squares: TwoFloats


def whole(values: Float[Array, "models records"], side: Chosen) -> Whole:
    """Sums each record's values once for all targets."""
    listed = jnp.where(side.listed, values, 0)
    return Whole(
        side.listed.sum(0).astype(jnp.float32),
        two_floats.sum_rows(two_floats.single(listed)),
        two_floats.sum_rows(two_floats.exact_product(listed, listed)),
    )


def summaries(values: Float[Array, "models records"], side: Chosen, whole: Whole | None) -> Moments:
    """`summarise` for every target and record; the whole where few models are left out."""
    if whole is None:
        found = side.by_target(lambda v, c: jnp.stack(summarise(v, c)), values)
        return Moments(*jnp.moveaxis(found, -1, 0))

    def one(removed: Removed) -> Array:
        rows = jnp.where(removed.there, removed.of(values), 0)
        count = whole.size - removed.there.sum(0)
        mine = two_floats.less_rows(whole.total, two_floats.single(rows))
        around_zero = two_floats.less_rows(whole.squares, two_floats.exact_product(rows, rows))
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


class Scaled(NamedTuple):
    """The exponentials of all models' values, as fraction * 2^exponent.

    Attributes:
      fraction: [M, N].
      exponent: [M, N].
    """

    fraction: Float[Array, "models records"]
    exponent: Int[Array, "models records"]


class LargestApart(NamedTuple):
    """The sum of a side's exponentials, of which the largest lie apart: as many as a target can take out.

    Attributes:
      size: [N] how many there are.
      value: [R, N] the largest values, each once, falling; -inf where there are no more.
      times: [R, N] how often each is there.
      fraction: [R, N] of its exponential.
      exponent: [R, N].
      scale: [N] exponent of the largest of the others.
      others: [N] the sum of the others, relative to 2^`scale`.
    """

    size: Int[Array, "records"]
    value: Float[Array, "largest records"]
    times: Int[Array, "largest records"]
    fraction: Float[Array, "largest records"]
    exponent: Int[Array, "largest records"]
    scale: Int[Array, "records"]
    others: TwoFloats


def largest_apart(
    values: Float[Array, "models records"],
    exponentials_fn: Callable[[Array], Scaled],
    side: Chosen,
) -> LargestApart:
    """Sums each record's exponentials once for all targets.

    A sum that is scaled by its largest value underflows if a target takes that value out and all others
    are much smaller; so the others are summed relative to the largest of their own.  All scales are powers
    of two, which round nothing.

    Args:
      values: Of all models.
      exponentials_fn: From values to what is summed, which rises with them.
      side: The models summed.
    """
    rest, largest, times = side.listed, [], []
    for _ in range(side.taken_out):
        top = jnp.where(rest, values, -jnp.inf).max(0)
        equal = rest & (values == top)
        largest.append(top)
        times.append(equal.sum(0))
        rest = rest & ~equal
    value, scaled = jnp.stack(largest), exponentials_fn(values)
    scale = jnp.where(rest, scaled.exponent, _NOTHING).max(0)
    others = jnp.where(rest, _scaled(scaled.fraction, scaled.exponent - scale), 0)
    there = jnp.isfinite(value)
    apart = exponentials_fn(jnp.where(there, value, 0))
    return LargestApart(
        side.listed.sum(0),
        value,
        jnp.stack(times),
        apart.fraction,
        jnp.where(there, apart.exponent, _NOTHING),
        scale,
        two_floats.sum_rows(two_floats.single(others)),
    )


def log_means(
    values: Float[Array, "models records"],
    side: Chosen,
    whole: tuple[Scaled, LargestApart],
) -> Float[Array, "targets records"]:
    """`log_mean` for every target and record, where few models are left out, within float32's range.

    Args:
      values: Of all models, as `largest_apart` has them.
      side: Whose exponentials are averaged.
      whole: All exponentials, and the side's sum.
    """
    scaled, apart = whole

    def one(removed: Removed) -> Array:
        rows, there = removed.of(values), removed.there
        fraction, exponent = removed.of(scaled.fraction), removed.of(scaled.exponent)
        exponent = exponent.astype(jnp.int32)
        among = there & (rows >= apart.value[-1])
        taken = jnp.where(there & ~among, _scaled(fraction, exponent - apart.scale), 0)
        others = two_floats.less_rows(apart.others, two_floats.single(taken))
        # How often each of the largest is kept.
        times = [
            number - (among & (rows == value)).sum(0)
            for value, number in zip(apart.value, apart.times, strict=True)
        ]
        largest = list(zip(times, apart.fraction, apart.exponent, strict=True))
        # Of what is kept: if others are taken out, one that is as large is kept among the largest.
        top = functools.reduce(
            jnp.maximum, (jnp.where(n > 0, e, _NOTHING) for n, _, e in largest), apart.scale
        )
        shift = _scaled(jnp.float32(1), apart.scale - top)
        found = TwoFloats(others.high * shift, others.low * shift)
        for n, f, e in largest:
            each = jnp.where(n > 0, _scaled(f, e - top), 0)
            found = two_floats.add(found, two_floats.exact_product(n.astype(jnp.float32), each))
        size = apart.size - there.sum(0)
        mean = two_floats.divide(found, jnp.maximum(size, 1).astype(jnp.float32)).high
        tops = top.astype(jnp.float32)
        return jnp.where(size > 0, jnp.log(mean) + tops * _LOG_2[1] + tops * _LOG_2[0], -jnp.inf)

    return side.per_target(one)


def exponentials(log_values: Float[Array, "rows records"]) -> Scaled:
    """Returns exp of finite numbers up to 2^14 in size."""
    exponent = jnp.floor(log_values / sum(_LOG_2))
    fraction = jnp.exp((log_values - exponent * _LOG_2[0]) - exponent * _LOG_2[1])
    return Scaled(fraction, exponent.astype(jnp.int32))


def posteriors(phi: Float[Array, "rows records"]) -> Scaled:
    """Returns the posteriors of logit-scaled confidences."""
    return exponentials(jax.nn.log_sigmoid(phi))


def kept(scaled: Scaled) -> Scaled:
    """Returns the same in six bytes each."""
    return Scaled(scaled.fraction, scaled.exponent.astype(jnp.int16))


def _scaled(fraction: Array, exponent: Array) -> Array:
    """Fraction * 2^exponent for exponents of at most 0, without rounding; 0 below 2^-126."""
    inside = jnp.clip(exponent, -127, 0)
    # The bits of a power of two; -127 has none.
    return fraction * lax.bitcast_convert_type((inside + 127) << 23, jnp.float32)
