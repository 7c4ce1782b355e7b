"""Attacks of one's own: a function of what is known of ONE record of ONE target.

```python
from jleaks.attacks.per_record import attack_on


@attack_on
def gap_to_best(own, out):
    return own.phi - out.max("phi")
```

Its arguments say which references it looks at: `own` is the target's answer, `inside` those of the
references that trained on the record, `out` those of the others.  It is written with `jax.numpy`,
returns one number, larger for likelier members, and is mapped over all records and targets inside the
one compiled call that runs every other attack.  Which signals the bank must have, and whether the
attacker must know the true class, is read from what the function looks at.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, overload

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jleaks.attacks.attack import Attack, Needs
from jleaks.attacks.options import Options
from jleaks.attacks.reference_statistics import ReferenceStatistics
from jleaks.attacks.registry import ATTACKS
from jleaks.errors import InputError
from jleaks.registry import origin_of

# What a model's answer about a record has, and whether it takes the true class.
SIGNALS = {
    "phi": True, "log_p": True, "correct": True, "phi_t": True, "mentr": True, "maximum": False,
    "entropy": False, "quantile": True, "loss_iqr": True, "boundary": True,
}  # fmt: skip
# Which references the arguments of a function are.
_SIDES = {"inside": "in", "out": "out"}
_NEEDS: dict[frozenset[str], Needs] = {
    frozenset(): "none",
    frozenset(("out",)): "out",
    frozenset(("inside",)): "in and out",
    frozenset(("inside", "out")): "in and out",
}

Fn = TypeVar("Fn", bound=Callable[..., Any])


class Asked(NamedTuple):
    """Something that a function looks at: `of` "own", "in" or "out"; `what`; `name` of the signal."""

    of: str
    what: str
    name: str


Read = Callable[[Asked], Any]


class Own:
    """The target's answer about one record, each a number.

    Attributes:
      phi: Logit-scaled confidence in the true class, log p - log(1 - p).
      log_p: Log of the true class's posterior, minus the loss.
      correct: 1 where the prediction is right, else 0.
      phi_t: Phi at RMIA's temperature.
      mentr: Modified entropy, larger for members.
      maximum: Largest posterior.
      entropy: Negative entropy of the posterior (nats).
      quantile: What a regression predicts of phi's quantile among non-members.
      loss_iqr: Interquartile range of the loss over the training.
      boundary: Distance to where the label changes.
      label: The true class.
    """

    def __init__(self, read: Read):
        self._read = read

    def __getattr__(self, name: str) -> Array:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in SIGNALS and name != "label":
            raise InputError(f"looks at own.{name}; there are {', '.join(SIGNALS)}, label")
        return self._read(Asked("own", "value", name))


class Side:
    """The references on one side of one record; signals are called as those of `Own`.

    A summary of no reference at all is that of the references of all records; `count` tells.
    """

    def __init__(self, read: Read, of: str):
        self._read, self._of = read, of

    def _asked(self, what: str, name: str) -> Any:
        if name not in SIGNALS:
            raise InputError(f"looks at {name!r} of references; there are {', '.join(SIGNALS)}")
        return self._read(Asked(self._of, what, name))

    @property
    def count(self) -> Array:
        """How many references there are."""
        return self._asked("count", "phi")

    def mean(self, name: str = "phi") -> Array:
        """Mean of a signal."""
        return self._asked("mean", name)

    def std(self, name: str = "phi") -> Array:
        """Standard deviation (over `count`); of all records' references where `count` is below 2."""
        return self._asked("std", name)

    def median(self, name: str = "phi") -> Array:
        """Median, the mean of the middle two of an even number."""
        return self._asked("median", name)

    def min(self, name: str = "phi") -> Array:
        """Smallest value."""
        return self._asked("min", name)

    def max(self, name: str = "phi") -> Array:
        """Largest value."""
        return self._asked("max", name)

    def values(self, name: str = "phi") -> tuple[Array, Array]:
        """Every value: [R] those of all the target's references, and [R] which are on this side."""
        return self._asked("values", name)


@dataclasses.dataclass(frozen=True)
class PerRecord:
    """The score of a function of one record, as an attack's `score`.

    Attributes:
      fn: The function.
      sides: Its arguments besides `own`.
      numbers: The numbers that it looks at.
      lists: The signals of which it looks at every reference's.
    """

    fn: Callable[..., Any]
    sides: tuple[str, ...]
    numbers: tuple[Asked, ...]
    lists: tuple[str, ...]

    def __call__(self, statistics: ReferenceStatistics, _: Options) -> Array:
        """Returns scores [T, N]."""
        rows = {asked: _number(statistics, asked) for asked in self.numbers}
        if self.lists:
            return statistics.by_target(self._one, self.lists, rows)
        return jax.vmap(jax.vmap(lambda mine: self._one({}, {}, mine)))(rows)

    def _one(
        self, lists: Mapping[str, Array], there: Mapping[str, Array], rows: Mapping[Asked, Array]
    ) -> Array:
        """The score of one record of one target."""

        def read(asked: Asked) -> Any:
            if asked.what == "values":
                return lists[asked.name], there[asked.of]
            return rows[asked]

        return jnp.asarray(_called(self.fn, self.sides, read), jnp.float32)


def _number(statistics: ReferenceStatistics, asked: Asked) -> Array:
    """What a function looks at, of all targets and records, [T, N]."""
    if asked.of != "own":
        return statistics.summary(asked.what, asked.name, asked.of)
    if asked.name == "log_p":
        return statistics.log_p()
    if asked.name == "label":
        return jnp.broadcast_to(statistics.labels, statistics.own("phi", 0).shape)
    query = 0 if asked.name in ("phi", "correct") else None
    return statistics.own(asked.name, query).astype(jnp.float32)


def _called(fn: Callable[..., Any], sides: tuple[str, ...], read: Read) -> Any:
    arguments: dict[str, Any] = {name: Side(read, _SIDES[name]) for name in sides}
    accepted = inspect.signature(fn).parameters
    return fn(**({"own": Own(read)} if "own" in accepted else {}), **arguments)


@overload
def attack_on(fn: Fn, /) -> Fn: ...
@overload
def attack_on(
    *,
    needs: Needs | None = None,
    name: str | None = None,
    title: str | None = None,
    source: str = "",
) -> Callable[[Fn], Fn]: ...
def attack_on(
    fn: Any = None,
    /,
    *,
    needs: Needs | None = None,
    name: str | None = None,
    title: str | None = None,
    source: str = "",
) -> Any:
    """Makes a function of one record an attack: in `ATTACKS`, in every table, beside the others.

    Args:
      fn: A function of `own`, `inside` and `out`, or some of them (`Own`, `Side`).
      needs: Which references it looks at: "none", "out" or "in and out"; None: what its arguments say.
      name: Used in flags and rows; None for the function's.
      title: Used in tables and figures; None for the name in words.
      source: Where it was published.

    Returns:
      The function as it is, which may be called as before.

    Raises:
      InputError: the name is taken, the arguments are none of these, or the function does not make one
        number of what it looks at.
    """
    if fn is None:
        return functools.partial(_registered, needs=needs, name=name, title=title, source=source)
    return _registered(fn, needs, name, title, source)


def _registered(
    fn: Fn, needs: Needs | None, name: str | None, title: str | None, source: str
) -> Fn:
    name = str(name or getattr(fn, "__name__", ""))
    parameters = inspect.signature(fn).parameters.values()
    given = [one.name for one in parameters if one.default is one.empty]
    if not given or not set(given) <= {"own", *_SIDES}:
        raise InputError(
            f"attack {name!r} is a function of {', '.join(given) or 'nothing'}; expected some of own, "
            "inside, out"
        )
    found = _NEEDS[frozenset(given) - {"own"}]
    if needs not in (None, found):
        raise InputError(
            f"attack {name!r} says that it needs {needs!r}, but its arguments are {', '.join(given)}: "
            f"{found!r}"
        )
    sides = tuple(side for side in _SIDES if side in given)
    asked = _looked_at(fn, sides, name)
    lists = tuple(dict.fromkeys(one.name for one in asked if one.what == "values"))
    signals = dict.fromkeys(one.name for one in asked if one.name not in ("phi", "log_p", "label"))
    attack = Attack(
        name=name,
        title=title or name.replace("_", " ").capitalize(),
        source=source,
        score=PerRecord(fn, sides, tuple(one for one in asked if one.what != "values"), lists),
        references=found,
        labels=any(SIGNALS.get(one.name, True) for one in asked if one.what != "count"),
        signals=tuple(signals),
    )
    code = getattr(inspect.unwrap(fn), "__code__", None)
    ATTACKS.register(name, attack, None if code is None else origin_of(Path(code.co_filename)))
    return fn


# References of the record on which a function is tried.
_TRIED = 4


def _looked_at(fn: Callable[..., Any], sides: tuple[str, ...], name: str) -> list[Asked]:
    """Returns what a function looks at, in order, and refuses one that does not return one number."""
    found: dict[Asked, None] = {}

    def read(asked: Asked) -> Any:
        found[asked] = None
        if asked.what == "values":
            return jnp.zeros(_TRIED, jnp.float32), jnp.zeros(_TRIED, bool)
        return jnp.zeros((), jnp.int32 if asked.name == "label" else jnp.float32)

    try:
        # Nothing is computed: a user's file is loaded before a launcher has chosen its devices.
        result = jax.eval_shape(lambda: _called(fn, sides, read))
    except InputError as error:
        raise InputError(f"attack {name!r} {error}") from error
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise InputError(
            f"attack {name!r} cannot be computed for one record: {type(error).__name__}: {reason}"
        ) from error
    shape = getattr(result, "shape", None)
    if shape != () or not (
        jnp.issubdtype(result.dtype, jnp.floating)
        or jnp.issubdtype(result.dtype, jnp.integer)
        or result.dtype == bool
    ):
        what = f"{result.dtype} of shape {shape}" if shape is not None else type(result).__name__
        raise InputError(f"attack {name!r} returns {what} for one record, expected one number")
    if not found:
        raise InputError(f"attack {name!r} looks at nothing of the record")
    return list(found)
