"""Random queries for adversary 3: points that look like nothing in the dataset but have its format.

Salem et al. 2019, section VI: about 1,000 random points per target; the attacker needs to know only what
a query looks like.
"""

import numpy as np

from jleaks.data import encodings
from jleaks.data.tasks import Task
from jleaks.keys import Role, identity_generator


def random_points(task: Task, seed: int, shape: tuple[int, ...], count: int) -> np.ndarray:
    """Draws `count` random records in a task's storage format.

    Args:
      task: Its encoding says what kind of record to draw: uniform pixels; fair coins for binary features;
        posts of 100 words drawn uniformly from the vocabulary; for tables uniform numbers within their
        ranges (Adult's are the published ones, own data's its own) and uniform categories.
      seed: Every seed has its own points.
      shape: Shape of one record (parameters of preparation may have changed it).
      count: R.

    Returns:
      [R, *shape] of `task.feature_dtype`.
    """
    generator = identity_generator(seed, task.name, Role.RANDOM_POINTS)
    points = encodings.find(task.encoding).points(generator, task, shape, count)
    return points.astype(task.feature_dtype)
