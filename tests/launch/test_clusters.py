"""What launch/clusters/ gives to schedulers: files that can be read, commands that exist; two for real."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import yaml
from conftest import ROOT

from jleaks.errors import STOPPED
from launch.app import FAILED, INPUT_ERROR

FOLDER = ROOT / "launch" / "clusters"
SLURM_START = ROOT.parent / "shared" / "slurm" / "start"


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_commands_have_flags_that_exist(launch, path):
    found = re.findall(
        r"^[^#\n]*?\bjleaks ([a-z]+)((?: --\w+\S*)+)", path.read_text(), re.MULTILINE
    )
    assert found
    for command, flags in found:
        told = launch("jleaks", command, "--help")
        assert told.returncode == 0
        known = re.findall(r"^  --(\w+)$", told.stdout, re.MULTILINE)
        assert set(re.findall(r"--(\w+)", flags)) <= set(known)


def test_kubernetes_tells_statuses_apart():
    job = yaml.safe_load((FOLDER / "kubernetes.yaml").read_text())
    spec = job["spec"]
    assert (job["kind"], spec["completionMode"]) == ("Job", "Indexed")
    # What a failure policy asks for.
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    rules = spec["podFailurePolicy"]["rules"]
    actions = {r["onExitCodes"]["values"][0]: r["action"] for r in rules if "onExitCodes" in r}
    assert actions == {STOPPED: "Ignore", INPUT_ERROR: "FailJob", FAILED: "FailIndex"}
    (shard,) = spec["template"]["spec"]["containers"]
    assert f'--shard="$JOB_COMPLETION_INDEX/{spec["completions"]}"' in shard["command"][-1]


def test_skypilot_runs_shards_again_after_they_were_stopped():
    task = yaml.safe_load((FOLDER / "skypilot.yaml").read_text())
    assert task["resources"]["use_spot"]
    assert task["resources"]["job_recovery"]["recover_on_exit_codes"] == [STOPPED]
    assert '--shard="$SHARD"' in task["run"]
    assert list(task["envs"]) == ["SHARD"]


@pytest.mark.long
@pytest.mark.parametrize("scheduler", ["slurm", "ray"])
def test_interrupted_grids_end_with_the_rows_of_plain_runs(launch, tmp_path, scheduler):
    flags = [f"--schedulers={scheduler}", f"--out={tmp_path / 'rows.jsonl'}"]
    if scheduler == "ray" and importlib.util.find_spec("ray") is None:
        pytest.skip("no ray")
    if scheduler == "slurm":
        if not SLURM_START.exists():
            pytest.skip("no SLURM that could be started")
        flags.append(f"--slurm_start={SLURM_START}")
    done = launch("benchmarks.checks.clusters", *flags, timeout=1500)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = map(json.loads, (tmp_path / "rows.jsonl").read_text().splitlines())
    assert (row["equal"], row["missing"], row["twice"]) == (True, 0, 0)
    # The one that was interrupted, again.
    assert row["begun"] == row["cells"] + 1


@pytest.mark.long
def test_on_ray_a_signal_has_cells_save(launch, tmp_path):
    if importlib.util.find_spec("ray") is None:
        pytest.skip("no ray")
    words = [
        *(sys.executable, "-m", "jleaks", "cells", f"--root={tmp_path}", "--grid=epochs=20000"),
        *("--executor=ray", "--resources=CPU=1", "--", "sweep", "--tasks=location"),
        *("--num_seeds=1", "--scale=0.02"),
    ]
    # Not on a cluster that somebody has begun here.
    env = {**os.environ, "RAY_ADDRESS": "local"}
    process = subprocess.Popen(words, cwd=launch.root, env=env, stdout=subprocess.PIPE, text=True)
    until = time.monotonic() + 180
    while not list(tmp_path.glob("*/fleets/*/[0-9]*")) and time.monotonic() < until:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=180)
    assert process.returncode == STOPPED, output
    assert "stopped while running cells on Ray; the same command continues" in output
    state = json.loads((tmp_path / "epochs=20000" / "progress.json").read_text())
    assert state["ended"] == "stopped"
