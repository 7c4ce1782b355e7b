"""BaVarIA: LiRA with a prior on mean and variance, for few references (Brännvall 2026, arXiv 2603.11799).

The family and its conjugate prior are the paper's.  The prior's parameters are ours, fitted to all
records of a side (empirical Bayes): its mean is the overall mean, its variance the pooled variance within
records, worth four observations, and its mean is worth as many observations as the variance within records
outweighs that between them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jleaks.attacks.attack import Attack, plain
from jleaks.attacks.lira import log_normal, log_survival
from jleaks.attacks.reference_statistics import VARIANCE_FLOOR, OverallMoments, ReferenceStatistics
from jleaks.attacks.sums import Moments

_PRIOR_SHAPE = 2.0


class Posterior(NamedTuple):
    """Normal-inverse-gamma: mean ~ N(location, variance / weight), variance ~ IG(shape, scale)."""

    location: Array
    weight: Array
    shape: Array
    scale: Array


def posterior(moments: Moments, overall: OverallMoments) -> Posterior:
    """Updates the prior of a side with one record's references; none leave the prior."""
    between = jnp.maximum(overall.variance - overall.within, VARIANCE_FLOOR)
    weight = overall.within / between
    n = moments.size
    total = weight + n
    return Posterior(
        location=(weight * overall.mean + n * moments.mean) / total,
        weight=total,
        shape=_PRIOR_SHAPE + n / 2,
        scale=overall.within * (_PRIOR_SHAPE - 1)
        + moments.deviations / 2
        + weight * n * (moments.mean - overall.mean) ** 2 / (2 * total),
    )


def log_student(phi: Array, p: Posterior) -> Array:
    """Log density of the posterior predictive, a Student t with 2 `shape` degrees of freedom."""
    freedom = 2 * p.shape
    spread = p.scale * (p.weight + 1) / (p.shape * p.weight)
    gamma = jax.lax.lgamma
    return (
        gamma((freedom + 1) / 2)
        - gamma(freedom / 2)
        - 0.5 * jnp.log(freedom * jnp.pi * spread)
        - (freedom + 1) / 2 * jnp.log1p((phi - p.location) ** 2 / (freedom * spread))
    )


def variance(p: Posterior) -> Array:
    """Expected variance of the next observation."""
    return p.scale / (p.shape - 1) * (1 + 1 / p.weight)


def _posteriors(statistics: ReferenceStatistics) -> tuple[Posterior, Posterior]:
    inside, outside = (
        posterior(statistics.phi(0, side), statistics.overall(0, side)) for side in ("in", "out")
    )
    return inside, outside


def student(statistics: ReferenceStatistics) -> Array:
    """Log ratio of the two sides' Student t predictives."""
    phi = statistics.own("phi", 0)
    inside, outside = _posteriors(statistics)
    return log_student(phi, inside) - log_student(phi, outside)


def gaussian(statistics: ReferenceStatistics) -> Array:
    """Log ratio of normal densities with the posteriors' locations and variances."""
    phi = statistics.own("phi", 0)
    inside, outside = _posteriors(statistics)
    return log_normal(phi, inside.location, variance(inside)) - log_normal(
        phi, outside.location, variance(outside)
    )


def offline(statistics: ReferenceStatistics) -> Array:
    """One-sided, OUT references alone: how far above their predictive the target is."""
    outside = posterior(statistics.phi(0, "out"), statistics.overall(0, "out"))
    z = (statistics.own("phi", 0) - outside.location) / jnp.sqrt(variance(outside))
    return log_survival(z)


_BRANNVALL = "Brännvall 2026"

ENTRIES = (
    Attack("bavaria_offline", "BaVarIA offline", _BRANNVALL, plain(offline), "out"),
    Attack("bavaria", "BaVarIA-t", _BRANNVALL, plain(student), "in and out"),
    Attack("bavaria_gaussian", "BaVarIA-n", _BRANNVALL, plain(gaussian), "in and out"),
)
