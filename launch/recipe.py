"""The flags of how targets, shadows and reference models are trained."""

import dataclasses

from jleaks.data.tasks import Task
from jleaks.training.recipe import RECIPES, Recipe

from .app import WHAT
from .fields import Fields, define_preset
from .network import choose_network

_RECIPE = define_preset(
    "recipe",
    "ml_leaks",
    {name: preset.about for name, preset in RECIPES.items()},
    "Recipe of targets, shadows and references, from which single flags deviate.",
    WHAT,
)
# What the loss is, is no choice of a classifier's.
_NAMES = [
    field.name for field in dataclasses.fields(Recipe) if field.name not in ("loss", "quantile")
]
_UNSET = dict.fromkeys(_NAMES, "--recipe's") | {"model": "--recipe's; each task's own in ml_leaks"}
_FIELDS = Fields(Recipe, _NAMES, WHAT, unset=_UNSET)


def make_recipe(task: Task | None = None) -> Recipe:
    """Returns the recipe that the flags describe.

    Args:
      task: Brings its own network where neither the flags nor the recipe name one.

    Raises:
      InputError: there is no such network, or a width is not a number.
    """
    recipe = dataclasses.replace(RECIPES[_RECIPE.value].recipe, **_FIELDS.values())
    model = chosen_model() or (recipe.model if task is None else task.model)
    return dataclasses.replace(recipe, model=model)


def chosen_model() -> str | None:
    """Returns the network that the flags name for all tasks, or None for each task's own.

    Raises:
      InputError: there is no such network, or a width is not a number.
    """
    named = choose_network(_FIELDS.values().get("model"))
    return named or RECIPES[_RECIPE.value].model
