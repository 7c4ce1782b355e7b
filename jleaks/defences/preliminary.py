"""Networks that a defence trains before the one it defends: on what, and what is learned of them."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int, UInt32

from jleaks.errors import InputError

# From the labels [n] of the training part and key data [2] to who trains on what.
CutFn = Callable[
    [Int[np.ndarray, "members"], UInt32[np.ndarray, "2"]], Bool[np.ndarray, "networks members"]
]


@dataclasses.dataclass(frozen=True, eq=False)
class Told:
    """What networks that were trained first answer about the training part of the model that is defended.

    Attributes:
      posteriors: [A, n, K] of each network about every record.
      trained: [A, n] whether the network was trained on it.
      labels: [n] classes.
      key_data: [2] of the defended model, for what is drawn.
    """

    posteriors: Float[np.ndarray, "networks members k"]
    trained: Bool[np.ndarray, "networks members"]
    labels: Int[np.ndarray, "members"]
    key_data: UInt32[np.ndarray, "2"]


@dataclasses.dataclass(frozen=True)
class Preliminary:
    """Networks of the defended model's own recipe, undefended, trained on some of its training part each.

    One of `labels` and `learn` says what they are for.

    Attributes:
      cut: Who trains on what.
      labels: What the defended model learns in the place of classes, [n, K], rows that sum to one.
      learn: Numbers that stand behind the strength which `Defence.answer` is made with, one axis.
      numbers: From K to how many those are.
    """

    cut: CutFn
    labels: Callable[[Told], Float[np.ndarray, "members k"]] | None = None
    learn: Callable[[Told], Float[np.ndarray, "numbers"]] | None = None
    numbers: Callable[[int], int] | None = None

    def __post_init__(self) -> None:
        """Refuses what would do nothing, or could not be laid out."""
        if (self.labels is None) == (self.learn is None) or (self.learn is None) != (
            self.numbers is None
        ):
            raise InputError(
                "a defence that trains networks first has either labels, or learn and numbers"
            )
