"""Several processes train one fleet: rows as from one, and an end in one line for all when one is lost."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, python_path
from processes import ended, numbers, start, start_each

from jleaks.errors import InputError
from jleaks.training import devices, processes
from jleaks.training.devices import Companions

SWEEP = (
    *("-m", "launch.sweep", "--tasks=location", "--num_seeds=1", "--scale=0.02", "--epochs=40"),
    *("--attack_epochs=2", "--chunk_seconds=0", "--checkpoint_seconds=0", "--adversaries=1,3"),
)
BANK = (
    *("-m", "launch.bank", "--tasks=location", "--num_models=6", "--num_candidates=60"),
    *("--num_population=60", "--epochs=3", "--batch_size=20", "--num_queries=2"),
)

# What the processes of a group have of each other, one line each.
EXCHANGES = """
import json, sys
import numpy as np
from jleaks.errors import InputError
from jleaks.training import devices, processes

processes._MOST_BYTES = 1 << 10
words = dict(word.lstrip("-").split("=") for word in sys.argv[1:])
numbers = int(words["process_count"]), int(words["process_id"])
together = devices.Companions("auto", words["coordinator"], *numbers)
devices.start(num_cpu_devices=1, companions=together)
own = processes.index()
def arrays(index):
    rng = np.random.default_rng(index)
    small = rng.integers(0, 9, 5).astype(np.uint8)
    return [rng.normal(size=(3, 700)), small, np.zeros((0, 2)), np.array(index, np.float32)]
found = [processes.exchange(array) for array in arrays(own)]
for other in range(2):
    for whole, array in zip(found, arrays(other), strict=True):
        assert whole.dtype == array.dtype and whole.shape == (2, *array.shape)
        assert (whole[other] == array).all()
assert processes.numbers(own, 0.1).tolist() == [[0, 0.1], [1, 0.1]]
def asked():
    assert own == 0
    return {"said": "é" * 3000}
assert processes.first(asked) == {"said": "é" * 3000}
likes = {"a": np.zeros((40, 9), bool), "b": np.zeros(2)}
tree = {"a": np.eye(40, 9, dtype=bool), "b": np.array([1.5, np.nan])}
told = processes.first_arrays(lambda: tree if own == 0 else 1 / 0, likes)
np.testing.assert_equal(told, tree)
processes.same("alike", "never")
try:
    processes.same(f"number {own}", "with one number")
except InputError as error:
    print(error)
processes.end(0)
"""


def alone(*words):
    return subprocess.run(
        [sys.executable, "-u", *map(str, words)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip


def when_saved(running, workdir, then):
    """Does something to processes once they have saved a checkpoint of their own."""

    def saved():
        return {path.name for path in workdir.glob("fleets/*/*") if path.name.isdecimal()}

    before, deadline = saved(), time.monotonic() + 200
    while saved() <= before and time.monotonic() < deadline:
        assert all(process.poll() is None for process in running), ended(running)
        time.sleep(0.01)
    then()
    return ended(running)


def test_they_tell_each_other_what_they_have():
    environ = os.environ | {"PYTHONPATH": python_path(__file__)}
    statuses, said = ended(start(2, "-c", EXCHANGES, env=environ))
    assert statuses == [0, 0], said
    expected = (
        "process 0 of 2 has number 0, process 1 has number 1: start all alike, with one number"
    )
    assert all(expected in text for text in said)


def test_with_one_process_nothing_is_exchanged():
    array = np.arange(3)
    assert processes.count() == 1
    assert processes.is_first()
    np.testing.assert_array_equal(processes.exchange(array), [[0, 1, 2]])
    assert processes.first(lambda: array) is array
    assert processes.first_arrays(lambda: array, None) is array
    processes.same("anything", "")
    processes.end(1, "returns")


def test_killed_and_continued_two_processes_end_with_the_rows_of_one(tmp_path):
    whole, workdir = tmp_path / "whole", tmp_path / "parts"
    alone(*SWEEP, "--num_cpu_devices=2", f"--workdir={whole}")
    words = (*SWEEP, "--num_cpu_devices=1", f"--workdir={workdir}")
    running = start(2, *words)
    statuses, said = when_saved(running, workdir, running[0].kill)
    assert statuses == [-signal.SIGKILL, 75], said
    line = "stopped: process 0 of 2: it is gone; the same command continues"
    assert said[1].splitlines()[-1] == line
    assert not (workdir / "rows.jsonl").exists()
    statuses, said = ended(start(2, *words))
    assert statuses == [0, 0], said
    assert numbers(workdir) == numbers(whole)
    # The first alone speaks, but for what Gloo says.
    assert all("Gloo" in line for line in said[1].splitlines())


@pytest.mark.long
@pytest.mark.parametrize("which", [0, 1])
def test_one_that_is_told_to_stop_stops_both(tmp_path, which):
    running = start(2, *SWEEP, "--num_cpu_devices=1", f"--workdir={tmp_path}")
    statuses, said = when_saved(running, tmp_path, running[which].terminate)
    assert statuses == [75, 75], said
    assert re.search(r"location: stopped after \d+ epochs; the same command continues", said[0])


@pytest.mark.long
@pytest.mark.parametrize(("count", "each"), [(4, 1), (2, 2)])
def test_a_sweep_has_the_rows_of_one_process_with_as_many_devices(tmp_path, count, each):
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    # More models than devices, of two tasks, and attack models across them.
    words = (*SWEEP, "--tasks=location,purchase2", "--num_seeds=3", "--adversaries=1,2,3")
    alone(*words, "--num_cpu_devices=4", f"--workdir={whole}")
    statuses, said = ended(start(count, *words, f"--num_cpu_devices={each}", f"--workdir={shared}"))
    assert statuses == [0] * count, said
    assert numbers(shared) == numbers(whole)
    # Finished, it is read again.
    statuses, said = ended(start(count, *words, f"--num_cpu_devices={each}", f"--workdir={shared}"))
    assert statuses == [0] * count, said
    assert "finished before" in said[0]


@pytest.mark.long
def test_a_bank_has_the_answers_of_one_process_with_as_many_devices(tmp_path):
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    alone(*BANK, "--num_cpu_devices=2", f"--workdir={whole}")
    statuses, said = ended(start(2, *BANK, "--num_cpu_devices=1", f"--workdir={shared}"))
    assert statuses == [0, 0], said
    ours, theirs = (np.load(path / "location" / "bank.npz") for path in (shared, whole))
    assert set(ours) == set(theirs)
    assert {"phi", "correct", "member", "quantile"} <= set(ours)
    for name in set(ours) - {"meta"}:
        np.testing.assert_array_equal(ours[name], theirs[name], name)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hangs"])
def test_the_others_miss_a_process_within_a_minute(tmp_path, number):
    words = (*SWEEP, "--epochs=40000", "--num_cpu_devices=1", f"--workdir={tmp_path}")
    running = start(3, *words)
    lost = running.pop(1)
    told = []

    def lose():
        lost.send_signal(number)
        told.append(time.monotonic())

    try:
        statuses, said = when_saved(running, tmp_path, lose)
        assert time.monotonic() - told[0] < 60
    finally:
        lost.kill()
        lost.communicate()
    assert statuses == [75, 75], said
    line = "stopped: process 1 of 3: no sign of life for 30 s; the same command continues"
    assert [text.splitlines()[-1] for text in said] == [line, line]


@pytest.mark.long
@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (("--epochs=2", "--epochs=3"), "0 of 2 has plan"),
        (("--chunk_seconds=1", "--chunk_seconds=2"), "'chunk_seconds': 1.0"),
        (("--num_cpu_devices=1", "--num_cpu_devices=2"), "1 cpu devices, process 1 has 2 cpu"),
    ],
    ids=["plan", "execution", "devices"],
)
def test_processes_that_are_started_differently_are_refused(tmp_path, flags, line):
    with_flags = [
        (*SWEEP, "--num_cpu_devices=1", f"--workdir={tmp_path / 'w'}", one) for one in flags
    ]
    running = start_each(with_flags)
    statuses, said = ended(running)
    assert statuses == [2, 2], said
    for text in said:
        assert "error: process 0 of 2 has" in text
        assert line in text
        assert "Traceback" not in text
    assert not (tmp_path / "w").exists()


def test_flags_that_name_no_companions_are_refused(launch):
    process = launch("launch.sweep", "--coordinator=localhost:7000", "--process_count=2")
    assert (process.returncode, process.stdout) == (2, "")
    (line,) = process.stderr.splitlines()
    expected = (
        "coordinator and process_count stated alone: coordinator, process_count, process_id go"
    )
    assert line.startswith(f"error: {expected}")


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"process_id": 0}, "process_id stated alone"),
        ({"coordinator": "host"}, "coordinator is 'host', expected HOST:PORT"),
        ({"coordinator": ":70"}, "coordinator is ':70', expected HOST:PORT"),
        ({"coordinator": "host:0"}, "coordinator is 'host:0', expected HOST:PORT"),
        ({"coordinator": "host:99999"}, "coordinator is 'host:99999', expected HOST:PORT"),
        ({"process_id": 2}, r"process_id is 2, expected 0\.\.1"),
        ({"process_id": -1}, "process_id is -1, expected at least 0"),
        ({"process_count": 0}, "process_count is 0, expected at least 1"),
        ({"distributed": "off"}, "distributed is off, but there is a coordinator"),
        ({"distributed": "always"}, "distributed is always, expected one of auto, on, off"),
    ],
    ids=lambda value: "-".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)  # fmt: skip
def test_companions_that_cannot_be_are_refused(stated, said):
    good = {"coordinator": "host:70", "process_count": 2, "process_id": 1}
    with pytest.raises(InputError, match=said):
        Companions(**(stated if "alone" in said else good | stated)).validate()


def test_a_port_that_is_taken_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot listen on port {port} of --coordinator"):
            devices._join(Companions("auto", f"localhost:{port}", 2, 0), pytest.fail)


MISSED = """
import sys
from jleaks.training import devices

devices._MEETING = 1
together = devices.Companions("auto", sys.argv[1], 2, 1)
devices.start(num_cpu_devices=1, companions=together, lost=lambda line, _: print(line, flush=True))
"""


def test_companions_that_do_not_come_are_missed():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        place = f"127.0.0.1:{probe.getsockname()[1]}"
    done = subprocess.run(
        [sys.executable, "-c", MISSED, place],
        env=os.environ | {"PYTHONPATH": python_path(__file__)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith(
        f"2 processes were to meet at {place} within 1 s, and did not: start all"
    )


SLURM = {"SLURM_STEP_NODELIST": "a,b", "SLURM_NTASKS": "2"}


@pytest.mark.parametrize(
    ("environ", "distributed", "expected"),
    [
        ({}, "auto", (1, "nobody")),
        (SLURM, "auto", (2, "srun")),
        (SLURM, "off", (1, "nobody")),
        (SLURM | {"SLURM_NTASKS": "1"}, "auto", (1, "nobody")),
        # A batch script, which stands beside the steps.
        ({"SLURM_NTASKS": "2"}, "auto", (1, "nobody")),
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_MCA_orte_hnp_uri": "1"}, "auto", (4, "mpirun")),
        ({"TPU_WORKER_HOSTNAMES": "a,b,c"}, "auto", (3, "a TPU pod")),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, "auto", (1, "nobody")),
    ],
    ids=["plain", "srun", "off", "one_task", "batch", "mpirun", "pod", "one_host"],
)
def test_who_started_several_processes_is_seen(monkeypatch, environ, distributed, expected):
    for name in (
        "SLURM_STEP_NODELIST",
        "SLURM_NTASKS",
        "OMPI_COMM_WORLD_SIZE",
        "TPU_WORKER_HOSTNAMES",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert Companions(distributed).validate().started() == expected


@pytest.mark.parametrize(
    "words",
    [
        ("paper", "--experiment=shadows", "--tasks=location"),
        ("serve", "--task=location"),
    ],
    ids=["paper", "serve"],
)
def test_the_work_of_one_process_is_refused_to_several(launch, words):
    command, *flags = words
    process = launch("jleaks", command, *flags, env=os.environ | SLURM)
    assert process.returncode == 2
    assert (
        f"2 processes were started together (srun), jleaks {command} is the work of one"
        in process.stderr
    )
    assert len(process.stderr.splitlines()) == 1
