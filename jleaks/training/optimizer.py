"""From a gradient to the next parameters: Adam or momentum, weight decay, learning-rate schedule."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from jleaks.arrays import AnyArray
from jleaks.models.cpu_kernels import operations as host
from jleaks.training.recipe import Recipe

PyTree = Any

# optax's defaults, and the paper's.
_B1, _B2, _EPS = 0.9, 0.999, 1e-8


def is_kernel(params: PyTree) -> PyTree:
    """Says of every array of parameters whether the weight decay concerns it."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def make(recipe: Recipe) -> optax.GradientTransformation:
    """Returns the optimiser of a recipe's loss plus `l2` times the sum of squared kernels."""
    return optax.chain(
        optax.add_decayed_weights(2 * recipe.l2, mask=is_kernel),
        optax.adam(recipe.learning_rate, _B1, _B2, _EPS)
        if recipe.optimizer == "adam"
        else optax.sgd(recipe.learning_rate, recipe.momentum),
    )


def scheduled(recipe: Recipe, step: AnyArray, num_steps: AnyArray) -> Float[Array, ""]:
    """Returns the factor of the learning rate at a step.

    Args:
      recipe: Names the schedule.
      step: Of this model, counted from its first epoch.
      num_steps: That this model takes altogether: models of a fleet may have more or fewer records.
    """
    if recipe.schedule == "cosine":
        share = step / jnp.maximum(num_steps, 1)
        return 0.5 * (1 + jnp.cos(jnp.pi * share))
    return jnp.float32(1)


def update(
    recipe: Recipe,
    adam: Callable[..., host.Moments] | None,
    grads: PyTree,
    opt_state: PyTree,
    params: PyTree,
    factor: Float[AnyArray, ""],
    active: Bool[AnyArray, ""],
) -> tuple[PyTree, PyTree]:
    """Takes one step; a model that is not active stays as it is.

    Args:
      recipe: Names the optimiser.
      adam: Adam's step of one array by a kernel that goes once over its memory; None for XLA's.
      grads: Gradient of the loss.
      opt_state: What `make(recipe)` keeps.
      params: The parameters.
      factor: Of the learning rate, as `scheduled` returns it.
      active: Whether this model takes the step.

    Returns:
      The parameters and the optimiser's state after it.
    """
    if adam and recipe.optimizer == "adam":
        step = HostAdam(recipe, opt_state, factor, active)
        moments = jax.tree.map(
            lambda gradient, decayed, now: adam(
                now, gradient, step.how, step.decay if decayed else 0.0
            ),
            grads, is_kernel(params), step.split(params),
        )  # fmt: skip
        return step.join(moments)
    updates, new_state = make(recipe).update(grads, opt_state, params)
    if recipe.schedule != "constant":
        updates = jax.tree.map(lambda leaf: leaf * factor, updates)
    new_params = optax.apply_updates(params, updates)
    return jax.tree.map(
        lambda new, old: jnp.where(active, new, old), (new_params, new_state), (params, opt_state)
    )


class HostAdam:
    """Adam's step by the kernels of `jleaks.models.cpu_kernels`, on the state that `make(recipe)` keeps."""

    def __init__(
        self,
        recipe: Recipe,
        opt_state: PyTree,
        factor: Float[AnyArray, ""],
        active: Bool[AnyArray, ""],
    ):
        """Prepares the step; arguments as those of `update`."""
        count = optax.tree.get(opt_state, "count")
        step = optax.safe_increment(count)
        rate = jnp.where(active, recipe.learning_rate * factor, 0)
        scalars = jnp.stack([rate, 1 / (1 - _B1**step), 1 / (1 - _B2**step)]).astype(jnp.float32)
        self.how = host.Adam(scalars, _B1, _B2, _EPS)
        self.decay = 2 * recipe.l2
        self._opt_state = opt_state
        self._count = jnp.where(active, step, count)

    def split(self, params: PyTree) -> PyTree:
        """Returns the parameters, each with its moments."""
        mean, square = (optax.tree.get(self._opt_state, name) for name in ("mu", "nu"))
        return jax.tree.map(host.Moments, params, mean, square)

    def join(self, moments: PyTree) -> tuple[PyTree, PyTree]:
        """Returns parameters and optimiser's state after the step, of what `split` returned before it."""
        outer = jax.tree.structure(optax.tree.get(self._opt_state, "mu"))
        params, mean, square = jax.tree.transpose(outer, None, moments)
        return params, optax.tree.set(self._opt_state, count=self._count, mu=mean, nu=square)
