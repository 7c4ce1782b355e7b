"""Stopped at several moments, continued, equal to the uninterrupted run."""

import dataclasses
import functools
import gc
import os
import signal
import subprocess
import sys
import time
import weakref

import jax
import numpy as np
import pytest
from conftest import ROOT
from fleets import StopAfter, fleet_spec, trained_in_steps
from processes import numbers

from jleaks.attacks.signals import signal_fn
from jleaks.errors import DivergedError, InputError
from jleaks.training import fleet
from jleaks.training import trainer as trainer_lib
from jleaks.training.checkpoints import Store
from jleaks.training.execution import Execution
from jleaks.training.preemption import Preempted, StopSignal, stoppable
from jleaks.training.trainer import Trainer

FLAGS = [
    "--tasks=location,purchase2",
    "--num_seeds=2",
    "--scale=0.05",
    "--epochs=60",
    "--attack_epochs=20",
    "--chunk_seconds=0.02",
    "--checkpoint_seconds=0",
]


def start(workdir):
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "launch.sweep", f"--workdir={workdir}", *FLAGS],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("reference")
    process = start(workdir)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return numbers(workdir)


def stop_when(process, workdir, moment, number):
    """Sends a signal once `moment` checkpoints of any fleet have been seen."""
    seen, deadline = set(), time.monotonic() + 200
    while len(seen) < moment and process.poll() is None and time.monotonic() < deadline:
        seen |= set(workdir.glob("fleets/*/[0-9]*"))
        time.sleep(0.005)
    process.send_signal(number)
    output, _ = process.communicate(timeout=200)
    return output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_again_and_again_the_run_ends_with_the_same_rows(tmp_path, reference, number):
    stops = 0
    for moment in (1, 4):
        process = start(tmp_path)
        output = stop_when(process, tmp_path, moment, number)
        if (tmp_path / "rows.jsonl").exists():
            break
        stops += 1
        if number == signal.SIGTERM:
            assert process.returncode == 75, output
            assert "the same command continues" in output
        else:
            assert process.returncode == -signal.SIGKILL
    assert stops == 2
    process = start(tmp_path)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert numbers(tmp_path) == reference


@pytest.mark.parametrize("looks", [0, 1, 4, 6])
def test_a_fleet_continues_bit_for_bit(tmp_path, looks):
    c = fleet_spec("mlp", 6, epochs=4)
    store = Store(tmp_path, "plan")
    with pytest.raises(Preempted):
        trained_in_steps(c, store, StopAfter(looks), num_devices=1, models_per_call=3)
    store = Store(tmp_path, "plan")
    continued = trained_in_steps(c, store, num_devices=1, models_per_call=3)
    store.close()
    whole = trained_in_steps(c, num_devices=1, models_per_call=3)
    jax.tree.map(np.testing.assert_array_equal, continued, whole)


def test_a_fleet_continues_on_other_hardware_and_packing(tmp_path):
    c = fleet_spec("mlp", 6, epochs=4)
    with pytest.raises(Preempted):
        trained_in_steps(c, Store(tmp_path, "plan"), StopAfter(5), num_devices=1, models_per_call=3)
    continued = trained_in_steps(c, Store(tmp_path, "plan"), num_devices=4)
    whole = trained_in_steps(c, num_devices=2)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5)
    jax.tree.map(close, continued, whole)


def test_two_latest_checkpoints_stay_and_the_last_is_final(tmp_path):
    c = fleet_spec("mlp", 2, epochs=5)
    store = Store(tmp_path, "plan")
    trained_in_steps(c, store, checkpoint_seconds=0)
    store.close()
    steps = sorted(int(p.name) for p in tmp_path.iterdir() if p.name.isdigit())
    assert len(steps) == 2
    assert steps[-1] == 2 * 5


def test_a_finished_fleet_is_not_trained_again(tmp_path):
    c = fleet_spec("mlp", 2)
    store = Store(tmp_path, "plan")
    whole = trained_in_steps(c, store)
    store.close()
    told = []
    again = Trainer(c, Execution(), told.append, StopSignal()).run(Store(tmp_path, "plan"))
    assert told == []
    jax.tree.map(np.testing.assert_array_equal, again, whole)


def test_a_foreign_checkpoint_is_refused(tmp_path):
    c = fleet_spec("mlp", 2)
    store = Store(tmp_path, "plan")
    trained_in_steps(c, store)
    store.close()
    with pytest.raises(InputError, match="belongs to another plan or other data"):
        trained_in_steps(c, Store(tmp_path, "other"))


def test_a_checkpoint_of_another_shape_is_refused(tmp_path):
    store = Store(tmp_path, "plan")
    trained_in_steps(fleet_spec("mlp", 2), store)
    store.close()
    with pytest.raises(InputError, match=r"cannot read checkpoint|this fleet needs"):
        trained_in_steps(fleet_spec("mlp", 3), Store(tmp_path, "plan"))


def test_a_damaged_checkpoint_is_one_clear_line(tmp_path):
    store = Store(tmp_path, "plan")
    trained_in_steps(fleet_spec("mlp", 2), store)
    store.close()
    for path in tmp_path.glob("*/models/**/*"):
        if path.is_file():
            path.write_bytes(b"\0" * 7)
    with pytest.raises(InputError, match="cannot read checkpoint"):
        trained_in_steps(fleet_spec("mlp", 2), Store(tmp_path, "plan"))


def test_a_diverging_model_is_named_with_its_step():
    c = fleet_spec("mlp", 4)
    bad = dataclasses.replace(c.learner.recipe, learning_rate=1e38)
    c = dataclasses.replace(c, learner=dataclasses.replace(c.learner, recipe=bad))
    with pytest.raises(DivergedError, match=r"model \d: the loss is not finite at step \d+"):
        trained_in_steps(c)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_where_nothing_has_to_be_saved_stops_at_once(number):
    before = signal.getsignal(number)
    with pytest.raises(Preempted, match=f"stopped by {number.name}"), stoppable():
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


def finalized():
    class Finalized:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    Finalized()


def collected():
    def callback(phase, _):
        if phase == "start":
            signal.raise_signal(signal.SIGTERM)

    gc.callbacks.append(callback)
    try:
        gc.collect()
    finally:
        gc.callbacks.remove(callback)


def referred_to():
    class Thing:
        pass

    thing = Thing()
    reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGTERM))
    del thing
    assert reference() is None


@pytest.mark.parametrize(
    ("arrives", "num_swallowed"), [(finalized, 0), (collected, 0), (referred_to, 1)]
)
def test_a_signal_whose_exception_python_drops_is_heard_later(monkeypatch, arrives, num_swallowed):
    swallowed, cleaned = [], []
    monkeypatch.setattr(sys, "unraisablehook", swallowed.append)

    def work():
        arrives()
        try:
            time.sleep(60)
        finally:
            # What cleans up is not interrupted once more.
            time.sleep(1.2)
            cleaned.append(True)

    with pytest.raises(Preempted, match="SIGTERM"), stoppable():
        work()
    assert len(swallowed) == num_swallowed
    assert cleaned
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_signal_that_training_did_not_see_any_more_stops_what_follows():
    after = []

    def work():
        with StopSignal():
            signal.raise_signal(signal.SIGTERM)
        after.append("went on")

    with pytest.raises(Preempted), stoppable():
        work()
    assert not after


def test_a_signal_that_was_obeyed_is_not_raised_again():
    with stoppable():
        with StopSignal() as stop:
            signal.raise_signal(signal.SIGTERM)
            stop.received = None
        with StopSignal() as again:
            again.check("nothing arrived")


def test_a_fleet_that_is_asked_stops_between_packs():
    c = fleet_spec("mlp", 4)
    stop = StopSignal()
    trainer = Trainer(c, Execution(num_devices=1, models_per_call=1), lambda _: None, stop)
    state = trainer.run()

    def keep(predict, inputs, _):
        stop.received = signal.SIGTERM
        return {"logits": predict(inputs)}

    with pytest.raises(Preempted, match="answered"):
        trainer.query(state, c.members.indices, keep)


STOPPED_BY = """
import signal
from launch import app

def main(_):
    {what}

app.run(main, "stopped", "")
"""


@pytest.mark.parametrize(
    ("what", "flags", "status", "told"),
    [
        ("signal.raise_signal(signal.SIGTERM)", [], 75, "stopped by SIGTERM; the same command"),
        ("signal.raise_signal(signal.SIGINT)", ["--stopped_status=0"], 0, "stopped by SIGINT"),
        ("raise KeyboardInterrupt", [], 130, "error: interrupted; the same command continues"),
    ],
)
def test_how_a_stopped_command_exits(what, flags, status, told):
    words = [sys.executable, "-c", STOPPED_BY.format(what=what), *flags]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert (done.stdout + done.stderr).startswith(told)
    assert "Traceback" not in done.stderr


def test_a_second_interrupt_does_not_wait():
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def halved(strength, logits):
    return logits / (1 + strength)


@pytest.mark.parametrize("what", ["ANSWERS", "SEARCHES"])
def test_answers_come_in_parts_between_which_a_signal_is_seen(monkeypatch, what):
    c = fleet_spec("mlp", 3, block=10)
    trainer = Trainer(c, Execution(models_per_vmap=1), lambda _: None, StopAfter(40))
    state, keep = trainer.run(), signal_fn(3)
    rows = np.random.default_rng(0).integers(0, 120, (3, 113)).astype(np.int32)
    answering = None
    if what == "SEARCHES":
        answering = fleet.Answering(halved, np.ones((3, 1), np.float32), True)
    whole = trainer.query(state, rows, keep, answering=answering)
    monkeypatch.setattr(trainer_lib, f"_MOST_{what}", 60)
    before = fleet.TRACES["query"]
    found = trainer.query(state, rows, keep, answering=answering)
    # 20 records a call, the last ones padded: one program.
    assert fleet.TRACES["query"] == before + 1
    for name, values in whole.items():
        np.testing.assert_array_equal(found[name], values)
    trainer._stop = StopAfter(2)
    with pytest.raises(Preempted, match="stopped while test answered"):
        trainer.query(state, rows, keep, answering=answering)
