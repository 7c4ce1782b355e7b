"""Coarser answers: against NumPy, one compiled call for all strengths, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jleaks.defences.defence import DEFENCES, get_defence
from jleaks.errors import InputError


def softmax(z):
    p = np.exp(z.astype(float) - z.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def coarse(name, strength, p):
    """Posteriors in float64, one record at a time."""
    found = []
    for row in p:
        if name == "temperature":
            powered = row ** (1 / strength)
            found.append(powered / powered.sum())
        elif name == "rounding":
            rounded = np.round(row, int(strength))
            total = rounded.sum()
            found.append(rounded / total if total else np.full(len(row), 1 / len(row)))
        else:
            order = np.argsort(-row, kind="stable")
            kept, rest = order[: int(strength)], order[int(strength) :]
            out = row.copy()
            if len(rest):
                out[rest] = row[rest].sum() / len(rest)
            assert len(kept)
            found.append(out)
    return np.array(found)


@pytest.mark.parametrize(
    ("name", "strengths"),
    [
        ("temperature", (0.5, 1.0, 4.0)),
        ("rounding", (0.0, 1.0, 3.0)),
        ("top_k", (1.0, 3.0, 7.0, 20.0)),
    ],
)
def test_answers_are_numpys_and_strengths_are_data(name, strengths, rng):
    z = rng.normal(0, 3, (40, 7)).astype(np.float32)
    # Ties of posteriors: the first classes count as the larger.
    z[0] = 1.0
    family = DEFENCES.find(name)
    fn = jax.jit(jax.vmap(family.apply, in_axes=(0, None)))
    found = np.asarray(jax.nn.softmax(fn(np.array(strengths, np.float32), z)))
    assert fn._cache_size() == 1
    for strength, answers in zip(strengths, found, strict=True):
        expected = coarse(name, strength, softmax(z))
        np.testing.assert_allclose(answers, expected, atol=2e-6)
        np.testing.assert_allclose(
            jax.nn.softmax(get_defence((name, strength)).answer(jnp.asarray(z))),
            expected,
            atol=2e-6,
        )
        assert np.isfinite(np.asarray(family.apply(jnp.float32(strength), jnp.asarray(z)))).all()
        if name != "rounding":
            assert (answers[1:].argmax(1) == z[1:].argmax(1)).all()


def test_neutral_strengths_change_nothing(rng):
    z = jnp.asarray(rng.normal(0, 3, (10, 7)), jnp.float32)
    for text in ("temperature:1", "top_k:7", "top_k:100"):
        np.testing.assert_array_equal(get_defence(text).answer(z), z)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("temperature:0", "temperature is 0.0, expected a number from 1e-3 to 1e3"),
        ("rounding:7", "digits is 7.0, expected a number from 0 to 6"),
        ("top_k:0", "classes is 0.0, expected a number from 1 to 1e6"),
        ("top_k:1,2", "expected a number from 1"),
    ],
)
def test_bad_strengths_are_one_line(text, message):
    with pytest.raises(InputError, match=message):
        get_defence(text)
