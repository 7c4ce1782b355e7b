"""The paper's networks, as flax.linen modules used through pure `init` and `apply`.

Every network answers logits; posteriors are their softmax.  Nothing in a network depends on the other
records of a batch (no batch normalisation), so a query never mixes members with non-members.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jleaks.convolution import Form, Padding, Precision, convolve, max_pool
from jleaks.errors import InputError

_GLOROT = nn.initializers.glorot_uniform()


class MLP(nn.Module):
    """Fully connected tanh layers and a linear read-out.

    `hidden=(128,)` is the paper's MLP, `hidden=(64,)` its attack model, `hidden=()` multinomial
    logistic regression (Salem et al. 2019, section IV-A).
    """

    hidden: Sequence[int]
    num_classes: int
    precision: Precision = None

    @nn.compact
    def __call__(self, x: Float[Array, "batch ..."]) -> Float[Array, "batch classes"]:
        """Returns logits."""
        x = x.reshape(x.shape[0], -1)
        for width in self.hidden:
            x = jnp.tanh(nn.Dense(width, kernel_init=_GLOROT, precision=self.precision)(x))
        return nn.Dense(self.num_classes, kernel_init=_GLOROT, precision=self.precision)(x)


class Conv(nn.Module):
    """A 5x5 convolution with bias, stride 1; `form` only says how it is computed."""

    features: int
    padding: Padding
    form: Form = "native"
    precision: Precision = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch out_height out_width features"]:
        """Returns the convolved images."""
        kernel = self.param("kernel", _GLOROT, (5, 5, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return convolve(x, kernel, self.padding, self.form, self.precision) + bias


class CNN(nn.Module):
    """The paper's CNN (released code; Salem et al. 2019, section IV-A).

    conv 5x5x32 same, ReLU, max-pool 2, conv 5x5x32 valid, ReLU, max-pool 2, dense 128 tanh, logits.
    """

    num_classes: int
    form: Form = "native"
    precision: Precision = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        """Returns logits."""
        for padding in ("SAME", "VALID"):
            x = Conv(32, padding, self.form, self.precision)(x)
            x = max_pool(nn.relu(x))
        return MLP((128,), self.num_classes, self.precision)(x)


def build(
    name: str, hidden: Sequence[int], num_classes: int, form: Form, precision: Precision
) -> nn.Module:
    """Returns the network called `name`: "mlp", "cnn" or "logistic".

    Raises:
      InputError: there is no such network.
    """
    if name == "mlp":
        return MLP(tuple(hidden), num_classes, precision)
    if name == "logistic":
        return MLP((), num_classes, precision)
    if name == "cnn":
        return CNN(num_classes, form, precision)
    raise InputError(f"unknown model {name!r}; allowed: mlp, cnn, logistic")
