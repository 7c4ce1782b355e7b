"""Distance to the decision boundary from labels alone (Choquette-Choo et al. 2021, section 4.2).

A model's own records lie further from where its label changes.  A bank's queries perturb a record ever
more: noise grows, images are shifted further.  The score is how far one gets before the label is wrong for
the first time, where `label_only` counts how many answers are right.
"""

import jax.numpy as jnp
from jaxtyping import Array

from jleaks.attacks.attack import Attack, plain
from jleaks.attacks.reference_statistics import ReferenceStatistics


def distance(statistics: ReferenceStatistics) -> Array:
    """Share of queries, from the record itself on, before the first whose label is wrong; 1 if none is."""
    unbroken = jnp.ones((), bool)
    steps = jnp.zeros((), jnp.float32)
    for query in range(statistics.num_queries):
        unbroken = unbroken & statistics.own("correct", query)
        steps = steps + unbroken
    return steps / statistics.num_queries


ENTRIES = (
    Attack(
        "label_boundary", "Label only, boundary", "Choquette-Choo et al. 2021", plain(distance),
        queries="all", signals=("correct",),
    ),
)  # fmt: skip
