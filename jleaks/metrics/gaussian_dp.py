"""Lower bounds on the mu of Gaussian differential privacy from scores, and the epsilon that goes with it.

A mechanism is mu-GDP if telling two neighbouring data sets apart by its output is at least as hard as
telling N(0, 1) from N(mu, 1) by one draw: of every test, TPR <= Phi(Phi^-1(FPR) + mu) (Dong, Roth & Su
2019).  One number says what (epsilon, delta) says for every delta at once; and where noise is Gaussian, as
that of DP-SGD is, a bound on mu is tighter than one on epsilon, since it need not allow for the worst
mechanism of that epsilon.  A model that was not trained with such noise has no mu: then a bound refutes all
smaller ones and the epsilon derived from it is that of the Gaussian mechanism which is as easy to tell, not
the model's.

- `mu_over_thresholds`: records count as independent trials; valid at once for all thresholds tried.
- `mu_one_run`: one training run, nothing assumed about how records' answers depend on each other: the test
  of f-DP of Mahloujifar, Melis & Chaudhuri 2025 (arXiv 2410.22235, Algorithm 3) with Gaussian f.  The
  paper could not be read here; the recursion was taken from jax-privacy 2.0.0, which implements it, and
  its rate of false claims is computed in the tests.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np
import scipy.special

from jleaks.errors import InputError
from jleaks.metrics.epsilon import quantile_thresholds
from jleaks.metrics.guesses import Design, Guesses, guesses
from jleaks.metrics.intervals import Values, check_confidence, clopper_pearson
from jleaks.metrics.over_targets import by_membership

_TOLERANCE = 1e-6
# Beyond it Phi is 1 in double precision: no finite number of records tells.
_LARGEST_MU = 40.0


@dataclasses.dataclass(frozen=True)
class GaussianAudit:
    """A lower bound on mu.

    Attributes:
      mu: With probability `confidence` the true mu is at least this; 0 where nothing can be said.
      ceiling: The largest bound that so many records could give.
      epsilon: Of a mu-GDP mechanism at `delta`.
      delta: For which epsilon is stated.
      num_tried: Thresholds, or numbers of guesses, tried; each had its share of 1 - `confidence`.
      confidence: Holds for all of them at once.
    """

    mu: float
    ceiling: float
    epsilon: float
    delta: float
    num_tried: int
    confidence: float


def delta_of_mu(mu: float, epsilon: float) -> float:
    """Returns the least delta for which mu-GDP implies (epsilon, delta)-DP.

    Dong et al. 2019, Corollary 2.13: Phi(-epsilon / mu + mu / 2) - e^epsilon Phi(-epsilon / mu - mu / 2).
    """
    if mu == 0:
        return 0.0
    first = scipy.special.ndtr(-epsilon / mu + mu / 2)
    # In logarithms: e^epsilon alone may be beyond the largest float.
    second = math.exp(min(0.0, epsilon + float(scipy.special.log_ndtr(-epsilon / mu - mu / 2))))
    return max(0.0, float(first) - second)


def epsilon_of_mu(mu: float, delta: float) -> float:
    """Returns the least epsilon for which mu-GDP implies (epsilon, delta)-DP.

    Args:
      mu: At least 0.
      delta: Strictly between 0 and 1; no epsilon is enough for 0.

    Raises:
      InputError: an argument is out of range.
    """
    if not (mu >= 0 and 0 < delta < 1):
        raise InputError(f"mu {mu} and delta {delta}; expected mu >= 0 and 0 < delta < 1")
    if delta_of_mu(mu, 0.0) <= delta:
        return 0.0
    low, high = 0.0, 1.0
    while delta_of_mu(mu, high) > delta:
        low, high = high, 2 * high
    while high - low > _TOLERANCE:
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of_mu(mu, middle) > delta else (low, middle)
    return high


def mu_over_thresholds(
    scores: Values,
    member: np.ndarray,
    delta: float,
    confidence: float = 0.95,
    *,
    thresholds: Sequence[float] | None = None,
) -> GaussianAudit:
    """Returns the largest of the bounds at several thresholds, valid for all of them.

    mu >= Phi^-1(TPR_low) - Phi^-1(FPR_high) with Clopper-Pearson bounds (Nasr et al. 2023, section 4), each
    of which fails with probability at most (1 - confidence) / (2 thresholds tried).

    Args:
      scores: [records], finite, larger means likelier a member.
      member: [records] of booleans: the truth.
      delta: For which epsilon is stated.
      confidence: Probability that the bound is at most the true mu.
      thresholds: Fixed without these scores; None for quantiles of the pooled scores, which are blind to
        membership and count as fixed.

    Raises:
      InputError: scores or membership are not as `by_membership` takes them, or an argument is out of
        range.
    """
    check_confidence(confidence)
    inside, outside = by_membership(scores, member)
    tried = (
        quantile_thresholds(np.concatenate([inside, outside]))
        if thresholds is None
        else np.unique(np.asarray(thresholds, np.float64))
    )
    if not tried.size or np.isnan(tried).any():
        raise InputError("thresholds with NaN or without any; expected numbers")
    level = 1 - (1 - confidence) / tried.size

    def bound(tp: int, fp: int) -> float:
        low = clopper_pearson(tp, inside.size, level).low
        high = clopper_pearson(fp, outside.size, level).high
        return float(scipy.special.ndtri(low) - scipy.special.ndtri(high))

    found, perfect = [0.0], [0.0]
    for threshold in tried:
        tp, fp = int((inside >= threshold).sum()), int((outside >= threshold).sum())
        found.append(bound(tp, fp))
        named = tp + fp
        perfect.append(bound(min(named, inside.size), max(named - inside.size, 0)))
    return _audit(max(found), max(perfect), delta, tried.size, confidence)


def refuted(num_correct: int, num_guesses: int, num_coins: int, mu: float, alpha: float) -> bool:
    """Whether so many right guesses refute mu-GDP at level alpha.

    Mahloujifar et al. 2025, Algorithm 3: with f-bar(x) = Phi(Phi^-1(x) - mu) the mass that each further
    right guess needs is bounded from below, from the v that were seen down to none; the mechanism is
    refuted if more than the r guesses of m coins is needed.

    Args:
      num_correct: v, 0..r.
      num_guesses: r, 1..m.
      num_coins: m.
      mu: At least 0.
      alpha: Probability of a false claim, at most.
    """
    v, r, m = num_correct, num_guesses, num_coins
    right, wrong, limit = alpha * v / m, alpha * (r - v) / m, r / m
    for i in range(v - 1, -1, -1):
        if right + wrong > limit:
            return True
        shrunk = float(scipy.special.ndtr(scipy.special.ndtri(min(right, 1.0)) - mu))
        # Neither changes any more.
        if shrunk <= wrong:
            break
        right, wrong = min(right + i / (r - i) * (shrunk - wrong), 1.0), shrunk
    return right + wrong > limit


@functools.lru_cache(4096)
def _largest_refuted(v: int, r: int, m: int, alpha: float) -> float:
    """The largest mu that is refuted, from below to 1e-6; 0 if there is none."""
    if 2 * v <= r or not refuted(v, r, m, 0.0, alpha):
        return 0.0
    low, high = 0.0, 1.0
    while high < _LARGEST_MU and refuted(v, r, m, high, alpha):
        low, high = high, 2 * high
    while high - low > _TOLERANCE:
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(v, r, m, middle, alpha) else (low, middle)
    return low


def mu_one_run(
    scores: Values,
    member: np.ndarray,
    delta: float,
    confidence: float = 0.95,
    *,
    num_guesses: int | Sequence[int] | None = None,
    design: Design = "pairs",
    seed: int = 0,
) -> GaussianAudit:
    """Returns a lower bound on mu from one training run.

    Several numbers of guesses are tried with (1 - confidence) / (numbers tried) each.

    Args:
      scores: [records], finite, larger means likelier a member.
      member: [records] of booleans: the truth.
      delta: For which epsilon is stated.
      confidence: Probability that the bound is at most the true mu.
      num_guesses: One or several, fixed without these scores; default `guesses.GUESS_SHARES` of the coins.
      design: How the coins were thrown (see `jleaks.metrics.guesses.guesses`); neighbours follow from it.
      seed: Of the matching and of ranks within ties.

    Raises:
      InputError: as `guesses` and `Guesses.numbers`, or an argument is out of range.
    """
    made = guesses(scores, member, design, "both", seed)
    return mu_of_guesses(made, delta, confidence, num_guesses=num_guesses)


def mu_of_guesses(
    made: Guesses,
    delta: float,
    confidence: float = 0.95,
    *,
    num_guesses: int | Sequence[int] | None = None,
) -> GaussianAudit:
    """Returns the bound of `mu_one_run` from guesses that were made before.

    Args:
      made: The guesses.
      delta: For which epsilon is stated.
      confidence: Probability that the bound is at most the true mu.
      num_guesses: One or several; default `guesses.GUESS_SHARES` of the coins.

    Raises:
      InputError: as `Guesses.numbers`, or an argument is out of range.
    """
    check_confidence(confidence)
    tried = made.numbers(num_guesses)
    alpha = (1 - confidence) / len(tried)
    found, perfect = [], []
    for r in tried:
        v, most = made.correct(r)
        found.append(_largest_refuted(v, r, made.num_coins, alpha))
        perfect.append(_largest_refuted(most, r, made.num_coins, alpha))
    return _audit(max(found), max(perfect), delta, len(tried), confidence)


def _audit(
    mu: float, ceiling: float, delta: float, num_tried: int, confidence: float
) -> GaussianAudit:
    epsilon = epsilon_of_mu(mu, delta)
    return GaussianAudit(mu, ceiling, epsilon, delta, num_tried, confidence)
