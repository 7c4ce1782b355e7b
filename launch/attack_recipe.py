"""The flags of how attack models are trained."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from absl import flags

from jleaks.plan import Activation, Recipe
from jleaks.recipes import ATTACK_RECIPES

from .flags import WHAT

_RECIPE = flags.DEFINE_enum(
    "attack_recipe",
    "stable",
    list(ATTACK_RECIPES),
    "Of attack models; the flags that begin alike deviate from it.\n      "
    + "\n      ".join(f"{name}: {preset.about}" for name, preset in ATTACK_RECIPES.items()),
    module_name=WHAT,
)
# By the names of the recipe's fields.
_FIELDS: dict[str, flags.FlagHolder[Any]] = {
    "epochs": flags.DEFINE_integer(
        "attack_epochs", None, "Of attack models; default the recipe's.", module_name=WHAT
    ),
    "batch_size": flags.DEFINE_integer(
        "attack_batch_size", None, "Of attack models; default the recipe's.", module_name=WHAT
    ),
    "learning_rate": flags.DEFINE_float(
        "attack_learning_rate", None, "Of attack models; default the recipe's.", module_name=WHAT
    ),
    "l2": flags.DEFINE_float(
        "attack_l2",
        None,
        "Penalty on squared weights of attack models; default the recipe's.",
        module_name=WHAT,
    ),
    "schedule": flags.DEFINE_enum(
        "attack_schedule",
        None,
        ["constant", "cosine"],
        "Of the attack models' learning rate; default the recipe's.",
        module_name=WHAT,
    ),
    "activation": flags.DEFINE_enum(
        "attack_activation",
        None,
        list(typing.get_args(Activation)),
        "Of the attack models' hidden layer; default the recipe's.",
        module_name=WHAT,
    ),
}


def make_attack_recipe(cheaper: Mapping[str, Any] | None = None) -> Recipe:
    """Returns the recipe of attack models that the flags describe.

    Args:
      cheaper: Fields of the named recipe that the caller changes before single flags do.
    """
    named = dataclasses.replace(ATTACK_RECIPES[_RECIPE.value].recipe, **(cheaper or {}))
    changes = {name: flag.value for name, flag in _FIELDS.items() if flag.value is not None}
    return dataclasses.replace(named, **changes)
