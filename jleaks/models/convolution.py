"""Products, convolution and pooling in the formats a plan names and the forms each backend runs fast.

XLA:CPU runs a native convolution's weight gradient inside a loop about a hundred times slower than
outside, and a convolution under `vmap` (a grouped one) about ten times slower.  Matrix products have
neither problem, so on CPU convolutions are written as products:

* `im2col`: every window becomes a row; one product.  Best where windows are short (few channels).
* `rows`: windows are unrolled along the width only; one product yields the contribution of all kernel
  rows, which are then shifted and added.  A fifth of im2col's memory for a 5x5 kernel.  With strides it
  computes the rows that are then skipped, too.

On GPUs windows as rows are slow to build, piece by piece of few channels, and no length of theirs is a
multiple of what matrix units take:

* `columns`: where windows are short every one becomes a column, so that positions lie side by side;
  elsewhere `rows`.

All forms compute the same sums in another order (tests hold them to 1e-5 of each other).

A narrow format concerns the operands of products alone: both are rounded to it (to nearest, ties to even),
their products are exact in float32 and are added up there.  Products are those of a layer (inputs,
kernel) and of its gradient, which has two: rounded cotangent times rounded kernel, and rounded inputs
times rounded cotangent.  Rounding itself has derivative one.  Everything else stays float32: sums, biases,
activations, normalisation, losses, gradients, parameters, the optimiser's state.  Backends without such
units, CPUs among them, compute the same products in float32: up to the order of sums the numbers are the
same.  TF32 operands are rounded before they reach a GPU's units, too: some kernels there cut bits off
where others round.  A TPU multiplies TF32 operands in three bfloat16 passes, which leave out the product of
the two remainders (2^-16 of a product at most).
"""

import functools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jleaks.arrays import AnyArray
from jleaks.fields import Form

Padding = Literal["SAME", "VALID"] | Sequence[tuple[int, int]]
# Formats that operands of products are rounded to, with their bits of exponent and of mantissa.
Narrow = Literal["tensorfloat32", "bfloat16"]
_BITS: dict[Narrow, tuple[int, int]] = {"tensorfloat32": (8, 10), "bfloat16": (8, 7)}
# Of matrix products; None for the backend's fast path.  Those are also jax.lax's names of what multiplies
# such operands exactly.
Precision = Literal["float32"] | Narrow | None


class Rounded(NamedTuple):
    """A kernel whose numbers are of the narrow format already: what takes it does not round it again.

    On an accelerator rounding is a pass over all weights; the optimiser's step, which has them at hand, can
    do it on the way (`jleaks.training.step.prepared`).
    """

    value: Array


# `products` picks im2col up to this many input channels: measured on XLA:CPU for 5x5 kernels, stride 1.
_IM2COL_CHANNELS = 8


def rounded(x: Float[AnyArray, "..."], narrow: Narrow) -> Float[Array, "..."]:
    """Returns the nearest numbers of a narrow format, as float32; ties go to even."""
    # A cast there and back again is one that XLA may leave out.
    return lax.reduce_precision(jnp.asarray(x), *_BITS[narrow])


def multiply(
    x: Float[AnyArray, "rows inputs"] | Float[AnyArray, "inputs rows"],
    kernel: Float[AnyArray, "inputs features"] | Rounded,
    precision: Precision = None,
    stands: bool = False,
) -> Float[Array, "rows features"]:
    """Returns the matrix product of two float32 arrays, in float32.

    Args:
      x: Rows; its transpose where it `stands`.
      kernel: Columns.
      precision: Of the operands, here and in the gradient.
      stands: Whether each row of the product's first operand is a column of `x`.
    """
    x, (kernel, ready) = jnp.asarray(x), _unwrapped(kernel)
    if precision is None or precision == "float32":
        return jnp.matmul(x.T if stands else x, kernel, precision=precision)
    return _narrow_product(precision, stands, ready, x, kernel)


def _unwrapped(kernel: AnyArray | Rounded) -> tuple[Array, bool]:
    """Returns a kernel's numbers, and whether they are rounded."""
    if isinstance(kernel, Rounded):
        return kernel.value, True
    return jnp.asarray(kernel), False


def _product(narrow: Narrow, x: Array, kernel: Array) -> Array:
    """Multiplies operands that are of the format already."""
    if narrow == "bfloat16":
        # Half the bytes where there are units for it; exact, for the operands fit.
        x, kernel = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
        return jnp.matmul(x, kernel, preferred_element_type=jnp.float32)
    return jnp.matmul(x, kernel, precision=narrow)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _narrow_product(narrow: Narrow, stands: bool, ready: bool, x: Array, kernel: Array) -> Array:
    return _narrow_product_forward(narrow, stands, ready, x, kernel)[0]


def _narrow_product_forward(
    narrow: Narrow, stands: bool, ready: bool, x: Array, kernel: Array
) -> tuple[Array, tuple[Array, Array]]:
    # Rounded as it lies: a transpose next to a product costs nothing.
    x, kernel = rounded(x, narrow), kernel if ready else rounded(kernel, narrow)
    return _product(narrow, x.T if stands else x, kernel), (x, kernel)


def _narrow_product_backward(
    narrow: Narrow, stands: bool, ready: bool, operands: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    del ready  # Rounding has derivative one.
    (x, kernel), dy = operands, rounded(dy, narrow)
    dx = _product(narrow, dy, kernel.T)
    return dx.T if stands else dx, _product(narrow, x if stands else x.T, dy)


_narrow_product.defvjp(_narrow_product_forward, _narrow_product_backward)


def _native(x: Array, kernel: Array, padding: Padding, strides: int, precision: Precision) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (strides, strides),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=precision,
    )


# Operands stay float32 even where they are rounded to bfloat16: cuDNN has no kernels for most bfloat16
# convolutions with sums in float32, and units for TF32 multiply such operands exactly as well.
@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _narrow_native(
    padding: Padding, strides: int, narrow: Narrow, x: Array, kernel: Array
) -> Array:
    return _native(rounded(x, narrow), rounded(kernel, narrow), padding, strides, narrow)


def _narrow_native_forward(
    padding: Padding, strides: int, narrow: Narrow, x: Array, kernel: Array
) -> tuple[Array, tuple[Array, Array]]:
    operands = rounded(x, narrow), rounded(kernel, narrow)
    return _native(*operands, padding, strides, narrow), operands


def _narrow_native_backward(
    padding: Padding, strides: int, narrow: Narrow, operands: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    # The convolution is linear in either operand: its own gradient has the two products and no other.
    _, pullback_fn = jax.vjp(lambda x, k: _native(x, k, padding, strides, narrow), *operands)
    return pullback_fn(rounded(dy, narrow))


_narrow_native.defvjp(_narrow_native_forward, _narrow_native_backward)


def convolve(
    x: Float[AnyArray, "batch height width channels"],
    kernel: Float[AnyArray, "kernel_height kernel_width channels features"] | Rounded,
    padding: Padding,
    form: Form,
    precision: Precision = None,
    strides: int = 1,
) -> Float[Array, "batch out_height out_width features"]:
    """Cross-correlates `x` with `kernel`.

    Args:
      x: Images, NHWC.
      kernel: HWIO; in form `native` rounded again where it is rounded already, which changes nothing.
      padding: "SAME" (zeros; every `strides`-th position has a value, and where the border cannot be
        split evenly its larger part is below and to the right), "VALID", or zeros above and below, left
        and right.
      form: How to compute it; `products` chooses between `im2col` and `rows`, `columns` between those
        and `rows`.
      precision: Of the products' operands, here and in the gradient.
      strides: Rows and columns from one window to the next.

    Raises:
      ValueError: there is no such form.
    """
    x, (kernel, ready) = jnp.asarray(x), _unwrapped(kernel)
    kh, kw, channels, features = kernel.shape
    wrapped_fn = Rounded if ready else jnp.asarray
    if form == "native":
        if precision is None or precision == "float32":
            return _native(x, kernel, padding, strides, precision)
        return _narrow_native(padding, strides, precision, x, kernel)
    if form in ("products", "columns"):
        short = channels <= _IM2COL_CHANNELS or kh == 1 or strides > 1
        if not short:
            form = "rows"
        elif form == "products":
            form = "im2col"
    border = padding
    if isinstance(padding, str):
        border = lax.padtype_to_pads(x.shape[1:3], (kh, kw), (strides, strides), padding)
    x = jnp.pad(x, ((0, 0), *border, (0, 0)))
    batch, height, width, _ = x.shape
    out_h, out_w = (height - kh) // strides + 1, (width - kw) // strides + 1
    # Of all windows' first rows (columns), shifted by i: where they are.
    rows = [slice(i, i + (out_h - 1) * strides + 1, strides) for i in range(kh)]
    columns = [slice(j, j + (out_w - 1) * strides + 1, strides) for j in range(kw)]
    if form == "columns":
        planes = jnp.moveaxis(x, -1, 0)
        # In two steps: what takes one piece of few is faster than what takes one of many.
        strips = jnp.concatenate([planes[..., j] for j in columns])
        windows = jnp.concatenate([strips[:, :, i] for i in rows])
        flat = windows.reshape(kh * kw * channels, -1)
        out = multiply(flat, wrapped_fn(kernel.reshape(-1, features)), precision, stands=True)
        return out.reshape(batch, out_h, out_w, features)
    if form == "im2col":
        windows = jnp.concatenate([x[:, i, j] for i in rows for j in columns], axis=-1)
        flat = windows.reshape(-1, kh * kw * channels)
        out = multiply(flat, wrapped_fn(kernel.reshape(-1, features)), precision)
        return out.reshape(batch, out_h, out_w, features)
    if form == "rows":
        strips = jnp.concatenate([x[:, :, j] for j in columns], axis=-1)
        flat = strips.reshape(-1, kw * channels)
        by_row = kernel.transpose(1, 2, 0, 3).reshape(kw * channels, kh * features)
        out = multiply(flat, wrapped_fn(by_row), precision)
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
