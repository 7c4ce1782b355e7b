"""One side of every record: the references that trained on it (IN), or those that did not (OUT).

The definitions are for ONE record of ONE target: take the references of a side and summarise their
answers by their order (sums are in `jleaks.attacks.sums`).  All of it for all targets at once: a side's
models are listed and sorted once for all targets, and what a target must not look at (itself, its twin,
what a draw leaves away) is taken out of that.  Nothing of size targets x models x records is ever made.
Where a target leaves out many models, its references are gone through instead, target by target.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Shaped

from jleaks.metrics import sorting

# A target that leaves out more models than this goes through its references one by one.
MOST_LEFT_OUT = 8

# The largest loss there is, where references are interpolated (as the code of Ye et al. 2022).
_LARGEST_LOSS = 1000.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Chosen:
    """The references of one side of every record.

    Attributes:
      listed: [M, N] models on this side; with a draw, only the first that some target may take.
      use: [T, M] 1 where a model is a reference of the target.
      models: [T, R] references.
      left_out: [T, O] the other models.
      rank: [M, N] places of models in the draw, or None without one.
      taken: References that a record takes, with a draw.
      spare: [O, N] with a draw, the models listed beyond `taken`, which a target takes in place of
        those that it leaves out; -1 where there is none.
      together: Targets that a device goes through at once.
    """

    listed: Bool[Array, "models records"]
    use: Float[Array, "targets models"]
    models: Int[Array, "targets references"]
    left_out: Int[Array, "targets others"]
    rank: Int[Array, "models records"] | None = None
    taken: Int[Array, ""] | None = None
    spare: Int[Array, "spare records"] | None = None
    together: int = dataclasses.field(default=1, metadata={"static": True})

    @property
    def few_left_out(self) -> bool:
        """Whether what a target leaves out is taken out of the whole."""
        return self.left_out.shape[1] <= MOST_LEFT_OUT

    def per_target(self, one: Callable[..., Array], *rows: Array) -> Array:
        """Maps over targets: `one(removed, *rows)`, where few models are left out.

        `removed(values)` returns rows [O', N] of what the target must take out of the values of `listed`,
        and which of these rows are there.
        """

        def mapped(arguments: tuple[Array, ...]) -> Array:
            left_out, *mine = arguments
            return one(functools.partial(self._removed, left_out), *mine)

        return lax.map(mapped, (self.left_out, *rows), batch_size=self._batch)

    @property
    def _batch(self) -> int | None:
        return self.together if self.together > 1 else None

    def _removed(
        self, left_out: Int[Array, "others"], values: Shaped[Array, "models records"]
    ) -> tuple[Shaped[Array, "removed records"], Bool[Array, "removed records"]]:
        there = self.listed[left_out]
        if self.rank is None:
            return values[left_out], there
        assert self.taken is not None
        assert self.spare is not None
        # The first `taken` in the draw that are not left out; those listed behind them are surplus.
        places = jnp.where(there, self.rank[left_out], jnp.iinfo(jnp.int32).max)
        end = jnp.broadcast_to(self.taken, places.shape[1:])
        for place in jnp.sort(places, axis=0):
            end = end + (place < end)
        surplus = self.taken + jnp.arange(len(self.spare))[:, None] >= end
        spare = jnp.take_along_axis(values, jnp.maximum(self.spare, 0), axis=0)
        return (
            jnp.concatenate([values[left_out], spare]),
            jnp.concatenate([there & (places < end), surplus & (self.spare >= 0)]),
        )

    def by_target(
        self, one: Callable[..., Array], values: Float[Array, "models records"], *rows: Array
    ) -> Array:
        """Maps over targets: `one(values [R], on this side [R], *rows [])` for every record."""

        def mapped(arguments: tuple[Array, ...]) -> Array:
            models, *mine = arguments
            chosen = self.among(models)
            return jax.vmap(one, in_axes=(1, 1, *[0] * len(mine)))(values[models], chosen, *mine)

        return lax.map(mapped, (self.models, *rows))

    def among(self, models: Int[Array, "references"]) -> Bool[Array, "references records"]:
        """Which of one target's references are on this side of every record."""
        chosen = self.listed[models]
        if self.rank is None or self.taken is None:
            return chosen
        return first_in(self.rank[models], chosen, self.taken)


def first_in(
    rank: Int[Array, "models records"], chosen: Bool[Array, "models records"], count: Array
) -> Bool[Array, "models records"]:
    """Which of the chosen are the first `count` in the draw, record by record."""
    place = jnp.where(chosen, rank, jnp.iinfo(jnp.int32).max)
    return chosen & (jnp.argsort(jnp.argsort(place, axis=0), axis=0) < count)


def median(values: Float[Array, "models"], chosen: Bool[Array, "models"]) -> Float[Array, ""]:
    """The definition, for one record: median of the chosen values, the mean of the middle two if even."""
    ordered = sorting.ascending(jnp.where(chosen, values, jnp.inf))
    count = chosen.sum()
    low, high = jnp.maximum(count - 1, 0) // 2, count // 2
    return jnp.where(count > 0, (ordered[low] + ordered[high]) / 2, 0)


def medians(
    values: Float[Array, "models records"], side: Chosen
) -> Float[Array, "targets records"]:
    """`median` for every target and record.

    If few models are left out, each record's values are sorted once for all targets.  The middle of
    the rest lies within the next few rows of the whole, one further for each left-out value before it.
    """
    if not side.few_left_out:
        return side.by_target(median, values)
    others = side.left_out.shape[1] + (0 if side.spare is None else len(side.spare))
    ordered = sorting.ascending(jnp.where(side.listed, values, jnp.inf).T)
    total = side.listed.sum(0)
    first = jnp.maximum(total - others - 1, 0) // 2
    last = values.shape[0] - 1
    near = [
        jnp.take_along_axis(ordered, jnp.minimum(first + i, last)[:, None], axis=1)[:, 0]
        for i in range(others + 2)
    ]

    def at(k: Array) -> Array:
        """Value k - first of `near`, record by record."""
        return functools.reduce(
            lambda found, i: jnp.where(k == first + i, near[i], found), range(1, len(near)), near[0]
        )

    def one(removed: Callable[..., tuple[Array, Array]]) -> Array:
        rows, there = removed(values)
        count = total - there.sum(0)
        # What is not there is behind all that count.
        behind = _sorted_rows(list(jnp.where(there, rows, jnp.inf)))
        low, high = (
            kept_value(k, behind, at) for k in (jnp.maximum(count - 1, 0) // 2, count // 2)
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
    values: Float[Array, "models records"], side: Chosen
) -> Float[Array, "targets 2 records"]:
    """`extreme` for every target and record: the ends of each record's order, less what is left out."""
    if not side.few_left_out:
        return jnp.moveaxis(side.by_target(extreme, values), 2, 1)
    ordered = sorting.ascending(jnp.where(side.listed, values, jnp.inf).T)
    total = side.listed.sum(0)

    def at(k: Array) -> Array:
        inside = jnp.clip(k, 0, ordered.shape[1] - 1)
        return jnp.take_along_axis(ordered, inside[:, None], axis=1)[:, 0]

    def one(removed: Callable[..., tuple[Array, Array]]) -> Array:
        rows, there = removed(values)
        count = total - there.sum(0)
        behind = _sorted_rows(list(jnp.where(there, rows, jnp.inf)))
        ends = [kept_value(k, behind, at) for k in (jnp.zeros_like(count), count - 1)]
        return jnp.where(count > 0, jnp.stack(ends), 0)

    return side.per_target(one)


def share_above(
    own: Float[Array, ""], values: Float[Array, "models"], chosen: Bool[Array, "models"]
) -> Float[Array, ""]:
    """The definition, for one record: share of the chosen below one's own value, ties half.

    One half where there is none.
    """
    below = jnp.where(chosen, (values < own) + 0.5 * (values == own), 0).sum()
    return jnp.where(chosen.any(), below / jnp.maximum(chosen.sum(), 1), 0.5)


def shares_above(
    own: Float[Array, "targets records"], values: Float[Array, "models records"], side: Chosen
) -> Float[Array, "targets records"]:
    """`share_above` for every target and record."""
    if not side.few_left_out:
        return side.by_target(lambda v, c, own: share_above(own, v, c), values, own)
    ordered = sorting.ascending(jnp.where(side.listed, values, jnp.inf).T)
    total = side.listed.sum(0)

    def one(removed: Callable[..., tuple[Array, Array]], own: Array) -> Array:
        rows, there = removed(values)
        low, high = (
            jax.vmap(functools.partial(jnp.searchsorted, side=where))(ordered, own)
            for where in ("left", "right")
        )
        out = jnp.where(there, (rows < own) + 0.5 * (rows == own), 0).sum(0)
        count = total - there.sum(0)
        return jnp.where(count > 0, ((low + high) / 2 - out) / jnp.maximum(count, 1), 0.5)

    return side.per_target(one, own)


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
    own: Float[Array, "targets records"], values: Float[Array, "models records"], side: Chosen
) -> Float[Array, "targets records"]:
    """`interpolated_level` for every target and record."""
    if not side.few_left_out:
        return side.by_target(lambda v, c, own: interpolated_level(own, v, c), values, own)
    ordered = sorting.ascending(jnp.where(side.listed, values, jnp.inf).T)
    total = side.listed.sum(0)

    def at(k: Array) -> Array:
        inside = jnp.clip(k, 0, ordered.shape[1] - 1)
        return jnp.take_along_axis(ordered, inside[:, None], axis=1)[:, 0]

    def one(removed: Callable[..., tuple[Array, Array]], own: Array) -> Array:
        rows, there = removed(values)
        count = total - there.sum(0)
        upto = jax.vmap(functools.partial(jnp.searchsorted, side="right"))(ordered, own)
        # Kept values up to one's own, and so the numbers of the kept ones on either side of it.
        upto = jnp.minimum(upto, total) - (there & (rows <= own)).sum(0)
        behind = _sorted_rows(list(jnp.where(there, rows, jnp.inf)))
        below = jnp.where(upto > 0, kept_value(upto - 1, behind, at), -jnp.inf)
        above = jnp.where(upto < count, kept_value(upto, behind, at), jnp.inf)
        found = _log_level(below, above, count - upto, count, own)
        return jnp.where(count > 0, found, jnp.log(0.5))

    return side.per_target(one, own)
