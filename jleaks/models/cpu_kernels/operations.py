"""The kernels as JAX operations: differentiable, mappable, each with the shapes of what it replaces.

Only for CPU devices and after `jleaks.models.cpu_kernels.library.load`.  Single-threaded: a fleet has one
host device per core.  Leading axes that `vmap` adds are a loop inside the kernel.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num, UInt32

from jleaks.arrays import AnyArray
from jleaks.metrics import bank_metrics


def _call(
    name: str, results: Any, *args: Any, aliases: dict[int, int] | None = None, **how: Any
) -> Any:
    call = jax.ffi.ffi_call(
        f"jleaks_{name}",
        results,
        vmap_method="broadcast_all",
        input_output_aliases=aliases,
    )
    return call(*args, **how)


def _floats(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class _Wanted:
    """Whether anybody asks for the gradient of a layer's inputs: in a network's first layer nobody does.

    A kernel that need not answer it gets nothing to write it to.
    """

    inputs: bool

    def like(self, x: Array) -> jax.ShapeDtypeStruct:
        return _floats(*(x.shape if self.inputs else (0,)))

    def result(self, dx: Array) -> Array | None:
        return dx if self.inputs else None


def _dense_array(cotangent: Any) -> Array:
    """Returns a cotangent that may be a symbolic zero as an array."""
    if isinstance(cotangent, jax.custom_derivatives.SymbolicZero):
        return jnp.zeros(cotangent.shape, cotangent.dtype)
    return cotangent


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def dense(
    x: Num[Array, "batch inputs"],
    kernel: Float[Array, "inputs outputs"],
    bias: Float[Array, "outputs"],
    tanh: bool,
) -> Float[Array, "batch outputs"]:
    """Returns `x @ kernel + bias`, or its tanh.

    Args:
      x: float32, or uint8 records as they are stored.
      kernel: Weights.
      bias: Of every output.
      tanh: Whether the layer ends with it.
    """
    y = _floats(x.shape[0], kernel.shape[1])
    return _call(_of("dense_forward", x), y, x, kernel, bias, tanh=tanh)


def _of(name: str, x: Array) -> str:
    """Names the kernel for the type of a layer's inputs."""
    return f"{name}_bytes" if x.dtype == jnp.uint8 else name


def _dense_forward(x: Any, kernel: Any, bias: Any, tanh: bool) -> tuple[Array, Any]:
    y = dense(x.value, kernel.value, bias.value, tanh)
    return y, (x.value, kernel.value, y, _Wanted(x.perturbed))


def _dense_backward(tanh: bool, kept: Any, dy: Any) -> tuple[Any, Array, Array]:
    x, kernel, y, wanted = kept
    dw, dbias, dx = _call(
        _of("dense_gradients", x),
        (_floats(*kernel.shape), _floats(kernel.shape[1]), wanted.like(x)),
        x, kernel, y, _dense_array(dy), tanh=tanh,
    )  # fmt: skip
    return wanted.result(dx), dw, dbias


dense.defvjp(_dense_forward, _dense_backward, symbolic_zeros=True)


def _pooled(x: Array, kernel: Array, border: int) -> tuple[int, ...]:
    batch, height, width, _ = x.shape
    size, _, _, features = kernel.shape
    grown = 2 * border - size + 1
    return batch, (height + grown) // 2, (width + grown) // 2, features


def _convolve(x: Array, kernel: Array, bias: Array, border: int) -> tuple[Array, Array]:
    shape = _pooled(x, kernel, border)
    hits = jax.ShapeDtypeStruct(shape, jnp.uint8)
    return _call("convolution_forward", (_floats(*shape), hits), x, kernel, bias, border=border)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def convolve_relu_pool(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "size size channels features"],
    bias: Float[Array, "features"],
    border: int,
) -> Float[Array, "batch half_height half_width features"]:
    """Returns the 2x2 max-pool of the ReLU of a convolution of stride 1 with bias.

    As `jleaks.models.convolution.max_pool`: an odd last row or column is dropped, and tied maxima share the
    gradient equally.

    Args:
      x: Images.
      kernel: Square.
      bias: Of every feature.
      border: Zeros on every side of an image.
    """
    return _convolve(x, kernel, bias, border)[0]


def _convolve_forward(x: Any, kernel: Any, bias: Any, border: int) -> tuple[Array, Any]:
    y, hits = _convolve(x.value, kernel.value, bias.value, border)
    return y, (x.value, kernel.value, hits, _Wanted(x.perturbed))


def _convolve_backward(
    border: int, kept: Any, dy: Any, apart: bool = False
) -> tuple[Any, Array, Array]:
    x, kernel, hits, wanted = kept
    each = x.shape[:1] if apart else ()
    dkernel, dbias, dx = _call(
        "convolution_gradients",
        (_floats(*each, *kernel.shape), _floats(*each, kernel.shape[3]), wanted.like(x)),
        x, kernel, hits, _dense_array(dy), border=border, apart=apart,
    )  # fmt: skip
    return wanted.result(dx), dkernel, dbias


convolve_relu_pool.defvjp(_convolve_forward, _convolve_backward, symbolic_zeros=True)


def convolve_apart(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "size size channels features"],
    bias: Float[Array, "features"],
    border: int,
    first: bool,
) -> tuple[
    Float[Array, "batch half_height half_width features"],
    Callable[[Array], tuple[Array | None, Array, Array]],
]:
    """Returns what `convolve_relu_pool` does, and the gradients of each image.

    Args:
      x: Images.
      kernel: Square.
      bias: Of every feature.
      border: Zeros on every side of an image.
      first: Whether nobody asks for the gradient in x.

    Returns:
      The answers, and what makes of a gradient in them those in x (None if nobody asks), in the kernel,
      [batch, size, size, channels, features], and in the bias, [batch, features].
    """
    y, hits = _convolve(x, kernel, bias, border)
    kept = x, kernel, hits, _Wanted(not first)
    return y, functools.partial(_convolve_backward, border, kept, apart=True)


@jax.custom_vjp
def cross_entropy(
    logits: Float[Array, "batch classes"], labels: Int[Array, "batch"]
) -> Float[Array, "batch"]:
    """Returns minus the log of the softmax at each label; labels outside count as the nearest class."""
    return _cross_entropy(logits, labels)[0]


def _cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    results = _floats(logits.shape[0]), _floats(*logits.shape)
    return _call("cross_entropy", results, logits, labels)


def _cross_entropy_backward(kept: Array, dlosses: Array) -> tuple[Array, None]:
    return kept * dlosses[:, None], None


cross_entropy.defvjp(_cross_entropy, _cross_entropy_backward)


class Moments(NamedTuple):
    """What Adam changes of one array of parameters, all of one shape."""

    params: Float[Array, "..."]
    mean: Float[Array, "..."]
    square: Float[Array, "..."]


class Adam(NamedTuple):
    """One step of Adam (Kingma & Ba 2015, algorithm 1) for all arrays of a model.

    Attributes:
      scalars: The step size (zero: nothing changes at all), 1 / (1 - b1^t) and 1 / (1 - b2^t).
      b1: Decay of the mean.
      b2: Decay of the squares.
      eps: Added to their root.
    """

    scalars: Float[Array, "3"]
    b1: float
    b2: float
    eps: float

    def constants(self, decay: float) -> dict[str, np.float64]:
        """Returns what a kernel is compiled for; `decay` times the parameters is added to the gradient."""
        named = {"b1": self.b1, "b2": self.b2, "eps": self.eps, "decay": decay}
        return {name: np.float64(value) for name, value in named.items()}


def adam(now: Moments, gradient: Float[Array, "..."], how: Adam, decay: float) -> Moments:
    """Takes one step of Adam, in place where XLA can.

    Args:
      now: Parameters and moments before it.
      gradient: Of the loss.
      how: The step.
      decay: Added to the gradient, times the parameters.
    """
    found = _call(
        "adam",
        (_floats(*gradient.shape),) * 3,
        *now, gradient, how.scalars,
        aliases={0: 0, 1: 1, 2: 2},
        **how.constants(decay),
    )  # fmt: skip
    return Moments(*found)


def descend(
    layer: dict[str, Moments],
    x: Num[Array, "batch inputs"],
    y: Float[Array, "batch outputs"],
    dy: Float[Array, "batch outputs"],
    how: Adam,
    decay: float,
    tanh: bool,
    first: bool,
) -> tuple[dict[str, Moments], Float[Array, "batch inputs"] | None]:
    """Takes the step of Adam that the gradient of a layer asks for, in place where XLA can.

    The gradient of the weights is never written to memory.

    Args:
      layer: Parameters and moments before the step: of its `kernel` [inputs, outputs] and `bias` [outputs].
      x: What `dense` was called with.
      y: What it answered.
      dy: Gradient of the loss in y.
      how: The step.
      decay: Added to the gradient of the weights, times these.
      tanh: Whether the layer ends with it.
      first: Whether nobody asks for the gradient in x.

    Returns:
      The layer after the step, and the gradient of the loss in x, zero if the step size is.
    """
    wanted = _Wanted(not first)
    arrays = *layer["kernel"], *layer["bias"]
    *found, dx = _call(
        _of("dense_descent", x),
        (*(_floats(*a.shape) for a in arrays), wanted.like(x)),
        x, y, dy, how.scalars, *arrays,
        aliases={4 + i: i for i in range(6)},
        tanh=tanh,
        **how.constants(decay),
    )  # fmt: skip
    return {"kernel": Moments(*found[:3]), "bias": Moments(*found[3:])}, wanted.result(dx)


class Noise(NamedTuple):
    """What a private step makes of a sum of gradients.

    Attributes:
      bias: Key of the noise on the biases.
      weights: Key of that on the weights.
      scalars: Deviation of the noise, and what noisy sums are multiplied by.
    """

    bias: Array
    weights: Array
    scalars: Float[Array, "2"]


def descend_privately(
    layer: dict[str, Moments],
    x: Num[Array, "batch inputs"],
    dz: Float[Array, "batch outputs"],
    how: Adam,
    decay: float,
    noise: Noise,
) -> dict[str, Moments]:
    """Takes the step of Adam that a layer's noisy gradient asks for, in place where XLA can.

    Neither the gradient of the weights nor the noise is ever written to memory.

    Args:
      layer: As of `descend`.
      x: What the layer saw.
      dz: Clipped gradients of the records' losses in what it answered before its activation.
      how: The step.
      decay: Added to the gradient of the weights, times these.
      noise: What is added to the gradient.

    Returns:
      The layer after the step.
    """
    arrays = *layer["kernel"], *layer["bias"]
    keys = jnp.stack([jax.random.key_data(key) for key in (noise.bias, noise.weights)])
    found = _call(
        _of("dense_private_descent", x),
        tuple(_floats(*a.shape) for a in arrays),
        x, dz, keys, noise.scalars, how.scalars, *arrays,
        aliases={5 + i: i for i in range(6)},
        **how.constants(decay),
    )  # fmt: skip
    return {"kernel": Moments(*found[:3]), "bias": Moments(*found[3:])}


def normals(key: Array, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Returns `jax.random.normal(key, shape)`, but for the last bits, of what `bits` takes."""
    return _call("normals", _floats(*shape), jax.random.key_data(key))


def order(words: UInt32[Array, "n"]) -> Int[Array, "n"]:
    """Returns `jnp.argsort(words)`."""
    return _call("order", jax.ShapeDtypeStruct(words.shape, jnp.int32), words)


def ranks(
    row: Float[Array, "records"],
    inside: Int[Array, "most_members"],
    outside: Int[Array, "most_others"],
) -> tuple[Array, ...]:
    """Returns what `jleaks.metrics.roc.ranks` does, by one radix sort; NaN is behind all others."""
    records, most = row.shape[-1], outside.shape[-1]
    sizes = records, records, 2 * most + 1, most + 1, most + 1
    counts = (jax.ShapeDtypeStruct((size,), jnp.int32) for size in sizes)
    found: tuple[Array, ...] = _call("ranks", (_floats(most), *counts), row, inside, outside)
    return tuple(found)


def add_influence(
    sums: Float[Array, "attacks influences records"],
    row: bank_metrics.Measured,
    attack: Int[Array, ""],
    weight: Array,
) -> Float[Array, "attacks influences records"]:
    """Returns what `jleaks.metrics.bank_metrics.add_influence` does, in place where XLA can."""
    ranked = row.ranked
    numbers = ranked.positives, ranked.negatives, row.auc, row.threshold, weight
    return _call(
        "add_influence",
        _floats(*sums.shape),
        *(sums, attack[None], ranked.scores, ranked.is_member, ranked.is_other),
        *(ranked.above, ranked.let_in, ranked.up_to, row.nearest),
        jnp.stack([jnp.asarray(number, jnp.float32) for number in numbers]),
        aliases={0: 0},
    )


def standing(
    values: Float[Array, "n"], among: Bool[Array, "n"], queries: Float[Array, "q"]
) -> tuple[Int[Array, "q"], Int[Array, "q"]]:
    """Returns what `jleaks.metrics.roc.standing` does, by one radix sort."""
    row, first = (
        (values, 0) if queries is values else (jnp.concatenate([queries, values]), len(queries))
    )
    outside = jnp.where(among, first + jnp.arange(len(values), dtype=jnp.int32), len(row))
    _, above, let_in, *_ = ranks(row, jnp.empty(0, jnp.int32), outside)
    count = among.sum(dtype=jnp.int32)
    return count - let_in[: len(queries)], count - above[: len(queries)]


def bits(key: Array, shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """Returns `jax.random.bits(key, shape)` for a typed Threefry key and fewer than 2^32 words."""
    return _call("bits", jax.ShapeDtypeStruct(shape, jnp.uint32), jax.random.key_data(key))


def drop(key: Array, keep: Float[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Returns `jnp.where(jax.random.bernoulli(key, keep, shape), 1 / keep, 0)`, of what `bits` takes."""
    return _call("drop", _floats(*shape), jax.random.key_data(key), keep)


def gather(
    records: Num[AnyArray, "records ..."], rows: Int[Array, "batch"], floats: bool
) -> Num[Array, "batch ..."]:
    """Returns `records[rows]`, bytes as float32 if `floats`; rows outside count as the nearest."""
    name, dtype = "jleaks_gather", records.dtype
    if floats and dtype == jnp.uint8:
        name, dtype = "jleaks_gather_floats", jnp.float32
    out = jax.ShapeDtypeStruct((*rows.shape, *records.shape[1:]), dtype)
    # Records are shared: under vmap the models take turns.
    call = jax.ffi.ffi_call(name, out, vmap_method="sequential")
    return call(jnp.asarray(records), rows)
