"""The ROC curve of all pairs of a record and a model, in memory that does not grow with their number.

Scores are counted in bins of their leading bits, which keep their order: sign, exponent and eight bits of
the fraction, so that scores which differ by less than 0.4% tie.  Records are dealt into groups, and the
curve is made again without each: the jackknife's interval has the record as its unit.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from jleaks.metrics.intervals import Interval, check_confidence, jackknife

_SHIFT = 15
_BINS = 1 << (32 - _SHIFT)
_GROUPS = 10


def bins(scores: Float[np.ndarray, "models records"]) -> Int[np.ndarray, "models records"]:
    """Returns each score's bin, in the order of the scores."""
    bits = np.asarray(scores, np.float32).view(np.int32)
    # -0.0 is 0.0; of two negative floats the one with the larger bits is the smaller.
    ordered = np.where(bits == np.int32(-(2**31)), 0, bits)
    ordered = np.where(ordered < 0, ordered ^ np.int32(0x7FFFFFFF), ordered)
    return (ordered.astype(np.int64) + 2**31) >> _SHIFT


class PooledScores:
    """Scores of members and others, counted as they come."""

    def __init__(self) -> None:
        self._counts = np.zeros((2, _GROUPS, _BINS), np.int64)

    def add(
        self,
        first: int,
        scores: Float[np.ndarray, "models records"],
        member: Bool[np.ndarray, "models records"],
    ) -> None:
        """Counts scores that are defined; `first` is the number of the first of these records."""
        defined = ~np.isnan(scores)
        found = bins(np.where(defined, scores, 0))
        groups = np.arange(first, first + scores.shape[1]) % _GROUPS
        for group in range(_GROUPS):
            mine = groups == group
            for kind, whose in enumerate((~member, member)):
                chosen = (whose & defined)[:, mine]
                self._counts[kind, group] += np.bincount(found[:, mine][chosen], minlength=_BINS)

    def _measures(self, counts: np.ndarray, fprs: Sequence[float]) -> list[float]:
        """AUC, and the TPR at each FPR, of counts [2, bins]."""
        others, members = (np.cumsum(kind[::-1]).astype(np.float64) for kind in counts)
        n, p = others[-1], members[-1]
        if not n or not p:
            return [math.nan] * (1 + len(fprs))
        steps = np.diff(others, prepend=0.0)
        before = np.concatenate([[0.0], members[:-1]])
        found = [float((steps * (before + members)).sum() / (2 * n * p))]
        for fpr in fprs:
            at = np.searchsorted(others, fpr * n * (1 + 1e-12), side="right")
            found.append(float(members[at - 1] / p) if at else 0.0)
        return found

    def intervals(self, fprs: Sequence[float], confidence: float = 0.95) -> list[Interval]:
        """Returns the AUC, and the TPR at each FPR (the largest with a realised FPR of at most that).

        Bounds are the delete-a-group jackknife's over records, given the models, with a t quantile.
        """
        check_confidence(confidence)
        total = self._counts.sum(1)
        whole = self._measures(total, fprs)
        groups = [g for g in range(_GROUPS) if self._counts[:, g].any()]
        parts = np.array([self._measures(total - self._counts[:, g], fprs) for g in groups])
        return [jackknife(mean, parts[:, i], confidence) for i, mean in enumerate(whole)]
