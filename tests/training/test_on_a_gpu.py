"""What only a GPU can answer: `python -m pytest -m gpu` on a machine that has one."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import pytest
from fleets import alone, assert_close, fleet_spec, trained

from benchmarks.scaling.growth import collectives
from jleaks.training.execution import Execution
from jleaks.training.fleet import Fleet, make_mesh
from jleaks.training.memory import device_memory
from jleaks.training.preemption import StopSignal
from jleaks.training.trainer import Trainer

pytestmark = pytest.mark.gpu

# Float32 sums in another order, magnified by Adam where a gradient is all but zero.
TOLERANCE = 1e-2
# What a timer says, and where rows were made.
_UNEQUAL = re.compile(r"seconds|hostname|load|time")


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_a_fleet_equals_each_model_alone_on_the_cpu(model):
    c = fleet_spec(model, 5, ragged=True)
    state = trained(c)
    with jax.default_device(jax.devices("cpu")[0]):
        for i in range(5):
            one = jax.tree.map(lambda leaf, at=i: leaf[at], state)
            assert_close(one, alone(c, i), TOLERANCE)


def _rows(workdir):
    rows = [json.loads(line) for line in (workdir / "rows.jsonl").read_text().splitlines()]
    return [{name: v for name, v in row.items() if not _UNEQUAL.search(name)} for row in rows]


def test_a_stopped_run_that_compiles_anew_equals_one_that_was_not(launch, tmp_path):
    flags = [
        *("--tasks=location", "--scale=0.1", "--num_seeds=2", "--epochs=40"),
        *("--chunk_seconds=0.05", "--checkpoint_seconds=0"),
    ]

    def about(name, workdir):
        # Every process has compiled nothing before it.  Autotuning would choose by the clock.
        options = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_autotune_level=0"
        environment = {**os.environ, "XLA_FLAGS": options}
        return [*flags, f"--workdir={workdir}", f"--cache_dir={tmp_path / name}"], environment

    words, environment = about("a", tmp_path / "whole")
    done = launch("launch.sweep", *words, env=environment)
    assert done.returncode == 0, done.stderr
    words, environment = about("b", tmp_path / "stopped")
    process = subprocess.Popen(
        [sys.executable, "-m", "launch.sweep", *words],
        cwd=launch.root,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 300
    while not list((tmp_path / "stopped").glob("fleets/*/[0-9]*")) and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 75, said
    words, environment = about("c", tmp_path / "stopped")
    done = launch("launch.sweep", *words, env=environment)
    assert done.returncode == 0, done.stderr
    assert _rows(tmp_path / "stopped") == _rows(tmp_path / "whole")


def test_packs_become_smaller_where_others_hold_the_memory():
    c = fleet_spec("mlp", 64)
    # 50 MB of state a model: what kernels need beside it is little.
    recipe = dataclasses.replace(c.learner.recipe, hidden=(2048, 2048))
    c = dataclasses.replace(c, learner=dataclasses.replace(c.learner, recipe=recipe))
    reference = trained(c, models_per_vmap=8)
    said = []
    trainer = Trainer(c, Execution(), lambda _: None, StopSignal(), said.append)
    # All but what a third of the models take, in pieces, for what is free is not in one.
    room, piece, held = trainer.packing.call_bytes // 3, 1 << 28, []
    while device_memory(jax.devices()[0]) > room + piece:
        held.append(jnp.zeros(piece, jnp.uint8).block_until_ready())
    try:
        state = trainer.run()
    finally:
        for one in held:
            one.delete()
    assert any(re.search(r"models_per_(call|vmap) \d+ -> \d+", line) for line in said), said
    assert_close(state, reference, TOLERANCE)


@pytest.mark.skipif(len(jax.devices()) < 2, reason="one device")
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_nothing_passes_between_two_devices(model):
    c = fleet_spec(model, 8)
    f = Fleet(c.learner, make_mesh(2), 2)
    data = f.put_data(c.features, c.labels)
    pack = f.load(f.init(data, c.members, c.key_data), c.members, c.key_data)
    text = pack.compiled_text(data)
    assert "fusion" in text
    assert not collectives(text)
