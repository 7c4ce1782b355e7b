"""A real SLURM on this machine: srun's tasks are one fleet, found by themselves."""

import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT
from processes import numbers

# Brings SLURM up on this machine, where that is possible; not part of the repository.
START = ROOT.parent / "shared" / "slurm" / "start"
SWEEP = (
    *(sys.executable, "-u", "-m", "launch.sweep", "--tasks=location", "--num_seeds=2"),
    *("--scale=0.02", "--epochs=5", "--attack_epochs=2", "--adversaries=1,3"),
)

pytestmark = pytest.mark.long


def _answers():
    """Whether a SLURM runs here."""
    if shutil.which("sinfo") is None:
        return False
    return subprocess.run(["sinfo", "-h"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def srun():
    """Runs words as so many tasks of one step, without waiting for cores of their own."""
    if shutil.which("srun") is None and not START.exists():
        pytest.skip("no SLURM")
    running = _answers()
    if not running:
        if not START.exists():
            pytest.skip("SLURM does not run here")
        subprocess.run(["bash", START], check=True, capture_output=True, timeout=300)

    def run(tasks, *words):
        return subprocess.run(
            ["srun", f"-n{tasks}", "--overcommit", *map(str, words)],
            cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip

    yield run
    if not running:
        subprocess.run(["bash", START, "stop"], check=False, capture_output=True, timeout=60)


def test_two_tasks_of_a_step_train_one_fleet(tmp_path, srun):
    done = srun(2, *SWEEP, "--num_cpu_devices=1", f"--workdir={tmp_path / 'two'}")
    assert done.returncode == 0, done.stderr
    assert "x2," in done.stdout
    words = [*SWEEP, "--num_cpu_devices=2", f"--workdir={tmp_path / 'one'}"]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True, timeout=600)
    assert numbers(tmp_path / "two") == numbers(tmp_path / "one")


def test_one_task_is_a_plain_run_and_other_work_is_refused_to_two(tmp_path, srun):
    done = srun(1, *SWEEP, "--num_cpu_devices=2", f"--workdir={tmp_path / 'one'}")
    assert done.returncode == 0, done.stderr
    assert "Gloo" not in done.stdout
    words = (sys.executable, "-m", "launch.paper", "--experiment=shadows", "--tasks=location")
    done = srun(2, *words)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 2
    assert all("2 processes were started together (srun)" in line for line in lines)
