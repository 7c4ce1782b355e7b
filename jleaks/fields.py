"""What the fields of a plan, a recipe or an execution may hold, read from their annotations.

Annotations bind nobody at run time: a misspelt choice would train something else without a word.
`problems` holds every field of a dataclass to its annotation: types, the choices of a `Literal`, and the
ranges below.  Numbers that a model computes with are float32, and are judged as such.  Choices are named
here, apart from what computes them, so that a plan can be made and described without JAX.
"""

import dataclasses
import functools
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np

_LEAST, _MOST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
# Positions and counts are int32 on the devices.
_WHOLE = 2**31


@dataclasses.dataclass(frozen=True)
class Range:
    """Which values of its type a field may hold.

    Attributes:
      text: What is expected, for messages.
      holds: Whether a value is within; not true of NaN.
    """

    text: str
    holds: Callable[[Any], bool]


Count = Annotated[int, Range("at least 1 and below 2^31", lambda n: 1 <= n < _WHOLE)]
Number = Annotated[int, Range("at least 0 and below 2^31", lambda n: 0 <= n < _WHOLE)]
Positive = Annotated[
    float,
    Range(f"a positive number of float32 ({_LEAST:.1e} to {_MOST:.1e})", lambda x: x >= _LEAST),
]
# An optimiser doubles it.
Penalty = Annotated[
    float,
    Range(
        f"0 or a number >= 0 of float32 ({_LEAST:.1e} to {_MOST / 2:.1e})",
        lambda x: x == 0 or _LEAST <= x <= _MOST / 2,
    ),
]
# Repetitions beyond these are a slip of the keyboard, and each is a model at least.
MOST_REPETITIONS = 100_000
Repetitions = Annotated[
    int, Range(f"from 1 to {MOST_REPETITIONS}", lambda n: 1 <= n <= MOST_REPETITIONS)
]
# What multiplies or divides a model's inputs or answers: far beyond it they leave float32.
FACTOR = Range("a number from 1e-6 to 1e6", lambda x: 1e-6 <= x <= 1e6)
Factor = Annotated[float, FACTOR]
# Below one even after rounding to float32, which turns 1 - 1e-9 into one.
Ratio = Annotated[float, Range("a number in [0, 1)", lambda x: x >= 0 and np.float32(x) < 1)]
Level = Annotated[float, Range("a number in (0, 1)", lambda x: x >= _LEAST and np.float32(x) < 1)]
Fraction = Annotated[float, Range("a number in [0, 1]", lambda x: 0 <= x <= 1)]
Share = Annotated[float, Range("a number in (0, 1]", lambda x: 0 < x <= 1)]
Percentile = Annotated[float, Range("a number in (0, 100)", lambda x: 0 < x < 100)]
Seconds = Annotated[float, Range("a number >= 0", lambda x: x >= 0)]
SOME = Range("at least one value", bool)
# Seeds are words of the generator's key.
NUM_SEEDS = 2**32
Seed = Annotated[
    int, Range(f"a whole number from 0 to {NUM_SEEDS - 1}", lambda seed: 0 <= seed < NUM_SEEDS)
]

# Of the operands of products; "default" is whatever is fast where it runs.
Precision = Literal["float32", "default", "tensorfloat32", "bfloat16"]
# Where records come from: the published dataset itself, a user's own, real records in place of the
# published, or a generator.
Source = Literal["real", "own", "stand-in", "synthetic"]
# Of fully connected hidden layers.
Activation = Literal["tanh", "relu"]
# What happens at random to the images of a batch (see `jleaks.data.augmentation`).
Augmentation = Literal["none", "crops", "flips and crops"]
# How convolutions are computed (see `jleaks.models.convolution`).
Form = Literal["native", "im2col", "rows", "products", "columns"]
# What computes layers, gradients, order and optimiser: XLA, or `jleaks.models.cpu_kernels.operations`.
KernelsName = Literal["xla", "host"]


def problems(value: Any, what: str = "") -> list[str]:
    """Returns one sentence per field of a dataclass that does not hold what its annotation says.

    Args:
      value: The dataclass.
      what: What the sentences call it, if anything.
    """
    found = []
    kind: Any = type(value)
    for name, hint in hints(kind).items():
        given = getattr(value, name)
        if (expected := _expected(given, hint)) is None:
            if dataclasses.is_dataclass(given) and not isinstance(given, type):
                found += problems(given, f"{what} {name}".lstrip())
        else:
            verb = "are" if isinstance(given, tuple) else "is"
            # Quotation marks where a text stands for something else: "5" is no number.
            shown = given if "one of" in expected else repr(given)
            found.append(f"{what} {name} {verb} {shown}, expected {expected}".lstrip())
    return found


def whole_number(text: str) -> int | None:
    """Returns the number that a text of digits is, None for any other text.

    Digits are ASCII's, at most nine of them: Python takes those of every script for numbers, calls some
    texts digits that it cannot read, and reads no text of thousands.
    """
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


@functools.cache
def hints(kind: Any) -> dict[str, Any]:
    """Returns the annotation of each field of a dataclass, ranges included."""
    found = typing.get_type_hints(kind, include_extras=True)
    return {field.name: found[field.name] for field in dataclasses.fields(kind)}


def _expected(value: Any, hint: Any) -> str | None:
    """Returns what a value should have been, or None if it fits."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        kind, *ranges = arguments
        unfit = (within.text for within in ranges if not within.holds(value))
        return _expected(value, kind) or next(unfit, None)
    if origin is Literal:
        fits = any(type(value) is type(choice) and value == choice for choice in arguments)
        return None if fits else f"one of {', '.join(map(str, arguments))}"
    if origin in (typing.Union, types.UnionType):
        unmet = [_expected(value, option) for option in arguments]
        return None if None in unmet else " or ".join(text for text in unmet if text)
    if origin is tuple:
        return _expected_values(value, arguments)
    if hint is int:
        # To Python a bool is a number, and JSON cannot write NumPy's.
        whole = isinstance(value, int) and not isinstance(value, bool)
        return None if whole else "a whole number"
    if hint is float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return None if number and abs(value) <= _MOST else "a finite number"
    if hint is type(None):
        return None if value is None else "None"
    if isinstance(hint, type):
        return None if isinstance(value, hint) else f"a {hint.__name__}"
    return None


def _expected_values(value: Any, hints: tuple[Any, ...]) -> str | None:
    """Returns what the values of a tuple should have been, or None if they fit."""
    if not isinstance(value, tuple):
        return "a tuple"
    if hints[-1] is Ellipsis:
        hints = hints[:1] * len(value)
    if len(hints) != len(value):
        return f"{len(hints)} values"
    for one, hint in zip(value, hints, strict=True):
        if (expected := _expected(one, hint)) is not None:
            return f"{expected} for each"
    return None
