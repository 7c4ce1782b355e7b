"""The operations that two libraries compute: XLA, and jleaks' own kernels for CPU devices.

Whoever trains, or ranks records, calls them by what they compute.  Which library that is, the execution
says once; what only one of them has is said here.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from jleaks.errors import InputError
from jleaks.fields import Form, KernelsName
from jleaks.metrics import bank_metrics, roc
from jleaks.models.convolution import (
    Padding,
    Precision,
    Rounded,
    convolve,
    max_pool,
    multiply,
)
from jleaks.models.cpu_kernels import library
from jleaks.models.cpu_kernels import operations as host

Descend = Callable[..., tuple[dict[str, host.Moments], Array | None]]


class Kernels(NamedTuple):
    """What computes a step of training, and ranks; instances agree up to the order of float32 sums.

    Attributes:
      dense: Answers [B, outputs] of a fully connected layer: of its inputs [B, inputs], float32 or stored
        bytes, weights [inputs, outputs], biases [outputs], activation ("tanh", "relu", None), precision.
      convolve_relu_pool: 2x2 max-pool of the ReLU of a convolution of stride 1: of images NHWC, square
        kernel HWIO, biases [O], padding, form, precision.
      convolve_apart: The same, and what makes of a gradient in it those in the images (None where the
        seventh argument, `first`, says that nobody asks) and of each image in kernel and biases.
      cross_entropy: Losses [B] of logits [B, k] and labels [B].
      gather: Records [B, ...] of a dataset [N, ...] at positions [B]; the third argument allows stored
        bytes to come as float32.
      bits: Random uint32 of a key and a shape.
      order: Positions that sort words [n], ties by position.
      drop: What inverted dropout multiplies by, 1 / share or 0: of a key, the share that stays, a shape.
      normals: `jax.random.normal` of a key and a shape.
      ranks: Where scores stand among those of non-members (see `roc.ranks`).
      standing: How many of some values lie below others, and how many up to them (see `roc.standing`).
      add_influence: Adds a row's influences to sums (see `bank_metrics.add_influence`).
      adam: Adam's step of one array (see `host.adam`); None where it is optax's.
      descend: A layer's backpropagation with Adam's step (see `host.descend`); None where they are two.
      descend_privately: The same of clipped gradients and noise (see `host.descend_privately`); None, too.
      cnn_block: Records of a CNN's batch that a CPU computes at once; None for all.
      cnn_sample_block: The same of a Poisson sample, whose number varies; None for all.
    """

    dense: Callable[[Array, Array | Rounded, Array, str | None, Precision], Array]
    convolve_relu_pool: Callable[[Array, Array | Rounded, Array, Padding, Form, Precision], Array]
    convolve_apart: Callable[
        [Array, Array, Array, Padding, Form, Precision, bool],
        tuple[Array, Callable[[Array], tuple[Array | None, Array, Array]]],
    ]
    cross_entropy: Callable[[Array, Array], Array]
    gather: Callable[[Any, Array, bool], Array]
    bits: Callable[[Array, tuple[int, ...]], Array]
    order: Callable[[Array], Array]
    drop: Callable[[Array, Array, tuple[int, ...]], Array]
    normals: Callable[[Array, tuple[int, ...]], Array]
    ranks: roc.Ranks
    standing: roc.Standing
    add_influence: bank_metrics.AddInfluence
    adam: Callable[..., host.Moments] | None
    descend: Descend | None
    descend_privately: Callable[..., dict[str, host.Moments]] | None
    cnn_block: int | None
    cnn_sample_block: int | None


def _xla_dense(
    x: Array, w: Array | Rounded, b: Array, activation: str | None, precision: Precision
) -> Array:
    y = multiply(x.astype(jnp.float32), w, precision) + b
    y = jnp.tanh(y) if activation == "tanh" else y
    return jax.nn.relu(y) if activation == "relu" else y


def _cpu_dense(x: Array, w: Any, b: Array, activation: str | None, _: Precision) -> Array:
    # The kernel ends with tanh or nothing.
    y = host.dense(x, w, b, activation == "tanh")
    return jax.nn.relu(y) if activation == "relu" else y


def _xla_convolve(
    x: Array, w: Array | Rounded, b: Array, padding: Padding, form: Form, precision: Precision
) -> Array:
    # The ReLU of the largest is the largest ReLU, and so is its gradient: a quarter of the numbers pass it.
    return jax.nn.relu(max_pool(convolve(x, w, padding, form, precision) + b))


def _xla_convolve_apart(
    x: Array, w: Array, b: Array, padding: Padding, form: Form, precision: Precision, first: bool
) -> tuple[Array, Callable[[Array], tuple[Array | None, Array, Array]]]:
    def one(image: Array) -> tuple[Array, Any]:
        def answer(image: Array, w: Array, b: Array) -> Array:
            return _xla_convolve(image[None], w, b, padding, form, precision)[0]

        return (
            jax.vjp(functools.partial(answer, image), w, b)
            if first
            else jax.vjp(answer, image, w, b)
        )

    y, pull = jax.vmap(one)(x)

    def gradients(dy: Array) -> tuple[Array | None, Array, Array]:
        *dx, dw, db = jax.vmap(lambda each, d: each(d))(pull, dy)
        return (None if first else dx[0]), dw, db

    return y, gradients


def _border(w: Any, padding: Padding) -> int:
    return w.shape[0] // 2 if padding == "SAME" else 0


def _one_hot_cross_entropy(logits: Array, labels: Array) -> Array:
    # Not `take_along_axis`, whose gradient is a scatter: two more kernels in every step.
    is_true = jnp.arange(logits.shape[-1]) == labels[:, None]
    true = jnp.where(is_true, logits, 0).sum(-1)
    return jax.nn.logsumexp(logits, axis=-1) - true


XLA = Kernels(
    dense=_xla_dense,
    convolve_relu_pool=_xla_convolve,
    convolve_apart=_xla_convolve_apart,
    cross_entropy=optax.softmax_cross_entropy_with_integer_labels,
    gather=lambda records, rows, _: records[rows],
    bits=jax.random.bits,
    order=jnp.argsort,
    drop=lambda key, keep, shape: jnp.where(jax.random.bernoulli(key, keep, shape), 1 / keep, 0),
    normals=jax.random.normal,
    ranks=roc.ranks,
    standing=roc.standing,
    add_influence=bank_metrics.add_influence,
    adam=None,
    descend=None,
    descend_privately=None,
    # Five images' windows and feature maps stay in a core's cache; a batch's do not.
    cnn_block=5,
    cnn_sample_block=None,
)
ACCELERATOR = XLA._replace(cross_entropy=_one_hot_cross_entropy)
CPU = Kernels(
    dense=_cpu_dense,
    convolve_relu_pool=lambda x, w, b, padding, *_: host.convolve_relu_pool(
        x, w, b, _border(w, padding)
    ),
    convolve_apart=lambda x, w, b, padding, _, __, first: host.convolve_apart(
        x, w, b, _border(w, padding), first
    ),
    cross_entropy=host.cross_entropy,
    gather=host.gather,
    bits=host.bits,
    order=host.order,
    drop=host.drop,
    normals=host.normals,
    ranks=host.ranks,
    standing=host.standing,
    add_influence=host.add_influence,
    adam=host.adam,
    descend=host.descend,
    descend_privately=host.descend_privately,
    cnn_block=None,
    cnn_sample_block=10,
)


def choose(name: KernelsName | None, platform: str | None = None) -> Kernels:
    """Returns the kernels that an execution names, XLA's in the form of the platform if none.

    Args:
      name: As an execution has it.
      platform: Of the devices, as JAX calls it; None for those that are there.

    Raises:
      InputError: those for CPU devices are asked for, but not there.
    """
    platform = platform or jax.default_backend()
    if name != "host":
        return XLA if platform == "cpu" else ACCELERATOR
    if platform != "cpu" or not library.loaded():
        raise InputError(
            "kernels is host, which needs CPU devices and its library"
            f" (devices: {platform}, library loaded: {library.loaded()})"
        )
    return CPU
