"""t-SNE of models' answers: why an attack model transfers (Salem et al. 2019, section V).

The largest posteriors of the members and non-members of two tasks, on one plane: where the members of
both lie apart from the non-members of both, one boundary serves both tasks.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from jleaks.errors import InputError

# Effective number of neighbours (van der Maaten & Hinton 2008, section 2, advise 5 to 50).
PERPLEXITY = 30.0


def sample(
    rng: np.random.Generator, groups: Mapping[str, np.ndarray], per_group: int
) -> tuple[Float[np.ndarray, "points d"], np.ndarray]:
    """Draws equally many points of every group, without replacement.

    Args:
      rng: Where the draw comes from.
      groups: Name of a group to its points [n, d], the same d for all.
      per_group: Points to draw of each.

    Returns:
      [G * per_group, d] float32 points, group after group; and [G * per_group] each point's group.

    Raises:
      InputError: there is no group, one has too few points, or their d differ.
    """
    if not groups:
        raise InputError("no group of points was given")
    if per_group < 1:
        raise InputError(f"per_group is {per_group}, expected at least 1")
    shapes = {name: np.shape(points) for name, points in groups.items()}
    if len({shape[1:] for shape in shapes.values()}) > 1 or len(next(iter(shapes.values()))) != 2:
        raise InputError(f"groups have shapes {shapes}, expected [n, d] with one d")
    for name, points in groups.items():
        if len(points) < per_group:
            raise InputError(f"group {name!r} has {len(points)} points, {per_group} were asked for")
    drawn = [rng.choice(points, per_group, replace=False) for points in groups.values()]
    return np.concatenate(drawn).astype(np.float32), np.repeat(list(groups), per_group)


def embed(
    points: Float[np.ndarray, "points d"], seed: int, perplexity: float = PERPLEXITY
) -> Float[np.ndarray, "points 2"]:
    """Embeds points in the plane by t-SNE (van der Maaten & Hinton 2008; Barnes-Hut).

    scikit-learn's, from an initial layout by PCA.  One thread: with several, sums of forces round in
    the order in which the threads finish, and t-SNE makes a visible difference of that.  Time grows
    as n log n; thousands of points take minutes at most.

    Args:
      points: [n, d], d at least 2 and n above 3 times the perplexity.
      seed: Of the randomised PCA; the same seed gives the same layout.
      perplexity: Effective number of neighbours.

    Returns:
      [n, 2] float32 coordinates, without unit: only who is near whom means anything.

    Raises:
      InputError: points or perplexity cannot be used, or scikit-learn is not installed.
    """
    if points.ndim != 2 or points.shape[1] < 2:
        raise InputError(f"points have shape {points.shape}, expected [n, d] with d at least 2")
    if not perplexity > 0:
        raise InputError(f"perplexity is {perplexity}, expected a positive number")
    if not len(points) > 3 * perplexity:
        raise InputError(
            f"{len(points)} points at perplexity {perplexity:g}, "
            f"expected more than {3 * perplexity:g}"
        )
    if not np.isfinite(points).all():
        raise InputError("points are not all finite")
    if (points == points[0]).all():
        raise InputError(f"all {len(points)} points are equal: there is nothing to lay out")
    try:
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
    except ImportError as error:
        raise InputError(
            f"t-SNE needs scikit-learn ({error}): pip install jleaks[datasets]"
        ) from error
    tsne = TSNE(n_components=2, perplexity=perplexity, init="pca", random_state=seed)
    with threadpool_limits(1):
        return tsne.fit_transform(points.astype(np.float32))
