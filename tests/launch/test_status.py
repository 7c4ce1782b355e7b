"""Watching a run: its log, its heartbeat, and jleaks status from files alone."""

import io
import json
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from rich.console import Console

from jleaks import heartbeat, npz
from jleaks.activity import doing
from jleaks.training.progress import Progress
from launch import app, status
from launch.log import Log, close_logs

TINY = ["--tasks=location", "--num_seeds=1", "--scale=0.01", "--epochs=2", "--attack_epochs=1"]


@pytest.fixture
def log(tmp_path, monkeypatch):
    """A log of no terminal whose lines come after a tenth of a second of silence."""
    app.define_execution()
    app.flags.FLAGS.mark_as_parsed()
    monkeypatch.setattr("launch.log._LOOK", 0.02)
    monkeypatch.setattr("launch.log._BEAT", 0.05)
    out = io.StringIO()
    found = Log(Console(file=out, width=80), every=0.1, folder=tmp_path)
    yield found, out, tmp_path
    close_logs("finished")
    assert not found._thread.is_alive()


def test_silence_is_broken_by_what_is_being_done(log):
    found, out, folder = log
    found.line("begun [bold]")
    with doing("compiling fit"):
        time.sleep(0.5)
        beat = heartbeat.read(folder)
    time.sleep(0.3)
    lines = out.getvalue().splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)
    said = [line[9:] for line in lines]
    assert said[0] == "begun [bold]"
    # Several while it compiled, none after.
    assert 2 <= len(said[1:]) <= 6
    assert set(said[1:]) == {"  compiling fit (0 s) ..."}
    assert beat["doing"] == "compiling fit (0 s)"
    assert beat["said"].startswith(("begun", "  compiling"))


def test_progress_is_in_the_heartbeat_and_its_end_is_told(log):
    found, out, folder = log
    found.progress(Progress("location", 5, 20, 0.5, 12.0, 36.0))
    found.progress(Progress("location", 6, 20, 0.5, 12.5, 36.0))
    time.sleep(0.2)
    assert out.getvalue().count("model-epochs") == 1
    lines = list(status.lines(folder, time.time()))
    assert (
        "training: location, 6 of 20 model-epochs (30%), loss 0.5000, about 36 s to go for this fleet"
        in lines
    )
    assert lines[0].startswith("state: running for 0 s (process ")
    close_logs("stopped")
    lines = list(status.lines(folder, time.time()))
    assert lines[0].startswith("state: stopped by a signal")
    assert lines[-1].startswith("continue with: ")


def test_a_run_that_fell_silent_has_died(tmp_path):
    heartbeat.Heartbeat(tmp_path, "jleaks sweep --seed=1").beat(doing="training location")
    lines = list(status.lines(tmp_path, time.time() + 300))
    assert lines == [
        "state: died: no heartbeat for 5 min, and no word of an end; what was saved is kept",
        "continue with: jleaks sweep --seed=1",
    ]


def test_models_and_checkpoints_are_counted(tmp_path):
    names = [
        "target model of news, seed 0",
        "target model of news, seed 1",
        "shadow model 0 of news, seed 0",
    ]
    npz.save(
        tmp_path / "models" / "ab.fleet.npz",
        {"w": np.zeros(3)},
        {"models": [{"fingerprint": str(i), "name": name} for i, name in enumerate(names)]},
    )
    (tmp_path / "models" / "cd.fleet.npz").write_bytes(b"nothing")
    for step in (100, 250):
        (tmp_path / "fleets" / "ef" / str(step)).mkdir(parents=True)
    (tmp_path / "fleets" / "gh").mkdir()
    lines = list(status.lines(tmp_path, time.time()))
    assert lines[0].startswith(f"damaged: {tmp_path}/models/cd.fleet.npz")
    assert lines[1] == "models kept: 3 (2 target model of news, 1 shadow model 0 of news)"
    assert lines[2].startswith("in training: a fleet at 250 model-epochs, checkpoint saved ")
    assert lines[3] == "in training: a fleet without a checkpoint yet"


def test_a_sweep_tells_what_it_has_done_and_how_it_continues(launch, tmp_path):
    assert launch("jleaks", "sweep", *TINY, f"--workdir={tmp_path / 'w'}").returncode == 0
    beat = json.loads((tmp_path / "w" / "progress.json").read_text())
    assert beat["ended"] == "finished"
    assert beat["total"] == beat["done"] > 0
    shown = launch("jleaks", "status", tmp_path / "w")
    assert shown.returncode == 0, shown.stderr
    plan, results, models, state, last, again = shown.stdout.splitlines()
    assert re.match(
        r"plan [0-9a-f]{16}: tasks \(seeds\) location \(1\), 2 epochs, scale 0.01", plan
    )
    assert results.startswith(f"results: {tmp_path / 'w' / 'rows.jsonl'}, written ")
    assert models.startswith("models kept: ")
    assert state.startswith("state: finished ")
    assert last.startswith("last line: wrote ")
    assert again == f"shown again by: jleaks sweep {' '.join(TINY)} --workdir={tmp_path / 'w'}"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "error: --run names the directory of a run"),
        (["/nowhere/at/all"], "error: /nowhere/at/all is no directory"),
    ],
)
def test_what_is_no_run_is_one_line(launch, flags, said):
    process = launch("jleaks", "status", *flags)
    assert (process.returncode, process.stdout) == (2, "")
    (line,) = process.stderr.splitlines()
    assert line.startswith(said)


def test_an_empty_directory_is_no_run(launch, tmp_path):
    process = launch("jleaks", "status", tmp_path)
    assert process.returncode == 2
    assert "has nothing of a run" in process.stderr


def test_status_needs_no_jax(launch, tmp_path):
    heartbeat.Heartbeat(tmp_path, "jleaks sweep").beat()
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "jleaks", "status", tmp_path],
        cwd=launch.root, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "state: running" in shown.stdout
    assert not re.search(r"\| +(jax|flax|pandas|matplotlib|scipy)$", shown.stderr, re.MULTILINE)
