"""The order of one side's values: medians, ends, and where a target's own value stands among them.

As everywhere, the definitions are for one record of one target.  For all targets each record's values are
sorted once, and what a target must not look at is taken out of that order (`jleaks.attacks.sides`).
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jleaks.attacks.sides import Chosen, Removed
from jleaks.metrics import sorting

# The largest loss there is, where references are interpolated (as the code of Ye et al. 2022).
_LARGEST_LOSS = 1000.0


def median(values: Float[Array, "models"], chosen: Bool[Array, "models"]) -> Float[Array, ""]:
    """The definition, for one record: median of the chosen values, the mean of the middle two if even."""
    ordered = sorting.ascending(jnp.where(chosen, values, jnp.inf))
    count = chosen.sum()
    low, high = jnp.maximum(count - 1, 0) // 2, count // 2
    return jnp.where(count > 0, (ordered[low] + ordered[high]) / 2, 0)


class Ordered(NamedTuple):
    """A side's values of every record in order.

    Attributes:
      values: [N, M] ascending; +inf behind those on the side.
      size: [N] how many are on the side.
    """

    values: Float[Array, "records models"]
    size: Int[Array, "records"]

    def at(self, k: Int[Array, "records"]) -> Float[Array, "records"]:
        """Value number k of every record; the nearest where there is no such number."""
        inside = jnp.clip(k, 0, self.values.shape[1] - 1)
        return jnp.take_along_axis(self.values, inside[:, None], axis=1)[:, 0]


def ordered(values: Float[Array, "models records"], side: Chosen) -> Ordered:
    """Sorts each record's values once for all targets."""
    found = sorting.ascending(jnp.where(side.listed, values, jnp.inf).T)
    return Ordered(found, side.listed.sum(0))


class Middle(NamedTuple):
    """The middle of every record's order, wherever few values are taken out of it.

    Attributes:
      size: [N] as of `Ordered`.
      first: [N] number of the first of `near`.
      near: [R + 2, N] the values from there on.
    """

    size: Int[Array, "records"]
    first: Int[Array, "records"]
    near: Float[Array, "near records"]

    def at(self, k: Int[Array, "records"]) -> Float[Array, "records"]:
        """Value number k of every record, one of `near`."""
        found = self.near[0]
        for i in range(1, len(self.near)):
            found = jnp.where(k == self.first + i, self.near[i], found)
        return found


def middle(order: Ordered, side: Chosen) -> Middle:
    """Cuts out what medians are found in.

    The middle of what is left lies within the next few rows of the whole, one further for each value
    before it that is taken out.
    """
    first = jnp.maximum(order.size - side.taken_out - 1, 0) // 2
    near = [order.at(first + i) for i in range(side.taken_out + 2)]
    return Middle(order.size, first, jnp.stack(near))


def medians(
    values: Float[Array, "models records"], side: Chosen, middle: Middle | None
) -> Float[Array, "targets records"]:
    """`median` for every target and record; the middle where few models are left out."""
    if middle is None:
        return side.by_target(median, values)

    def one(removed: Removed) -> Array:
        count = middle.size - removed.there.sum(0)
        # What is not there is behind all that count.
        behind = _sorted_rows(list(jnp.where(removed.there, removed.of(values), jnp.inf)))
        low, high = (
            kept_value(k, behind, middle.at) for k in (jnp.maximum(count - 1, 0) // 2, count // 2)
        )
        return jnp.where(count > 0, (low + high) / 2, 0)

    return side.per_target(one)


def kept_value(k: Array, removed: list[Array], at: Callable[[Array], Array]) -> Array:
    """Value number k of an ascending list from which values are taken out.

    Args:
      k: Counted from 0, record by record.
      removed: What is taken out, ascending; +inf is nothing.
      at: Returns the whole list's value of a number.
    """
    for value in removed:
        k = k + (value <= at(k))
    return at(k)


def _sorted_rows(rows: list[Array]) -> list[Array]:
    """Sorts a few rows element by element, ascending."""
    for end in range(len(rows) - 1, 0, -1):
        for i in range(end):
            low, high = jnp.minimum(rows[i], rows[i + 1]), jnp.maximum(rows[i], rows[i + 1])
            rows[i], rows[i + 1] = low, high
    return rows


def extreme(values: Float[Array, "models"], chosen: Bool[Array, "models"]) -> Float[Array, "2"]:
    """The definition, for one record: smallest and largest of the chosen values; 0 where there is none."""
    ends = jnp.where(chosen, values, jnp.inf).min(), jnp.where(chosen, values, -jnp.inf).max()
    return jnp.where(chosen.any(), jnp.stack(ends), 0)


def extremes(
    values: Float[Array, "models records"], side: Chosen, order: Ordered | None
) -> Float[Array, "targets 2 records"]:
    """`extreme` for every target and record: the ends of each record's order, less what is left out."""
    if order is None:
        return jnp.moveaxis(side.by_target(extreme, values), 2, 1)

    def one(removed: Removed) -> Array:
        count = order.size - removed.there.sum(0)
        behind = _sorted_rows(list(jnp.where(removed.there, removed.of(values), jnp.inf)))
        ends = [kept_value(k, behind, order.at) for k in (jnp.zeros_like(count), count - 1)]
        return jnp.where(count > 0, jnp.stack(ends), 0)

    return side.per_target(one)


class Places(NamedTuple):
    """Where every model's value stands in the order of a side, whether it is on the side or not.

    Attributes:
      below: [M, N] how many of the side's values are below it.
      up_to: [M, N] how many are not above it.
    """

    below: Int[Array, "models records"]
    up_to: Int[Array, "models records"]

    def of(self, models: Int[Array, "targets"]) -> "Places":
        """Returns those of some models' values, which may be counted with."""
        below, up_to = (rows[models].astype(jnp.int32) for rows in self)
        return Places(below, up_to)


def places(values: Float[Array, "models records"], order: Ordered) -> Places:
    """Looks every model's value up, record by record, whose order then is in the cache."""
    small = jnp.int16 if len(values) <= np.iinfo(np.int16).max else jnp.int32

    def found(side: str) -> Array:
        search = functools.partial(jnp.searchsorted, side=side)
        rows = jax.vmap(search)(order.values, values.T)
        # What is behind the side's values is not counted.
        return jnp.minimum(rows, order.size[:, None]).astype(small).T

    return Places(found("left"), found("right"))


def share_above(
    own: Float[Array, ""], values: Float[Array, "models"], chosen: Bool[Array, "models"]
) -> Float[Array, ""]:
    """The definition, for one record: share of the chosen below one's own value, ties half.

    One half where there is none.
    """
    below = jnp.where(chosen, (values < own) + 0.5 * (values == own), 0).sum()
    return jnp.where(chosen.any(), below / jnp.maximum(chosen.sum(), 1), 0.5)


def shares_above(
    own: Float[Array, "targets records"],
    values: Float[Array, "models records"],
    side: Chosen,
    whole: tuple[Ordered, Places] | None,
) -> Float[Array, "targets records"]:
    """`share_above` for every target and record.

    Args:
      own: The targets' values.
      values: All models'.
      side: Whom they are compared with.
      whole: Where few models are left out: the side's order, and the places of the targets' values in it.
    """
    if whole is None:
        return side.by_target(lambda v, c, own: share_above(own, v, c), values, own)
    order, at = whole

    def one(removed: Removed, own: Array, low: Array, high: Array) -> Array:
        rows = removed.of(values)
        out = jnp.where(removed.there, (rows < own) + 0.5 * (rows == own), 0).sum(0)
        count = order.size - removed.there.sum(0)
        return jnp.where(count > 0, ((low + high) / 2 - out) / jnp.maximum(count, 1), 0.5)

    return side.per_target(one, own, *at)


def log_loss(phi: Array) -> Array:
    """Log of the loss -log p of a record whose logit-scaled confidence is phi.

    The loss of a large phi is exp(-phi), which float32 does not hold; its logarithm is -phi.
    """
    return jnp.where(phi > 15, -phi, jnp.log(jax.nn.softplus(-jnp.minimum(phi, 15))))


def _log_level(below: Array, above: Array, number: Array, count: Array, own: Array) -> Array:
    """Log of the level at which an interpolated quantile of losses reaches one's own.

    Losses 0, l_1 <= ... <= l_R, 1000 stand at the levels 0, 1 / (R + 1), ..., 1 (`numpy.quantile`, linear).

    Args:
      below: phi of the smallest loss that is not below one's own, l_{i+1} (-inf: 1000).
      above: phi of the largest loss below one's own, l_i (+inf: 0).
      number: i.
      count: R.
      own: One's own phi.
    """
    log_own, log_low = log_loss(own), log_loss(above)
    log_high = jnp.where(jnp.isneginf(below), jnp.log(_LARGEST_LOSS), log_loss(below))
    log_high = jnp.maximum(log_high, log_own)
    # (own - low) / (high - low), of which only the logarithms are in range.
    part = jnp.where(jnp.isposinf(above), 0, jnp.exp(jnp.minimum(log_low - log_own, 0)))
    whole = jnp.where(jnp.isposinf(above), 0, jnp.exp(jnp.minimum(log_low - log_high, 0)))
    tiny = jnp.finfo(jnp.float32).tiny
    log_share = (
        log_own - log_high + jnp.log(jnp.maximum(1 - part, tiny) / jnp.maximum(1 - whole, tiny))
    )
    log_share = jnp.minimum(log_share, 0)
    log_number = jnp.log(jnp.maximum(number, tiny))
    level = jnp.where(number > 0, jnp.logaddexp(log_number, log_share), log_share)
    return level - jnp.log(count + 1.0)


def interpolated_level(
    own: Float[Array, ""], values: Float[Array, "models"], chosen: Bool[Array, "models"]
) -> Float[Array, ""]:
    """The definition, for one record: see `_log_level`; log 1/2 where there is no reference."""
    larger = chosen & (values > own)
    number, count = larger.sum(), chosen.sum()
    above = jnp.where(larger, values, jnp.inf).min()
    below = jnp.where(chosen & ~larger, values, -jnp.inf).max()
    found = _log_level(below, above, number, count, own)
    return jnp.where(count > 0, found, jnp.log(0.5))


def interpolated_levels(
    own: Float[Array, "targets records"],
    values: Float[Array, "models records"],
    side: Chosen,
    whole: tuple[Ordered, Places] | None,
) -> Float[Array, "targets records"]:
    """`interpolated_level` for every target and record; takes what `shares_above` does."""
    if whole is None:
        return side.by_target(lambda v, c, own: interpolated_level(own, v, c), values, own)
    order, at = whole

    def one(removed: Removed, own: Array, upto: Array) -> Array:
        rows, there = removed.of(values), removed.there
        count = order.size - there.sum(0)
        # Kept values up to one's own, and so the numbers of the kept ones on either side of it.
        upto = upto - (there & (rows <= own)).sum(0)
        behind = _sorted_rows(list(jnp.where(there, rows, jnp.inf)))
        below = jnp.where(upto > 0, kept_value(upto - 1, behind, order.at), -jnp.inf)
        above = jnp.where(upto < count, kept_value(upto, behind, order.at), jnp.inf)
        found = _log_level(below, above, count - upto, count, own)
        return jnp.where(count > 0, found, jnp.log(0.5))

    return side.per_target(one, own, at.up_to)
