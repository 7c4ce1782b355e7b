"""Simulated grids: a short one for real, and what is counted."""

import json

import pytest

from benchmarks.checks import cells


@pytest.mark.parametrize("dealt", ["shared", "shards"])
def test_workers_that_are_killed_finish_every_cell_once(launch, tmp_path, dealt):
    flags = ["--cells=60", "--workers=6", "--seconds=0.2", "--life=1", "--away=0.1"]
    done = launch(
        "benchmarks.checks.cells", *flags, f"--dealt={dealt}", f"--out={tmp_path / 'rows.jsonl'}"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = map(json.loads, (tmp_path / "rows.jsonl").read_text().splitlines())
    assert (row["finished_twice"], row["missing"], row["equal"]) == (0, 0, True)
    assert row["kills"]["SIGKILL"]
    assert row["kills"]["SIGTERM"]
    assert row["begun_again"]
    assert row["seconds"] > row["ideal_seconds"] == 2


def test_what_was_done_is_counted_from_logs(tmp_path):
    (tmp_path / "0.0").write_text("begun a=1\npart a=1\nended a=1\nbegun a=2\npart")
    (tmp_path / "0.1").write_text("begun a=2\npart a=2\nended a=2\n")
    found = cells._noted(tmp_path)
    assert found["begun"] == {"a=1": 1, "a=2": 2}
    assert found["ended"] == {"a=1": 1, "a=2": 1}
    assert found["part"]["a=2"] == 1
