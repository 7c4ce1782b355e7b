"""Who is a member: the only place that decides it.

Protocol `quarters` (Salem et al. 2019, section IV-A): a dataset is halved at random into a shadow and
a target part, and each half again into *train* (members) and *out* (non-members).
"""

import dataclasses

import jax
import numpy as np

from jleaks.errors import InputError
from jleaks.keys import Role, identity_key


@dataclasses.dataclass(frozen=True, eq=False)
class Quarters:
    """One draw of the paper's split: four disjoint index sets of equal size q, each [q] int32."""

    target_train: np.ndarray
    target_out: np.ndarray
    shadow_train: np.ndarray
    shadow_out: np.ndarray


def quarters(task: str, seed: int, num_records: int, quarter: int) -> Quarters:
    """Draws the paper's split of `num_records` records into four parts of `quarter` each.

    Args:
      task: Name of the task; with `seed` it identifies the draw.
      seed: Every seed has an independent draw.
      num_records: N, the size of the pooled dataset.
      quarter: q, the size of each part; records beyond 4q are left out of this draw.

    Returns:
      Four disjoint sets of indices into 0..N-1.

    Raises:
      InputError: the data has fewer than 4q records.
    """
    if quarter < 1 or 4 * quarter > num_records:
        raise InputError(
            f"{task}: four parts of {quarter} records were asked for, the data has {num_records}"
        )
    key = identity_key(seed, task, Role.SPLIT)
    order = np.asarray(jax.random.permutation(key, num_records), np.int32)
    return Quarters(*(order[i * quarter : (i + 1) * quarter] for i in range(4)))
