"""Statistics of every record of every target: of the target's answer and of its references'.

The definitions are those of `jleaks.attacks.orders` and `sums`, for one record of one target; an attack
asks for them by name and gets all of them at once.
"""

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jleaks.attacks import orders, sides, sums
from jleaks.attacks.sides import Chosen
from jleaks.attacks.sums import Moments

# No variance is taken to be smaller: two logits that differ by less than 0.01 are the same.
VARIANCE_FLOOR = 1e-4


# What is made of all models, by name: orders and sums of one side each, arrays with records on some axis.
Tables = dict[str, Any]


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
        tables: Tables | None = None,
    ):
        """Takes the arrays of a bank, or of a block of its records, and of `References`.

        Args:
          arrays: `phi` [Q, M, N], `member` [M, N], `labels` [N], `valid` [N] (False for padding),
            `candidate` [N], `rank` [M, N] where references are drawn, and what else the bank has.
          references: `targets`, `models` and `left_out`, as in `References`; where references
            are drawn, `drawn` [2]: how many of either side, IN and OUT; where some models are nobody's
            references, `pool` [M]: True for the others, and `left_out` need not name them.
          totals: Sums over all records of the bank, where `arrays` are only a block of it.
          num_classes: K, for attacks that sum by class.
          together: Targets that a device goes through at once.
          tables: What was made of all models before, for targets that leave out at least as many; what is
            made now is added.
        """
        self._given, self._num_classes, self._together = totals, num_classes, together
        # Sums over the records at hand, [T, 1] or [T, 1, K], by name; blocks' totals add up to the bank's.
        self.totals: dict[str, Array] = {}
        # What does not depend on the targets, by name.
        self.tables: Tables = {} if tables is None else tables
        self._arrays = arrays
        self._references = references
        self._kept: dict[Hashable, Any] = {}
        self.labels: Array = arrays["labels"]
        self.valid: Array = arrays["valid"]
        self.candidate: Array = arrays["candidate"]
        self.num_queries: int = arrays["phi"].shape[0]

    def own(self, name: str, query: int | None = None) -> Array:
        """The targets' own answers: the array `name`, of one query where it has several."""

        def make() -> Array:
            array = self._arrays[name]
            return (array if query is None else array[query])[self._references["targets"]]

        return self.once(("own", name, query), make)

    @property
    def member(self) -> Bool[Array, "targets records"]:
        """The truth, for the metrics alone."""
        return self.own("member")

    def _chosen(self, side: str) -> Chosen:
        """The references on one side, "in" or "out"."""

        def make() -> Chosen:
            models, left_out = (self._references[name] for name in ("models", "left_out"))
            listed, spare = self._table(f"listed {side}", lambda: self._listed(side))
            chosen = Chosen(listed, models, left_out, together=self._together)
            if "drawn" not in self._references:
                return chosen
            return dataclasses.replace(
                chosen, rank=self._arrays["rank"], taken=self._drawn(side), spare=spare
            )

        return self.once(("chosen", side), make)

    def _drawn(self, side: str) -> Array:
        count: Array = self._references["drawn"][0 if side == "in" else 1]
        return count

    def _listed(self, side: str) -> tuple[Array, Array | None]:
        """Returns `listed` and `spare` of `Chosen`."""
        member = self._arrays["member"]
        listed = (member if side == "in" else ~member) & self.valid
        if "pool" in self._references:
            listed = listed & self._references["pool"][:, None]
        others = self._references["left_out"].shape[1]
        if "drawn" not in self._references or others > sides.MOST_LEFT_OUT:
            return listed, None
        rank, count = self._arrays["rank"], self._drawn(side)
        at = [listed & (rank == count + i) for i in range(others)]
        spare = jnp.stack([jnp.where(one.any(0), jnp.argmax(one, 0), -1) for one in at])
        return listed & (rank < count + others), spare

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Returns what `make` gives; it is made once for all attacks that ask for it by one key."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def _table(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self.tables:
            self.tables[name] = make()
        return self.tables[name]

    def _made(self, what: str, name: str, side: str, make: Callable[[Array, Chosen], Any]) -> Any:
        """Returns a table of one side's values of a signal; None where there are none (see `sides`)."""
        chosen = self._chosen(side)
        if not chosen.few_left_out:
            return None
        return self._table(f"{what} of {name}, {side}", lambda: make(self.signal(name), chosen))

    def _order(self, name: str, side: str) -> orders.Ordered | None:
        chosen = self._chosen(side)
        if not chosen.few_left_out:
            return None
        return self._table(
            f"order of {name}, {side}", lambda: orders.ordered(self.signal(name), chosen)
        )

    def moments(self, name: str, side: str) -> Moments:
        """Summary of the references' values of a signal on one side, "in" or "out"."""

        def make() -> Moments:
            return sums.summaries(
                self.signal(name), self._chosen(side), self._made("sums", name, side, sums.whole)
            )

        return self.once(("moments", name, side), make)

    def phi(self, query: int, side: str) -> Moments:
        """Summary of the references' phi on one side."""
        return self.moments(_phi(query), side)

    def _medians(self, name: str, side: str) -> Array:
        def make() -> Array:
            middle = self._made(
                *("middle", name, side),
                lambda values, to: orders.middle(orders.ordered(values, to), to),
            )
            return orders.medians(self.signal(name), self._chosen(side), middle)

        return self.once(("medians", name, side), make)

    def median(self, query: int, side: str) -> Array:
        """Median of the references' phi on one side, the overall mean where the side is empty."""

        def make() -> Array:
            found = self._medians(_phi(query), side)
            count = self.phi(query, side).size
            return jnp.where(count > 0, found, self.overall(query, side).mean)

        return self.once(("median", query, side), make)

    def signal(self, name: str) -> Float[Array, "models records"]:
        """What all models answered: an array of the bank ("phi 1" of query 1), or `log_p`, made of phi."""
        if name == "log_p":
            return self._table(
                "values of log_p", lambda: jax.nn.log_sigmoid(self._arrays["phi"][0])
            )
        name, *query = name.split()
        array = self._arrays[name]
        found = array[int(query[0]) if query else 0] if array.ndim == 3 else array
        if found.dtype == jnp.float32:
            return found
        return self._table(f"values of {name}", lambda: found.astype(jnp.float32))

    def summary(self, what: str, name: str, side: str) -> Array:
        """A summary of the references' values of a signal on one side.

        Where the side has no reference, the mean over all records and references stands for the value
        (where it has fewer than two, for "std", the standard deviation of all of them).

        Args:
          what: "count", "mean", "std" (of the references as they are), "median", "min" or "max".
          name: As of `signal`.
          side: "in" or "out".
        """
        found = self.moments(name, side)
        if what == "count":
            return found.size
        overall = self._overall(found, f"{name} {side}")
        if what == "std":
            own = jnp.sqrt(found.deviations / jnp.maximum(found.size, 1))
            return jnp.where(found.size >= 2, own, jnp.sqrt(overall.variance))
        if what == "mean":
            value = found.mean
        elif what == "median":
            value = self._medians(name, side)
        else:
            values, chosen = self.signal(name), self._chosen(side)
            ends = self.once(
                ("extremes", name, side),
                lambda: orders.extremes(values, chosen, self._order(name, side)),
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
        return self._overall(self.phi(query, side), f"{_phi(query)} {side}")

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

        return self.once(("overall", name), make)

    def mean_log_p(self, side: str) -> Array:
        """Mean of the references' log posterior on one side, or overall if it is empty."""

        def make() -> Array:
            found = self.moments("log_p", side)
            total = self._total(f"log_p {side} sum", found.size * found.mean)
            pairs = self._total(f"log_p {side} pairs", found.size)
            return jnp.where(found.size > 0, found.mean, total / jnp.maximum(pairs, 1))

        return self.once(("mean log p", side), make)

    def log_mean(self, name: str, side: str) -> Array:
        """Log of the mean posterior of the references on one side, or overall if it is empty.

        Args:
          name: "phi", or "phi_t" for posteriors at the bank's temperature.
          side: "in" or "out".
        """

        def make() -> Array:
            found = self._log_means(name, side)
            count = self.phi(0, side).size
            total = self._total(f"{name} {side} mass", count * jnp.exp(found))
            pairs = self._total(f"{name} {side} pairs", count)
            tiny = jnp.finfo(jnp.float32).tiny
            overall = jnp.log(jnp.maximum(total, tiny) / jnp.maximum(pairs, 1))
            return jnp.where(count > 0, found, overall)

        return self.once(("log mean", name, side), make)

    def _log_means(self, name: str, side: str) -> Array:
        values, chosen = self.signal(name), self._chosen(side)
        if not chosen.few_left_out:
            return chosen.by_target(sums.log_mean, jax.nn.log_sigmoid(values))
        scaled = self._table(f"posteriors of {name}", lambda: sums.kept(sums.posteriors(values)))
        apart = self._made(
            *("largest", name, side),
            lambda values, to: sums.largest_apart(values, sums.posteriors, to),
        )
        return sums.log_means(values, chosen, (scaled, apart))

    def log_mean_of_sides(self, name: str) -> Array:
        """Log of (mean of IN + mean of OUT) / 2: what a model answers that may have trained on the record.

        Not the mean of all references: that would weigh the sides by how many there are.
        """
        both = jnp.logaddexp(self.log_mean(name, "in"), self.log_mean(name, "out"))
        return both - jnp.log(2.0)

    def log_p(self, name: str = "phi") -> Array:
        """The targets' log posterior of the true class, from `phi` or `phi_t`."""

        def make() -> Array:
            return jax.nn.log_sigmoid(self.own("phi", 0) if name == "phi" else self.own("phi_t"))

        return self.once(("log p", name), make)

    def share_above(self, side: str) -> Array:
        """Share of the references on one side whose loss is above the target's, ties counted half.

        One half where the side is empty.
        """
        values, chosen = self.signal("phi"), self._chosen(side)
        return orders.shares_above(self.own("phi", 0), values, chosen, self._places(side))

    def log_level(self, side: str) -> Array:
        """Log of the level at which the references' interpolated losses reach the target's."""

        def make() -> Array:
            values, chosen = self.signal("phi"), self._chosen(side)
            at = self._places(side)
            return orders.interpolated_levels(self.own("phi", 0), values, chosen, at)

        return self.once(("level", side), make)

    def _places(self, side: str) -> tuple[orders.Ordered, orders.Places] | None:
        """The order of one side's phi, and where the targets' own stand in it."""
        order = self._order("phi", side)
        if order is None:
            return None
        places: orders.Places = self._table(
            f"places of phi, {side}", lambda: orders.places(self.signal("phi"), order)
        )
        return order, places.of(self._references["targets"])


def _phi(query: int) -> str:
    return f"phi {query}" if query else "phi"
