"""RMIA and BASE: the target's confidence beside the references' mean confidence.

RMIA: Zarifzadeh et al. 2024, equations 3, 4 and 11.  BASE: Lassila et al. 2025; it ranks records as RMIA
does, up to ties and the temperature.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jleaks import sorting
from jleaks.attacks.evidence import Evidence


def log_ratio_online(evidence: Evidence) -> Array:
    """Log r = log p_T - log of the mean p_T over all references, IN and OUT."""
    return evidence.log_p("phi_t") - jnp.log(evidence.mean_of_all("p_t"))


def log_ratio_offline(evidence: Evidence, a: float) -> Array:
    """Log r with the mean over all references guessed from OUT alone: ((1 + a) mean + 1 - a) / 2.

    The paper's line p_IN = a p_OUT + 1 - a; a = 1 leaves the OUT mean as it is.
    """
    return evidence.log_p("phi_t") - jnp.log(((1 + a) * evidence.mean("p_t", "out") + (1 - a)) / 2)


def dominated_share(
    log_ratio: Float[Array, "records"], population: Bool[Array, "records"], log_gamma: float
) -> Float[Array, "records"]:
    """Share of population records z with r_x / r_z >= gamma, for one target.

    One sort of the population and a binary search per record: O((N + Z) log Z), no N x Z array.
    """
    ordered = sorting.ascending(jnp.where(population, log_ratio, jnp.inf))
    below = jnp.searchsorted(ordered, log_ratio - log_gamma, side="right")
    count = population.sum()
    return jnp.minimum(below, count) / count


def base_online(evidence: Evidence) -> Array:
    """Log p - [logsumexp over references of log p - log R]."""
    return evidence.log_p() - jnp.log(evidence.mean_of_all("p"))


def base_offline(evidence: Evidence) -> Array:
    """The same over the OUT references."""
    return evidence.log_p() - jnp.log(evidence.mean("p", "out"))
