"""Every form of the convolution against lax's own; pooling against a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from naive_convolution import naive_convolution

from jleaks.models.convolution import convolve, max_pool


@pytest.mark.parametrize("form", ["im2col", "rows", "products", "columns"])
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


@pytest.mark.parametrize("form", ["native", "im2col", "rows", "products", "columns"])
@pytest.mark.parametrize(("size", "strides"), [(3, 1), (3, 2), (1, 1), (1, 2), (5, 3)])
def test_strided_convolutions_equal_a_loop(rng, form, size, strides):
    for height, width, channels in ((8, 7, 2), (9, 10, 9)):
        x = rng.normal(size=(2, height, width, channels))
        kernel = rng.normal(size=(size, size, channels, 3))
        for padding in ("SAME", "VALID"):
            found = convolve(np.float32(x), np.float32(kernel), padding, form, strides=strides)
            expected = naive_convolution(x, kernel, padding, strides)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["im2col", "rows", "columns"])
def test_gradients_of_strided_forms_agree(rng, form):
    x = rng.normal(size=(2, 8, 7, 4)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, 4, 5)).astype(np.float32)

    def gradients(form):
        def loss(x, kernel):
            return (convolve(x, kernel, "SAME", form, strides=2) ** 2).mean()

        return jax.grad(loss, (0, 1))(x, kernel)

    for ours, theirs in zip(gradients(form), gradients("native"), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


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
        convolve(jnp.zeros((1, 5, 5, 1)), jnp.zeros((5, 5, 1, 1)), "SAME", "fft")
