"""A grid run shard by shard, stopped, continued and joined equals its commands run alone."""

import json
import signal
import subprocess
import sys
import time

TINY = ["sweep", "--tasks=location", "--num_seeds=1", "--scale=0.02", "--attack_epochs=2"]


def untimed(path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in r.items() if k not in ("seconds", "cell", "command")} for r in rows]


def test_shards_are_run_and_joined(launch, tmp_path):
    root = tmp_path / "grid"
    flags = [f"--root={root}", "--grid=epochs=2,3"]
    printed = launch("launch.cells", *flags, "--", *TINY)
    assert printed.returncode == 0, printed.stderr
    lines = printed.stdout.splitlines()
    assert lines[1] == " ".join(["jleaks", *TINY, "--epochs=3", f"--workdir={root}/epochs=3"])
    nothing = launch("launch.gather", f"--root={root}")
    assert nothing.returncode == 2
    assert f"none of the 2 cells of {root} has finished: jleaks cells" in nothing.stderr
    second = launch("launch.cells", f"--root={root}", "--shard=1/2")
    assert second.returncode == 0, second.stderr
    assert "1 of 1 cells of this shard have finished" in second.stdout
    half = launch("launch.gather", f"--root={root}")
    assert half.returncode == 1
    assert "1 of 2 cells are missing: epochs=2" in half.stdout
    both = launch("launch.cells", *flags, "--shard=0/1", "--", *TINY)
    assert both.returncode == 0, both.stderr
    assert "epochs=3: finished before" in both.stdout
    whole = launch("launch.gather", f"--root={root}")
    assert whole.returncode == 0, whole.stderr
    rows = [json.loads(line) for line in (root / "rows.jsonl").read_text().splitlines()]
    assert [r["cell"] for r in rows] == [{"epochs": "2"}] * 4 + [{"epochs": "3"}] * 4
    alone = launch("launch.sweep", *TINY[1:], "--epochs=3", f"--workdir={tmp_path / 'alone'}")
    assert alone.returncode == 0, alone.stderr
    assert untimed(root / "rows.jsonl")[4:] == untimed(tmp_path / "alone" / "rows.jsonl")
    assert "cell.epochs" in (root / "results.csv").read_text().splitlines()[0]


def test_a_stopped_shard_stops_its_cell_which_saves(launch, tmp_path):
    root = tmp_path / "grid"
    words = [
        sys.executable, "-m", "launch.cells", f"--root={root}", "--grid=epochs=3000", "--shard=0/1",
        "--", *TINY,
    ]  # fmt: skip
    process = subprocess.Popen(words, cwd=launch.root, stdout=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not list(root.glob("*/fleets/*")) and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output
    assert "the same command continues" in output
    state = json.loads((root / "epochs=3000" / "progress.json").read_text())
    assert state["ended"] == "stopped"
    assert list(root.glob("*/fleets/*/[0-9]*"))


def test_a_cell_that_fails_is_named_and_the_others_run(launch, tmp_path):
    flags = [f"--root={tmp_path}", "--grid=learning_rate=1e38,1e-3", "--shard=0/1"]
    done = launch("launch.cells", *flags, "--", *TINY, "--epochs=2")
    assert done.returncode == 1
    assert "error: 1 cells failed: learning_rate=1e38" in done.stderr
    assert "1 of 2 cells of this shard have finished" in done.stdout
