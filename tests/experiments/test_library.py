"""The library of trained models: each is trained once, found again, and never mixed up."""

import dataclasses
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import python_path
from libraries import EXECUTION, open_library, rewritten

from jleaks import npz
from jleaks.data.synthetic import synthetic
from jleaks.errors import InputError
from jleaks.experiments import library as library_module
from jleaks.experiments.library import Cost, Library, fingerprint
from jleaks.keys import Role, identity_key
from jleaks.training import cost, epoch, packing
from jleaks.training.fleet import stack_key_data
from jleaks.training.learner import Members
from jleaks.training.preemption import Preempted, StopSignal
from jleaks.training.recipe import Recipe
from jleaks.training.reporter import Reporter
from jleaks.training.trainer import FleetSpec, Trainer

RECIPE = Recipe("mlp", (16,), epochs=4, batch_size=20)


def spec_of(indices, seed=0, recipe=RECIPE):
    data = synthetic("location", 300)
    rows = np.stack([np.random.default_rng(i).permutation(300)[:100] for i in indices])
    return FleetSpec(
        name="location",
        names=[f"model {i}" for i in indices],
        learner=packing.make_learner(recipe, "binary", 30, EXECUTION),
        features=data.features,
        labels=data.labels,
        members=Members(rows.astype(np.int32), np.full(len(rows), 100, np.int32)),
        key_data=stack_key_data([identity_key(seed, "location", Role.SHADOW, i) for i in indices]),
    )


def names_of(indices):
    return [fingerprint("test", i) for i in indices]


def test_a_model_is_trained_once_and_found_by_every_later_library(tmp_path):
    library = open_library(tmp_path)
    _, first = library.train(spec_of([0, 1]), names_of([0, 1]))
    assert library.num_trained == 2
    again = open_library(tmp_path)
    _, second = again.train(spec_of([2, 1, 0]), names_of([2, 1, 0]))
    assert again.num_trained == 1
    for one, two in zip(*map(leaves, (first, second)), strict=True):
        np.testing.assert_array_equal(one[0], two[2])
        np.testing.assert_array_equal(one[1], two[1])
        assert not np.array_equal(two[0], two[1]) or one.ndim == 1


def leaves(state):
    import jax

    return jax.tree.leaves(state._replace(losses=(), bad_step=(), opt_state=()))


def test_what_is_kept_equals_what_a_trainer_makes(tmp_path):
    spec = spec_of([0, 1, 2])
    trainer, kept = open_library(tmp_path).train(spec, names_of([0, 1, 2]))
    direct = Trainer(spec, EXECUTION, lambda _: None, StopSignal()).run()
    for one, two in zip(leaves(kept), leaves(direct), strict=True):
        np.testing.assert_array_equal(one, two)

    def keep(predict_fn, inputs, labels):
        return {"logits": predict_fn(inputs), "labels": labels}

    rows = np.tile(np.arange(50, dtype=np.int32), (3, 1))
    ours, theirs = trainer.query(kept, rows, keep), trainer.query(direct, rows, keep)
    np.testing.assert_array_equal(ours["logits"], theirs["logits"])


def test_equal_names_in_one_call_are_trained_once(tmp_path):
    library = open_library(tmp_path)
    _, state = library.train(spec_of([0, 0]), names_of([0, 0]))
    assert library.num_trained == 1
    assert all(np.array_equal(leaf[0], leaf[1]) for leaf in leaves(state))


def test_who_continues_trains_in_the_fleets_that_were_begun(tmp_path, monkeypatch):
    one = spec_of([0])
    size = cost.measure(one.learner, one.features, one.members.indices.shape[1])
    # Of ten models four fit: fleets of four, four and two.
    monkeypatch.setattr(library_module, "_MOST_BYTES", 4 * size.state_bytes)
    fleets, fit = [], Library._fit

    def noted(library, spec, names, *rest):
        fleets.append(list(names))
        return fit(library, spec, names, *rest)

    monkeypatch.setattr(Library, "_fit", noted)
    numbers = list(range(10))
    open_library(tmp_path / "whole").train(spec_of(numbers), names_of(numbers))
    assert [len(names) for names in fleets] == [4, 4, 2]
    # As if it had been stopped when the first was done.
    open_library(tmp_path / "begun").train(spec_of(numbers[:4]), names_of(numbers[:4]))
    open_library(tmp_path / "begun").train(spec_of(numbers), names_of(numbers))
    assert fleets[3:] == fleets[:3]


def test_a_stopped_training_continues_bit_for_bit(tmp_path):
    recipe = dataclasses.replace(RECIPE, epochs=6)
    execution = dataclasses.replace(EXECUTION, chunk_seconds=0.0, models_per_call=1)
    stop = StopSignal()
    stopped = Library(tmp_path / "a", execution, Reporter(), stop)
    ticks = []

    def progress(p):
        ticks.append(p.done)
        stop.received = 15 if len(ticks) == 3 else None

    stopped._reporter = Reporter(progress=progress)
    spec = spec_of([0, 1], recipe=recipe)
    with pytest.raises(Preempted):
        stopped.train(spec, names_of([0, 1]))
    assert stopped.num_trained == 0
    _, resumed = open_library(tmp_path / "a", execution=execution).train(spec, names_of([0, 1]))
    _, whole = open_library(tmp_path / "b", execution=execution).train(spec, names_of([0, 1]))
    for one, two in zip(leaves(resumed), leaves(whole), strict=True):
        np.testing.assert_array_equal(one, two)
    assert not list((tmp_path / "a" / "fleets").iterdir())


@pytest.mark.parametrize("value", [float("nan"), -5, float("inf"), "x", None])
def test_seconds_that_nobody_spent_are_refused(tmp_path, value):
    stop = StopSignal()
    stop.received = 15
    with pytest.raises(Preempted):
        open_library(tmp_path, stop).train(spec_of([0]), names_of([0]))
    (path,) = (tmp_path / "fleets").glob("*.seconds.json")
    path.write_text(json.dumps({"training": value}))
    with pytest.raises(InputError, match=r"seconds.json is damaged \(.*\); delete it"):
        open_library(tmp_path).train(spec_of([0]), names_of([0]))


def test_a_damaged_model_is_one_clear_line(tmp_path):
    library = open_library(tmp_path)
    library.train(spec_of([0]), names_of([0]))
    file_of(library, 0).write_bytes(b"PK\x03\x04 not a zip")
    for one in (library, open_library(tmp_path)):
        with pytest.raises(InputError, match="is damaged"):
            one.train(spec_of([0]), names_of([0]))


def file_of(library, index):
    path, _, _ = library.find(*names_of([index]))
    return path


@pytest.fixture
def kept(tmp_path):
    library = open_library(tmp_path)
    # Two fleets, in two files.
    for index in (0, 1):
        library.train(spec_of([index]), names_of([index]))
    return library, [file_of(library, index) for index in (0, 1)]


def refused(library):
    with pytest.raises(InputError) as caught:
        library.train(spec_of([0, 1]), names_of([0, 1]))
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("; delete it to train again")
    return str(caught.value)


def test_every_flipped_bit_of_a_model_is_noticed_or_changes_nothing(kept):
    library, (path, _) = kept
    _, whole = library.train(spec_of([0, 1]), names_of([0, 1]))
    content, rng, noticed = path.read_bytes(), np.random.default_rng(1), 0
    template = epoch.template(spec_of([0]).learner, spec_of([0]).features)
    for _ in range(60):
        flipped = bytearray(content)
        flipped[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        try:
            found = library.load(names_of([0]), template)
        except InputError:
            noticed += 1
            continue
        for one, two in zip(leaves(found), leaves(whole), strict=True):
            np.testing.assert_array_equal(one[0], two[0])
    assert noticed > 50


def test_two_swapped_models_are_noticed(kept):
    library, (first, second) = kept
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    message = refused(library)
    assert message.startswith(f"{first} holds '{second.stem}', another fingerprint")
    with pytest.raises(InputError, match="another fingerprint"):
        open_library(library.folder).cost(*names_of([0]))


def test_a_model_of_an_earlier_version_is_refused(kept):
    library, (path, _) = kept
    arrays, about = npz.load(path, "")
    del about["fingerprint"]
    npz.save(path, arrays, about)
    assert f"{path} does not hold its fingerprint (an earlier version's?)" in refused(library)


KERNEL = "params/Dense_0/kernel"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {KERNEL: a[KERNEL] * np.nan}, "params/Dense_0/kernel is not finite"),
        (
            lambda a: {KERNEL: a[KERNEL].swapaxes(1, 2)},
            "params/Dense_0/kernel is float32 (1, 16, 446), expected",
        ),
        (lambda a: {KERNEL: a[KERNEL].astype(float)}, "params/Dense_0/kernel is float64"),
        (lambda a: {"params/Dense_2/kernel": a[KERNEL]}, "it has params/Dense_0/bias, "),
        (
            lambda a: {"losses": a["losses"][:, :1]},
            "losses is float32 (1, 1), expected float32 (1, 4)",
        ),
    ],
)
def test_weights_that_no_training_gave_are_refused(kept, change, message):
    library, (path, _) = kept
    rewritten(path, change)
    assert f"{path} is damaged ({message}" in refused(library)


def test_a_missing_layer_is_named(kept):
    library, (path, _) = kept
    arrays, about = npz.load(path, "")
    del arrays[KERNEL]
    npz.save(path, arrays, about)
    assert f"this model has params/Dense_0/bias, {KERNEL}, " in refused(library)


@pytest.mark.parametrize("text", ["no JSON", "[1]", "[" * 100_000])
def test_descriptions_that_are_none_are_refused(kept, text):
    library, (path, _) = kept
    arrays, _ = npz.load(path, "")
    np.savez(path, meta=np.array(text), **arrays)
    assert f"{path} is damaged (" in refused(library)


@pytest.mark.parametrize(
    "cost", [None, {}, {"flops": 1}, {"device_seconds": "1", "wall_seconds": 1}]
)
def test_costs_that_are_none_are_refused(kept, cost):
    library, (path, _) = kept
    (about,) = npz.load(path, "")[1]["models"]
    rewritten(path, models=[{**about, "cost": cost}])
    with pytest.raises(InputError, match=r"is damaged \(what it cost is "):
        open_library(library.folder).cost(*names_of([0]))


@pytest.mark.parametrize("models", [None, 3, [3], [{"name": "x"}]])
def test_fleets_that_do_not_say_what_they_hold_are_refused(kept, models):
    library, (path, _) = kept
    rewritten(path, models=models)
    with pytest.raises(InputError, match="it does not say which models it holds"):
        open_library(library.folder).find("any")


def test_a_fleet_is_one_file_found_by_each_of_its_models(tmp_path):
    library = open_library(tmp_path)
    _, whole = library.train(spec_of([0, 1, 2]), names_of([0, 1, 2]))
    (path,) = (tmp_path / "models").iterdir()
    assert {file_of(library, i) for i in range(3)} == {path}
    arrays, about = npz.load(path, "")
    assert arrays[KERNEL].shape == (3, 446, 16)
    assert [model["fingerprint"] for model in about["models"]] == names_of([0, 1, 2])
    again = open_library(tmp_path)
    _, some = again.train(spec_of([2, 0]), names_of([2, 0]))
    assert again.num_trained == 0
    for one, two in zip(leaves(some), leaves(whole), strict=True):
        np.testing.assert_array_equal(one, two[[2, 0]])
    with pytest.raises(InputError, match="has no model"):
        library.load(names_of([7]), epoch.template(spec_of([0]).learner, spec_of([0]).features))


_RIVAL = """
import pathlib, sys
from test_library import EXECUTION, Library, Reporter, StopSignal, names_of, spec_of
folder = pathlib.Path(sys.argv[1])
tell = Reporter(line=lambda text: text.startswith("waiting") and (folder / "told").touch())
library = Library(folder, EXECUTION, tell, StopSignal())
library.train(spec_of([1, 2]), names_of([1, 2]))
print(library.num_trained)
"""


def test_two_runs_at_once_train_nothing_twice(tmp_path):
    """Another process that needs one of our models waits for us, then trains only the other one."""
    lines, rival = [], None

    def progress(_):
        nonlocal rival
        if rival is None:
            rival = subprocess.Popen(
                [sys.executable, "-c", _RIVAL, str(tmp_path)],
                env={
                    **os.environ,
                    "PYTHONPATH": python_path(__file__),
                },
                stdout=subprocess.PIPE,
                text=True,
            )
            # Time to start, find nothing, and wait.
            deadline = time.monotonic() + 60
            while not (tmp_path / "told").exists() and time.monotonic() < deadline:
                time.sleep(0.05)

    library = Library(tmp_path, EXECUTION, Reporter(lines.append, progress), StopSignal())
    library.train(spec_of([0, 1]), names_of([0, 1]))
    output, _ = rival.communicate(timeout=100)
    assert output == "1\n"
    assert len(list((tmp_path / "models").iterdir())) == 2


def test_who_waits_for_another_run_can_be_stopped(kept):
    library, _ = kept
    stop, lines = StopSignal(), []
    waiting = Library(library.folder, EXECUTION, Reporter(lines.append), stop)
    stop.received = 15
    code = (
        "import fcntl, sys; file = open(sys.argv[1], 'wb'); fcntl.lockf(file, fcntl.LOCK_EX);"
        "print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(library.folder / "training.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        other.stdout.readline()
        with pytest.raises(Preempted, match="stopped while another run trained"):
            waiting.train(spec_of([5]), names_of([5]))
        other.stdin.close()
    assert lines == [f"waiting: another run trains models of {library.folder}"]
    assert waiting.num_trained == 0


def test_costs_are_kept_and_add_up(tmp_path):
    library = open_library(tmp_path)
    library.train(spec_of([0, 1]), names_of([0, 1]))
    cost = library.cost(names_of([0])[0])
    assert cost.device_seconds == pytest.approx(4 * cost.wall_seconds)
    # Products of the forward pass and of both gradients but that of the input, per record and epoch.
    least = 100 * 4 * 2 * (2 * 446 * 16 + 3 * 16 * 30)
    assert least <= cost.flops <= 2 * least
    assert (cost + cost).flops == 2 * cost.flops
    assert (cost + Cost(1.0, 1.0, None)).flops is None
