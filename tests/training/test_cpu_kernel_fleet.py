"""Fleets trained by the host kernels against the same fleets trained by XLA; building the kernels."""

import dataclasses
import os
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fleets import assert_close, fleet_spec

from jleaks.attacks.signals import signal_fn
from jleaks.errors import DivergedError, InputError
from jleaks.models.cpu_kernels import library
from jleaks.models.kernels import CPU, XLA
from jleaks.training import packing
from jleaks.training.execution import Execution
from jleaks.training.fleet import Fleet, make_mesh
from jleaks.training.learner import Members
from jleaks.training.preemption import StopSignal
from jleaks.training.recipe import Recipe
from jleaks.training.trainer import Trainer


def trained(c, kernels, **execution):
    c = dataclasses.replace(c, learner=dataclasses.replace(c.learner, kernels=kernels))
    return Trainer(c, Execution(**execution), lambda _: None, StopSignal()).run()


def with_recipe(c, **fields):
    recipe = dataclasses.replace(c.learner.recipe, **fields)
    return dataclasses.replace(c, learner=dataclasses.replace(c.learner, recipe=recipe))


def terms(c):
    """The same records as counts of words."""
    return dataclasses.replace(c, learner=dataclasses.replace(c.learner, encoding="terms"))


def dropped(c):
    ratios = np.tile(np.float32([0.1, 0.4]), (c.num_models, 1))
    return dataclasses.replace(c, members=c.members._replace(dropout=ratios))


def quantile(c):
    """Regression of a number, whose loss XLA computes."""
    answers = np.random.default_rng(5).normal(size=c.members.indices.shape).astype(np.float32)
    c = with_recipe(c, loss="quantile", quantile=0.8)
    learner = dataclasses.replace(c.learner, num_classes=1)
    return dataclasses.replace(c, learner=learner, members=c.members._replace(answers=answers))


FLEETS = {
    "mlp": lambda: fleet_spec("mlp", 3, ragged=True),
    "deep": lambda: with_recipe(fleet_spec("mlp", 2), hidden=(24, 17)),
    "logistic": lambda: fleet_spec("logistic", 3),
    "relu": lambda: with_recipe(fleet_spec("mlp", 3, ragged=True), activation="relu"),
    "deep relu, dropout": lambda: with_recipe(
        dropped(fleet_spec("mlp", 2)), hidden=(24, 17), activation="relu", schedule="cosine"
    ),
    "relu, blocks": lambda: with_recipe(fleet_spec("mlp", 2, block=5), activation="relu"),
    "relu, sgd": lambda: with_recipe(fleet_spec("mlp", 2), activation="relu", optimizer="sgd"),
    "terms": lambda: terms(fleet_spec("mlp", 2)),
    "dropout": lambda: dropped(fleet_spec("mlp", 2)),
    "quantile": lambda: quantile(fleet_spec("mlp", 2)),
    "sgd, cosine": lambda: with_recipe(
        fleet_spec("mlp", 2), optimizer="sgd", learning_rate=0.05, schedule="cosine"
    ),
    "adam, cosine": lambda: with_recipe(fleet_spec("mlp", 2, ragged=True), schedule="cosine"),
    "cnn": lambda: fleet_spec("cnn", 2, ragged=True),
    # Longer, and kinks that a few records cross differ by more than rounding.
    "cnn, relu": lambda: with_recipe(fleet_spec("cnn", 2, epochs=1), activation="relu"),
    "cnn, crops": lambda: with_recipe(
        fleet_spec("cnn", 2, epochs=2), augmentation="flips and crops"
    ),
}


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("name", FLEETS)
def test_a_fleet_equals_xlas(name):
    c = FLEETS[name]()
    assert_close(trained(c, CPU), trained(c, XLA, num_devices=1, models_per_vmap=1))


@pytest.mark.usefixtures("kernels")
def test_models_are_identical_however_they_are_packed():
    """Every sum is a kernel's, which sees one model at a time."""
    c = fleet_spec("mlp", 6, ragged=True, epochs=2)
    reference = trained(c, CPU, num_devices=1, models_per_call=3, models_per_vmap=1)
    for execution in (
        {"num_devices": 4, "chunk_seconds": 0},
        {"num_devices": 1, "models_per_vmap": 6},
        {"num_devices": 2, "models_per_call": 4, "models_per_vmap": 2},
        {"num_devices": 3, "models_per_call": 1},
    ):
        found = trained(c, CPU, **execution)
        jax.tree.map(np.testing.assert_array_equal, found.params, reference.params)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_queries_and_collectives(model, rng):
    c = fleet_spec(model, 4, epochs=1)
    learner = dataclasses.replace(c.learner, kernels=CPU)
    state = trained(c, CPU)
    f, plain = (Fleet(one, make_mesh(2), 1) for one in (learner, c.learner))
    data = f.put_data(c.features, c.labels)
    rows = rng.integers(0, len(c.features), (4, 33)).astype(np.int32)
    found = f.query(data, state, rows, signal_fn(3), 10)
    for name, values in plain.query(data, state, rows, signal_fn(3), 10).items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5)
    text = f.load(state, c.members, c.key_data).compiled_text(data)
    assert ("jleaks_adam" if model == "cnn" else "jleaks_dense_descent") in text
    assert not re.search(r"(all-reduce|all-gather|all-to-all|collective)[\w-]*\(", text)


@pytest.mark.usefixtures("kernels")
def test_divergence_is_found():
    c = with_recipe(fleet_spec("logistic", 2), learning_rate=1e30, optimizer="sgd", momentum=0.0)
    c = dataclasses.replace(
        c,
        features=(c.features * np.float32(1e30)).astype(np.float32),
    )
    for kernels in (XLA, CPU):
        with pytest.raises(DivergedError, match="model 0: the loss is not finite at step"):
            trained(c, kernels)


@pytest.mark.usefixtures("kernels")
def test_the_step_writes_in_place():
    """No copy of parameters or moments in the compiled step: memory traffic is what Adam costs."""
    c = fleet_spec("mlp", 4)
    learner = dataclasses.replace(c.learner, kernels=CPU)
    f = Fleet(learner, make_mesh(2), 1)
    data = f.put_data(c.features, c.labels)
    text = f.load(f.init(data, c.members, c.key_data), c.members, c.key_data).compiled_text(data)
    (step,) = [part for part in text.split("\n\n") if "jleaks_dense_forward" in part]
    assert not re.findall(r"f32\[(?:1,)?20,16\]\S* copy\(", step)


@pytest.mark.usefixtures("kernels")
def test_the_kernels_are_used_where_they_are_asked_for():
    learner = packing.make_learner(Recipe("cnn"), "pixels", 10, Execution(kernels="host"))
    assert learner.kernels is CPU
    assert learner.records_per_block is None
    assert packing.make_learner(Recipe("cnn"), "pixels", 10, Execution()).kernels is XLA


def test_kernels_that_are_not_there_are_bad_input(monkeypatch):
    monkeypatch.setattr(library, "_loaded", [])
    with pytest.raises(
        InputError, match="kernels is host, which needs CPU devices and its library"
    ):
        packing.make_learner(Recipe(), "binary", 10, Execution(kernels="host"))


def test_no_compiler_is_bad_input(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="no C\\+\\+ compiler"):
        library.build(tmp_path)


def compiler(folder: Path, script: str) -> None:
    """Puts a program called c++ into a folder."""
    path = folder / "c++"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_a_compiler_that_fails_is_bad_input(monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    fails = 'case "$1" in --version) echo 1;; *) echo "kernels.cc:1: error: no" >&2; exit 1;; esac'
    compiler(tmp_path / "bin", fails)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    with pytest.raises(InputError, match=r"cannot build the kernels: kernels.cc:1: error: no"):
        library.build(tmp_path / "kept")
    assert not list((tmp_path / "kept").glob("*.so"))


def test_kernels_are_built_once_for_each_compiler(monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    writes = 'echo built >> "{log}"; for last; do :; done; echo library > "$last"'
    paths = []
    for version in ("1", "1", "2"):
        log = tmp_path / "log"
        script = f'case "$1" in --version) echo {version};; *) {writes.format(log=log)};; esac'
        compiler(tmp_path / "bin", script)
        paths.append(library.build(tmp_path / "kept"))
    assert paths[0] == paths[1] != paths[2]
    assert log.read_text() == "built\nbuilt\n"


@pytest.mark.usefixtures("kernels")
def test_a_folder_that_cannot_be_written_to_is_bad_input(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot make .*/file: "):
        library.build(tmp_path / "file")


@pytest.fixture
def built(monkeypatch, tmp_path):
    """Builds something of a compiler's in `kept`; returns it and how often that was built."""
    (tmp_path / "bin").mkdir()
    log = tmp_path / "log"
    script = (
        f'case "$1" in --version) echo 1;; *) echo built >> "{log}"; '
        'for last; do :; done; echo library > "$last";; esac'
    )
    compiler(tmp_path / "bin", script)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return library.build(tmp_path / "kept"), lambda: len(log.read_text().splitlines())


@pytest.mark.parametrize("content", [b"", b"libr", b"lIbrary\n"])
def test_a_damaged_library_is_built_again(built, content):
    path, times = built
    path.write_bytes(content)
    assert library.build(path.parent) == path
    assert (path.read_bytes(), times()) == (b"library\n", 2)


def test_a_library_without_its_checksum_is_built_again(built):
    path, times = built
    path.with_suffix(".sha256").unlink()
    assert library.build(path.parent) == path
    assert times() == 2


@pytest.mark.parametrize("what", ["folder", "file"])
def test_kernels_that_others_may_write_are_not_loaded(built, what):
    path, times = built
    (path if what == "file" else path.parent).chmod(0o777)
    with pytest.raises(InputError, match=r"can be written by others \(.rwxrwxrwx\)"):
        library.build(path.parent)
    assert times() == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("what", ["folder", "file"])
def test_kernels_of_another_user_are_not_loaded(built, what):
    path, _ = built
    os.chown(path if what == "file" else path.parent, 12345, 12345)
    with pytest.raises(InputError, match=r"belongs to another user \(id 12345\)"):
        library.build(path.parent)


def test_kernels_are_only_the_users_whatever_the_umask(built):
    before = os.umask(0)
    try:
        path = library.build(built[0].parent.parent / "other")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("kernels")
def test_members_may_be_few():
    """A part of one batch, and a fleet of one model."""
    c = fleet_spec("mlp", 1)
    c = dataclasses.replace(c, members=Members(c.members.indices[:, :20], np.int32([20])))
    assert_close(trained(c, CPU), trained(c, XLA))
    assert jnp.isfinite(trained(c, CPU).losses).all()
