"""The benchmark of DP-SGD: its job, its rows, and that its contenders learn.  Nothing is timed."""

import itertools
import json
import subprocess
import sys
import types
from importlib.util import find_spec

import numpy as np
import pytest

from benchmarks import harness
from benchmarks.pages import speed as speed_page
from benchmarks.private import job as job_lib
from benchmarks.private import private
from benchmarks.private.job import Job
from benchmarks.training.workload import Workload
from jleaks.errors import InputError

COMMAND = private.COMMAND
ABOUT = {
    "network": "location_mlp", "num_records": 200, "batch": 100, "noise": 1.0, "clip": 1.0, "turns": 2,
    "source": "synthetic", "command": "python -m benchmarks.private", "cpu": "a processor", "cores": 2,
    "commit": "abc", "load_before": 0.1, "versions": {"jleaks": "1", "opacus": "2"},
}  # fmt: skip


def small_workload():
    rng = np.random.default_rng(0)
    return Workload(
        "location_mlp",
        rng.integers(0, 2, (400, 446)).astype(np.uint8),
        rng.integers(0, 30, 400).astype(np.int32),
        np.stack([rng.permutation(300)[:200] for _ in range(2)]).astype(np.int32),
        np.arange(300, 400, dtype=np.int32),
    )


def small_job():
    return private.make_job(small_workload(), 2)


class Lookup:
    """A model that has learned nothing and counts its steps."""

    def __init__(self, job, model):
        self.taken, self._layers = 0, job.layers(model)

    def step(self):
        self.taken += 1

    def layers(self):
        return self._layers


def test_a_job_is_read_as_it_was_written(tmp_path):
    job = small_job()
    job.save(tmp_path / "job.npz")
    again = Job.load(tmp_path / "job.npz")
    for name in ("records", "labels", "members"):
        np.testing.assert_array_equal(getattr(again, name), getattr(job, name))
    for one, other in zip(again.layers(1), job.layers(1), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again[4:] == job[4:] == (100, 1e-3, 1.0, 1.0)
    assert again.num_steps == 2
    assert [layer.shape for layer in again.layers(0)] == [(446, 128), (128,), (128, 30), (30,)]


def test_loss_and_accuracy_are_those_of_the_weights():
    job, tests = small_job(), small_workload().tests
    layers = [np.zeros((2, *layer.shape), np.float32) for layer in job.layers(0)]
    # The first model answers every class alike, the second class 7 with e to one.
    layers[3][1, 7] = 1
    found = private.learned(job, tests, layers)
    uniform, other = found["train_loss"]
    assert uniform == pytest.approx(np.log(30))
    share = (job.labels[job.members[1]] == 7).mean()
    assert other == pytest.approx(np.log(29 + np.e) - share)
    assert found["test_accuracy"][1] == pytest.approx((job.labels[tests] == 7).mean())


def test_steps_are_counted_while_the_clock_runs(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(job_lib, "time", types.SimpleNamespace(perf_counter=lambda: next(clock)))
    model = Lookup(small_job(), 0)
    found = job_lib.timed(model, 3.0)
    # The clock is read once at the start and once a round: 1, 2, 3.
    assert (found["seconds"], found["model_steps"]) == (3, model.taken) == (3, 16)
    assert job_lib.trained(small_job(), model, 3) is model.layers()
    assert model.taken == 16 + 3 * 2


def found(rate, **more):
    return {"rate": rate, "measured_models": 1, "model_steps": 80, **more}


def rows():
    quality = {"epochs": 2, "models": 2, "train_loss": {"mean": 3.4, "standard_error": 0.01}}
    quality["test_accuracy"] = {"mean": 0.1, "standard_error": None}
    runs = {
        "jleaks_plain": [found(4000), found(3000)],
        "jleaks": [found(1000, quality=quality, kernels="host"), found(2000)],
        "opacus_ghost": [found(100), found(50)],
        "jax_privacy": [{"failed": "no memory"}],
    }
    return [{**private.make_row(name, runs, 32), **ABOUT} for name in runs]


def test_ratios_are_within_a_turn():
    plain, own, ghost, failed = rows()
    assert plain["times_plain"] == {"median": 1, "least": 1, "largest": 1}
    assert own["times_plain"] == {"median": 2.75, "least": 1.5, "largest": 4.0}
    assert ghost["times_jleaks"] == {"median": 25, "least": 10, "largest": 40}
    assert ghost["microseconds_per_model_step"] == {"median": 15e3, "least": 1e4, "largest": 2e4}
    assert (own["extrapolated"], ghost["extrapolated"]) == ("no", "by models")
    assert (own["kernels"], own["quality"]["models"]) == ("host", 2)
    assert failed["failed"] == "no memory"
    assert "times_jleaks" not in failed


def test_the_page_shows_them(tmp_path):
    harness.append(str(tmp_path / "private.jsonl"), rows())
    text = speed_page.page(tmp_path, tmp_path / "figures")
    assert "## What does a step of DP-SGD cost" in text
    line = "| location_mlp | Opacus, ghost clipping | 1 | 15,000 (10,000-20,000) | 75 |"
    assert line in text
    assert "25.00 (10.00-40.00)" in text
    assert "| 3.400 ±0.010 | 0.100 |" in text
    assert "JAX Privacy: no memory" in text
    assert "Versions: jleaks 1, opacus 2." in text


def test_tools_without_an_environment_are_left_out(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(COMMAND, "environments", str(tmp_path))
    assert private.chosen() == ["jleaks_plain", "jleaks"]
    told = capsys.readouterr().out.splitlines()
    assert [line.split(" in ")[0].rsplit(" ", 1)[1] for line in told] == ["jax_privacy", "opacus"]
    monkeypatch.setattr(COMMAND, "contenders", ["opacus_ghost"])
    with pytest.raises(InputError, match="no contender can run"):
        private.chosen()


def test_of_a_cnn_nothing_is_told_to_other_tools():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 32, 32, 3)).astype(np.uint8)
    members = np.stack([rng.permutation(30)[:20] for _ in range(2)]).astype(np.int32)
    workload = Workload("cifar_cnn", images, np.zeros(40, np.int32), members, np.arange(30, 40))
    job = private.make_job(workload, 2)
    assert job.kernels[0].size == 0
    assert job.members.shape == (2, 20)


def test_of_cnns_another_tool_alone_is_refused(launch, tmp_path):
    python = tmp_path / "opacus" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    flags = f"--environments={tmp_path}", "--networks=cifar_cnn", "--contenders=opacus_hooks"
    done = launch("benchmarks.private", *flags)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert (
        "of CNNs jleaks alone is timed: name jleaks or jleaks_plain in --contenders" in done.stderr
    )


def test_jleaks_trains_both_ways(tmp_path):
    command = [
        *(sys.executable, "-m", "benchmarks.private", "--networks=location_mlp", "--num_models=2"),
        *("--num_records=250", "--repetitions=1", "--seconds=0", "--quality_models=2"),
        *("--quality_epochs=60", f"--environments={tmp_path}", f"--out={tmp_path / 'out.jsonl'}"),
        "--noise=0.1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    plain, own = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert (plain["num_records"], own["num_models"], own["failed"]) == (200, 2, None)
    assert plain["versions"].keys() >= {"jleaks", "jax"}
    losses = [row["quality"]["train_loss"]["mean"] for row in (plain, own)]
    assert losses[0] < losses[1] < np.log(30)
    assert own["command"].endswith("--noise=0.1")


@pytest.mark.parametrize(
    ("module", "package", "name"),
    [
        ("with_jax_privacy", "jax_privacy", "jax_privacy"),
        ("with_opacus", "opacus", "opacus_hooks"),
        ("with_opacus", "opacus", "opacus_ghost"),
    ],
)
def test_other_tools_learn_without_noise(module, package, name, tmp_path):
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    job = small_job()._replace(noise=0.0, clip=1e6, learning_rate=1e-2)
    job.save(tmp_path / "job.npz")
    words = [sys.executable, "-m", f"benchmarks.private.{module}", str(tmp_path), name]
    done = subprocess.run(
        [*words, "0", "2", "20"], input="null\n", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    ready, last = map(json.loads, done.stdout.splitlines())
    assert ready.keys() == {"first_call_seconds"}
    assert last["model_steps"] > 0
    with np.load(tmp_path / "learned.npz") as arrays:
        values = private.learned(job, small_workload().tests, list(arrays.values()))
    assert max(values["train_loss"]) < 0.5


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--contenders=nobody"], "--contenders names nobody; allowed: jleaks_plain, "),
        (["--networks=resnet"], "--networks names resnet; allowed: purchase_mlp, "),
    ],
)
def test_bad_flags_are_one_line_and_status_two(launch, flags, message):
    done = launch("benchmarks.private", *flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
