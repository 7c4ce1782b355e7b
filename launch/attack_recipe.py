"""The flags of how attack models are trained."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jleaks.training.recipe import ATTACK_RECIPES, Recipe

from .app import WHAT
from .fields import Fields, define_preset

_RECIPE = define_preset(
    "attack_recipe",
    "stable",
    {name: preset.about for name, preset in ATTACK_RECIPES.items()},
    "Recipe of attack models, from which the flags that begin alike deviate.",
    WHAT,
)
_NAMES = ("epochs", "batch_size", "learning_rate", "l2", "schedule", "activation")
_FIELDS = Fields(Recipe, _NAMES, WHAT, "attack_", dict.fromkeys(_NAMES, "--attack_recipe's"))


def make_attack_recipe(cheaper: Mapping[str, Any] | None = None) -> Recipe:
    """Returns the recipe of attack models that the flags describe.

    Args:
      cheaper: Fields of the named recipe that the caller changes before single flags do.
    """
    changes = {**(cheaper or {}), **_FIELDS.values()}
    return dataclasses.replace(ATTACK_RECIPES[_RECIPE.value].recipe, **changes)
