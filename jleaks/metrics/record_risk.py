"""Risk of single records: many models answered about each, some of which trained on it.

A record's own ROC curve has models where a target's has records: the models that trained on it (IN) are its
members, the others (OUT) its non-members, and a threshold's FPR is its own.  Everything is written for N
records at once, models on axis 0, in float64 on the host.

Scores of one half of the models are comparable, since all of them were made with the same references, the
other half: ranks and thresholds are taken within halves.  Scores that were calibrated by OUT references
(`calibrated`) are comparable across records.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.special
import scipy.stats
from jaxtyping import Bool, Float

from jleaks.metrics.intervals import check_confidence
from jleaks.metrics.operating_points import counts, interpolated

_STEPS = 60


class Half(NamedTuple):
    """One half of the models.

    Attributes:
      scores: [M, N] finite, larger where a model likelier trained on the record.
      member: [M, N] whether it did.
    """

    scores: Float[np.ndarray, "models records"]
    member: Bool[np.ndarray, "models records"]


class RankSum(NamedTuple):
    """How one half of the models ranks; [N] each.

    Attributes:
      auc: Share of pairs of an IN and an OUT model in which IN scores higher, ties half.
      excess: Ranks of IN less what they would be if the record told nothing.
      variance: Of `excess` then: see `rank_sum`.
    """

    auc: Float[np.ndarray, "records"]
    excess: Float[np.ndarray, "records"]
    variance: Float[np.ndarray, "records"]


def rank_sum(half: Half, twins: bool) -> RankSum:
    """Ranks the models of one half, record by record (Wilcoxon 1945, Mann & Whitney 1947).

    The variance of the sum of ranks is that over who might have been a member, given the scores.  Where
    models 2i and 2i + 1 are twins a coin decides which of them trained on the record: with ranks a and b a
    pair contributes (a - b)^2 / 4.  Otherwise every choice of so many members is equally likely.  Ties
    share the mean of their ranks.

    Args:
      half: Of the models.
      twins: Whether models 2i and 2i + 1 share each record between them.
    """
    member = half.member
    ranks = scipy.stats.rankdata(half.scores, axis=0)
    p = member.sum(0).astype(np.float64)
    n = len(member) - p
    total = np.where(member, ranks, 0).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        auc = (total - p * (p + 1) / 2) / (p * n)
    excess = total - p * (len(member) + 1) / 2
    if twins:
        variance = ((ranks[0::2] - ranks[1::2]) ** 2).sum(0) / 4
    else:
        variance = p * n / len(member) * ranks.var(0, ddof=1)
    return RankSum(auc, excess, variance)


def p_value(halves: Sequence[RankSum], together: bool) -> Float[np.ndarray, "records"]:
    """One-sided p-value of "the record tells nothing", by normal approximation with continuity correction.

    Args:
      halves: Of the models.
      together: Whether the halves may err in the same direction.  Where an attack learns from IN references
        which side of a record scores higher, and the record tells nothing, chance decides, for both
        halves alike: their z are averaged, which is right whatever their correlation.  Otherwise ranks are
        summed, as of independent halves.
    """
    excess, variance = (
        np.stack([getattr(half, name) for half in halves]) for name in RankSum._fields[1:]
    )
    shifted = np.sign(excess) * np.maximum(abs(excess) - 0.5, 0)
    if together:
        z = np.where(variance > 0, shifted / np.sqrt(np.maximum(variance, 1e-300)), 0).mean(0)
    else:
        total = variance.sum(0)
        z = np.where(total > 0, shifted.sum(0) / np.sqrt(np.maximum(total, 1e-300)), 0)
    return np.where(variance.sum(0) > 0, scipy.special.ndtr(-z), 1.0)


def adjusted(
    p: Float[np.ndarray, "records"], any_dependence: bool = False
) -> Float[np.ndarray, "records"]:
    """Returns q-values: the least share of false discoveries at which each record is one.

    Benjamini & Hochberg 1995, valid where records are independent or positively dependent; or Benjamini &
    Yekutieli 2001, valid however they depend, at the price of a factor of about log N.
    """
    order = np.argsort(-p, kind="stable")
    place = np.arange(len(p), 0, -1)
    factor = (1 / np.arange(1, len(p) + 1)).sum() if any_dependence else 1.0
    found = np.minimum.accumulate(np.minimum(p[order] * len(p) * factor / place, 1))
    q = np.empty_like(p)
    q[order] = found
    return q


def auc_interval(
    auc: Float[np.ndarray, "records"],
    num_in: Float[np.ndarray, "records"],
    num_out: Float[np.ndarray, "records"],
    share: float = 1.0,
    confidence: float = 0.95,
) -> tuple[Float[np.ndarray, "records"], Float[np.ndarray, "records"]]:
    """Returns both ends of the AUC's interval, which has a width where all pairs are told apart, too.

    Newcombe 2006 (Statistics in Medicine 25:559, method 5): the areas theta whose distance to the estimate
    is at most z standard errors at theta, theta (1 - theta) [1 + (N* - 1) ((1 - theta) / (2 - theta) +
    theta / (1 + theta))] / (p n), N* = (p + n) / 2.

    Args:
      auc: The estimates.
      num_in: p, models that trained on the record (of one half, where estimates are means of halves).
      num_out: n, the others.
      share: What the mean over halves leaves of that variance: 1/2 of two independent halves.
      confidence: Nominal coverage.

    Raises:
      InputError: `confidence` is not strictly between 0 and 1.
    """
    check_confidence(confidence)
    reach = float(scipy.special.ndtri((1 + confidence) / 2)) ** 2 * share

    def outside(theta: np.ndarray) -> np.ndarray:
        spread = 1 + ((num_in + num_out) / 2 - 1) * (
            (1 - theta) / (2 - theta) + theta / (1 + theta)
        )
        variance = theta * (1 - theta) * spread / np.maximum(num_in * num_out, 1)
        return (auc - theta) ** 2 > reach * variance

    ends = []
    for end in (0.0, 1.0):
        inner, outer = auc.copy(), np.full_like(auc, end)
        for _ in range(_STEPS):
            middle = (inner + outer) / 2
            out = outside(middle)
            inner, outer = np.where(out, inner, middle), np.where(out, middle, outer)
        ends.append(inner)
    return ends[0], ends[1]


def measurable(fpr: float, num_out: int) -> bool:
    """Whether so many OUT models tell the TPR at an FPR: the highest stands at 1 / (num_out + 1)."""
    return fpr * (num_out + 1) >= 1 - 1e-9


class Tpr(NamedTuple):
    """The TPR at a record's own FPR, [N] each; NaN where too few models did not train on the record."""

    tpr: Float[np.ndarray, "records"]
    low: Float[np.ndarray, "records"]
    high: Float[np.ndarray, "records"]


def tpr_at(halves: Sequence[Half], fpr: float, confidence: float = 0.95) -> Tpr:
    """Returns the TPR at an expected FPR of `fpr` for every record, and an interval valid in any sample.

    Every half has a threshold of its own.  The estimate is interpolated between the thresholds whose
    expected FPR is around `fpr`; the interval's ends are Clopper-Pearson bounds at the thresholds `low`
    and `high` of `jleaks.metrics.operating_points.counts`, as those of `tpr_interval` there: members of
    several halves vary less than as many of one rate (Hoeffding 1956).

    Args:
      halves: Of the models.
      fpr: Strictly between 0 and 1.
      confidence: Least probability that a record's mean TPR over the halves is covered.
    """
    # The thresholds of all halves fail together as rarely as that of one may.
    parts = [_found(half, fpr, 1 - (1 - confidence) / len(halves)) for half in halves]
    p = np.sum([half.member.sum(0) for half in halves], axis=0)
    rate = np.mean([part[0] for part in parts], axis=0)
    low, high = (np.nan_to_num(np.sum([part[i] for part in parts], axis=0)) for i in (1, 2))
    tail, told = (1 - confidence) / 4, ~np.isnan(rate)
    bounds = (
        np.where(low > 0, scipy.special.betaincinv(np.maximum(low, 1), p - low + 1, tail), 0),
        np.where(
            high < p, scipy.special.betaincinv(high + 1, np.maximum(p - high, 1), 1 - tail), 1
        ),
    )
    return Tpr(rate, *(np.where(told, bound, np.nan) for bound in bounds))


def _found(half: Half, fpr: float, confidence: float) -> Float[np.ndarray, "3 records"]:
    """TPR at an FPR, and members found at the thresholds of its interval; NaN where not measurable."""
    scores, member = half
    num_out = (~member).sum(0)
    num_in = len(member) - num_out
    falling = -np.sort(np.where(member, np.inf, -scores), axis=0)
    ends = np.full((1, scores.shape[1]), np.inf)
    levels = np.concatenate([ends, falling, -ends])
    found = np.full((3, scores.shape[1]), np.nan)
    for n in np.unique(num_out):
        at = np.flatnonzero((num_out == n) & (num_in > 0))
        if not at.size or not measurable(fpr, int(n)):
            continue
        points = counts(fpr, int(n), confidence)
        mine, inside, level = scores[:, at], member[:, at], levels[:, at]
        below, above, low = (
            ((mine > level[count + 1]) & inside).sum(0)
            for count in (points.below, points.above, points.low)
        )
        high = ((mine >= level[points.high + 1]) & inside).sum(0)
        rate = interpolated(below, above, fpr, np.asarray(float(n))) / num_in[at]
        found[:, at] = rate, low, high
    return found


class Sides(NamedTuple):
    """Mean and standard deviation of a record's scores on either side, [N] each."""

    mean_in: Float[np.ndarray, "records"]
    mean_out: Float[np.ndarray, "records"]
    std_in: Float[np.ndarray, "records"]
    std_out: Float[np.ndarray, "records"]

    @property
    def separation(self) -> Float[np.ndarray, "records"]:
        """Distance of the means over the root of the mean variance (d'); 0 where nothing varies."""
        spread = np.sqrt((self.std_in**2 + self.std_out**2) / 2)
        gap = self.mean_in - self.mean_out
        return np.where(spread == 0, 0 * gap, gap / np.where(spread == 0, 1, spread))


def sides(half: Half) -> Sides:
    """Summarises each side of every record: NaN where there is no model, no deviation where there is one.

    Standard deviations have n - 1 in the denominator.
    """
    scores, member = half
    means, stds = [], []
    for chosen in (member, ~member):
        n = np.maximum(chosen.sum(0), 1)
        mean = np.where(chosen.any(0), np.where(chosen, scores, 0).sum(0) / n, np.nan)
        squares = np.where(chosen, (scores - mean) ** 2, 0).sum(0)
        means.append(mean)
        stds.append(np.sqrt(squares / np.maximum(n - 1, 1)))
    return Sides(means[0], means[1], stds[0], stds[1])


def calibrated(
    scores: Float[np.ndarray, "models records"],
    reference: Float[np.ndarray, "references records"],
    member: Bool[np.ndarray, "references records"],
) -> Float[np.ndarray, "models records"]:
    """Scores in standard deviations above the mean of the OUT references' own scores, record by record.

    Pooled over records, scores at one threshold have as many FPRs as records; so calibrated they have about
    one.  The references are models that none of `scores` is of, hence the result says no more of a
    target's membership than its score did.

    Args:
      scores: Of targets.
      reference: Of references, by the same attack with the same references (each without itself).
      member: Which of them trained on the record.
    """
    about = sides(Half(reference, member))
    spread = np.where(about.std_out > 0, about.std_out, 1)
    return (scores - about.mean_out) / spread
