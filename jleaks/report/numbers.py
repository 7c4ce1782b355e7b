"""How a number is written in every table: its interval, whose mean it is, and what to beware of."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from jleaks.metrics.intervals import Interval
from jleaks.metrics.operating_points import FEW, is_few

UNDEFINED = "-"

FEW_MARK = "†"
FEW_NOTE = (
    f"{FEW_MARK}: the FPR allows fewer than {FEW} non-members; a TPR there is biased upwards."
)

PART_NOTE = f"(k of n): the value is defined for so many, whose mean it is; {UNDEFINED}: for none."
ENDS_NOTE = "[low, high]: an interval that is not symmetrical, or cut where the value must end."

_TPR = "tpr_at_fpr_"


def few_mark(metric: str, num_nonmembers: float | None) -> str:
    """Returns `FEW_MARK` if a metric is a TPR at an FPR that allows too few of so many non-members, or "".

    Args:
      metric: As rows name it: "tpr_at_fpr_0.001", or any other.
      num_nonmembers: Of a target; None where earlier rows do not say.
    """
    if not metric.startswith(_TPR) or num_nonmembers is None:
        return ""
    return FEW_MARK if is_few(float(metric.removeprefix(_TPR)), num_nonmembers) else ""


def notes(texts: list[str]) -> str:
    """Returns the sentences that explain the signs which occur in some cells."""
    found = {
        ENDS_NOTE: any("[" in text for text in texts),
        PART_NOTE: any(" of " in text for text in texts),
        FEW_NOTE: any(FEW_MARK in text for text in texts),
    }
    return " ".join(note for note, occurs in found.items() if occurs)


def collapsed_note(rows: pd.DataFrame) -> str:
    """Returns the sentence that counts attacks by collapsed attack models, or "" if there is none."""
    count = sum(value is True for value in rows.get("collapsed", ()))
    if not count:
        return ""
    return (
        f"{count} of {len(rows)} attacks are by an attack model that collapsed: at its 0.5 cut it calls "
        "nobody or everybody of its own rows a member."
    )


def diverged_note(rows: pd.DataFrame) -> str:
    """Returns the sentence that counts attacks which rest on a diverged model, or "" if there is none."""
    found = [names for names in rows.get("diverged", ()) if isinstance(names, list) and names]
    if not found:
        return ""
    names = ", ".join(dict.fromkeys(name for row in found for name in row))
    return (
        f"{len(found)} of {len(rows)} attacks have no numbers, for they rest on models whose training "
        f"diverged: {names}."
    )


def estimate(value: Mapping[str, Any], method: str) -> Interval:
    """Returns a row's estimate over several targets or records as an interval; NaN for what is null."""
    mean, low, high = (
        math.nan if value[end] is None else float(value[end]) for end in ("mean", "low", "high")
    )
    return Interval(mean, low, high, math.nan, int(value["n"]), method)


def _bound(value: float, sign: str, digits: int) -> str:
    text = f"{value:{sign}.{digits}f}"
    if not sign and float(text) in (0, 1):
        return f"{float(text):g}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def _is_even(mean: float, below: float, above: float, unit: float, is_signed: bool) -> bool:
    """Whether ± tells the bounds: they are even, and it would not lead out of what a share can be."""
    if abs(below - above) >= unit:
        return False
    reach, half = max(below, above), unit / 2
    inside = mean - reach >= -half and mean + reach <= 1 + half
    return is_signed or f"{below:.9f}" == f"{above:.9f}" or inside


def interval_text(
    interval: Interval, of: tuple[int, int], sign: str = "", digits: int = 3, mark: str = ""
) -> str:
    """Returns a text such as "0.864±.012", "0.996 [.981, .999]", "0.53†±.02" or "0.534±.004 (4 of 5)".

    ± the larger reach where the bounds are equally far from the mean but for one unit of the last digit,
    both ends otherwise.

    Args:
      interval: Of a mean; NaN bounds where there are none.
      of: How many values are defined, whose mean it is, and how many there are.
      sign: "+" to show a difference's sign.
      digits: After the point.
      mark: Behind the mean.
    """
    mean = interval.mean
    if math.isnan(mean):
        return UNDEFINED
    text = f"{mean:{sign}.{digits}f}{mark}"
    if interval.is_bounded:
        below, above = mean - interval.low, interval.high - mean
        if _is_even(mean, below, above, 10.0**-digits, bool(sign)):
            text += f"±{max(below, above):.{digits}f}".replace("±0.", "±.")
        else:
            ends = (_bound(end, sign, digits) for end in (interval.low, interval.high))
            text += f" [{', '.join(ends)}]"
    defined, total = of
    return text if defined == total else f"{text} ({defined} of {total})"
