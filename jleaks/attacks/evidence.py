"""What an attacker knows about every record of every target: the target's answer and its references'.

The definition is for ONE record of ONE target: take the references that trained on the record (IN) and
those that did not (OUT), and summarise each side's answers.  All of it for all targets at once: which
references a target has is a matrix of zeros and ones [targets, models], so counts, sums and sums of
squares of every side are matrix products; medians come from one sort per record.  Nothing of size
targets x models x records is ever made.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jleaks import sorting

# No variance is taken to be smaller: two logits that differ by less than 0.01 are the same.
VARIANCE_FLOOR = 1e-4


class Side(NamedTuple):
    """One side's values, summarised; all of one shape.

    Attributes:
      size: References on this side.
      mean: Of their values.
      deviations: Sum of squared deviations from the mean.
    """

    size: Array
    mean: Array
    deviations: Array


class Overall(NamedTuple):
    """A side's values over all records, per target [T, 1].

    Attributes:
      mean: Over all pairs of a record and a reference on this side of it.
      variance: Of those values around that mean.
      within: Pooled variance around each record's own mean.
    """

    mean: Array
    variance: Array
    within: Array


def summarise(values: Float[Array, "models"], chosen: Bool[Array, "models"]) -> Side:
    """The definition, for one record: summarises the chosen values (an empty side has mean 0)."""
    count = chosen.sum().astype(jnp.float32)
    mean = jnp.where(chosen, values, 0).sum() / jnp.maximum(count, 1)
    return Side(count, mean, jnp.where(chosen, (values - mean) ** 2, 0).sum())


def summaries(
    values: Float[Array, "models records"],
    chosen: Bool[Array, "models records"],
    use: Float[Array, "targets models"],
) -> Side:
    """`summarise` for every target and record, as three matrix products.

    Sums of squares are taken around the record's mean over all models, which keeps their rounding
    small.

    Args:
      values: One answer per model and record.
      chosen: Which models are on the side in question.
      use: 1 where a model is a reference of the target.
    """
    center = values.mean(0)
    chosen_values = chosen.astype(jnp.float32)
    shifted = (values - center) * chosen_values

    def product(columns: Array) -> Array:
        return jnp.matmul(use, columns, precision=lax.Precision.HIGHEST)

    count = jnp.round(product(chosen_values))
    total = product(shifted)
    mean = total / jnp.maximum(count, 1)
    deviations = jnp.maximum(product(shifted**2) - total * mean, 0)
    # One value has no deviation; rounding must not give it one.
    deviations = jnp.where(count > 1, deviations, 0)
    return Side(count, jnp.where(count > 0, center + mean, 0), deviations)


def median(values: Float[Array, "models"], chosen: Bool[Array, "models"]) -> Float[Array, ""]:
    """The definition, for one record: median of the chosen values, the mean of the middle two if even."""
    ordered = sorting.ascending(jnp.where(chosen, values, jnp.inf))
    count = chosen.sum()
    low, high = jnp.maximum(count - 1, 0) // 2, count // 2
    return jnp.where(count > 0, (ordered[low] + ordered[high]) / 2, 0)


@dataclasses.dataclass(frozen=True, eq=False)
class References:
    """Which models each of T targets is compared with; on the host.

    Attributes:
      targets: [T] the models attacked.
      models: [T, R] their references.
      num_models: M.
    """

    targets: Int[np.ndarray, "targets"]
    models: Int[np.ndarray, "targets references"]
    num_models: int

    @functools.cached_property
    def use(self) -> Float[np.ndarray, "targets models"]:
        """1 where a model is a reference of the target."""
        use = np.zeros((len(self.targets), self.num_models), np.float32)
        np.put_along_axis(use, self.models.astype(np.int64), 1, axis=1)
        return use

    @functools.cached_property
    def left_out(self) -> Int[np.ndarray, "targets others"]:
        """The models that are not references of the target, itself among them."""
        return np.nonzero(self.use == 0)[1].reshape(len(self.targets), -1).astype(np.int32)


# Up to so many models left out, medians of the rest are found in the sorted whole.
_MOST_LEFT_OUT = 8


def medians(
    values: Float[Array, "models records"],
    chosen: Bool[Array, "models records"],
    models: Int[Array, "targets references"],
    left_out: Int[Array, "targets others"],
) -> Float[Array, "targets records"]:
    """`median` for every target and record.

    If few models are left out, each record's values are sorted once for all targets.  The middle of
    the rest lies within the next few rows of the whole, one further for each left-out value before it.
    """
    others = left_out.shape[1]
    if others > _MOST_LEFT_OUT:
        by_record = jax.vmap(median, in_axes=1)
        return lax.map(lambda rows: by_record(values[rows], chosen[rows]), models)

    ordered = sorting.ascending(jnp.where(chosen, values, jnp.inf).T)
    total = chosen.sum(0)
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

    def one(left_out: Array) -> Array:
        mine = chosen[left_out]
        count = total - mine.sum(0)
        # A value of the other side is behind all that count.
        removed = _sorted_rows(list(jnp.where(mine, values[left_out], jnp.inf)))

        def kth(k: Array) -> Array:
            for value in removed:
                k = k + (value <= at(k))
            return at(k)

        middle = (kth(jnp.maximum(count - 1, 0) // 2) + kth(count // 2)) / 2
        return jnp.where(count > 0, middle, 0)

    return lax.map(one, left_out)


def _sorted_rows(rows: list[Array]) -> list[Array]:
    """Sorts a few rows element by element, ascending."""
    for end in range(len(rows) - 1, 0, -1):
        for i in range(end):
            low, high = jnp.minimum(rows[i], rows[i + 1]), jnp.maximum(rows[i], rows[i + 1])
            rows[i], rows[i + 1] = low, high
    return rows


class Evidence:
    """Everything about T targets and N records, each piece computed when an attack asks for it.

    Made inside a compiled function.  Every property is [T, N] unless it says otherwise.
    """

    def __init__(
        self,
        arrays: dict[str, Any],
        references: dict[str, Array],
        num_references: int,
        totals: dict[str, Array] | None = None,
    ):
        """Takes the arrays of a bank, or of a block of its records, and of `References`.

        Args:
          arrays: `phi` [Q, M, N], `member` [M, N], `labels` [N], `valid` [N] (False for padding),
            `candidate` [N], and what else the bank has.
          references: `targets`, `models`, `left_out` and `use`, as in `References`.
          num_references: Of the attack's targets.  Their shadows have fewer, but are treated alike:
            a threshold must come from the scores that it is applied to.
          totals: Sums over all records of the bank, where `arrays` are only a block of it.
        """
        self._given = totals
        # Sums over the records at hand, [T, 1], by name; blocks' totals add up to the bank's.
        self.totals: dict[str, Array] = {}
        self._arrays = arrays
        self._references = references
        self._kept: dict[Any, Any] = {}
        self.labels: Array = arrays["labels"]
        self.valid: Array = arrays["valid"]
        self.candidate: Array = arrays["candidate"]
        self.num_queries: int = arrays["phi"].shape[0]
        self.num_references = num_references

    def own(self, name: str, query: int | None = None) -> Array:
        """The targets' own answers: the array `name`, of one query where it has several."""
        array = self._arrays[name]
        return (array if query is None else array[query])[self._references["targets"]]

    @property
    def member(self) -> Bool[Array, "targets records"]:
        """The truth, for the metrics alone."""
        return self.own("member")

    def _chosen(self, side: str) -> Array:
        member = self._arrays["member"]
        return (member if side == "in" else ~member) & self.valid

    def _once(self, key: Any, make: Any) -> Any:
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def side(self, values: Float[Array, "models records"], side: str, key: Any) -> Side:
        """Summary of the references' values on one side, "in" or "out"; `key` names the values."""
        return self._once(
            (key, side), lambda: summaries(values, self._chosen(side), self._references["use"])
        )

    def phi(self, query: int, side: str) -> Side:
        """Summary of the references' phi on one side."""
        return self.side(self._arrays["phi"][query], side, ("phi", query))

    def median(self, query: int, side: str) -> Array:
        """Median of the references' phi on one side, the overall mean where the side is empty."""

        def make() -> Array:
            found = medians(
                self._arrays["phi"][query],
                self._chosen(side),
                self._references["models"],
                self._references["left_out"],
            )
            count = self.phi(query, side).size
            return jnp.where(count > 0, found, self.overall(query, side).mean)

        return self._once(("median", query, side), make)

    def _total(self, name: str, values: Array) -> Array:
        """Sum over all records of the bank."""
        self.totals[name] = jnp.where(self.valid, values, 0).sum(1, keepdims=True)
        return self.totals[name] if self._given is None else self._given[name]

    def overall(self, query: int, side: str) -> Overall:
        """One side's phi over all records, per target [T, 1]."""

        def make() -> Overall:
            found, name = self.phi(query, side), f"phi {query} {side}"
            pairs = jnp.maximum(self._total(f"{name} pairs", found.size), 1)
            mean = self._total(f"{name} sum", found.size * found.mean) / pairs
            squares = self._total(f"{name} squares", found.size * found.mean**2)
            deviations = self._total(f"{name} deviations", found.deviations)
            freedom = self._total(f"{name} freedom", jnp.maximum(found.size - 1, 0))
            variance = jnp.maximum((deviations + squares) / pairs - mean**2, VARIANCE_FLOOR)
            within = jnp.where(freedom > 0, deviations / jnp.maximum(freedom, 1), variance)
            return Overall(mean, variance, jnp.maximum(within, VARIANCE_FLOOR))

        return self._once(("overall", query, side), make)

    def mean(self, name: str, side: str) -> Array:
        """Mean of the references' `name` ("p", "p_t", "log_p") on one side, or overall if it is empty."""

        def make() -> Array:
            found = self.side(self.transformed(name), side, name)
            total = self._total(f"{name} {side} sum", found.size * found.mean)
            pairs = self._total(f"{name} {side} pairs", found.size)
            return jnp.where(found.size > 0, found.mean, total / jnp.maximum(pairs, 1))

        return self._once(("mean", name, side), make)

    def mean_of_all(self, name: str) -> Array:
        """Mean of all references' `name`, whichever side they are on."""
        sides = [self.side(self.transformed(name), side, name) for side in ("in", "out")]
        total = sides[0].size * sides[0].mean + sides[1].size * sides[1].mean
        return total / self._references["models"].shape[1]

    def transformed(self, name: str) -> Float[Array, "models records"]:
        """All models' posteriors of the true class: "p", at RMIA's temperature "p_t", or "log_p"."""
        if name == "p":
            return jax.nn.sigmoid(self._arrays["phi"][0])
        if name == "p_t":
            return jax.nn.sigmoid(self._arrays["phi_t"])
        return jax.nn.log_sigmoid(self._arrays["phi"][0])

    def log_p(self, name: str = "phi") -> Array:
        """The targets' log posterior of the true class, from `phi` or `phi_t`."""
        return jax.nn.log_sigmoid(self.own("phi", 0) if name == "phi" else self.own("phi_t"))

    def share_above(self, side: str) -> Array:
        """Share of the references on one side whose loss is above the target's, ties counted half.

        One half where the side is empty.
        """
        phi, chosen = self._arrays["phi"][0], self._chosen(side)
        own, left_out = self.own("phi", 0), self._references["left_out"]

        def count(where: str) -> Array:
            ordered = sorting.ascending(jnp.where(chosen, phi, jnp.inf).T)
            search = functools.partial(jnp.searchsorted, side=where)
            return jax.vmap(search)(ordered, own.T).T

        def not_used(own: Array, others: Array) -> Array:
            values = phi[others]
            below = (values < own) + 0.5 * (values == own)
            return jnp.where(chosen[others], below, 0).sum(0)

        if left_out.shape[1] <= _MOST_LEFT_OUT:
            # Among all models of the side, less those that are not references.
            below = (count("left") + count("right")) / 2 - jax.vmap(not_used)(own, left_out)
        else:
            below = lax.map(lambda at: not_used(*at), (own, self._references["models"]))
        total = self.phi(0, side).size
        return jnp.where(total > 0, below / jnp.maximum(total, 1), 0.5)
