"""How numbers with intervals are written: the same in every table."""

import math

import pytest

from jleaks.metrics.intervals import Interval, t_interval
from jleaks.report.bank_tables import audit_table
from jleaks.report.numbers import (
    ENDS_NOTE,
    FEW_MARK,
    FEW_NOTE,
    PART_NOTE,
    few_mark,
    interval_text,
    notes,
)


def interval(mean: float, low: float, high: float) -> Interval:
    return Interval(mean, low, high, math.nan, 5, "any")


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ((0.864, 0.852, 0.876), "0.864±.012"),
        # Uneven by less than what is shown: the larger reach.
        ((0.5, 0.4904, 0.5098), "0.500±.010"),
        ((0.996, 0.981, 0.999), "0.996 [.981, .999]"),
        ((0.1, 0.0, 0.25), "0.100 [0, .250]"),
        ((1.0, 0.9981, 1.0), "1.000 [.998, 1]"),
        # ± would lead below 0.
        ((0.0002, 0.0, 0.0011), "0.000 [0, .001]"),
        ((0.5, math.nan, math.nan), "0.500"),
        ((math.nan, math.nan, math.nan), "-"),
    ],
)
def test_both_ends_are_shown_where_they_are_not_even(bounds, expected):
    assert interval_text(interval(*bounds), (5, 5)) == expected


def test_signs_digits_marks_and_parts():
    assert interval_text(interval(-0.02, -0.05, 0.01), (5, 5), sign="+") == "-0.020±.030"
    text = interval_text(interval(0.02, -0.001, 0.05), (5, 5), sign="+")
    assert text == "+0.020 [-.001, +.050]"
    assert interval_text(interval(12.5, 11.0, 14.0), (5, 5), digits=1) == "12.5±1.5"
    assert interval_text(interval(0.53, 0.52, 0.54), (4, 5)) == "0.530±.010 (4 of 5)"
    marked = interval_text(interval(0.53, 0.52, 0.54), (5, 5), mark=FEW_MARK)
    assert marked == "0.530†±.010"


def test_an_interval_of_shares_never_leaves_their_range():
    """The t interval of two seeds is far wider than [0, 1]."""
    wide = t_interval([0.5, 0.75])
    assert wide.low < 0
    assert wide.high > 1
    assert interval_text(wide.within(0, 1), (2, 2)) == "0.625 [0, 1]"


@pytest.mark.parametrize(
    ("metric", "nonmembers", "marked"),
    [
        ("tpr_at_fpr_0.001", 2087, True),
        ("tpr_at_fpr_0.001", 4999, True),
        ("tpr_at_fpr_0.001", 5000, False),
        ("tpr_at_fpr_0.01", 2087, False),
        ("tpr_at_fpr_0.01", 466, True),
        ("auc", 3, False),
        ("fpr_realised_0.001", 3, False),
    ],
)
def test_a_tpr_is_marked_where_few_non_members_are_allowed(metric, nonmembers, marked):
    assert few_mark(metric, nonmembers) == (FEW_MARK if marked else "")


def test_the_table_of_an_audit_marks_them_too():
    row = dict.fromkeys(("precision", "recall", "accuracy"))
    row |= {"task": "mine", "adversary": 3, "attack": "entropy", "shadow": None, "auc": 0.6}
    row["constant"] = False
    row |= {"tpr_at_fpr_0.01": 0.1, "tpr_at_fpr_0.001": 0.02}
    row |= {"fpr_realised_0.01": 0.01, "fpr_realised_0.001": 0.0}
    table = audit_table([{**row, "num_members": 600, "num_nonmembers": 600}])
    assert [cell.text for cell in table.rows[0][-2:]] == ["0.100", "0.020†"]
    assert FEW_NOTE in table.caption


def test_only_signs_that_occur_are_explained():
    assert notes(["0.5±.1", "-"]) == ""
    assert notes(["0.5†±.1"]) == FEW_NOTE
    assert notes(["0.5 [.1, 1] (1 of 2)"]) == f"{ENDS_NOTE} {PART_NOTE}"
