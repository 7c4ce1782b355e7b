"""The networks, as flax.linen modules used through pure `init` and `apply`.

Every network answers logits; posteriors are their softmax.  A network called without a `Training` is
queried: nothing it answers then depends on the other records of the batch (batch normalisation uses its
running averages), so a query never mixes members with non-members.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import flax.linen as nn
from jaxtyping import Array, Float, Num

from jleaks.fields import Activation, Form
from jleaks.models.convolution import Padding, Precision, convolve
from jleaks.models.kernels import XLA, Kernels

_GLOROT = nn.initializers.glorot_uniform()
_HE = nn.initializers.he_normal()


class Computing(NamedTuple):
    """How layers are computed.

    Attributes:
      form: Of convolutions; changes speed and rounding alone.
      precision: Of the operands of products (see `jleaks.models.convolution`): the plan's choice.
      kernels: What computes.
    """

    form: Form = "native"
    precision: Precision = None
    kernels: Kernels = XLA

    @property
    def layers(self) -> Kernels:
        """What computes layers: XLA where operands are narrow, for other kernels multiply in float32."""
        return self.kernels if self.precision in (None, "float32") else XLA


class Training(NamedTuple):
    """What training does to a network and a query does not.

    Attributes:
      factors: What dropout multiplies activations by: one array [B, width] for each of the network's
        `drop_widths`, or None without dropout.
      key: What a network that draws random numbers of its own draws them from; None for the others.
    """

    factors: tuple[Array, ...] | None = None
    key: Array | None = None


@runtime_checkable
class Module(Protocol):
    """What training asks of a network: pure functions of its variables, as those of flax.linen modules."""

    @property
    def drop_widths(self) -> tuple[int, ...] | None:
        """Widths of the layers that dropout, the defence, may drop from; None where it cannot."""
        ...

    @property
    def how(self) -> Computing:
        """How it is computed."""
        ...

    def init(self, key: Array, inputs: Array) -> dict[str, Any]:
        """Returns untrained variables: "params" and, with batch normalisation, "batch_stats"."""
        ...

    def apply(
        self,
        variables: dict[str, Any],
        inputs: Array,
        training: Training | None = None,
        *,
        mutable: Any = False,
    ) -> Any:
        """Returns logits [B, K]; if `mutable` names "batch_stats", these after the batch beside them."""
        ...


def _drop(
    x: Float[Array, "batch width"], training: Training | None, layer: int
) -> Float[Array, "batch width"]:
    if training is None or training.factors is None:
        return x
    return x * training.factors[layer]


class Dense(nn.Module):
    """A fully connected layer with bias and its activation, if any; takes stored zeros and ones, too."""

    features: int
    activation: Activation | None
    how: Computing = Computing()

    @nn.compact
    def __call__(self, x: Num[Array, "batch inputs"]) -> Float[Array, "batch features"]:
        """Returns the layer's activations."""
        kernel = self.param("kernel", _GLOROT, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return self.how.layers.dense(x, kernel, bias, self.activation, self.how.precision)


class MLP(nn.Module):
    """Fully connected layers and a linear read-out.

    `hidden=(128,)` with tanh is the paper's MLP, `hidden=(64,)` its attack model, `hidden=()` multinomial
    logistic regression (Salem et al. 2019, section IV-A).
    """

    hidden: Sequence[int]
    num_classes: int
    how: Computing = Computing()
    activation: Activation = "tanh"

    @property
    def drop_widths(self) -> tuple[int, ...]:
        """Widths of the layers whose activations may drop: every hidden one."""
        return tuple(self.hidden)

    @nn.compact
    def __call__(
        self, x: Num[Array, "batch ..."], training: Training | None = None
    ) -> Float[Array, "batch classes"]:
        """Returns logits."""
        x = x.reshape(x.shape[0], -1)
        for layer, width in enumerate(self.hidden):
            x = Dense(width, self.activation, self.how)(x)
            x = _drop(x, training, layer)
        return Dense(self.num_classes, None, self.how)(x)


class Conv(nn.Module):
    """A 5x5 convolution with bias, stride 1, followed by ReLU and 2x2 max-pooling."""

    features: int
    padding: Padding
    how: Computing = Computing()

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch half_height half_width features"]:
        """Returns the pooled feature maps."""
        kernel = self.param("kernel", _GLOROT, (5, 5, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        form, precision = self.how.form, self.how.precision
        return self.how.layers.convolve_relu_pool(x, kernel, bias, self.padding, form, precision)


class CNN(nn.Module):
    """The paper's CNN (released code; Salem et al. 2019, section IV-A).

    conv 5x5x32 same, ReLU, max-pool 2, conv 5x5x32 valid, ReLU, max-pool 2, dense 128 (the paper's: tanh),
    logits.
    """

    num_classes: int
    how: Computing = Computing()
    activation: Activation = "tanh"
    paddings: ClassVar[tuple[Padding, ...]] = ("SAME", "VALID")
    """Of each convolution."""

    @property
    def drop_widths(self) -> tuple[int, ...]:
        """Widths of the layers whose activations may drop: the dense one."""
        return (128,)

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channels"],
        training: Training | None = None,
    ) -> Float[Array, "batch classes"]:
        """Returns logits."""
        for padding in self.paddings:
            x = Conv(32, padding, self.how)(x)
        return MLP((128,), self.num_classes, self.how, self.activation)(x, training)


class Filter(nn.Module):
    """A square convolution as residual networks have it: no bias, padding SAME, He's initialisation."""

    features: int
    size: int
    strides: int = 1
    how: Computing = Computing()

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch out_height out_width features"]:
        """Returns the convolved images."""
        kernel = self.param("kernel", _HE, (self.size, self.size, x.shape[-1], self.features))
        return convolve(x, kernel, "SAME", self.how.form, self.how.precision, self.strides)


def _norm(
    x: Float[Array, "batch height width channels"], training: Training | None
) -> Float[Array, "batch height width channels"]:
    """Batch normalisation: by the batch in training, by the running averages in a query."""
    return nn.BatchNorm(use_running_average=training is None, momentum=0.9)(x)


class PostActivation(nn.Module):
    """The basic block of He et al. 2016, "Deep residual learning": ReLU after the sum."""

    features: int
    strides: int
    how: Computing

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], training: Training | None
    ) -> Float[Array, "batch out_height out_width features"]:
        """Returns the block's activations."""
        how = self.how
        y = Filter(self.features, 3, self.strides, how)(x)
        y = Filter(self.features, 3, 1, how)(nn.relu(_norm(y, training)))
        y = _norm(y, training)
        if self.strides > 1 or x.shape[-1] != self.features:
            x = _norm(Filter(self.features, 1, self.strides, how)(x), training)
        return nn.relu(x + y)


class PreActivation(nn.Module):
    """The basic block of Zagoruyko & Komodakis 2016, "Wide residual networks": ReLU before a convolution.

    Where the shape changes, the shortcut convolves the activated input, as the authors' code does.
    """

    features: int
    strides: int
    how: Computing

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], training: Training | None
    ) -> Float[Array, "batch out_height out_width features"]:
        """Returns the block's sum."""
        how = self.how
        y = nn.relu(_norm(x, training))
        if self.strides > 1 or x.shape[-1] != self.features:
            x = Filter(self.features, 1, self.strides, how)(y)
        y = Filter(self.features, 3, self.strides, how)(y)
        return x + Filter(self.features, 3, 1, how)(nn.relu(_norm(y, training)))


class ResNet(nn.Module):
    """Residual networks for small images: a 3x3 stem, stages of basic blocks, global mean, read-out.

    The first block of every stage but the first halves height and width.  The authors' networks up to
    three details: TensorFlow's SAME padding (a strided window starts at the first pixel, not at the
    border before it), running averages of the biased batch variance (momentum 0.9), and a Glorot-uniform
    read-out.

    Attributes:
      num_classes: K.
      stem: Width of the first convolution.
      widths: Of each stage.
      blocks: Per stage.
      order: Of activations and convolutions in a block.
      how: How it is computed.
    """

    num_classes: int
    stem: int
    widths: Sequence[int]
    blocks: int
    order: Literal["post-activation", "pre-activation"]
    how: Computing = Computing()

    @property
    def drop_widths(self) -> tuple[int, ...]:
        """Widths of the layers whose activations may drop: what the read-out sees."""
        return (self.widths[-1],)

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channels"],
        training: Training | None = None,
    ) -> Float[Array, "batch classes"]:
        """Returns logits."""
        post = self.order == "post-activation"
        block = PostActivation if post else PreActivation
        x = Filter(self.stem, 3, 1, self.how)(x)
        if post:
            x = nn.relu(_norm(x, training))
        for stage, width in enumerate(self.widths):
            for i in range(self.blocks):
                strides = 2 if stage > 0 and i == 0 else 1
                x = block(width, strides, self.how)(x, training)
        if not post:
            x = nn.relu(_norm(x, training))
        features = _drop(x.mean((1, 2)), training, 0)
        return MLP((), self.num_classes, self.how)(features)
