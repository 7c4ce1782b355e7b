"""Intervals: how far a figure measured on a few seeds, targets or records can be trusted.

Every function takes plain numbers and answers an `Interval`.  A value of None or NaN means "not
defined" (the precision of an attack that names nobody); such values are left out, and `Interval.n`
says how many stayed.  A t interval of a rate may reach beyond 1; `Interval.within` cuts it to what the
quantity can be, and whatever shows intervals shows both ends of one that is cut.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import scipy.special

from jleaks.errors import InputError

Values = Sequence[float | None] | np.ndarray


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate with its two-sided confidence interval, in the units of the values.

    Attributes:
      mean: The estimate: the sample mean, or Pearson's r from `correlation_interval`.  NaN if
        no value was defined.
      low: Lower bound; NaN where the method has none (a single seed).
      high: Upper bound; NaN where the method has none.
      std: Standard deviation of the values (n - 1 in the denominator); NaN if n < 2 and for a
        correlation; the standard error of the estimate where the values are records.
      n: Number of values (pairs) that were defined and used.
      method: Name of the method: "t", "paired t", "Clopper-Pearson", "Korn-Graubard",
        "Fisher z", or what a function says of its own.
    """

    mean: float
    low: float
    high: float
    std: float
    n: int
    method: str

    @property
    def half_width(self) -> float:
        """Half the distance between the bounds; NaN where there are none."""
        return (self.high - self.low) / 2

    def within(self, least: float, most: float) -> "Interval":
        """Returns the interval cut to what the quantity can be; NaN stays NaN."""
        low, high = (float(np.clip(bound, least, most)) for bound in (self.low, self.high))
        return dataclasses.replace(self, low=low, high=high)

    @property
    def is_bounded(self) -> bool:
        """Whether the method could give an interval at all."""
        return not (math.isnan(self.low) or math.isnan(self.high))


def check_confidence(confidence: float) -> None:
    """Raises InputError unless `confidence` is strictly between 0 and 1."""
    if not 0 < confidence < 1:
        raise InputError(f"confidence {confidence}; expected a number strictly between 0 and 1")


def _floats(values: Values) -> np.ndarray:
    """Returns `values` as float64 [n]; None becomes NaN."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise InputError(f"values of shape {array.shape}; expected one dimension")
    if np.isinf(array).any():
        raise InputError("an infinite value among those to summarise; expected finite or undefined")
    return array


def _pairs(first: Values, second: Values) -> tuple[np.ndarray, np.ndarray]:
    a, b = _floats(first), _floats(second)
    if a.size != b.size:
        raise InputError(f"paired values of lengths {a.size} and {b.size}; expected equal lengths")
    return a, b


def t_interval(values: Values, confidence: float = 0.95) -> Interval:
    """Returns the mean with Student's t interval, for a handful of seeds or targets.

    mean ± t_{n-1, (1 + confidence) / 2} · std / sqrt(n).  Exact if the values are independent and
    normal.

    Args:
      values: One value per seed, [n]; None and NaN are left out.
      confidence: Probability that the interval covers the true mean.

    Returns:
      An interval whose bounds are NaN if fewer than two values are defined.

    Raises:
      InputError: a value is infinite, or `confidence` is not strictly between 0 and 1.
    """
    check_confidence(confidence)
    array = _floats(values)
    array = array[~np.isnan(array)]
    n = array.size
    mean = float(np.mean(array)) if n else math.nan
    if n < 2:
        return Interval(mean, math.nan, math.nan, math.nan, n, "t")
    std = float(np.std(array, ddof=1))
    reach = float(scipy.special.stdtrit(n - 1, (1 + confidence) / 2)) * std / math.sqrt(n)
    return Interval(mean, mean - reach, mean + reach, std, n, "t")


def paired_t_interval(first: Values, second: Values, confidence: float = 0.95) -> Interval:
    """Returns the mean of `first - second` with a t interval over the paired differences.

    Pairing by seed removes what both share (the same split, the same target), so that two attacks
    on the same targets can be told apart with few seeds.

    Args:
      first: One value per seed, [n].
      second: The value to compare with, same seeds in the same order, [n].
      confidence: Probability that the interval covers the true mean difference.

    Returns:
      The interval of the difference.  A pair with an undefined member is left out whole.

    Raises:
      InputError: the lengths differ, a value is infinite, or `confidence` is out of range.
    """
    a, b = _pairs(first, second)
    return dataclasses.replace(t_interval(a - b, confidence), method="paired t")


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> Interval:
    """Returns the exact interval of a rate from `k` hits among `n` records (Clopper-Pearson 1934).

    Covers with at least the stated probability whatever the true rate is.  For one target: over
    its records, not over seeds.

    Args:
      k: Number of hits, 0..n.
      n: Number of independent records.
      confidence: Least probability that the interval covers the true rate.

    Returns:
      An interval with mean k / n and the standard deviation of the n zeros and ones; all NaN if
      n is 0.

    Raises:
      InputError: `k` is not in 0..n, or `confidence` is not strictly between 0 and 1.
    """
    check_confidence(confidence)
    if not 0 <= k <= n:
        raise InputError(f"{k} hits among {n} records; expected 0 <= hits <= records")
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, math.nan, 0, "Clopper-Pearson")
    low, high = _rate_bounds(k, n, (1 - confidence) / 2)
    rate = k / n
    std = math.sqrt(rate * (1 - rate) * n / (n - 1)) if n > 1 else math.nan
    return Interval(rate, low, high, std, n, "Clopper-Pearson")


def share_interval(
    share: float,
    standard_error: float,
    num_records: int,
    freedom: float = math.inf,
    confidence: float = 0.95,
) -> Interval:
    """Returns the interval of a share in [0, 1] whose records are not independent trials.

    Korn & Graubard 1998 (Survey Methodology 24:193): Clopper-Pearson's bounds at the size
    n = share (1 - share) / standard_error^2 of a sample of independent trials that would be as certain,
    times (z / t)^2 for a standard error of few degrees of freedom.  The bounds stay within [0, 1] and lean
    towards the middle; far from 0 and 1 they are the normal interval's.

    Args:
      share: The estimate; NaN gives an interval without bounds.
      standard_error: Of the estimate.  0 says that no record differs from the others (nobody is
        called a member, everybody is), not that the share is known: then n is `num_records`.
      num_records: Independent records behind the estimate, at least.
      freedom: Degrees of freedom of the standard error.
      confidence: Nominal coverage.

    Returns:
      An interval with the standard error as `std` and `num_records` as `n`.

    Raises:
      InputError: the share is not in [0, 1], the standard error is negative, or `confidence` is not
        strictly between 0 and 1.
    """
    check_confidence(confidence)
    if math.isnan(share):
        return Interval(math.nan, math.nan, math.nan, math.nan, num_records, "Korn-Graubard")
    # An area summed in float32 may be a unit in the last place beyond its range.
    if not (-1e-6 <= share <= 1 + 1e-6 and standard_error >= 0):
        raise InputError(
            f"share {share} with standard error {standard_error}; expected a share in [0, 1] and an "
            "error that is not negative"
        )
    share, tail = min(max(share, 0.0), 1.0), (1 - confidence) / 2
    size = float(num_records)
    if standard_error > 0 and 0 < share < 1:
        t = scipy.special.stdtrit(freedom, 1 - tail) if math.isfinite(freedom) else math.nan
        z = float(scipy.special.ndtri(1 - tail))
        ratio = z / float(t) if t > 0 else 1.0
        size = share * (1 - share) / standard_error**2 * ratio**2
    low, high = _rate_bounds(share * size, size, tail)
    return Interval(share, low, high, standard_error, num_records, "Korn-Graubard")


def _rate_bounds(hits: float, size: float, tail: float) -> tuple[float, float]:
    """Clopper-Pearson's bounds of a rate; its beta quantiles degenerate at the ends, where it is known."""
    low = float(scipy.special.betaincinv(hits, size - hits + 1, tail)) if hits > 0 else 0.0
    high = float(scipy.special.betaincinv(hits + 1, size - hits, 1 - tail)) if hits < size else 1.0
    return low, high


def correlation_interval(first: Values, second: Values, confidence: float = 0.95) -> Interval:
    """Returns Pearson's correlation with Fisher's z interval.

    tanh(atanh(r) ± z_{(1 + confidence) / 2} / sqrt(n - 3)).  Assumes independent, jointly normal
    pairs.

    Args:
      first: One value per task, [n].
      second: The other quantity, same tasks in the same order, [n].
      confidence: Nominal coverage of the true correlation.

    Returns:
      An interval whose `mean` is r.  r is NaN if fewer than two pairs are defined or either side
      is constant; the bounds are NaN for fewer than four pairs.

    Raises:
      InputError: the lengths differ, a value is infinite, or `confidence` is out of range.
    """
    check_confidence(confidence)
    a, b = _pairs(first, second)
    defined = ~(np.isnan(a) | np.isnan(b))
    a, b = a[defined], b[defined]
    n = a.size
    r = math.nan
    if n >= 2 and np.ptp(a) > 0 and np.ptp(b) > 0:
        da, db = a - a.mean(), b - b.mean()
        r = float(da @ db / math.sqrt((da @ da) * (db @ db)))
        r = min(1.0, max(-1.0, r))  # rounding alone can carry it past ±1
    if n < 4 or math.isnan(r):
        return Interval(r, math.nan, math.nan, math.nan, n, "Fisher z")
    if abs(r) == 1:
        return Interval(r, r, r, math.nan, n, "Fisher z")
    reach = float(scipy.special.ndtri((1 + confidence) / 2)) / math.sqrt(n - 3)
    z = math.atanh(r)
    return Interval(r, math.tanh(z - reach), math.tanh(z + reach), math.nan, n, "Fisher z")


def jackknife(
    estimate: float, parts: Sequence[float] | np.ndarray, confidence: float = 0.95
) -> Interval:
    """The delete-a-group jackknife's interval over records, with a t quantile.

    Args:
      estimate: Of all records.
      parts: The same without each group of records in turn, groups of about equal size.
      confidence: Nominal coverage.

    Returns:
      An interval with the number of groups as `n`; of fewer than two without bounds.
    """
    check_confidence(confidence)
    values = np.asarray(parts, np.float64)
    k, std = len(values), math.nan
    if k > 1:
        std = math.sqrt((k - 1) / k * float(((values - values.mean()) ** 2).sum()))
    reach = float(scipy.special.stdtrit(max(k - 1, 1), (1 + confidence) / 2)) * std
    return Interval(estimate, estimate - reach, estimate + reach, std, k, "jackknife over records")
