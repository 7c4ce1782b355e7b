"""A user's function with its convolutions, and its pooling, in the form that a backend runs fast.

What flax makes of `nn.Conv` and `nnx.Conv` is the native convolution, which XLA:CPU runs up to a hundred
times slower in a training loop than the products of `jleaks.models.convolution`.  So the function is
traced, and its trace computed again with those in place of plain convolutions of images.  Others (dilated,
grouped, transposed, of other dimensions, inside loops or rules of differentiation of one's own) stay.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax.extend import core
from jaxtyping import Array

from jleaks.fields import Form
from jleaks.models.convolution import convolve, max_pool

_IMAGES = lax.conv_dimension_numbers((1, 1, 1, 1), (1, 1, 1, 1), ("NHWC", "HWIO", "NHWC"))
# Equations that only hold others, some to compute these again for the gradient.
_AGAIN = ("checkpoint", "remat", "remat2")
_HOLDERS = ("jit", "pjit", "closed_call", *_AGAIN)


def in_form(fn: Callable[..., Any], form: Form) -> Callable[..., Any]:
    """Returns the function, its convolutions of images computed in a form; "native" is the function itself.

    Args:
      fn: From arrays to arrays, in trees.
      form: As of `convolve`; the sums are the same, in another order.
    """
    if form == "native":
        return fn

    def formed(*args: Any) -> Any:
        traced, like = jax.make_jaxpr(fn, return_shape=True)(*args)
        found = _computed(traced.jaxpr, traced.consts, jax.tree.leaves(args), form)
        return jax.tree.unflatten(jax.tree.structure(like), found)

    return formed


def _computed(
    jaxpr: core.Jaxpr, consts: Sequence[Any], args: Sequence[Any], form: Form
) -> list[Any]:
    values: dict[core.Var, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, args, strict=True))

    def value(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for equation in jaxpr.eqns:
        given = [value(atom) for atom in equation.invars]
        if (inner := _held(equation)) is not None:
            compute = functools.partial(_computed, inner.jaxpr, inner.consts, form=form)
            if equation.primitive.name in _AGAIN:
                how = {name: equation.params[name] for name in ("prevent_cse", "policy")}
                found = jax.checkpoint(lambda *a, compute=compute: compute(a), **how)(*given)
            else:
                found = compute(given)
        elif _is_plain_convolution(equation):
            found = [_convolved(equation, given, form)]
        elif _is_plain_pooling(equation):
            found = [max_pool(*given)]
        else:
            found = _alone(jaxpr, equation, given)
        values.update(zip(equation.outvars, found, strict=True))
    return [value(atom) for atom in jaxpr.outvars]


def _alone(whole: core.Jaxpr, equation: core.JaxprEqn, given: Sequence[Any]) -> list[Any]:
    """Computes one equation as JAX does."""
    read = {a: v for a, v in zip(equation.invars, given, strict=True) if isinstance(a, core.Var)}
    jaxpr = whole.replace(
        constvars=(),
        invars=list(read),
        outvars=equation.outvars,
        eqns=[equation],
        effects=equation.effects,
    )
    return core.jaxpr_as_fun(core.ClosedJaxpr(jaxpr, ()))(*read.values())


def _held(equation: core.JaxprEqn) -> core.ClosedJaxpr | None:
    """Returns what an equation only holds, if that has something to be computed in another form."""
    if equation.primitive.name not in _HOLDERS:
        return None
    found = next(iter(core.jaxprs_in_params(equation.params)), None)
    if found is None or not _has_any(found):
        return None
    whole = equation.params["jaxpr"]
    return whole if isinstance(whole, core.ClosedJaxpr) else core.ClosedJaxpr(whole, ())


def _has_any(jaxpr: core.Jaxpr) -> bool:
    return any(
        _is_plain_convolution(e) or _is_plain_pooling(e) or _held(e) is not None for e in jaxpr.eqns
    )


def _is_plain_convolution(equation: core.JaxprEqn) -> bool:
    if equation.primitive.name != "conv_general_dilated":
        return False
    given = equation.params
    strides = given["window_strides"]
    return (
        given["dimension_numbers"] == _IMAGES
        and given["feature_group_count"] == given["batch_group_count"] == 1
        and {*given["lhs_dilation"], *given["rhs_dilation"]} == {1}
        and strides[0] == strides[1]
        and min(end for ends in given["padding"] for end in ends) >= 0
        and {str(jax.dtypes.result_type(atom.aval)) for atom in equation.invars} == {"float32"}
    )


def _convolved(equation: core.JaxprEqn, operands: Sequence[Array], form: Form) -> Array:
    given, (x, kernel) = equation.params, operands
    return convolve(x, kernel, given["padding"], form, strides=given["window_strides"][0])


def _is_plain_pooling(equation: core.JaxprEqn) -> bool:
    """Whether it is the maximum over disjoint windows of 2 x 2."""
    given = equation.params
    return (
        equation.primitive.name == "reduce_window_max"
        and given["window_dimensions"] == given["window_strides"] == (1, 2, 2, 1)
        and {*given["base_dilation"], *given["window_dilation"]} == {1}
        and {end for ends in given["padding"] for end in ends} == {0}
    )
