"""LiRA: the likelihood ratio attack (Carlini et al. 2022, section V and Algorithm 1; authors' code).

Written for one record: phi is the target's logit-scaled confidence, mean and variance are those of its
references' phi on one side.  Everything broadcasts.
"""

import functools
import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jleaks.attacks.attack import Attack, Needs, Score, Variants
from jleaks.attacks.reference_statistics import VARIANCE_FLOOR, ReferenceStatistics

Variance = Literal["record", "global"]

# Numbers of the two, as variants of one attack.
VARIANCES: tuple[Variance, Variance] = ("record", "global")


def log_normal(phi: Array, mean: Array, variance: Array) -> Array:
    """Log N(phi; mean, variance)."""
    return -0.5 * ((phi - mean) ** 2 / variance + jnp.log(variance) + math.log(2 * math.pi))


def log_survival(z: Array) -> Array:
    """-log(1 - Phi(z)): rises with the one-sided Phi(z) of the paper, but does not saturate."""
    return -jax.scipy.stats.norm.logcdf(-z)


def fit(
    statistics: ReferenceStatistics, query: int, side: str, kind: Variance
) -> tuple[Array, Array]:
    """One side's mean (the median, as the authors' code) and variance, each [T, N].

    Args:
      statistics: Of all targets and records.
      query: Which query's answers.
      side: "in" or "out".
      kind: "record": each record's own variance, the overall one where it has fewer than two
        references; "global": of all records and references of the side.
    """
    found, overall = statistics.phi(query, side), statistics.overall(query, side)
    mean = statistics.median(query, side)
    if kind == "global":
        return mean, jnp.broadcast_to(overall.variance, mean.shape)
    own = jnp.maximum(found.deviations / jnp.maximum(found.size, 1), VARIANCE_FLOOR)
    return mean, jnp.where(found.size >= 2, own, overall.variance)


def log_density(statistics: ReferenceStatistics, query: int, side: str, kind: Variance) -> Array:
    """Log N(phi; one side's references)."""
    return statistics.once(
        ("log density", query, side, kind),
        lambda: log_normal(statistics.own("phi", query), *fit(statistics, query, side, kind)),
    )


def online(statistics: ReferenceStatistics, query: int, kind: Variance) -> Array:
    """Log N(phi; IN) - log N(phi; OUT)."""
    inside, outside = (log_density(statistics, query, side, kind) for side in ("in", "out"))
    return inside - outside


def offline(statistics: ReferenceStatistics, query: int, kind: Variance) -> Array:
    """One-sided: how far above the OUT references the target is."""

    def make() -> Array:
        mean, variance = fit(statistics, query, "out", kind)
        return log_survival((statistics.own("phi", query) - mean) / jnp.sqrt(variance))

    return statistics.once(("log survival", query, kind), make)


def offline_two_sided(statistics: ReferenceStatistics, query: int, kind: Variance) -> Array:
    """-log N(phi; OUT), as the authors' code: far below the references counts as much as far above."""
    return -log_density(statistics, query, "out", kind)


# What LiRA says of one query, with one kind of variance.
_Form = Callable[[ReferenceStatistics, int, Variance], Array]


def mean_over_queries(form: _Form, statistics: ReferenceStatistics, kind: Variance) -> Array:
    """Mean of a score over all queries."""
    scores = (form(statistics, query, kind) for query in range(statistics.num_queries))
    return functools.reduce(jnp.add, scores) / statistics.num_queries


def both(form: _Form, statistics: ReferenceStatistics, several: bool = False) -> Array:
    """A score with either variance, [2, T, N], in the order of `VARIANCES`.

    The authors take one variance for all records below 64 shadow models (section VI-B).  Which serves
    better depends on the data more than on their number: a shadow's records tell.

    Args:
      form: The score of one query.
      statistics: Of all targets and records.
      several: Whether it is the mean over all queries; otherwise it is that of query 0.
    """
    if several:
        return jnp.stack([mean_over_queries(form, statistics, kind) for kind in VARIANCES])
    return jnp.stack([form(statistics, 0, kind) for kind in VARIANCES])


# Where a shadow has one reference a side both are the same on it, and one variance for all is taken.
_VARIANCES = Variants(
    values=lambda _: (1.0, 0.0),
    default=lambda _: 1.0,
    form=lambda parts, value: jnp.where(value == 0, parts[0], parts[1]),
    names=VARIANCES,
)


def _score(form: _Form, kind: Variance | None = None, several: bool = False) -> Score:
    if kind is None:
        return lambda statistics, _: both(form, statistics, several)
    return lambda statistics, _: form(statistics, 0, kind)


_CARLINI = "Carlini et al. 2022"
_BOTH: Needs = "in and out"

ENTRIES = (
    Attack(
        "lira_offline", "LiRA offline", _CARLINI, _score(offline), "out", variants=_VARIANCES,
    ),
    Attack(
        "lira_offline_record", "LiRA offline, per-record variance", _CARLINI,
        _score(offline, "record"), "out",
    ),
    Attack(
        "lira_offline_global", "LiRA offline, global variance", _CARLINI,
        _score(offline, "global"), "out",
    ),
    Attack(
        "lira_offline_two_sided", "LiRA offline, two-sided", f"{_CARLINI}, code",
        _score(offline_two_sided), "out", variants=_VARIANCES,
    ),
    Attack(
        "lira_offline_queries", "LiRA offline, all queries", _CARLINI,
        _score(offline, several=True), "out", queries="all", variants=_VARIANCES,
    ),
    Attack("lira_online", "LiRA online", _CARLINI, _score(online), _BOTH, variants=_VARIANCES),
    Attack(
        "lira_online_record", "LiRA online, per-record variance", _CARLINI, _score(online, "record"),
        _BOTH,
    ),
    Attack(
        "lira_online_global", "LiRA online, global variance", _CARLINI, _score(online, "global"), _BOTH,
    ),
    Attack(
        "lira_online_queries", "LiRA online, all queries", _CARLINI,
        _score(online, several=True), _BOTH, queries="all", variants=_VARIANCES,
    ),
)  # fmt: skip
