"""Attacks that ask how hard a record is: for the population, or for models that did not train on it."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jleaks import sorting
from jleaks.attacks.evidence import Evidence


def calibrated(evidence: Evidence) -> Array:
    """Log posterior minus its mean over OUT references (Watson et al. 2022, equation 2)."""
    return evidence.log_p() - evidence.mean("log_p", "out")


def attack_r(evidence: Evidence) -> Array:
    """Share of OUT references with a larger loss, ties half (Ye et al. 2022, section 4.4)."""
    return evidence.share_above("out")


def population_share(
    phi: Float[Array, "records"], population: Bool[Array, "records"]
) -> Float[Array, "records"]:
    """Attack-P: share of population records with a larger loss, ties half (Ye et al. 2022, section 4.2).

    One target's row; the loss falls as phi rises.
    """
    ordered = sorting.ascending(jnp.where(population, phi, jnp.inf))
    count = population.sum()
    ends = [
        jnp.minimum(jnp.searchsorted(ordered, phi, side=side), count) for side in ("left", "right")
    ]
    return (ends[0] + ends[1]) / (2 * count)
