"""Nothing is compiled twice: for another chunk, seed, pack or task of equal shape, by the next process."""

import collections
import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from conftest import python_path
from fleets import fleet_spec

from jleaks.attacks.signals import signal_fn
from jleaks.keys import Role, identity_key
from jleaks.models.cpu_kernels import library
from jleaks.models.kernels import choose
from jleaks.training import fleet as fleet_lib
from jleaks.training.execution import Execution
from jleaks.training.fleet import stack_key_data
from jleaks.training.learner import Members
from jleaks.training.preemption import StopSignal
from jleaks.training.trainer import Trainer

BACKEND_COMPILE = "/jax/core/compile/backend_compile_duration"
# Models of a call; fleets are multiples of it.
PACK = 2


@contextlib.contextmanager
def compilations():
    """Collects the name of every program that the backend compiles meanwhile."""
    names = []

    def listen(event, _, **about):
        if event == BACKEND_COMPILE:
            names.append(about.get("fun_name", "?"))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield names
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def of_own_shape(model, kernels, num_models=2 * PACK):
    """A fleet that shares no program with other tests: its batches are of a size of their own."""
    c = fleet_spec(model, num_models, epochs=3)
    recipe = dataclasses.replace(c.learner.recipe, batch_size=15)
    return dataclasses.replace(
        c, learner=dataclasses.replace(c.learner, recipe=recipe, kernels=choose(kernels))
    )


def worked(c, chunk_seconds=9.0):
    """Trains a fleet in packs on two devices, and asks it."""
    execution = Execution(
        num_devices=2, models_per_call=PACK, models_per_vmap=1, chunk_seconds=chunk_seconds
    )
    trainer = Trainer(c, execution, lambda _: None, StopSignal())
    rows = np.tile(np.arange(30, dtype=np.int32), (c.num_models, 1))
    return trainer.query(trainer.run(), rows, signal_fn(3))


def of_another_seed(c):
    keys = [identity_key(7, "test", Role.SHADOW, i) for i in range(c.num_models)]
    # Other records, and not as many of them.
    members = Members(c.members.indices[:, ::-1].copy(), c.members.size - 16)
    return dataclasses.replace(c, members=members, key_data=stack_key_data(keys))


def of_another_task(c):
    rng = np.random.default_rng(11)
    features = rng.permuted(c.features, axis=0)
    return dataclasses.replace(
        c, name="another", features=features, labels=rng.permutation(c.labels)
    )


@pytest.mark.parametrize("kind", ["xla", "host"])
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_chunks_seeds_packs_and_tasks_of_equal_shape_share_programs(model, kind, request):
    if kind == "host":
        request.getfixturevalue("kernels")
    c = of_own_shape(model, kind)
    before = fleet_lib.TRACES.copy()
    with compilations() as names:
        first = worked(c)
    assert dict(fleet_lib.TRACES - before) == {"init": 1, "fit": 1, "query": 1}
    assert len(names) >= 3
    after = fleet_lib.TRACES.copy()
    with compilations() as names:
        again = worked(c, chunk_seconds=0)
        others = [worked(of_another_seed(c)), worked(of_another_task(c))]
        worked(of_own_shape(model, kind, 3 * PACK))
    assert names == []
    assert fleet_lib.TRACES - after == {}
    # It was other work all the same.
    jax.tree.map(np.testing.assert_array_equal, again, first)
    for other in others:
        assert not np.array_equal(other["top"], first["top"])


_PROCESS = """
import collections, json, pathlib, sys
import jax
import numpy as np

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
events = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: events.update([event]))

import test_recompilation as own
from jleaks.models.cpu_kernels import library

answers = []
for model, kernels in zip(sys.argv[2::2], sys.argv[3::2], strict=True):
    if kernels == "host":
        library.load(pathlib.Path("~/.cache/jleaks/kernels").expanduser())
    found = own.worked(own.of_own_shape(model, kernels, own.PACK))
    answers.append(float(np.abs(found["top"]).sum()))
print(json.dumps({"answers": answers, "events": events}))
"""


def test_the_next_process_compiles_nothing(tmp_path, request):
    work = ["mlp", "xla"]
    if any(map(shutil.which, library.COMPILERS)):
        # Built before, by this process.
        request.getfixturevalue("kernels")
        work += ["cnn", "host"]

    def process():
        """Trains fleets; returns what they answered, requests to compile, programs found and kept."""
        done = subprocess.run(
            [sys.executable, "-c", _PROCESS, str(tmp_path), *work],
            env={
                **os.environ,
                "PYTHONPATH": python_path(__file__),
            },
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        events = collections.Counter(found["events"])
        names = ("compile_requests_use_cache", "cache_hits", "cache_misses")
        return found["answers"], *(events[f"/jax/compilation_cache/{name}"] for name in names)

    answers, requests, hits, misses = process()
    # Programs to start, train and query of each fleet, and small ones.
    assert misses >= 3 * len(work) // 2
    assert requests == hits + misses
    assert process() == (answers, requests, requests, 0)
