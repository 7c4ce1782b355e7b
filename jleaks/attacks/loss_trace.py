"""LT-IQR: how far a record's loss moved while the target trained (Pollock et al. 2024, arXiv 2411.05743).

An owner's first look at which records are at risk, without any shadow: the interquartile range of a
record's loss over the training, whose losses come for free.  The authors' page has the formula (75th less
25th percentile of the losses of all epochs), the losses those of the steps; here they are asked after each
of some epochs, of members and others alike, so that the range is also a score of membership.  Who has the
loss of a record at every epoch has watched the training: no attacker who comes later does.
"""

import numpy as np
from jaxtyping import Float

from jleaks.attacks.attack import Attack, stored


def interquartile_range(
    losses: Float[np.ndarray, "models points records"],
) -> Float[np.ndarray, "models records"]:
    """The 75th less the 25th percentile over the points, each interpolated linearly."""
    low, high = np.quantile(losses, [0.25, 0.75], axis=1)
    return (high - low).astype(np.float32)


ENTRIES = (
    Attack(
        "lt_iqr", "LT-IQR (loss trace)", "Pollock et al. 2024", stored("loss_iqr"),
        signals=("loss_iqr",),
    ),
)  # fmt: skip
