"""Convolution and pooling in the forms that each backend runs fast.

XLA:CPU runs a native convolution's weight gradient inside a loop about a hundred times slower than
outside, and a convolution under `vmap` (a grouped one) about ten times slower.  Matrix products have
neither problem, so on CPU convolutions are written as products:

* `im2col`: every window becomes a row; one product.  Best where windows are short (few channels).
* `rows`: windows are unrolled along the width only; one product yields the contribution of all kernel
  rows, which are then shifted and added.  A fifth of im2col's memory for a 5x5 kernel.  With strides it
  computes the rows that are then skipped, too.

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

# `products` picks im2col up to this many input channels: measured on XLA:CPU for 5x5 kernels, stride 1.
_IM2COL_CHANNELS = 8


def convolve(
    x: Float[AnyArray, "batch height width channels"],
    kernel: Float[AnyArray, "kernel_height kernel_width channels features"],
    padding: Padding,
    form: Form,
    precision: Precision = None,
    strides: int = 1,
) -> Float[Array, "batch out_height out_width features"]:
    """Cross-correlates `x` with `kernel`.

    Args:
      x: Images, NHWC.
      kernel: HWIO, odd height and width.
      padding: "SAME" (zeros; every `strides`-th position has a value, and where the border cannot be
        split evenly its larger part is below and to the right) or "VALID".
      form: How to compute it; `products` chooses between `im2col` and `rows`.
      precision: Of the products, as in `jax.lax`.
      strides: Rows and columns from one window to the next.

    Raises:
      ValueError: there is no such form.
    """
    kh, kw, channels, features = kernel.shape
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    if form == "native":
        return lax.conv_general_dilated(
            x,
            kernel,
            (strides, strides),
            padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=precision,
        )
    if form == "products":
        short = channels <= _IM2COL_CHANNELS or kh == 1 or strides > 1
        form = "im2col" if short else "rows"
    border = lax.padtype_to_pads(x.shape[1:3], (kh, kw), (strides, strides), padding)
    x = jnp.pad(x, ((0, 0), *border, (0, 0)))
    batch, height, width, _ = x.shape
    out_h, out_w = (height - kh) // strides + 1, (width - kw) // strides + 1
    # Of all windows' first rows (columns), shifted by i: where they are.
    rows = [slice(i, i + (out_h - 1) * strides + 1, strides) for i in range(kh)]
    columns = [slice(j, j + (out_w - 1) * strides + 1, strides) for j in range(kw)]
    if form == "im2col":
        windows = jnp.concatenate([x[:, i, j] for i in rows for j in columns], axis=-1)
        flat = windows.reshape(-1, kh * kw * channels)
        out = jnp.matmul(flat, kernel.reshape(-1, features), precision=precision)
        return out.reshape(batch, out_h, out_w, features)
    if form == "rows":
        strips = jnp.concatenate([x[:, :, j] for j in columns], axis=-1)
        flat = strips.reshape(-1, kw * channels)
        by_row = kernel.transpose(1, 2, 0, 3).reshape(kw * channels, kh * features)
        out = jnp.matmul(flat, by_row, precision=precision)
        out = out.reshape(batch, height, out_w, kh, features)
        total = out[:, rows[0], :, 0]
        for i in range(1, kh):
            total = total + out[:, rows[i], :, i]
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
