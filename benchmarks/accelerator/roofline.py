"""What a training step must compute and move, and what a device can: FLOPs, bytes, measured peaks.

FLOPs are those of products alone (a multiplication and an addition are two); elementwise work is left out.
Bytes are the least that pass through a device's memory if every array is float32, is written and read as
a whole, and nothing but what one operation fuses stays in caches.  So both are lower bounds, and the
longer of FLOPs / peak and bytes / peak is the time below which no step of that size falls (the roofline of
Williams et al. 2009), unless the models' state stays in the cache.
"""

import functools
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jleaks.errors import InputError
from jleaks.fields import Precision
from jleaks.training.recipe import Recipe

_FLOAT = 4
# Arrays that the optimiser keeps of every parameter.
_MOMENTS = {"adam": 2, "sgd": 1}


class Layer(NamedTuple):
    """One product of a network, of one record.

    Attributes:
      kernel: Weights.
      bias: Weights that are added.
      products: Multiplications and additions of the forward product, counted in pairs.
      written: Numbers the product writes.
      kept: Numbers that the next layer reads: those, or what is left of them after pooling.
    """

    kernel: int
    bias: int
    products: int
    written: int
    kept: int


def layers(recipe: Recipe, record: tuple[int, ...], num_classes: int) -> list[Layer]:
    """Returns the layers of the paper's networks.

    Args:
      recipe: Names an MLP, logistic regression or the CNN.
      record: Shape of one record.
      num_classes: K.

    Raises:
      InputError: for another network.
    """
    if recipe.model not in ("mlp", "logistic", "cnn"):
        raise InputError(f"no counts for {recipe.model}; expected mlp, logistic or cnn")
    found = []
    hidden: tuple[int, ...] = recipe.hidden if recipe.model == "mlp" else ()
    if recipe.model == "cnn":
        height, width, channels = record
        for border in (0, 4):
            # 5x5, the first with a border of zeros; then 2x2 pooling.
            height, width = height - border, width - border
            kernel, pixels = 25 * channels * 32, height * width
            height, width, channels = height // 2, width // 2, 32
            pooled = height * width * channels
            found.append(Layer(kernel, 32, pixels * kernel, pixels * 32, pooled))
        record, hidden = (height, width, channels), (128,)
    inputs = math.prod(record)
    for outputs in (*hidden, num_classes):
        found.append(Layer(inputs * outputs, outputs, inputs * outputs, outputs, outputs))
        inputs = outputs
    return found


class Counts(NamedTuple):
    """Of one model.

    Attributes:
      flops: Of a step.
      num_bytes: Of a step.
      num_params: Parameters.
      state_bytes: Parameters and the optimiser's moments.
    """

    flops: int
    num_bytes: int
    num_params: int
    state_bytes: int


def step_counts(
    recipe: Recipe, record: tuple[int, ...], record_bytes: int, num_classes: int
) -> Counts:
    """Returns what one step of one model takes at least.

    FLOPs: 2 B n for the forward product of n pairs, as many for the gradient of the kernel, and as many for
    the gradient of the inputs, which the first layer does not need.

    Bytes, with P parameters and k moments (Adam 2, momentum 1), 4 each:

    * parameters: P read forward; read backward, but for the first kernel;
    * gradient: P written;
    * optimiser: gradient, parameters and moments read, parameters and moments written: (3 + 2 k) P;
    * records: as stored, read; as float32, written, read forward and backward;
    * activations that the next layer reads: written, read forward and backward; their cotangents written
      and read;
    * products before pooling: written, read forward and backward; cotangents written and, for the two
      gradients, read twice.

    Args:
      recipe: Network, batch and optimiser.
      record: Shape of one record.
      record_bytes: Of one stored record.
      num_classes: K.
    """
    found = layers(recipe, record, num_classes)
    batch, moments = recipe.batch_size, _MOMENTS[recipe.optimizer]
    forward = 2 * batch * sum(layer.products for layer in found)
    first = 2 * batch * found[0].products
    params = sum(layer.kernel + layer.bias for layer in found)
    numbers = params + (params - found[0].kernel) + params + (3 + 2 * moments) * params
    numbers += 3 * batch * math.prod(record)
    for layer in found:
        numbers += 5 * batch * layer.kept
        if layer.written != layer.kept:
            numbers += 6 * batch * layer.written
    return Counts(
        3 * forward - first,
        _FLOAT * numbers + batch * record_bytes,
        params,
        _FLOAT * (1 + moments) * params,
    )


class Peaks(NamedTuple):
    """What a device does at most.

    Attributes:
      flops: FLOP/s of a large matrix product, by the plan's precision.
      num_bytes: Bytes a second of a large copy, those read and those written.
    """

    flops: dict[str, float]
    num_bytes: float


def used(
    counts: Counts, precision: str, model_steps_per_second: float, peaks: Peaks
) -> dict[str, Any]:
    """Returns what models in training use of a device.

    Returns:
      FLOP/s and bytes a second with their shares of the peaks; which of the two bounds a step from below,
      and that bound over the step's measured time.  Shares are None where there is no peak.
    """
    flops, moved = (model_steps_per_second * n for n in (counts.flops, counts.num_bytes))
    peak = peaks.flops.get(precision)
    of_flops = flops / peak if peak else None
    of_bytes = moved / peaks.num_bytes if peaks.num_bytes else None
    found: dict[str, Any] = {
        "flops_per_second": float(f"{flops:.4g}"),
        "bytes_per_second": float(f"{moved:.4g}"),
        "share_of_flops": None if of_flops is None else round(of_flops, 4),
        "share_of_bytes": None if of_bytes is None else round(of_bytes, 4),
        "roofline": None,
        "share_of_roofline": None,
    }
    if of_flops is not None and of_bytes is not None:
        found["roofline"] = "compute" if of_flops > of_bytes else "memory"
        found["share_of_roofline"] = round(max(of_flops, of_bytes), 4)
    return found


def repeated(fn: Callable[[], Any], least_seconds: float) -> float:
    """Returns the seconds of one call, of as many as fill the time; devices work meanwhile."""
    jax.block_until_ready(fn())
    count, seconds = 1, 0.0
    while True:
        tick = time.perf_counter()
        for _ in range(count):
            last = fn()
        jax.block_until_ready(last)
        seconds = time.perf_counter() - tick
        if seconds >= least_seconds:
            return seconds / count
        count = max(2 * count, int(1.2 * count * least_seconds / max(seconds, 1e-9)))


def peak_flops(precision: Precision, size: int, least_seconds: float) -> float:
    """Returns FLOP/s of a square matrix product of random numbers that are rounded already."""
    dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
    x, y = (jax.random.normal(jax.random.key(i), (size, size)).astype(dtype) for i in range(2))
    # jax.lax's names are the plan's; bfloat16 operands are multiplied as they are.
    name = None if precision in ("default", "bfloat16") else precision
    product = jax.jit(
        functools.partial(jnp.matmul, precision=name, preferred_element_type=jnp.float32)
    )
    return 2 * size**3 / repeated(lambda: product(x, y), least_seconds)


def peak_bytes(size: int, least_seconds: float) -> float:
    """Returns bytes a second of adding one to an array of `size` bytes: read once, written once."""
    x = jnp.zeros(size // _FLOAT, jnp.float32)
    add = jax.jit(lambda x: x + 1)
    return 2 * x.nbytes / repeated(lambda: add(x), least_seconds)
