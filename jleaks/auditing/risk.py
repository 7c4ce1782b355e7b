"""What scores are worth to an attacker: thresholds from shadows alone, records at risk, precision.

All of it takes scores whose thresholds an attacker could have set: on shadows, whose membership he knows.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import scipy.special
import scipy.stats
from jaxtyping import Bool, Float

from jleaks.auditing.paired import placed
from jleaks.metrics.intervals import Interval, clopper_pearson
from jleaks.metrics.operating_points import allowed

# Of how many people asked about an attacker expects one to be a member.
PRIORS = (0.5, 0.1, 0.01, 0.001)
FPRS = (0.001, 0.01)
# Of the records called at risk, the share that may be so by chance.
FALSE_DISCOVERIES = 0.05


class Called(NamedTuple):
    """Who is called a member by a threshold that was set on shadows.

    Attributes:
      threshold: Records with a score above it are called members.
      tpr: Share of the audited model's members that are.
      fpr: Share of its non-members that are.
      precision: By prior, the probability that who is called a member is one, with the bounds that follow
        from those of `tpr` and `fpr`.
    """

    threshold: float
    tpr: Interval
    fpr: Interval
    precision: dict[float, tuple[float, float, float]]


def pooled_outsiders(
    shadows: Float[np.ndarray, "shadows records"],
    member: Bool[np.ndarray, "shadows records"],
    audited: Bool[np.ndarray, "shadows records"],
) -> Float[np.ndarray, "scores"]:
    """Returns the scores of all shadows' non-members among the records they are audited on, falling."""
    return np.sort(shadows[~member & audited])[::-1]


def called(
    scores: Float[np.ndarray, "records"],
    member: Bool[np.ndarray, "records"],
    outsiders: Float[np.ndarray, "scores"],
    fpr: float,
    confidence: float = 0.95,
) -> Called:
    """Judges a threshold that lets in a share of the shadows' non-members.

    Args:
      scores: Of the audited model's records.
      member: Which are members.
      outsiders: Scores of shadows' non-members, falling.
      fpr: The share of them that the threshold lets in.
      confidence: Of each interval.
    """
    threshold = float(outsiders[min(allowed(fpr, outsiders.size), outsiders.size - 1)])
    above = scores > threshold
    tpr = clopper_pearson(int(above[member].sum()), int(member.sum()), confidence)
    realised = clopper_pearson(int(above[~member].sum()), int((~member).sum()), confidence)
    return Called(
        threshold,
        tpr,
        realised,
        {
            prior: (
                _precision(prior, tpr.mean, realised.mean),
                _precision(prior, tpr.low, realised.high),
                _precision(prior, tpr.high, realised.low),
            )
            for prior in PRIORS
        },
    )


def _precision(prior: float, tpr: float, fpr: float) -> float:
    right, wrong = prior * tpr, (1 - prior) * fpr
    return right / (right + wrong) if right + wrong else float("nan")


def p_values(
    scores: Float[np.ndarray, "records"], outsiders: Float[np.ndarray, "scores"]
) -> Float[np.ndarray, "records"]:
    """Returns how often a non-member of a shadow scores at least as high as each record.

    (1 + how many do) / (1 + how many there are), which is never zero.  Exact for a record whose score as a
    non-member is exchangeable with those of the shadows' non-members; records that are hard for any model
    score differently from others, so that single p-values are no more than a ranking with a scale.
    """
    rising = outsiders[::-1]
    as_high = outsiders.size - np.searchsorted(rising, scores, side="left")
    return (1 + as_high) / (1 + outsiders.size)


def at_risk(p: Float[np.ndarray, "members"], share: float = FALSE_DISCOVERIES) -> np.ndarray:
    """Returns which members stand out, the false-discovery rate controlled (Benjamini & Hochberg 1995)."""
    if not p.size:
        return np.zeros(0, bool)
    return np.asarray(scipy.stats.false_discovery_control(p, method="bh") <= share)


@dataclasses.dataclass(frozen=True)
class Part:
    """The members and non-members of one class or group.

    Attributes:
      name: Of the class or group.
      num_members: How many are members.
      num_nonmembers: How many are not.
      tpr: Share of the members above the threshold; None without members.
      fpr: Share of the non-members above it; None without non-members.
    """

    name: str
    num_members: int
    num_nonmembers: int
    tpr: Interval | None
    fpr: Interval | None


def by_part(
    scores: Float[np.ndarray, "records"],
    member: Bool[np.ndarray, "records"],
    parts: np.ndarray,
    threshold: float,
    confidence: float = 0.95,
) -> list[Part]:
    """Judges one threshold on every class or group, the most exposed first.

    Intervals are as wide as it takes for all of them to hold at once (Bonferroni).

    Args:
      scores: Of the audited model's records.
      member: Which are members.
      parts: [N] class or group of each record.
      threshold: Records with a score above it are called members.
      confidence: That all intervals of one kind hold.
    """
    names = np.unique(parts)
    each = 1 - (1 - confidence) / len(names)
    found = []
    for name in names:
        inside, outside = (scores[(parts == name) & side] for side in (member, ~member))
        tpr, fpr = (
            clopper_pearson(int((side > threshold).sum()), side.size, each) if side.size else None
            for side in (inside, outside)
        )
        found.append(Part(str(name), inside.size, outside.size, tpr, fpr))
    return sorted(found, key=lambda part: -1 if part.tpr is None else -part.tpr.low)


def lift(found: Called, num_members: int, num_nonmembers: int, error: float) -> float:
    """Returns a lower bound of the TPR over the FPR of a threshold that was set beforehand.

    Clopper-Pearson bounds of the two shares, each wrong with probability `error` / 2 at most.
    """
    confidence = 1 - error
    tp, fp = round(found.tpr.mean * num_members), round(found.fpr.mean * num_nonmembers)
    low = clopper_pearson(tp, num_members, confidence).low
    return low / clopper_pearson(fp, num_nonmembers, confidence).high


def smallest_visible(num_members: int, num_nonmembers: int, fpr: float, error: float) -> float:
    """Returns the smallest TPR whose `lift` would be above one, were the realised FPR the named one.

    1 where no TPR would be.
    """
    confidence = 1 - error
    high = clopper_pearson(round(fpr * num_nonmembers), num_nonmembers, confidence).high
    few, many = 0, num_members
    while few < many:
        middle = (few + many) // 2
        if clopper_pearson(middle, num_members, confidence).low > high:
            many = middle
        else:
            few = middle + 1
    return few / num_members


def auc(
    scores: Float[np.ndarray, "records"],
    member: Bool[np.ndarray, "records"],
    confidence: float = 0.95,
) -> Interval:
    """Returns the AUC, ties counted half, with its interval over records.

    DeLong, DeLong & Clarke-Pearson 1988, on the logit scale, which keeps the bounds within (0, 1) and
    covers near them, where a bootstrap is too narrow.  Where members and others are parted without
    exception that variance is zero: the bound then is that of as many right answers as the smaller side
    has records.
    """
    below, above = placed(scores, member)
    p, n = below.size, above.size
    mean = float(below.mean())
    if mean in (0.0, 1.0):
        sure = clopper_pearson(round(mean) * min(p, n), min(p, n), confidence)
        return Interval(mean, sure.low, sure.high, 0.0, p + n, "AUC without exception")
    spread = float(np.sqrt(below.var(ddof=1) / p + above.var(ddof=1) / n))
    reach = scipy.stats.norm.ppf((1 + confidence) / 2) * spread / (mean * (1 - mean))
    middle = scipy.special.logit(mean)
    low, high = scipy.special.expit([middle - reach, middle + reach]).tolist()
    return Interval(mean, low, high, spread, p + n, "DeLong, logit")
