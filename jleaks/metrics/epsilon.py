"""Lower bounds on differential privacy's epsilon from the scores of a membership-inference attack.

A mechanism that is (epsilon, delta)-DP bounds every attack; an attack that does better, beyond chance
at the stated confidence, refutes that epsilon.  A bound of 0 says that nothing was shown, not that
nothing leaks.  Three bounds, by what they take for granted:

- `epsilon_from_counts`: one threshold fixed beforehand; records count as independent trials.
- `epsilon_over_thresholds`: the same, valid at once for all thresholds tried.
- `epsilon_one_run`: one training run, nothing assumed about how the records' answers depend on each
  other (Steinke et al. 2023).

The neighbours behind an epsilon follow from how members were drawn.  Independent coins: data sets
that differ by adding or removing a record.  Halves of fixed size, as all of `jleaks.data.splits` draws
them: data sets that differ by replacing one, whose epsilon is at most twice the other.

Why not jax-privacy's `auditing` (2.0.0).  At a threshold fixed beforehand its bounds are right and equal to
those here; tests/metrics/test_epsilon.py compares them where it is installed.  Over several thresholds it
divides by the corners of the ROC curve's convex hull, which are found with the membership, and not by the
thresholds searched, so that no theorem stands behind its correction; its one-run bound guesses members
only and takes independent coins for granted, which halves of fixed size are not; and its
`epsilon_from_gdp` takes the absolute value of a bound that holds with one sign, and claims a leak on
nearly all null scores (same test). Its dependency dp-accounting 0.6 needs attrs < 24, which the packages
for the real datasets are past.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import scipy.special

from jleaks.errors import InputError
from jleaks.metrics.guesses import Design, Guesses, Sides, guesses
from jleaks.metrics.intervals import Values, check_confidence, clopper_pearson
from jleaks.metrics.over_targets import by_membership

DELTA = 1e-5

# Shares of all records called members at the thresholds tried: dense where attacks are strong.
SHARES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97, 0.99)

# Places of a maximum that are tried at once.
_LOOKED_AT = 64

_TRIALS = (
    "Each record's answer counts as an independent trial; for one training run that is a model of "
    "the data, not a theorem. "
)
_ASSUMPTIONS = {
    "given": _TRIALS + "The thresholds were fixed without these scores.",
    "bonferroni": _TRIALS
    + "The thresholds are quantiles of the pooled scores, blind to membership, and count as fixed.",
    "split": _TRIALS
    + "The half that chose the threshold is independent of the half it is used on.",
    "pairs": "Members are a uniformly random subset of their number (coins or halves of fixed size), "
    "and scores depend on who is a member through the target model alone; neighbours replace a record.",
    "coins": "Every record was included by its own fair coin, which halves of fixed size are not, "
    "and scores depend on the coins through the target model alone; neighbours add or remove a record.",
}


@dataclasses.dataclass(frozen=True)
class Audit:
    """A lower bound on epsilon from calling records members at a threshold.

    Attributes:
      epsilon: With probability `confidence` the true epsilon at `delta` is at least this; 0 where
        nothing can be said.
      threshold: A record is called a member if its score is at least this.
      tp: Members called members, of the records the bound is computed on.
      fp: Non-members called members, likewise.
      p: Members among those records.
      n: Non-members among them.
      method: "bonferroni" or "split".
      confidence: Holds for all thresholds tried at once.
      delta: The delta of (epsilon, delta)-DP.
      assumptions: What the bound takes for granted, in words.
      ceiling: The largest bound that these thresholds can give for so many records, members scoring
        above all others: an epsilon there says that the records are too few to tell more.
    """

    epsilon: float
    threshold: float
    tp: int
    fp: int
    p: int
    n: int
    method: str
    confidence: float
    delta: float
    assumptions: str
    ceiling: float


@dataclasses.dataclass(frozen=True)
class OneRunAudit:
    """A lower bound on epsilon from guessing coins in one training run.

    Attributes:
      epsilon: With probability `confidence` the true epsilon at `delta` is at least this; 0 where
        nothing can be said.
      num_guesses: r, guesses behind the bound; the other coins are abstained from.
      num_correct: v, those that were right.
      num_coins: m, records (design "coins") or pairs of records (design "pairs").
      num_tried: How many values of r were tried; each had its share of 1 - `confidence`.
      method: "one run, pairs" or "one run, coins".
      confidence: Holds for all values of r tried at once.
      delta: The delta of (epsilon, delta)-DP.
      assumptions: What the bound takes for granted, in words.
      ceiling: The largest bound that so many coins can give, all guesses being right (of "coins": members
        ranked above all others): an epsilon there says that they are too few to tell more.
    """

    epsilon: float
    num_guesses: int
    num_correct: int
    num_coins: int
    num_tried: int
    method: str
    confidence: float
    delta: float
    assumptions: str
    ceiling: float


def _check_delta(delta: float) -> None:
    if not 0 <= delta < 1:
        raise InputError(f"delta {delta}; expected a number from 0 to below 1")


def _unclipped(tp: int, p: int, fp: int, n: int, delta: float, confidence: float) -> float:
    """The bound of `epsilon_from_counts`, negative or -inf where nothing can be said."""
    # Each bound of a two-sided interval is a one-sided one at half of 1 - confidence.
    tpr_low = clopper_pearson(tp, p, confidence).low
    fpr_high = clopper_pearson(fp, n, confidence).high
    ratios = ((tpr_low, fpr_high), (1 - fpr_high, 1 - tpr_low))
    return max(math.log((a - delta) / b) if a > delta else -math.inf for a, b in ratios)


def epsilon_from_counts(
    tp: int, p: int, fp: int, n: int, delta: float = DELTA, confidence: float = 0.95
) -> float:
    """Returns a lower bound on epsilon from one decision rule fixed beforehand.

    (epsilon, delta)-DP implies TPR <= e^epsilon FPR + delta and TNR <= e^epsilon FNR + delta (Kairouz
    et al. 2015), hence, with Clopper-Pearson bounds (Jagielski et al. 2020, Nasr et al. 2021),

      epsilon >= max(0, log((TPR_low - delta) / FPR_high), log((TNR_low - delta) / FNR_high)).

    alpha = 1 - confidence is split evenly: TPR_low and FPR_high each fail with probability at most
    alpha / 2, and TNR_low = 1 - FPR_high and FNR_high = 1 - TPR_low hold whenever those do, so that
    looking both ways costs nothing.

    Assumes that each record's answer is an independent trial with its kind's rate.  That is a theorem
    where every record comes from its own training run; with one target model the answers depend on
    each other through it, and `epsilon_one_run` is the bound that does without.

    Args:
      tp: Members called members, 0..p.
      p: Members.
      fp: Non-members called members, 0..n.
      n: Non-members.
      delta: The delta of (epsilon, delta)-DP, 0 <= delta < 1.
      confidence: Probability that the bound is at most the true epsilon.

    Raises:
      InputError: there are no members or no non-members, a count or an argument is out of range.
    """
    check_confidence(confidence)
    _check_delta(delta)
    if p < 1 or n < 1:
        raise InputError(f"{p} members and {n} non-members; expected at least one of each")
    return max(0.0, _unclipped(tp, p, fp, n, delta, confidence))


def quantile_thresholds(pooled: np.ndarray) -> np.ndarray:
    """Returns the distinct scores at which `SHARES` of the pooled records, at least one, are called."""
    ranks = np.maximum(1, np.round(np.array(SHARES) * pooled.size)).astype(int)
    return np.unique(np.sort(pooled)[pooled.size - ranks])


def epsilon_over_thresholds(
    scores: Values,
    member: np.ndarray,
    delta: float = DELTA,
    confidence: float = 0.95,
    *,
    method: Literal["bonferroni", "split"] = "bonferroni",
    thresholds: Sequence[float] | None = None,
    seed: int = 0,
) -> Audit:
    """Returns the largest bound of `epsilon_from_counts` that is valid for all thresholds tried.

    "bonferroni": every threshold's bound is computed with (1 - confidence) / (thresholds tried), and the
    largest one counts.  "split": a random half of the members and of the non-members chooses the
    threshold with the largest bound, and the bound is computed on the other half, whose counts are
    the ones returned.  The largest bound without either would claim a leak where there is none.

    Assumes what `epsilon_from_counts` does.  The default thresholds are quantiles of the pooled
    scores (`SHARES`; of the choosing half's for "split"), which do not use membership but do use the
    scores: with "bonferroni" the binomial law of the counts then is an approximation.

    Args:
      scores: [records], finite, larger means likelier a member.
      member: [records] of booleans: the truth.
      delta: The delta of (epsilon, delta)-DP, 0 <= delta < 1.
      confidence: Probability that the bound is at most the true epsilon.
      method: "bonferroni" or "split".
      thresholds: Scores from which a record is called a member, fixed without these scores.
      seed: Of the split.

    Raises:
      InputError: scores or membership are not as `by_membership` takes them, "split" with fewer than
        two members or non-members, or an argument is out of range.
    """
    check_confidence(confidence)
    _check_delta(delta)
    chosen_on = used_on = by_membership(scores, member)
    if method == "split":
        if min(map(len, used_on)) < 2:
            sizes = " and ".join(str(len(part)) for part in used_on)
            raise InputError(f"{sizes} members and non-members to split; expected two of each")
        rng = np.random.default_rng(seed)
        mixed = [rng.permutation(part) for part in used_on]
        chosen_on = mixed[0][: len(mixed[0]) // 2], mixed[1][: len(mixed[1]) // 2]
        used_on = mixed[0][len(mixed[0]) // 2 :], mixed[1][len(mixed[1]) // 2 :]
    elif method != "bonferroni":
        raise InputError(f"method {method!r}; expected 'bonferroni' or 'split'")
    if thresholds is None:
        tried = quantile_thresholds(np.concatenate(chosen_on))
    else:
        tried = np.unique(np.asarray(thresholds, np.float64))
        if not tried.size or np.isnan(tried).any():
            raise InputError("thresholds with NaN or without any; expected numbers")

    def counts(parts: tuple[np.ndarray, np.ndarray], threshold: float) -> tuple[int, int, int, int]:
        (tp, p), (fp, n) = ((int((part >= threshold).sum()), len(part)) for part in parts)
        return tp, p, fp, n

    level = 1 - (1 - confidence) / tried.size if method == "bonferroni" else confidence
    found = [_unclipped(*counts(chosen_on, t), delta, level) for t in tried]
    threshold = float(tried[np.argmax(found)])
    tp, p, fp, n = counts(used_on, threshold)
    epsilon = max(0.0, _unclipped(tp, p, fp, n, delta, level))
    # As many records called members as at each threshold, members first.
    named = [sum(counts(used_on, t)[::2]) for t in tried]
    perfect = (_unclipped(min(c, p), p, max(c - p, 0), n, delta, level) for c in named)
    ceiling = max(0.0, *perfect)
    given = thresholds is not None and method == "bonferroni"
    assumptions = _ASSUMPTIONS["given" if given else method]
    return Audit(epsilon, threshold, tp, fp, p, n, method, confidence, delta, assumptions, ceiling)


def one_run_p_value(
    num_correct: int, num_guesses: int, num_coins: int, epsilon: float, delta: float
) -> float:
    """Returns the probability of so many correct guesses, at most, if (epsilon, delta)-DP holds.

    Steinke, Nasr & Jagielski 2023 (arXiv 2305.08846, section 5 and appendix D): of r guesses about m fair
    coins at least v are right with probability at most

      P[W >= v] + 2 m delta max_{i = 1..v} P[v > W >= v - i] / i,  W ~ Binomial(r, 1 / (1 + e^-epsilon)).

    Args:
      num_correct: v, 0..r.
      num_guesses: r, 1..m.
      num_coins: m.
      epsilon: At least 0.
      delta: 0 <= delta < 1.

    Raises:
      InputError: an argument is out of range.
    """
    _check_delta(delta)
    v, r, m = num_correct, num_guesses, num_coins
    if not (0 <= v <= r <= m and r >= 1):
        raise InputError(
            f"{v} right of {r} guesses about {m} coins; expected right <= guesses <= coins"
        )
    if not epsilon >= 0:
        raise InputError(f"epsilon {epsilon}; expected at least 0")
    return _p_value(v, r, m, epsilon, delta)


def _p_value(v: int, r: int, m: int, epsilon: float, delta: float) -> float:
    q = scipy.special.expit(epsilon)
    beta = float(scipy.special.bdtrc(v - 1, r, q)) if v else 1.0
    if delta == 0 or beta == 1:
        return beta
    return min(1.0, beta + 2 * m * delta * _densest(v, r, q, beta))


def _densest(v: int, r: int, q: float, beta: float) -> float:
    """Returns max_{i = 1..v} P[v > W >= v - i] / i, where beta is P[W >= v].

    The mean of the i probabilities below v.  Those of a binomial law rise to its mode and fall behind it,
    so the mean rises with i as long as what is added is larger, and falls from then on: between the
    neighbours of the largest of a few there is no second hill.
    """
    low, high = 1, v
    while True:
        step = max(1, (high - low) // _LOOKED_AT)
        i = np.append(np.arange(low, high, step), high)
        # bdtrc takes no negative count; P[W >= 0] is 1.
        at_least = np.where(i < v, scipy.special.bdtrc(np.maximum(v - i - 1, 0), r, q), 1.0)
        found = (at_least - beta) / i
        best = int(found.argmax())
        if step == 1:
            return float(found[best])
        low, high = int(i[max(best - 1, 0)]), int(i[min(best + 1, i.size - 1)])


@functools.lru_cache(1024)
def _largest_refuted(v: int, r: int, m: int, delta: float, alpha: float) -> float:
    """The largest epsilon whose p-value is at most alpha, from below to 1e-6; 0 if there is none."""
    if _p_value(v, r, m, 0.0, 0.0) > alpha or _p_value(v, r, m, 0.0, delta) > alpha:
        return 0.0
    low, high = 0.0, 1.0
    while _p_value(v, r, m, high, delta) <= alpha:
        low, high = high, 2 * high
    while high - low > 1e-6:
        middle = (low + high) / 2
        refuted = _p_value(v, r, m, middle, delta) <= alpha
        low, high = (middle, high) if refuted else (low, middle)
    return low


def epsilon_one_run(
    scores: Values,
    member: np.ndarray,
    delta: float = DELTA,
    confidence: float = 0.95,
    *,
    num_guesses: int | Sequence[int] | None = None,
    design: Design = "pairs",
    sides: Sides = "both",
    seed: int = 0,
) -> OneRunAudit:
    """Returns the lower bound on epsilon from one training run of Steinke et al. 2023.

    m fair coins decide who is a member; of them r are guessed, the rest abstained from, v guesses are
    right, and every epsilon with `one_run_p_value` <= alpha is refuted.  Several values of r are tried with
    alpha = (1 - confidence) / (values tried) each; r never depends on which guesses are right.

    How the guesses are made, and what neighbours are, `jleaks.metrics.guesses.guesses` says.  Reference
    models drawn without regard to the target's membership are allowed, its twin is not.

    Args:
      scores: [records], finite, larger means likelier a member.
      member: [records] of booleans: the truth.
      delta: The delta of (epsilon, delta)-DP, 0 <= delta < 1.
      confidence: Probability that the bound is at most the true epsilon.
      num_guesses: r, one or several, fixed without these scores; default `GUESS_SHARES` of m.
      design: How the coins were thrown.
      sides: Of design "coins".  "both": half of the guesses, rounded up, are "member", the others
        "non-member"; "members": all are "member".
      seed: Of the matching and of ranks within ties.

    Raises:
      InputError: scores or membership are not as `by_membership` takes them, r is not in 1..m, or
        another argument is out of range.
    """
    return epsilon_of_guesses(
        guesses(scores, member, design, sides, seed), delta, confidence, num_guesses=num_guesses
    )


def epsilon_of_guesses(
    made: Guesses,
    delta: float = DELTA,
    confidence: float = 0.95,
    *,
    num_guesses: int | Sequence[int] | None = None,
) -> OneRunAudit:
    """Returns the bound of `epsilon_one_run` from guesses that were made before.

    Args:
      made: The guesses.
      delta: The delta of (epsilon, delta)-DP, 0 <= delta < 1.
      confidence: Probability that the bound is at most the true epsilon.
      num_guesses: r, one or several; default `GUESS_SHARES` of the coins.

    Raises:
      InputError: r is not in 1..m, or another argument is out of range.
    """
    check_confidence(confidence)
    _check_delta(delta)
    tried, m = made.numbers(num_guesses), made.num_coins
    found, perfect, alpha = [], [], (1 - confidence) / len(tried)
    for r in tried:
        v, most = made.correct(r)
        perfect.append(_largest_refuted(most, r, m, delta, alpha))
        epsilon = _largest_refuted(v, r, m, delta, alpha)
        # Without a bound, the guesses that came nearest to one are shown.
        found.append((epsilon, -_p_value(v, r, m, 0.0, 0.0), r, v))
    epsilon, _, r, v = max(found)
    words = f"one run, {made.design}", confidence, delta, _ASSUMPTIONS[made.design]
    return OneRunAudit(epsilon, r, v, m, len(tried), *words, max(perfect))
