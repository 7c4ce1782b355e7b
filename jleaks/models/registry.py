"""The networks by name: what makes each, and what a plan must know of it before anything is computed.

jleaks' own five are registered here; `jleaks.models.own_network.register_network` adds a user's.  Nothing
here imports JAX: what makes a network does, when it is called.
"""

import dataclasses
from collections.abc import Callable
from types import ModuleType
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

from jleaks.fields import Activation
from jleaks.registry import Named, Registry


@runtime_checkable
class Widths(Protocol):
    """What a recipe says of its network."""

    @property
    def hidden(self) -> tuple[int, ...]:
        """Widths of hidden layers."""
        ...

    @property
    def activation(self) -> Activation:
        """Activation of hidden layers."""
        ...


# Of a number of classes K, a recipe and a `jleaks.models.networks.Computing`, a module with the `init` and
# `apply` of `jleaks.models.networks`.
MakeFn = Callable[[int, Widths, Any], Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """One network; equal to no other, so that programs of one that was registered anew are not its own.

    Attributes:
      make: Returns the module.
      obeys: Fields of a recipe that change it, of "hidden", "activation" and "precision"; it ignores the
        others (a precision narrower than float32 is refused).
      images: Whether nothing but images can go into it.
      splits: Whether a batch may be computed in blocks, since nothing is normalised or drawn for it as a
        whole.
      draws: Whether it draws random numbers of its own in training, for which it gets a key.
      layers: What kernels may take it for: "dense", fully connected layers one after another; "small
        convolutions", which CPUs compute fastest a few images at a time; or "other".  The first two leave
        every product to the layers of `how`, to which kernels may come `Rounded` already.
    """

    make: MakeFn
    obeys: frozenset[str] = frozenset({"precision"})
    images: bool = False
    splits: bool = True
    draws: bool = False
    layers: Literal["dense", "small convolutions", "other"] = "other"


NETWORKS: Registry[Network] = Registry("network")

# Annotates fields that name one.
NetworkName = Annotated[str, Named(NETWORKS)]


def for_any_records() -> str:
    """Returns the names of the networks that take records of any kind, for messages."""
    return " or ".join(name for name, network in NETWORKS.items() if not network.images)


def _later(make: Callable[[ModuleType, int, Widths, Any], Any]) -> MakeFn:
    """Gives a function the module `jleaks.models.networks` when it is called."""

    def made(num_classes: int, recipe: Widths, how: Any) -> Any:
        from jleaks.models import networks

        return make(networks, num_classes, recipe, how)

    return made


NETWORKS.register(
    "mlp",
    Network(
        _later(lambda n, k, recipe, how: n.MLP(tuple(recipe.hidden), k, how, recipe.activation)),
        obeys=frozenset({"hidden", "activation", "precision"}),
        layers="dense",
    ),
)
NETWORKS.register(
    "logistic", Network(_later(lambda n, k, _, how: n.MLP((), k, how)), layers="dense")
)
NETWORKS.register(
    "cnn",
    Network(
        _later(lambda n, k, recipe, how: n.CNN(k, how, recipe.activation)),
        obeys=frozenset({"activation", "precision"}),
        images=True,
        layers="small convolutions",
    ),
)
NETWORKS.register(
    "resnet18",
    Network(
        _later(
            lambda n, k, _, how: n.ResNet(k, 64, (64, 128, 256, 512), 2, "post-activation", how)
        ),
        images=True,
        splits=False,
    ),
)
NETWORKS.register(
    "wrn28_2",
    Network(
        _later(lambda n, k, _, how: n.ResNet(k, 16, (32, 64, 128), 4, "pre-activation", how)),
        images=True,
        splits=False,
    ),
)
