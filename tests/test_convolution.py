"""Every form of the convolution against lax's own; pooling against a loop."""

import jax
import numpy as np
import pytest

from jleaks.convolution import convolve, max_pool


@pytest.mark.parametrize("form", ["im2col", "rows", "products"])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("channels", [1, 3, 32])
def test_forms_agree_in_value_and_gradient(rng, form, padding, channels):
    x = rng.normal(size=(2, 9, 11, channels)).astype(np.float32)
    kernel = rng.normal(size=(5, 5, channels, 6)).astype(np.float32)

    def loss(form):
        return lambda x, kernel: (convolve(x, kernel, padding, form) ** 2).mean()

    ours = convolve(x, kernel, padding, form)
    np.testing.assert_allclose(ours, convolve(x, kernel, padding, "native"), rtol=1e-4, atol=1e-4)
    for a, b in zip(
        jax.grad(loss(form), (0, 1))(x, kernel),
        jax.grad(loss("native"), (0, 1))(x, kernel),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_max_pool_drops_an_odd_edge(rng):
    x = rng.normal(size=(2, 5, 6, 3)).astype(np.float32)
    found = max_pool(x)
    assert found.shape == (2, 2, 3, 3)
    for i in range(2):
        for j in range(3):
            window = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            np.testing.assert_array_equal(found[:, i, j], window.max((1, 2)))


def test_unknown_form():
    with pytest.raises(ValueError, match="no convolution form 'fft'"):
        convolve(np.zeros((1, 5, 5, 1)), np.zeros((5, 5, 1, 1)), "SAME", "fft")
