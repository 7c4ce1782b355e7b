"""Random queries for adversary 3: points that look like nothing in the dataset but have its format.

Salem et al. 2019, section VI: about 1,000 random points per target; the attacker needs to know only what
a query looks like.
"""

import numpy as np

from jleaks.data.tasks import ADULT_CATEGORIES, Task
from jleaks.keys import Role, identity_generator

# Words in a random post.
_POST_LENGTH = 100
# Ranges of Adult's numbers in the published data, in column order.
_ADULT_RANGES = ((17, 90), (12_285, 1_490_400), (1, 16), (0, 99_999), (0, 4_356), (1, 99))


def random_points(task: Task, seed: int, shape: tuple[int, ...], count: int) -> np.ndarray:
    """Draws `count` random records in a task's storage format.

    Args:
      task: Says what kind of record to draw: uniform pixels; fair coins for binary features; posts of
        100 words drawn uniformly from the vocabulary; for Adult uniform numbers within the published
        ranges and uniform categories.
      seed: Every seed has its own points.
      shape: Shape of one record (parameters of preparation may have changed it).
      count: R.

    Returns:
      [R, *shape] of `task.feature_dtype`.
    """
    generator = identity_generator(seed, task.name, Role.RANDOM_POINTS)
    if task.encoding == "pixels":
        points = generator.integers(0, 256, (count, *shape))
    elif task.encoding == "binary":
        points = generator.integers(0, 2, (count, *shape))
    elif task.encoding == "terms":
        points = np.zeros((count, *shape), np.int64)
        words = generator.integers(0, shape[0], (count, _POST_LENGTH))
        np.add.at(points, (np.arange(count)[:, None], words), 1)
    else:
        numbers = [generator.integers(low, high + 1, count) for low, high in _ADULT_RANGES]
        codes = [generator.integers(0, size, count) for size in ADULT_CATEGORIES.values()]
        points = np.stack(numbers + codes, axis=1)
    return points.astype(task.feature_dtype)
