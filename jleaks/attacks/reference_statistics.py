"""Statistics of every record of every target: of the target's answer and of its references'.

The definitions are those of `jleaks.attacks.sides` and `sums`, for one record of one target; an attack asks
for them by name and gets all of them at once.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jleaks.attacks import sides, sums
from jleaks.attacks.sides import Chosen
from jleaks.attacks.sums import Moments

# No variance is taken to be smaller: two logits that differ by less than 0.01 are the same.
VARIANCE_FLOOR = 1e-4


class OverallMoments(NamedTuple):
    """A side's values over all records, per target [T, 1].

    Attributes:
      mean: Over all pairs of a record and a reference on this side of it.
      variance: Of those values around that mean.
      within: Pooled variance around each record's own mean.
    """

    mean: Array
    variance: Array
    within: Array


class ReferenceStatistics:
    """Everything about T targets and N records, each piece computed when an attack asks for it.

    Made inside a compiled function.  Every property is [T, N] unless it says otherwise.
    """

    def __init__(
        self,
        arrays: dict[str, Any],
        references: dict[str, Array],
        totals: dict[str, Array] | None = None,
        num_classes: int = 1,
        together: int = 1,
    ):
        """Takes the arrays of a bank, or of a block of its records, and of `References`.

        Args:
          arrays: `phi` [Q, M, N], `member` [M, N], `labels` [N], `valid` [N] (False for padding),
            `candidate` [N], `rank` [M, N] where references are drawn, and what else the bank has.
          references: `targets`, `models`, `left_out` and `use`, as in `References`; where references
            are drawn, `drawn` [2]: how many of either side, IN and OUT; where some models are nobody's
            references, `pool` [M]: True for the others, and `left_out` need not name them.
          totals: Sums over all records of the bank, where `arrays` are only a block of it.
          num_classes: K, for attacks that sum by class.
          together: Targets that a device goes through at once.
        """
        self._given, self._num_classes, self._together = totals, num_classes, together
        # Sums over the records at hand, [T, 1] or [T, 1, K], by name; blocks' totals add up to the bank's.
        self.totals: dict[str, Array] = {}
        self._arrays = arrays
        self._references = references
        self._kept: dict[Any, Any] = {}
        self.labels: Array = arrays["labels"]
        self.valid: Array = arrays["valid"]
        self.candidate: Array = arrays["candidate"]
        self.num_queries: int = arrays["phi"].shape[0]

    def own(self, name: str, query: int | None = None) -> Array:
        """The targets' own answers: the array `name`, of one query where it has several."""
        array = self._arrays[name]
        return (array if query is None else array[query])[self._references["targets"]]

    @property
    def member(self) -> Bool[Array, "targets records"]:
        """The truth, for the metrics alone."""
        return self.own("member")

    def _chosen(self, side: str) -> Chosen:
        """The references on one side, "in" or "out"."""

        def make() -> Chosen:
            member = self._arrays["member"]
            listed = (member if side == "in" else ~member) & self.valid
            if "pool" in self._references:
                listed = listed & self._references["pool"][:, None]
            use, models, left_out = (self._references[n] for n in ("use", "models", "left_out"))
            chosen = Chosen(listed, use, models, left_out, together=self._together)
            if "drawn" not in self._references:
                return chosen
            rank, count = self._arrays["rank"], self._references["drawn"][0 if side == "in" else 1]
            others = left_out.shape[1]
            if others > sides.MOST_LEFT_OUT:
                return dataclasses.replace(chosen, rank=rank, taken=count)
            at = [listed & (rank == count + i) for i in range(others)]
            spare = jnp.stack([jnp.where(one.any(0), jnp.argmax(one, 0), -1) for one in at])
            near = listed & (rank < count + others)
            return dataclasses.replace(chosen, listed=near, rank=rank, taken=count, spare=spare)

        return self._once(("chosen", side), make)

    def _once(self, key: Any, make: Any) -> Any:
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def moments(self, values: Float[Array, "models records"], side: str, key: Any) -> Moments:
        """Summary of the references' values on one side, "in" or "out"; `key` names the values."""
        return self._once((key, side), lambda: sums.summaries(values, self._chosen(side)))

    def phi(self, query: int, side: str) -> Moments:
        """Summary of the references' phi on one side."""
        return self.moments(self._arrays["phi"][query], side, ("phi", query))

    def median(self, query: int, side: str) -> Array:
        """Median of the references' phi on one side, the overall mean where the side is empty."""

        def make() -> Array:
            found = sides.medians(self._arrays["phi"][query], self._chosen(side))
            count = self.phi(query, side).size
            return jnp.where(count > 0, found, self.overall(query, side).mean)

        return self._once(("median", query, side), make)

    def signal(self, name: str) -> Float[Array, "models records"]:
        """What all models answered to the record itself: an array of the bank, or `log_p`, from phi."""
        if name == "log_p":
            return jax.nn.log_sigmoid(self._arrays["phi"][0])
        array = self._arrays[name]
        return (array[0] if array.ndim == 3 else array).astype(jnp.float32)

    def summary(self, what: str, name: str, side: str) -> Array:
        """A summary of the references' values of a signal on one side.

        Where the side has no reference, the mean over all records and references stands for the value
        (where it has fewer than two, for "std", the standard deviation of all of them).

        Args:
          what: "count", "mean", "std" (of the references as they are), "median", "min" or "max".
          name: As of `signal`.
          side: "in" or "out".
        """
        values = self.signal(name)
        found = self.moments(values, side, ("phi", 0) if name == "phi" else name)
        if what == "count":
            return found.size
        overall = self._overall(found, f"{name} 0 {side}")
        if what == "std":
            own = jnp.sqrt(found.deviations / jnp.maximum(found.size, 1))
            return jnp.where(found.size >= 2, own, jnp.sqrt(overall.variance))
        if what == "mean":
            value = found.mean
        elif what == "median":
            value = self._once(
                ("medians", name, side), lambda: sides.medians(values, self._chosen(side))
            )
        else:
            ends = self._once(
                ("extremes", name, side), lambda: sides.extremes(values, self._chosen(side))
            )
            value = ends[:, 0 if what == "min" else 1]
        return jnp.where(found.size > 0, value, overall.mean)

    def by_target(self, one: Callable[..., Array], names: Sequence[str], rows: Any) -> Array:
        """Maps over targets and records: one number from the lists of a record's references.

        Args:
          one: From lists [R] of what the target's references answered, by name, and which of them are
            on either side of the record, [R] by "in" and "out", and the record's `rows`.
          names: As of `signal`.
          rows: Arrays [T, N].
        """
        signals = {name: self.signal(name) for name in names}
        both = {side: self._chosen(side) for side in ("in", "out")}

        def mapped(arguments: tuple[Array, Any]) -> Array:
            models, mine = arguments
            lists = {name: values[models] for name, values in signals.items()}
            there = {side: chosen.among(models) for side, chosen in both.items()}
            return jax.vmap(one, in_axes=(1, 1, 0))(lists, there, mine)

        return lax.map(mapped, (self._references["models"], rows))

    def _total(self, name: str, values: Array) -> Array:
        """Sum over all records of the bank."""
        self.totals[name] = jnp.where(self.valid, values, 0).sum(1, keepdims=True)
        return self.totals[name] if self._given is None else self._given[name]

    def sums(self, name: str, values: tuple[Array, ...]) -> tuple[Array, ...]:
        """Sums over all records of the bank, [T, 1] each; `name` is theirs alone."""
        return tuple(self._total(f"{name} {i}", value) for i, value in enumerate(values))

    def sums_of_class(self, name: str, values: tuple[Array, ...]) -> tuple[Array, ...]:
        """Sums over all records of the bank that are of each record's class; `name` is theirs alone."""
        found = []
        for i, value in enumerate(values):
            key = f"{name} {i}"
            rows = jnp.where(self.valid, value, 0).T
            by_class = jax.ops.segment_sum(rows, self.labels, self._num_classes)
            self.totals[key] = by_class.T[:, None]
            whole = self.totals[key] if self._given is None else self._given[key]
            found.append(whole[:, 0, self.labels])
        return tuple(found)

    def overall(self, query: int, side: str) -> OverallMoments:
        """One side's phi over all records, per target [T, 1]."""
        return self._overall(self.phi(query, side), f"phi {query} {side}")

    def _overall(self, found: Moments, name: str) -> OverallMoments:
        """One side's values over all records, from every record's; `name` is theirs alone."""

        def make() -> OverallMoments:
            pairs = jnp.maximum(self._total(f"{name} pairs", found.size), 1)
            mean = self._total(f"{name} sum", found.size * found.mean) / pairs
            squares = self._total(f"{name} squares", found.size * found.mean**2)
            deviations = self._total(f"{name} deviations", found.deviations)
            freedom = self._total(f"{name} freedom", jnp.maximum(found.size - 1, 0))
            variance = jnp.maximum((deviations + squares) / pairs - mean**2, VARIANCE_FLOOR)
            within = jnp.where(freedom > 0, deviations / jnp.maximum(freedom, 1), variance)
            return OverallMoments(mean, variance, jnp.maximum(within, VARIANCE_FLOOR))

        return self._once(("overall", name), make)

    def mean_log_p(self, side: str) -> Array:
        """Mean of the references' log posterior on one side, or overall if it is empty."""

        def make() -> Array:
            found = self.moments(jax.nn.log_sigmoid(self._arrays["phi"][0]), side, "log_p")
            total = self._total(f"log_p {side} sum", found.size * found.mean)
            pairs = self._total(f"log_p {side} pairs", found.size)
            return jnp.where(found.size > 0, found.mean, total / jnp.maximum(pairs, 1))

        return self._once(("mean log p", side), make)

    def log_mean(self, name: str, side: str) -> Array:
        """Log of the mean posterior of the references on one side, or overall if it is empty.

        Args:
          name: "phi", or "phi_t" for posteriors at the bank's temperature.
          side: "in" or "out".
        """

        def make() -> Array:
            values = self._arrays["phi"][0] if name == "phi" else self._arrays[name]
            found = sums.log_means(jax.nn.log_sigmoid(values), self._chosen(side))
            count = self.phi(0, side).size
            total = self._total(f"{name} {side} mass", count * jnp.exp(found))
            pairs = self._total(f"{name} {side} pairs", count)
            tiny = jnp.finfo(jnp.float32).tiny
            overall = jnp.log(jnp.maximum(total, tiny) / jnp.maximum(pairs, 1))
            return jnp.where(count > 0, found, overall)

        return self._once(("log mean", name, side), make)

    def log_mean_of_sides(self, name: str) -> Array:
        """Log of (mean of IN + mean of OUT) / 2: what a model answers that may have trained on the record.

        Not the mean of all references: that would weigh the sides by how many there are.
        """
        both = jnp.logaddexp(self.log_mean(name, "in"), self.log_mean(name, "out"))
        return both - jnp.log(2.0)

    def log_p(self, name: str = "phi") -> Array:
        """The targets' log posterior of the true class, from `phi` or `phi_t`."""
        return jax.nn.log_sigmoid(self.own("phi", 0) if name == "phi" else self.own("phi_t"))

    def share_above(self, side: str) -> Array:
        """Share of the references on one side whose loss is above the target's, ties counted half.

        One half where the side is empty.
        """
        return sides.shares_above(self.own("phi", 0), self._arrays["phi"][0], self._chosen(side))

    def log_level(self, side: str) -> Array:
        """Log of the level at which the references' interpolated losses reach the target's."""

        def make() -> Array:
            own, values = self.own("phi", 0), self._arrays["phi"][0]
            return sides.interpolated_levels(own, values, self._chosen(side))

        return self._once(("level", side), make)
