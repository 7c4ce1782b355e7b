"""Killing commands again and again: what is compared, what is told, and one real run."""

import json

import pytest

from benchmarks.checks import soak
from benchmarks.pages import reliability


def test_where_two_outcomes_differ_is_told():
    ours = {"rows.jsonl": [{"auc": 0.5, "seed": 0}, {"auc": 0.6, "seed": 1}]}
    assert soak.difference(ours, json.loads(json.dumps(ours))) == ""
    theirs = {"rows.jsonl": [{"auc": 0.5, "seed": 0}, {"auc": 0.7, "seed": 1}]}
    assert soak.difference(ours, theirs) == "/rows.jsonl/1/auc: 0.6 for 0.7"
    assert soak.difference(ours, {}).startswith(": {")
    assert soak.difference([1, 2], [1]).startswith(": [1, 2]")


def test_times_and_packing_alone_are_left_out():
    row = {"auc": 0.5, "seconds": {"load": 1}, "training_seconds": 2.0, "packing": {"x": 1}}
    assert soak.untimed([row]) == [{"auc": 0.5}]


@pytest.mark.parametrize(
    ("signal", "status", "is_clean"),
    [
        ("SIGTERM", 75, True),
        ("SIGINT", 75, True),
        ("SIGTERM", -15, True),
        ("SIGTERM", 1, False),
        ("SIGINT", -15, False),
        ("SIGKILL", -9, True),
        ("SIGKILL", 75, False),
    ],
)
def test_how_a_process_should_end(signal, status, is_clean):
    assert soak._clean({"signal": signal, "status": status}) == is_clean


def test_the_table_counts_what_went_wrong():
    kills = [
        {"signal": "SIGKILL", "at": 1, "ended_after": 0.1, "status": -9},
        {"signal": "SIGTERM", "at": 2, "ended_after": 3.0, "status": 1},
    ]
    rows = [
        {"subject": "sweep", "kills": kills, "equal": True, "tracebacks": 1},
        {"subject": "sweep", "kills": [], "equal": False, "tracebacks": 0},
    ]
    (table,) = soak.tables(rows)
    (line,) = table.rows
    assert [cell.text for cell in line] == [
        *("sweep", "2", "2", "1 SIGKILL, 1 SIGTERM, 0 SIGINT", "1", "1", "1", "3.0, 3.0"),
    ]


@pytest.mark.long
def test_a_sweep_that_is_killed_ends_with_the_rows_of_one_that_is_not(launch, tmp_path):
    flags = ["--minutes=10", "--runs=1", "--kills=2", "--commands=sweep"]
    done = launch("benchmarks.checks.soak", *flags, f"--out={tmp_path / 'rows.jsonl'}")
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = map(json.loads, (tmp_path / "rows.jsonl").read_text().splitlines())
    assert (row["equal"], row["status"], row["tracebacks"]) == (True, 0, 0)


def test_the_page_has_the_rows_or_says_that_there_are_none(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert reliability.measured(path) == "No rows are committed yet."
    row = {
        "subject": "sweep", "kills": [], "equal": True, "tracebacks": 0, "command": "jleaks",
        "device": "cpu", "versions": {"jax": "1"},
    }  # fmt: skip
    path.write_text(json.dumps(row) + "\n")
    found = reliability.measured(path)
    assert "| sweep | 1 | 0 |" in found
    assert found.endswith("`jleaks`; cpu; jax 1.")
