"""One side of every record: the references that trained on it (IN), or those that did not (OUT).

What attacks ask of a side is defined for ONE record of ONE target: take the references and summarise their
answers, by their order (`jleaks.attacks.orders`) or their sum (`jleaks.attacks.sums`).  For all targets: a
side's models are sorted and summed once, which makes tables of all models, and what a target must not look
at (itself, its twin, what a draw leaves away) is taken out of these.  Nothing of size targets x models x
records is ever made.  Where a target leaves out many models, its references are gone through instead,
target by target, and there are no tables.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Shaped

# A target that leaves out more models than this goes through its references one by one.
MOST_LEFT_OUT = 8


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Chosen:
    """The references of one side of every record.

    Attributes:
      listed: [M, N] models on this side; with a draw, only the first that some target may take.
      models: [T, R] references.
      left_out: [T, O] the other models.
      rank: [M, N] places of models in the draw, or None without one.
      taken: References that a record takes, with a draw.
      spare: [O, N] with a draw, the models listed beyond `taken`, which a target takes in place of
        those that it leaves out; -1 where there is none.
      together: Targets that a device goes through at once.
    """

    listed: Bool[Array, "models records"]
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

    @property
    def taken_out(self) -> int:
        """How many rows a target takes out of what is made of `listed`, at most."""
        return self.left_out.shape[1] + (0 if self.spare is None else len(self.spare))

    def per_target(self, one: Callable[..., Array], *rows: Array) -> Array:
        """Maps over targets: `one(removed, *rows)`, where few models are left out; see `Removed`."""

        def mapped(arguments: tuple[Array, ...]) -> Array:
            left_out, *mine = arguments
            return one(Removed(self, left_out), *mine)

        return lax.map(mapped, (self.left_out, *rows), batch_size=self._batch)

    @property
    def _batch(self) -> int | None:
        return self.together if self.together > 1 else None

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


class Removed:
    """What one target takes out of the values of `Chosen.listed`: R rows.

    Attributes:
      there: [R, N] which of them are there.
    """

    def __init__(self, side: Chosen, left_out: Int[Array, "others"]):
        """Takes a side and the models that the target leaves out of it."""
        self._left_out, self._spare = left_out, side.spare
        there = side.listed[left_out]
        self.there: Bool[Array, "removed records"] = there
        if side.rank is None:
            return
        assert side.taken is not None
        assert side.spare is not None
        # The first `taken` in the draw that are not left out; those listed behind them are surplus.
        places = jnp.where(there, side.rank[left_out], jnp.iinfo(jnp.int32).max)
        end = jnp.broadcast_to(side.taken, places.shape[1:])
        for place in jnp.sort(places, axis=0):
            end = end + (place < end)
        surplus = side.taken + jnp.arange(len(side.spare))[:, None] >= end
        self.there = jnp.concatenate([there & (places < end), surplus & (side.spare >= 0)])

    def of(self, values: Shaped[Array, "models records"]) -> Shaped[Array, "removed records"]:
        """Returns these rows of some values."""
        rows = values[self._left_out]
        if self._spare is None:
            return rows
        spare = jnp.take_along_axis(values, jnp.maximum(self._spare, 0), axis=0)
        return jnp.concatenate([rows, spare])


def first_in(
    rank: Int[Array, "models records"], chosen: Bool[Array, "models records"], count: Array
) -> Bool[Array, "models records"]:
    """Which of the chosen are the first `count` in the draw, record by record."""
    place = jnp.where(chosen, rank, jnp.iinfo(jnp.int32).max)
    return chosen & (jnp.argsort(jnp.argsort(place, axis=0), axis=0) < count)
