"""Killing commands again and again: what is compared, what is told, and one real run."""

import json
import re

import numpy as np
import pytest

from benchmarks.checks import damage, soak
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


@pytest.fixture
def run(tmp_path):
    """What a killed run has left: two checkpoints of a fleet, a kept model, results."""
    for name in (
        "fleets/f/4/models/data",
        "fleets/f/4/_CHECKPOINT_METADATA",
        "fleets/f/12/models/data",
        "fleets/f/12/_CHECKPOINT_METADATA",
        "models/m.npz",
        "rows.jsonl",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(range(200)))
    return tmp_path


def test_one_file_is_damaged_the_newest_checkpoint_s_among_them(run, rng):
    assert damage.damage(run / "fleets" / "f" / "4" / "models", rng) is None
    whole, seen = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}, set()
    for _ in range(200):
        done = damage.damage(run, rng)
        now = {path: path.read_bytes() for path in whole if path.exists()}
        (changed,) = (path for path, content in whole.items() if now.get(path) != content)
        assert changed == run / done.file
        assert "/4/" not in done.file
        left = now.get(changed)
        if done.how == "bit flipped":
            bits = np.unpackbits(
                np.frombuffer(left, np.uint8) ^ np.frombuffer(whole[changed], np.uint8)
            )
            assert bits.sum() == 1
        elif done.how == "cut":
            assert whole[changed].startswith(left)
            assert len(left) < 200
        else:
            assert left == {"emptied": b"", "removed": None}[done.how]
        changed.write_bytes(whole[changed])
        seen.add((done.what, done.how))
    parts = ("checkpoint", "kept model", "results")
    assert seen == {(what, how) for what in parts for how in damage.HOW}


def test_what_a_refusal_says_to_delete(run):
    model, fleet = run / "models" / "m.npz", run / "fleets" / "f"
    assert (
        damage.remedy(f"error: {model} is damaged (bad zip); delete it to train again", run)
        == model
    )
    line = f"error: cannot read checkpoint 4 ({fleet}/4/models: gone) of {fleet}, and there is no other: "
    assert damage.remedy(f"{line}delete that directory", run) == fleet
    assert damage.remedy(f"error: {model} is damaged", run) is None
    assert damage.remedy("error: /etc/passwd is damaged; delete it", run) is None
    assert damage.remedy(f"error: {run}/none is damaged; delete it", run) is None


def test_damage_and_full_disks_are_counted():
    torn = {"what": "checkpoint", "how": "cut", "file": "x", "refused": False, "after": 1}
    refused = {**torn, "how": "emptied", "refused": "error: delete x"}
    rows = [
        {"subject": "bank", "kills": [], "damages": [torn, refused], "equal": True, "tracebacks": 0},
        {
            "subject": "bank", "megabytes": 0.5, "status_when_full": 2, "said": ["error: no space"],
            "status": 0, "tracebacks": 0, "equal": True,
        },
    ]  # fmt: skip
    _, damaged, full = soak.tables(rows)
    assert [[cell.text for cell in row] for row in damaged.rows] == [
        ["checkpoint", "2", "1 emptied, 1 cut", "1", "1", "2"]
    ]
    assert [[cell.text for cell in row] for row in full.rows] == [
        ["bank", "0.5", "2", "error: no space", "0", "yes"]
    ]


@pytest.mark.long
def test_a_sweep_that_is_killed_ends_with_the_rows_of_one_that_is_not(launch, tmp_path):
    flags = ["--minutes=10", "--runs=1", "--kills=2", "--damage=1", "--commands=sweep"]
    done = launch("benchmarks.checks.soak", *flags, f"--out={tmp_path / 'rows.jsonl'}")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert rows[0]["damages"]
    for row in rows:
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


def test_the_page_tells_how_many_bad_inputs_there_are(launch):
    page = (launch.root / "docs" / "reliability.md").read_text()
    found = reliability.inputs()
    assert found.strip() in page
    total = re.search(r"\| all \| (\d+) \|", found)
    assert int(total[1]) >= 300
