"""Intervals over records as loops in float64: the slow form that the fast one is tested against."""

import math

import numpy as np
from scipy import stats


def binomial_at_most(j: int, n: int, f: float) -> float:
    """P[at most j of n non-members lie above the threshold of f], term by term."""
    return math.fsum(math.comb(n, i) * f**i * (1 - f) ** (n - i) for i in range(j + 1))


def counts(n: int, f: float, error: float) -> tuple[int, int]:
    """The most a threshold may let in for its FPR to be surely at most f, the fewest to be surely above."""
    low, high = -1, n
    while low + 1 < n and binomial_at_most(low + 1, n, f) <= error:
        low += 1
    for j in range(n):
        if 1 - binomial_at_most(j, n, f) <= error:
            high = j
            break
    return low, high


def found(scores, member, j: int, beside: bool) -> int:
    """Members above (or beside, too) the (j + 1)-th highest non-member."""
    others = sorted((s for s, m in zip(scores, member, strict=True) if not m), reverse=True)
    if j < 0:
        return 0
    level = others[j] if j < len(others) else -math.inf
    mine = [s for s, m in zip(scores, member, strict=True) if m]
    return sum(s > level or (beside and s >= level) for s in mine)


def placements(scores, member) -> tuple[float, list[float]]:
    """AUC, and every record's influence: its placement (DeLong) less the AUC, over its kind's number."""
    mine = [i for i, m in enumerate(member) if m]
    others = [i for i, m in enumerate(member) if not m]

    def beats(a: float, b: float) -> float:
        return 1.0 if a > b else 0.5 if a == b else 0.0

    v = {i: np.mean([beats(scores[i], scores[j]) for j in others]) for i in mine}
    v |= {j: np.mean([beats(scores[i], scores[j]) for i in mine]) for j in others}
    auc = float(np.mean([v[i] for i in mine]))
    sizes = {True: len(mine), False: len(others)}
    return auc, [(v[i] - auc) / sizes[bool(member[i])] for i in range(len(scores))]


def called(scores, member, threshold: float) -> dict[str, tuple[float, list[float]]]:
    """Recall, balanced accuracy and precision, and each record's influence: a numerical derivative.

    A record that counts 1 + h times instead of once moves a rate by h times its influence.
    """

    def rates(weights) -> dict[str, float]:
        tp = sum(w for w, s, m in zip(weights, scores, member, strict=True) if m and s >= threshold)
        fp = sum(
            w for w, s, m in zip(weights, scores, member, strict=True) if not m and s >= threshold
        )
        p = sum(w for w, m in zip(weights, member, strict=True) if m)
        n = sum(w for w, m in zip(weights, member, strict=True) if not m)
        return {
            "recall": tp / p,
            "balanced_accuracy": (tp / p + 1 - fp / n) / 2,
            "precision": tp / (tp + fp) if tp + fp else math.nan,
        }

    plain, h = np.ones(len(scores)), 1e-6
    steps = []
    for i in range(len(scores)):
        more, less = plain.copy(), plain.copy()
        more[i] += h
        less[i] -= h
        a, b = rates(more), rates(less)
        steps.append({name: (a[name] - b[name]) / (2 * h) for name in a})
    return {name: (value, [s[name] for s in steps]) for name, value in rates(plain).items()}


def exceedances(scores, member, j: int) -> tuple[list[float], list[float]]:
    """Influences on the shares of members above, and of others at least, the (j + 1)-th highest other."""
    level = sorted((s for s, m in zip(scores, member, strict=True) if not m), reverse=True)[j]
    p, n = sum(map(bool, member)), sum(not m for m in member)
    tpr = sum(m and s > level for s, m in zip(scores, member, strict=True)) / p
    fpr = sum(not m and s >= level for s, m in zip(scores, member, strict=True)) / n
    mine = [((s > level) - tpr) / p if m else 0.0 for s, m in zip(scores, member, strict=True)]
    theirs = [0.0 if m else ((s >= level) - fpr) / n for s, m in zip(scores, member, strict=True)]
    return mine, theirs


def korn_graubard(share: float, influence, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson at the size of a sample of independent trials that would be as certain."""
    squares = [float(x) ** 2 for x in influence]
    variance, fourth = math.fsum(squares), math.fsum(s * s for s in squares)
    freedom = 2 * variance**2 / (fourth - variance**2 / len(squares))
    tail = (1 - confidence) / 2
    size = share * (1 - share) / variance
    size *= (stats.norm.ppf(1 - tail) / stats.t.ppf(1 - tail, freedom)) ** 2
    k = share * size
    low = stats.beta.ppf(tail, k, size - k + 1)
    return float(low), float(stats.beta.ppf(1 - tail, k + 1, size - k))
