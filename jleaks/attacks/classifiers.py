"""Attack models that are trained on the host: the random forest.

Attack models that are networks (64 hidden units, logistic regression) are a fleet; see
`jleaks.attacks.shadow`.  A forest learns from the same rows: largest posteriors in descending order, member
or not (Salem et al. 2019, section IV).  Its trees end in pure leaves unless the recipe says otherwise, so
nearly all scores are multiples of 1 / num_trees and many records tie.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt32

from jleaks.errors import InputError
from jleaks.forest import ForestRecipe, grow


class ForestScores(NamedTuple):
    """Scores of one attack forest: the posterior of "member" minus 0.5.

    Larger means likelier a member; at 0 or above the forest calls a record one.

    Attributes:
      own: [n] float32 scores of the rows that the forest learned from, each by the trees that did
        not see it.  All trees together have memorised these rows: a threshold chosen on what they
        say would fit nobody else.
      queries: For each target [m] float32.
    """

    own: Float[np.ndarray, "rows"]
    queries: list[np.ndarray]


def forest_scores(
    recipe: ForestRecipe,
    features: Float[np.ndarray, "rows top"],
    member: Bool[np.ndarray, "rows"],
    words: UInt32[np.ndarray, "2"],
    queries: Sequence[Float[np.ndarray, "_ top"]],
) -> ForestScores:
    """Trains one attack forest on shadow rows and scores the answers of any number of targets.

    Where shadow or target is binary, pass the two largest posteriors of both sides alone, as
    `jleaks.attacks.shadow` does: a third that was always zero in training says nothing.

    Args:
      recipe: Of the forest.
      features: [n, top] what the shadow models answered.  For the combining attack the rows of
        shadows of all kinds, one below the other.
      member: [n] whether the shadow trained on the record.
      words: Key words of the attack model.
      queries: For each target [m, top] what it answered.

    Raises:
      InputError: members or non-members are lacking, a value is not finite, queries have another
        width than the rows; or as `jleaks.forest.grow`.
    """
    if not 0 < member.sum() < len(member):
        raise InputError(
            f"an attack model was to learn from {member.sum()} members and {(~member).sum()} "
            "non-members, expected at least one of each"
        )
    for name, rows in [("shadow", features), *((f"query {i}", q) for i, q in enumerate(queries))]:
        if rows.shape[1:] != features.shape[1:]:
            raise InputError(
                f"{name} rows have {rows.shape[1:]} posteriors, the shadow's {features.shape[1:]}"
            )
        if not np.isfinite(rows).all():
            raise InputError(f"{name} rows are not all finite")
    trees = grow(recipe, features, member.astype(np.int32), 2, words)
    half = np.float32(0.5)
    return ForestScores(
        trees.out_of_bag(features)[:, 1] - half,
        [trees.posteriors(rows)[:, 1] - half for rows in queries],
    )
