"""JAX's settings that change numbers, or that nothing works with, are refused in one line."""

import os

import jax
import numpy as np
import pytest
from fleets import fleet_spec

from jleaks import settings
from jleaks.errors import InputError
from jleaks.keys import Role, identity_key
from jleaks.training.execution import Execution
from jleaks.training.fleet import make_mesh
from jleaks.training.packing import make_learner
from jleaks.training.preemption import StopSignal
from jleaks.training.recipe import Recipe
from jleaks.training.trainer import Trainer

CHANGED = {
    "JAX_THREEFRY_PARTITIONABLE": jax.threefry_partitionable(False),
    "JAX_ENABLE_X64": jax.enable_x64(True),
    "JAX_DEFAULT_MATMUL_PRECISION": jax.default_matmul_precision("highest"),
    "JAX_DISABLE_JIT": jax.disable_jit(True),
    "JAX_NUMPY_DTYPE_PROMOTION": jax.numpy_dtype_promotion("strict"),
    "JAX_NUMPY_RANK_PROMOTION": jax.numpy_rank_promotion("raise"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_what_changes_numbers_is_refused_by_name(name):
    with CHANGED[name]:
        for enter in (
            settings.check,
            make_mesh,
            lambda: make_learner(Recipe(), "binary", 3, Execution()),
            lambda: Trainer(fleet_spec("mlp", 1), Execution(), lambda _: None, StopSignal()),
        ):
            with pytest.raises(InputError, match=f"{name} is .*; leave it at its"):
                enter()
    settings.check()


def test_the_settings_are_there():
    """One that a later JAX no longer has would be checked in vain."""
    missing = [name for name in settings.EXPECTED if name not in jax.config.values]
    assert not missing


def test_keys_have_no_offset():
    usual = np.asarray(jax.random.key_data(identity_key(7, "adult", Role.TARGET)))
    before = jax.config.jax_random_seed_offset
    jax.config.update("jax_random_seed_offset", 5)
    try:
        found = np.asarray(jax.random.key_data(identity_key(7, "adult", Role.TARGET)))
    finally:
        jax.config.update("jax_random_seed_offset", before)
    np.testing.assert_array_equal(found, usual)


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
def test_a_seed_is_what_jax_makes_of_it(seed):
    """Keys are those of `jax.random.key`, folded; JAX has the first 32 bits of such a key at zero."""
    expected = jax.random.key(seed, impl="threefry2x32")
    for part in (0x1A2EF281, 1, 3):  # the CRC-32 of "adult"
        expected = jax.random.fold_in(expected, part)
    found = identity_key(seed, "adult", Role.TARGET, 3)
    np.testing.assert_array_equal(jax.random.key_data(found), jax.random.key_data(expected))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("JAX_ENABLE_X64", "1", "JAX_ENABLE_X64 is True, expected False"),
        ("JAX_USE_SHARDY_PARTITIONER", "0", "JAX_USE_SHARDY_PARTITIONER is False, expected True"),
        (
            "XLA_FLAGS",
            "--xla_cpu_enable_fast_math=true",
            "which changes numbers: leave fast_math=true out",
        ),
        ("JAX_PLATFORMS", "nosuch", "JAX has no devices (Unable to initialize backend 'nosuch'"),
        ("JAX_PLATFORMS", "cuda", "JAX_PLATFORMS is cuda, expected cpu"),
    ],
)
def test_a_launcher_says_so_in_one_line(launch, tmp_path, name, value, message):
    if value == "cuda" and os.path.exists("/dev/nvidia0"):
        pytest.skip("there is one")
    flags = "--tasks=location", f"--workdir={tmp_path / 'run'}"
    done = launch("launch.sweep", *flags, env={**os.environ, name: value})
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not (tmp_path / "run").exists()
