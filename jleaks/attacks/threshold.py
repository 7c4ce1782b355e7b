"""Adversary 3: no shadow model, no training; a statistic of the posterior against a threshold.

Salem et al. 2019, section VI.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def random_point_threshold(
    statistics: Float[Array, "points"], percentile: float
) -> Float[Array, ""]:
    """The threshold that the top `percentile` percent of random points exceed.

    The attacker queries random points, which are almost surely non-members, and needs no labels.

    Args:
      statistics: [R] the statistic of the target's answers to random points.
      percentile: t in (0, 100).
    """
    return jnp.percentile(statistics, 100.0 - percentile)
