"""A user's flax module, linen or nnx, behind the pure `init` and `apply` of jleaks' own networks.

A module is checked on one batch, by its trace, before anything is computed: what cannot be trained in a
fleet is one line.
"""

import contextlib
import inspect
import itertools
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import linen, nnx, traverse_util
from flax.core import meta, unfreeze
from jax.extend import core
from jaxtyping import Array

from jleaks.errors import InputError
from jleaks.keys import Key
from jleaks.models.networks import Computing, Training
from jleaks.models.signatures import (
    CallSignature,
    call_signature,
    constructor_arguments,
    takes_rngs,
)
from jleaks.models.traced_convolutions import in_form

Variables = dict[str, Any]

# Records in the batch that a module is checked on.
_CHECKED = 2


def make_module(name: str, network: Any, num_classes: int, how: Computing) -> "FlaxNetwork":
    """Returns a user's network for a number of classes.

    Args:
      name: It was registered under.
      network: A module's class, a function that makes a module, or a linen module.
      num_classes: K.
      how: Of its precision, "float32" or None can be had.

    Raises:
      InputError: it is no such thing, or cannot be had in that precision.
    """
    if how.precision not in (None, "float32"):
        raise InputError(
            f"precision is {how.precision}, but the products of {name} are its own: expected float32 or "
            "default"
        )
    if isinstance(network, linen.Module):
        return FlaxNetwork(name, _Linen(name, lambda: network, num_classes), num_classes, how)
    if inspect.isclass(network) and not issubclass(network, (linen.Module, nnx.Module)):
        raise InputError(f"network {name} is a {network.__name__}, no linen or nnx module")
    kind: type[_Linen] | type[_Nnx] = _Nnx if takes_rngs(network) else _Linen
    return FlaxNetwork(name, kind(name, network, num_classes), num_classes, how)


@runtime_checkable
class _Module(Protocol):
    """A module as pure functions."""

    def start(self, key: Key, inputs: Array) -> Variables:
        """Returns untrained variables."""
        ...

    def answer(
        self, variables: Variables, inputs: Array, key: Key | None
    ) -> tuple[Array, dict[str, Any]]:
        """Returns logits and batch statistics, of a training step if there is a key to draw from."""
        ...


class FlaxNetwork:
    """A user's network.

    Attributes:
      drop_widths: Of no layer: what may drop is the module's own affair.
      how: How it is computed; its form is that of plain convolutions and pooling (`traced_convolutions`).
    """

    drop_widths = None

    def __init__(self, name: str, module: _Module, num_classes: int, how: Computing):
        """Takes a module as pure functions; it is checked when records are there."""
        self.how = how
        self._name, self._module, self._num_classes = name, module, num_classes
        self._checked: set[tuple[int, ...]] = set()

    def init(self, key: Key, inputs: Array) -> Variables:
        """Returns untrained variables: "params" and "batch_stats".

        Raises:
          InputError: the module cannot be trained in a fleet on such inputs.
        """
        if inputs.shape[1:] not in self._checked:
            self._check(inputs.shape[1:])
            self._checked.add(inputs.shape[1:])
        with self._precision():
            return self._module.start(key, inputs)

    def apply(
        self,
        variables: Variables,
        inputs: Array,
        training: Training | None = None,
        *,
        mutable: Any = False,
    ) -> Any:
        """Returns logits [B, K] float32; with `mutable` also the batch statistics after it."""
        with self._precision():
            key = None if training is None else training.key
            answer = in_form(self._module.answer, self.how.form)
            logits, averages = answer(variables, inputs, key)
        logits = logits.astype(jnp.float32)
        return (logits, {"batch_stats": averages}) if mutable else logits

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        """Of products that name none themselves."""
        if self.how.precision is None:
            return contextlib.nullcontext()
        return jax.default_matmul_precision(self.how.precision)

    def _check(self, shape: tuple[int, ...]) -> None:
        """Traces the module on one batch.

        Raises:
          InputError: it cannot be trained in a fleet.
        """
        key = jax.eval_shape(lambda: jax.random.key(0))
        one = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
        batch = jax.ShapeDtypeStruct((_CHECKED, *shape), jnp.float32)
        variables = self._traced("when it is made", self._module.start, key, one)[1]
        self._check_variables(variables)
        step = self._traced("in training", self._module.answer, variables, batch, key)
        query = self._traced(
            "in a query", lambda v, x: self._module.answer(v, x, None), variables, batch
        )
        for jaxpr, (logits, averages) in (step, query):
            if called := sorted(_callbacks(jaxpr.jaxpr)):
                raise self._refusal(
                    f"calls the host ({', '.join(called)}), which a fleet on accelerators cannot"
                )
            if logits.shape != (_CHECKED, self._num_classes):
                raise self._refusal(
                    f"answers {_shown(logits.shape)} to {_CHECKED} records, expected logits "
                    f"{_shown((_CHECKED, self._num_classes))}: one for each class"
                )
            if not jnp.issubdtype(logits.dtype, jnp.floating):
                raise self._refusal(f"answers {logits.dtype}, expected logits of floats")
            if _like(averages) != _like(variables["batch_stats"]):
                raise self._refusal("has other batch statistics after a batch than before")

    def _check_variables(self, variables: Variables) -> None:
        leaves = traverse_util.flatten_dict(variables["params"])
        if not leaves:
            raise self._refusal("has no parameters")
        for path, leaf in leaves.items():
            named = "/".join(path)
            if leaf.dtype != jnp.float32:
                raise self._refusal(f"has {leaf.dtype} parameters ({named}), expected float32")
            if any("/" in part for part in path):
                raise self._refusal(f"has a layer called {named}, expected names without '/'")

    def _traced(self, when: str, fn: Callable[..., Any], *like: Any) -> tuple[Any, Any]:
        """Returns a function's trace, and the shapes that it answers."""
        try:
            with self._precision():
                return jax.make_jaxpr(fn, return_shape=True)(*like)
        except InputError:
            raise
        except Exception as error:
            # Without the addresses of documentation that flax adds.
            reason = " ".join(str(error).partition(" (http")[0].split())[:200]
            shape = _shown(like[-1].shape if when != "in training" else like[1].shape)
            told = "; `train` or `deterministic` tells __call__ that nothing is drawn or updated"
            raise self._refusal(
                f"fails {when}, on encoded records {shape} float32: {type(error).__name__}: {reason}"
                f"{told if when == 'in a query' else ''}"
            ) from error

    def _refusal(self, what: str) -> InputError:
        return InputError(f"network {self._name} {what}")


def _shown(shape: tuple[int, ...]) -> str:
    return str(list(shape))


def _like(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), tree)


def _callbacks(jaxpr: core.Jaxpr) -> set[str]:
    """Returns the calls of the host in a trace."""
    found = set()
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        found |= {name} if "callback" in name or name == "debug_print" else set()
        for inner in core.jaxprs_in_params(equation.params):
            found |= _callbacks(inner)
    return found


class _Linen:
    """A linen module, which holds no variables itself."""

    def __init__(self, name: str, maker: Callable[..., Any], num_classes: int):
        self._name, self._maker, self._num_classes = name, maker, num_classes

    def _made(self, inputs: Array) -> tuple[linen.Module, CallSignature]:
        given = constructor_arguments(self._name, self._maker, self._num_classes, inputs.shape[1:])
        module = self._maker(**given)
        if not isinstance(module, linen.Module):
            hint = ": let it take rngs" if isinstance(module, nnx.Module) else ""
            raise InputError(
                f"network {self._name} makes a {type(module).__name__}, expected a linen module{hint}"
            )
        return module, call_signature(self._name, type(module))

    def start(self, key: Key, inputs: Array) -> Variables:
        """Returns the variables that the module's own `init` makes."""
        module, call = self._made(inputs)
        made = dict(unfreeze(meta.unbox(module.init(key, inputs, **call.arguments(False)))))
        params, averages = made.pop("params", {}), made.pop("batch_stats", {})
        if made:
            raise InputError(
                f"network {self._name} keeps {', '.join(sorted(made))}, expected params and "
                "batch_stats alone (constants may be among the latter)"
            )
        return {"params": params, "batch_stats": averages}

    def answer(
        self, variables: Variables, inputs: Array, key: Key | None
    ) -> tuple[Array, dict[str, Any]]:
        """Returns logits and batch statistics, of a training step if there is a key to draw from."""
        module, call = self._made(inputs)
        arguments = call.arguments(key is not None)
        if key is None:
            return module.apply(variables, inputs, **arguments), variables["batch_stats"]
        # Streams of other names than dropout fall back on that of params.
        rngs = {"dropout": key, "params": jax.random.fold_in(key, 1)}
        logits, updated = module.apply(
            variables, inputs, **arguments, rngs=rngs, mutable=["batch_stats"]
        )
        return logits, dict(updated.get("batch_stats", {}))


class _Nnx:
    """An nnx module, which holds its variables: split into them and the rest, and merged again."""

    def __init__(self, name: str, maker: Callable[..., Any], num_classes: int):
        self._name, self._maker, self._num_classes = name, maker, num_classes

    def _made(self, inputs: Array, rngs: nnx.Rngs) -> nnx.Module:
        given = constructor_arguments(
            self._name, self._maker, self._num_classes, inputs.shape[1:], rngs
        )
        module = self._maker(**given)
        if not isinstance(module, nnx.Module):
            raise InputError(
                f"network {self._name} makes a {type(module).__name__}, expected an nnx module"
            )
        return module

    def _split(self, module: nnx.Module) -> tuple[Any, Any, Any, Any]:
        """Returns what is static, parameters, batch statistics and generators."""
        graph, params, averages, generators, rest = nnx.split(
            module, nnx.Param, nnx.BatchStat, nnx.RngState, ...
        )
        if others := sorted({type(variable).__name__ for _, variable in nnx.to_flat_state(rest)}):
            raise InputError(
                f"network {self._name} keeps {', '.join(others)}, expected nnx.Param and "
                "nnx.BatchStat alone (constants may be among the latter)"
            )
        return graph, params, averages, generators

    def start(self, key: Key, inputs: Array) -> Variables:
        """Returns the variables of a module that draws its weights from the key."""
        _, params, averages, _ = self._split(self._made(inputs, nnx.Rngs(key)))
        return {"params": _named(params), "batch_stats": _named(averages)}

    def answer(
        self, variables: Variables, inputs: Array, key: Key | None
    ) -> tuple[Array, dict[str, Any]]:
        """Returns logits and batch statistics, of a training step if there is a key to draw from."""
        abstract = nnx.eval_shape(lambda: self._made(inputs, nnx.Rngs(0)))
        graph, params, averages, generators = self._split(abstract)
        own = _generators(generators, jax.random.key(0) if key is None else key)
        averages = _filled(averages, variables["batch_stats"])
        # The module counts in its generators what it draws.
        before = jax.tree.leaves((averages, own))
        module = nnx.merge(graph, _filled(params, variables["params"]), averages, own)
        call = call_signature(self._name, type(module))
        arguments: dict[str, Any] = dict(call.arguments(key is not None))
        if key is None:
            module.eval()
        else:
            module.train()
            if call.rngs:
                arguments["rngs"] = nnx.Rngs(jax.random.fold_in(key, 0))
        logits = module(inputs, **arguments)
        _, _, updated, after = self._split(module)
        if key is None:
            now = jax.tree.leaves((updated, after))
            if any(a is not b for a, b in zip(before, now, strict=True)):
                raise InputError(
                    f"network {self._name} draws random numbers or updates statistics in a query, which "
                    ".eval(), or `train` or `deterministic` of __call__, should have told it not to"
                )
            return logits, variables["batch_stats"]
        return logits, _named(updated)


def _paths(state: Any) -> list[tuple[tuple[str, ...], Any]]:
    """Returns the leaves of a state, each with its path."""
    found = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        keys = [key.key for key in path if isinstance(key, jax.tree_util.DictKey)]
        found.append((tuple(map(str, keys)), leaf))
    return found


def _named(state: Any) -> dict[str, Any]:
    """Returns a state as dicts by name, in which models are kept."""
    return traverse_util.unflatten_dict(dict(_paths(state)))


def _filled(state: Any, values: dict[str, Any]) -> Any:
    """Undoes `_named`: returns a state like another, with these values."""
    flat = traverse_util.flatten_dict(values)
    structure = jax.tree.structure(state)
    return jax.tree.unflatten(structure, [flat[path] for path, _ in _paths(state)])


def _generators(state: Any, key: Key) -> Any:
    """Returns the generators of a module as those of one step: each with a key of its own, at its start."""
    number = itertools.count(1)

    def started(leaf: Any) -> Array:
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jnp.zeros(leaf.shape, leaf.dtype)
        own = jax.random.fold_in(key, next(number))
        return jax.random.split(own, leaf.shape) if leaf.shape else own

    return jax.tree.map(started, state)
