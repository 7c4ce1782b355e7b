"""Randomness by identity: a key depends on what it is for, never on when or beside what it is drawn.

A model's key is folded from its seed, its task, its role and its index within that role.  Hence a
model's weights are the same whether it is trained alone or among thousands, today or after a resume,
and adding a task or a seed to a plan changes no other model.
"""

import enum
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from jleaks.errors import InputError
from jleaks.fields import NUM_SEEDS

Key = jax.Array

# Numbers come from this generator whatever JAX's default is set to.
_GENERATOR = "threefry2x32"


class Role(enum.IntEnum):
    """What a key is for.  The values are part of every published number: never renumber."""

    SPLIT = 0
    TARGET = 1
    SHADOW = 2
    ATTACK = 3
    RANDOM_POINTS = 4
    SYNTHETIC = 5
    BANK_SPLIT = 6
    BANK_MODEL = 7
    PERTURBATION = 8
    QUANTILE = 9
    NULL = 10
    SHADOW_SPLIT = 11
    STACK_SPLIT = 12
    REFERENCES = 13
    CANARIES = 14
    CASCADE = 15
    USAGE = 16
    IMITATOR = 17


class Stream(enum.IntEnum):
    """The independent uses of one model's key."""

    INIT = 0
    SHUFFLE = 1
    DROPOUT = 2
    AUGMENTATION = 3
    NETWORK = 4
    SAMPLE = 5
    NOISE = 6
    MIXUP = 7
    PRELIMINARY = 8
    ADVERSARY = 9
    ADVERSARY_BATCH = 10
    CANARY_GRADIENT = 11
    CANARY_SAMPLE = 12


def identity_key(seed: int, task: str, role: Role, index: int = 0) -> Key:
    """Returns the key of one thing: `seed`, `task`, `role` and its `index` within the role.

    The task enters by the CRC-32 of its name, so the order of tasks in a plan does not matter.

    Raises:
      InputError: the seed is not in 0..2^32 - 1; others would be taken modulo 2^32 without a word.
    """
    if problem := seed_problem(seed):
        raise InputError(problem)
    # What `jax.random.key` makes of a seed, but for `jax_random_seed_offset`.
    key = wrap(jnp.asarray(np.array([0, seed], np.uint32)))
    for part in (zlib.crc32(task.encode()), int(role), index):
        key = jax.random.fold_in(key, part)
    return key


def seed_problem(seed: int, name: str = "seed") -> str | None:
    """Returns one sentence about a seed that cannot be used, or None."""
    if (
        isinstance(seed, bool)
        or not isinstance(seed, (int, np.integer))
        or not 0 <= seed < NUM_SEEDS
    ):
        return f"{name} is {seed!r}, expected a whole number from 0 to {NUM_SEEDS - 1}"
    return None


def wrap(key_data: jax.Array) -> Key:
    """Returns the key of its data [..., 2], as `jax.random.key_data` has it."""
    return jax.random.wrap_key_data(key_data, impl=_GENERATOR)


def identity_generator(seed: int, task: str, role: Role, index: int = 0) -> np.random.Generator:
    """Returns a host-side generator with the identity of `identity_key`."""
    key_data = jax.random.key_data(identity_key(seed, task, role, index))
    return np.random.default_rng(np.asarray(key_data))
