"""Sorting floats by their bits against numpy."""

import jax.numpy as jnp
import numpy as np

from jleaks.metrics.sorting import ascending


def test_floats_are_sorted_along_the_last_axis(rng):
    values = rng.normal(size=(3, 4, 101)).astype(np.float32) * 10.0 ** rng.integers(-44, 38, 101)
    values = np.round(values.astype(np.float32), 1)
    values[0, 0, :6] = [np.inf, -np.inf, np.finfo(np.float32).max, np.finfo(np.float32).min, 0, -1]
    found = ascending(jnp.asarray(values))
    np.testing.assert_array_equal(found, np.sort(values, axis=-1))


def test_both_zeros_are_one_value():
    found = np.asarray(ascending(jnp.asarray([0.0, -0.0, -1.0, 0.0, -0.0, 1.0], jnp.float32)))
    np.testing.assert_array_equal(found, [-1, 0, 0, 0, 0, 1])
    assert not np.signbit(found[1:]).any()
