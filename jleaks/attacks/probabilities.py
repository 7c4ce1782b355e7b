"""Posteriors as models give them: checked, and of one form whatever made them.

Numbers that were rounded do not sum to one.  How far they may be off depends on how they were made, which
the numbers themselves show: decimals of d digits are each off by half of 10^-d, so that sums of K are off
by up to K / 2 x 10^-d; bfloat16 has eight bits of precision.  A posterior of zero is data: a forest
of a hundred trees answers it, and so does a model that never saw a class.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jleaks.errors import InputError

# How far the posteriors of one record may be from summing to one, whatever made them: endpoints print few
# digits.  Those that are further off, but not further than rounding explains, are divided by their sum.
SUM_TOLERANCE = 1e-3
# What rounding explains at most.  Beyond it something is missing.
_MOST = 0.1
# A softmax in bfloat16 rounds three times, by up to 2^-9 each.
_BFLOAT16 = 2.0**-7
_FEWEST_DIGITS, _MOST_DIGITS = 2, 6

# Scores of probabilities zero and one would be infinite.  They are put so far beyond the finite ones: odds
# of zero count as half of the smallest odds seen.
BEYOND = float(np.log(2))


class Form(NamedTuple):
    """How posteriors were given.

    Attributes:
      is_single: One number per record, the posterior of class 1.
      is_percent: They sum to a hundred.
      deviation: Largest distance of a sum from one.
      seen: How the numbers were rounded, in words; empty if they were not.
      num_zeros: How many are zero.
    """

    is_single: bool = False
    is_percent: bool = False
    deviation: float = 0.0
    seen: str = ""
    num_zeros: int = 0

    @property
    def is_renormalised(self) -> bool:
        """Whether each record's posteriors are divided by their sum."""
        return bool(_exceeds(self.deviation, SUM_TOLERANCE))

    def lines(self, where: str) -> list[str]:
        """Returns what a reader must be told."""
        found = []
        if self.is_single:
            found.append("one posterior per record is read as that of class 1: (1 - p, p)")
        if self.is_percent:
            found.append("posteriors that sum to 100 are read as percent")
        if self.is_renormalised:
            why = f" ({self.seen})" if self.seen else ""
            found.append(
                f"posteriors sum to one within {self.deviation:.2g}{why}; each record's were divided by "
                "their sum"
            )
        return [f"{where}: {text}" for text in found]


def merged(forms: list[Form]) -> Form:
    """Returns how several parts of the same answers were given."""
    return Form(
        is_single=any(form.is_single for form in forms),
        is_percent=any(form.is_percent for form in forms),
        deviation=max((form.deviation for form in forms), default=0.0),
        seen=next((form.seen for form in forms if form.seen), ""),
        num_zeros=sum(form.num_zeros for form in forms),
    )


def is_number(array: np.ndarray) -> bool:
    """Whether an array holds real numbers, bfloat16 among them (which NumPy does not know by itself)."""
    return array.dtype.kind in "fiu" or array.dtype.name == "bfloat16"


def as_array(value: Any, where: str, what: str) -> np.ndarray:
    """Returns anything NumPy can read as an array.

    Raises:
      InputError: its rows have unequal lengths, or it will not be read.
    """
    try:
        return np.asarray(value)
    except ValueError:
        raise InputError(f"{where}: {what} of unequal lengths") from None
    # Whatever a foreign object's __array__ raises: tensors of other frameworks refuse in many ways.
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise InputError(
            f"{where}: {what} cannot be read as an array ({type(error).__name__}: {said})"
        ) from error


def read(
    array: np.ndarray, where: str, name: Callable[[int], str]
) -> tuple[Float[np.ndarray, "records k"], Form]:
    """Reads posteriors.

    Args:
      array: [N, K] numbers that are not negative, each record's summing to one within what their rounding
        explains, or to a hundred; or [N, 1] in 0..1, those of class 1.
      where: Whose they are, for messages.
      name: What record i is called in messages.

    Returns:
      [N, K] float64, K >= 2, not divided by their sums, and how they were given.

    Raises:
      InputError: names the first record whose posteriors cannot be used, and what it has.
    """
    wide = array.astype(np.float64)
    _refuse(~np.isfinite(wide), wide, where, name, "expected finite numbers")
    _refuse(wide < 0, wide, where, name, "expected numbers >= 0")
    if wide.shape[1] == 1:
        _refuse(wide > 1, wide, where, name, "expected 0..1 where there is one posterior a record")
        if len(wide) and (wide == 1).all():
            raise InputError(f"{where}: one posterior for each record, and all are 1")
        wide = np.concatenate([1 - wide, wide], axis=1)
        return wide, Form(is_single=True, num_zeros=int((wide == 0).sum()))
    sums = wide.sum(1)
    is_percent = len(sums) > 0 and bool(50 < np.median(sums) < 200)
    if is_percent:
        wide, sums = wide / 100, sums / 100
    deviation = float(np.abs(sums - 1).max(initial=0))
    tolerance, seen = SUM_TOLERANCE, ""
    if _exceeds(deviation, SUM_TOLERANCE):
        tolerance, seen = _tolerance(array, wide)
    bad = _exceeds(np.abs(sums - 1), tolerance)
    if bad.any():
        first = int(np.argmax(bad))
        scale, unit = (100, "100") if is_percent else (1, "1")
        because = f" ({seen}, {wide.shape[1]} classes)" if seen else ""
        if np.mean(sums < 1) > 0.9 and np.mean(wide == 0) > 0.5:
            because += "; are only the largest posteriors there?  All are needed"
        raise InputError(
            f"{where}: the posterior of {name(first)} sums to {scale * sums[first]:.9g}, expected "
            f"{unit} within {scale * tolerance:.3g}{because}"
        )
    return wide, Form(False, is_percent, deviation, seen, int((wide == 0).sum()))


def _refuse(
    bad: np.ndarray, wide: np.ndarray, where: str, name: Callable[[int], str], expected: str
) -> None:
    for row, column in np.argwhere(bad)[:1]:
        raise InputError(
            f"{where}: the posterior of {name(int(row))} has {wide[row, column]:.6g}, {expected}"
        )


def _exceeds(value: Any, limit: float) -> Any:
    """Whether a distance is beyond a limit by more than its own rounding."""
    return value > limit * (1 + 1e-6)


def _tolerance(array: np.ndarray, wide: np.ndarray) -> tuple[float, str]:
    """Returns how far sums may be from one, and how the numbers were rounded."""
    for digits in range(_FEWEST_DIGITS, _MOST_DIGITS + 1):
        scaled = wide * 10.0**digits
        # Decimals in float32 are off by a few of its units.
        if (np.abs(scaled - np.round(scaled)) <= 1e-6 + 2e-7 * 10.0**digits).all():
            rounding = wide.shape[1] / 2 * 10.0**-digits
            return min(_MOST, max(SUM_TOLERANCE, rounding)), f"rounded to {digits} digits"
    narrow = wide.astype(np.float32)
    if array.dtype.name == "bfloat16" or (
        (narrow == wide).all() and not (narrow.view(np.uint32) & 0xFFFF).any()
    ):
        return _BFLOAT16, "bfloat16"
    return SUM_TOLERANCE, ""


def true_first(
    posteriors: Float[np.ndarray, "records k"], labels: Int[np.ndarray, "records"]
) -> Float[np.ndarray, "records k"]:
    """Returns each record's posteriors in another order: of its true class first, then the others, falling.

    What attacks compute of them does not depend on the order, but its rounding does: records that are alike
    on paper tie only if their numbers are summed in one order.
    """
    rows = np.arange(len(labels))
    others = posteriors.copy()
    others[rows, labels] = -1
    # The true class is the smallest now, so it comes last.
    others = np.sort(others, axis=1)[:, :0:-1]
    return np.concatenate([posteriors[rows, labels][:, None], others], axis=1)


class Bounds(NamedTuple):
    """Where infinite scores are kept.

    Attributes:
      lowest: `BEYOND` below the lowest finite one.
      highest: `BEYOND` above the highest finite one.
    """

    lowest: float
    highest: float


def bounds(*scores: Float[np.ndarray, "..."]) -> Bounds:
    """Returns where the infinite scores of some arrays are kept, all of them on one scale."""
    finite = [values[np.isfinite(values)] for values in scores]
    return Bounds(
        min(float(values.min(initial=0)) for values in finite) - BEYOND,
        max(float(values.max(initial=0)) for values in finite) + BEYOND,
    )


def bounded(scores: Float[np.ndarray, "..."], limits: Bounds) -> Float[np.ndarray, "..."]:
    """Returns scores with the infinite ones at the bounds, the finite ones as they are."""
    scores = np.where(scores == -np.inf, limits.lowest, scores)
    return np.where(scores == np.inf, limits.highest, scores).astype(np.float32)
