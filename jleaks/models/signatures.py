"""What a user's module takes, read from the signatures of its constructor and of its `__call__`."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jleaks.errors import InputError

# By these names a constructor takes the number of classes,
_CLASSES = ("num_classes", "n_classes", "num_outputs", "num_labels", "out_features", "dout")
# how many numbers a record has,
_NUMBERS = ("in_features", "num_inputs", "input_dim", "input_size", "din")
# and how many channels.
_CHANNELS = ("in_channels", "num_channels")
# By these names `__call__` takes whether it is called in a training step, or whether it is not.
_TRAINING = ("train", "training", "is_training")
_QUERY = ("deterministic", "eval_mode", "use_running_average")
# What flax adds to a module's constructor.
_OF_FLAX = ("parent", "name")


def constructor_arguments(
    name: str, maker: Callable[..., Any], num_classes: int, shape: tuple[int, ...], rngs: Any = None
) -> dict[str, Any]:
    """Returns the keyword arguments that a constructor, or a function that makes a module, takes.

    Args:
      name: Of the network, for messages.
      maker: The constructor.
      num_classes: K.
      shape: Of one encoded record.
      rngs: What weights are drawn from, if the module has them from the start.

    Raises:
      InputError: it takes something that is not known here.
    """
    known: dict[str, Any] = dict.fromkeys(_CLASSES, num_classes)
    known |= dict.fromkeys(_NUMBERS, math.prod(shape)) | dict.fromkeys(_CHANNELS, shape[-1])
    known["input_shape"] = shape
    if rngs is not None:
        known["rngs"] = rngs
    found = {}
    for parameter in _constructor(maker):
        if parameter.name in _OF_FLAX:
            continue
        if parameter.name in known and parameter.kind != parameter.POSITIONAL_ONLY:
            found[parameter.name] = known[parameter.name]
        elif parameter.default is parameter.empty:
            raise InputError(
                f"network {name} takes {parameter.name}, expected num_classes"
                f"{'' if rngs is None else ', in_features, rngs'} or a default: register a function such "
                f"as lambda num_classes: Net(num_classes, {parameter.name}=...)"
            )
    return found


class CallSignature(NamedTuple):
    """What a module's `__call__` takes beside its inputs.

    Attributes:
      training: Arguments that say that this is a training step.
      query: Arguments that say that it is not.
      rngs: Whether it takes random numbers as `rngs`.
    """

    training: tuple[str, ...]
    query: tuple[str, ...]
    rngs: bool

    def arguments(self, is_training: bool) -> Mapping[str, bool]:
        """Returns the flags for a step or a query."""
        found = dict.fromkeys(self.training, is_training)
        return found | dict.fromkeys(self.query, not is_training)


def call_signature(name: str, kind: type) -> CallSignature:
    """Reads the signature of a module's `__call__`.

    Args:
      name: Of the network, for messages.
      kind: Class of the module.

    Raises:
      InputError: it takes something that is not known here.
    """
    # Itself and its inputs.
    taken = {parameter.name: parameter for parameter in _parameters(kind.__call__)[2:]}
    training = tuple(flag for flag in _TRAINING if flag in taken)
    query = tuple(flag for flag in _QUERY if flag in taken)
    for parameter in taken.values():
        known = parameter.name in (*training, *query, "rngs")
        if not known and parameter.default is parameter.empty:
            raise InputError(
                f"network {name} is called with {parameter.name}, expected a batch of records and perhaps "
                f"{', '.join((*_TRAINING, *_QUERY))} or rngs"
            )
    return CallSignature(training, query, "rngs" in taken)


def takes_rngs(maker: Callable[..., Any]) -> bool:
    """Whether a constructor or function draws weights at once, as those of nnx modules do."""
    return any(parameter.name == "rngs" for parameter in _constructor(maker))


def _constructor(maker: Any) -> list[inspect.Parameter]:
    """Returns the parameters of a constructor or function that were not given yet."""
    if hasattr(maker, "func"):
        rest = _constructor(maker.func)[len(maker.args) :]
        return [parameter for parameter in rest if parameter.name not in maker.keywords]
    # What calls of an nnx class take is its metaclass's.
    return _parameters(maker.__init__)[1:] if inspect.isclass(maker) else _parameters(maker)


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
