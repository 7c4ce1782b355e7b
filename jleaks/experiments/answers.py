"""What subjects answered."""

import dataclasses
import math

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """What one subject answered about n records.

    Attributes:
      top: [n, t] its largest posteriors, descending; None if whole posteriors were asked for.
      posteriors: [n, K] in the order of classes; None if only the largest were.
      statistics: [n, 3] in the order of `signals.STATISTICS`.
      correct: [n] whether the prediction was right.
      losses: [n] cross-entropy (nats) of the true class; infinite where its posterior is zero.
      diverged: Whether the subject is a marked model, whose training diverged: none of this means anything.
    """

    top: Float[np.ndarray, "records top"] | None
    posteriors: Float[np.ndarray, "records classes"] | None
    statistics: Float[np.ndarray, "records 3"]
    correct: Bool[np.ndarray, "records"]
    losses: Float[np.ndarray, "records"]
    diverged: bool = False

    def largest(self, width: int) -> Float[np.ndarray, "records width"]:
        """Returns the `width` largest posteriors, descending."""
        if self.top is not None and self.top.shape[1] >= width:
            return self.top[:, :width]
        return np.ascontiguousarray(-np.sort(-self.whole(), axis=1)[:, :width])

    def whole(self) -> Float[np.ndarray, "records classes"]:
        """Returns the posteriors of all classes."""
        assert self.posteriors is not None, "only the largest posteriors were asked for"
        return self.posteriors

    def reordered(self, order: Int[np.ndarray, "records"]) -> "Answers":
        """Returns the answers about the same records in another order."""
        return Answers(
            None if self.top is None else self.top[order],
            None if self.posteriors is None else self.posteriors[order],
            self.statistics[order],
            self.correct[order],
            self.losses[order],
            self.diverged,
        )

    def marked(self) -> "Answers":
        """Returns them as those of a model that diverged."""
        return dataclasses.replace(self, losses=np.full_like(self.losses, math.nan), diverged=True)

    def accuracy(self, num_members: int) -> tuple[float, float]:
        """Returns the accuracy on the first `num_members` records and on the others; NaN if diverged."""
        if self.diverged:
            return math.nan, math.nan
        return float(self.correct[:num_members].mean()), float(self.correct[num_members:].mean())


def from_posteriors(
    posteriors: Float[np.ndarray, "records classes"], labels: Int[np.ndarray, "records"]
) -> Answers:
    """Returns the answers of a subject that gives posteriors away, not logits."""
    p = np.asarray(posteriors, np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(p), 0)
        losses = -np.log(p[np.arange(len(p)), labels])
    statistics = np.stack([p.max(1), p.std(1), terms.sum(1)], axis=1)
    return Answers(None, p, statistics, p.argmax(1) == labels, losses)
