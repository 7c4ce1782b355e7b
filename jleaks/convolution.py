"""Convolution and pooling in the forms that each backend runs fast.

XLA:CPU runs a native convolution's weight gradient inside a loop about a hundred times slower than
outside, and a convolution under `vmap` (a grouped one) about ten times slower.  Matrix products have
neither problem, so on CPU convolutions are written as products:

* `im2col`: every window becomes a row; one product.  Best where windows are short (few channels).
* `rows`: windows are unrolled along the width only; one product yields the contribution of all kernel
  rows, which are then shifted and added.  A fifth of im2col's memory for a 5x5 kernel.

All forms compute the same sums in another order (tests hold them to 1e-5 of each other).
"""

from typing import Literal

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jleaks.arrays import AnyArray

Form = Literal["native", "im2col", "rows", "products"]
Padding = Literal["SAME", "VALID"]
# Of matrix products, by jax.lax's names; None for the backend's fast path.
Precision = Literal["float32"] | None

# `products` picks im2col up to this many input channels: measured on XLA:CPU for 5x5 kernels.
_IM2COL_CHANNELS = 8


def convolve(
    x: Float[AnyArray, "batch height width channels"],
    kernel: Float[AnyArray, "kernel_height kernel_width channels features"],
    padding: Padding,
    form: Form,
    precision: Precision = None,
) -> Float[Array, "batch out_height out_width features"]:
    """Cross-correlates `x` with `kernel`, stride 1.

    Args:
      x: Images, NHWC.
      kernel: HWIO, odd height and width.
      padding: "SAME" (zeros) or "VALID".
      form: How to compute it; `products` chooses between `im2col` and `rows` by channel count.
      precision: Of the products, as in `jax.lax`.

    Raises:
      ValueError: there is no such form.
    """
    kh, kw, channels, features = kernel.shape
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    if form == "native":
        return lax.conv_general_dilated(
            x,
            kernel,
            (1, 1),
            padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=precision,
        )
    if form == "products":
        form = "im2col" if channels <= _IM2COL_CHANNELS else "rows"
    if padding == "SAME":
        x = jnp.pad(x, ((0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0)))
    batch, height, width, _ = x.shape
    out_h, out_w = height - kh + 1, width - kw + 1
    if form == "im2col":
        windows = jnp.concatenate(
            [x[:, i : i + out_h, j : j + out_w] for i in range(kh) for j in range(kw)], axis=-1
        )
        flat = windows.reshape(-1, kh * kw * channels)
        out = jnp.matmul(flat, kernel.reshape(-1, features), precision=precision)
        return out.reshape(batch, out_h, out_w, features)
    if form == "rows":
        strips = jnp.concatenate([x[:, :, j : j + out_w] for j in range(kw)], axis=-1)
        flat = strips.reshape(-1, kw * channels)
        by_row = kernel.transpose(1, 2, 0, 3).reshape(kw * channels, kh * features)
        out = jnp.matmul(flat, by_row, precision=precision)
        out = out.reshape(batch, height, out_w, kh, features)
        total = out[:, :out_h, :, 0]
        for i in range(1, kh):
            total = total + out[:, i : i + out_h, :, i]
        return total
    raise ValueError(f"no convolution form {form!r}")


def max_pool(
    x: Float[AnyArray, "batch height width channels"],
) -> Float[Array, "batch half_height half_width channels"]:
    """Maximum over disjoint 2x2 windows; an odd last row or column is dropped.

    Written as a reshape because the gradient of `lax.reduce_window` (select-and-scatter) is slow on
    CPU.  Tied maxima share the gradient equally.
    """
    batch, height, width, channels = x.shape
    x = jnp.asarray(x)[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))
