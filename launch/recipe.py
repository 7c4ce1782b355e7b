"""The flags of how targets, shadows and reference models are trained."""

import dataclasses
import typing
from typing import Any, cast

from absl import flags

from jleaks.augmentation import Augmentation
from jleaks.datasets.registry import Task
from jleaks.errors import InputError
from jleaks.plan import Activation, Model, Precision, Recipe
from jleaks.recipes import RECIPES

from .flags import WHAT

_RECIPE = flags.DEFINE_enum(
    "recipe",
    "ml_leaks",
    list(RECIPES),
    "Of targets, shadows and references; the flags below deviate from it.\n      "
    + "\n      ".join(f"{name}: {preset.about}" for name, preset in RECIPES.items()),
    module_name=WHAT,
)
_MODEL = flags.DEFINE_enum(
    "model",
    None,
    list(typing.get_args(Model)),
    "Network of targets, shadows and references; cnn, resnet18 and wrn28_2 are for images.  Default the "
    "recipe's; of ml_leaks, each task's own.",
    module_name=WHAT,
)
_HIDDEN = flags.DEFINE_list(
    "hidden", None, "Widths of the MLP's hidden layers; default the recipe's.", module_name=WHAT
)
# By the names of the recipe's fields.
_FIELDS: dict[str, flags.FlagHolder[Any]] = {
    "epochs": flags.DEFINE_integer(
        "epochs", None, "Of targets and shadows; default the recipe's.", module_name=WHAT
    ),
    "batch_size": flags.DEFINE_integer(
        "batch_size", None, "Of targets and shadows; default the recipe's.", module_name=WHAT
    ),
    "learning_rate": flags.DEFINE_float(
        "learning_rate", None, "Of targets and shadows; default the recipe's.", module_name=WHAT
    ),
    "l2": flags.DEFINE_float(
        "l2",
        None,
        "Penalty on squared weights, half the weight decay; default the recipe's.",
        module_name=WHAT,
    ),
    "precision": flags.DEFINE_enum(
        "precision",
        None,
        list(typing.get_args(Precision)),
        "Of the operands of matrix products and convolutions; sums are float32.  tensorfloat32 and "
        "bfloat16 are the same numbers everywhere; default is the backend's own: float32 on CPUs, TF32 "
        "on recent GPUs.  Unset: the recipe's, float32.",
        module_name=WHAT,
    ),
    "optimizer": flags.DEFINE_enum(
        "optimizer",
        None,
        ["adam", "sgd"],
        "Of targets and shadows; default the recipe's.",
        module_name=WHAT,
    ),
    "momentum": flags.DEFINE_float(
        "momentum", None, "SGD's; default the recipe's.", module_name=WHAT
    ),
    "schedule": flags.DEFINE_enum(
        "schedule",
        None,
        ["constant", "cosine"],
        "Of the learning rate; cosine falls to zero at the last step.  Default the recipe's.",
        module_name=WHAT,
    ),
    "augmentation": flags.DEFINE_enum(
        "augmentation",
        None,
        list(typing.get_args(Augmentation)),
        "Of training images, at random; default the recipe's.",
        module_name=WHAT,
    ),
    "activation": flags.DEFINE_enum(
        "activation",
        None,
        list(typing.get_args(Activation)),
        "Of the MLP's hidden layers and the CNN's fully connected one; default the recipe's, tanh.",
        module_name=WHAT,
    ),
}


def make_recipe(task: Task | None = None) -> Recipe:
    """Returns the recipe that the flags describe.

    Args:
      task: Brings its own network where neither the flags nor the recipe name one.

    Raises:
      InputError: a width is not a number.
    """
    changes = {name: flag.value for name, flag in _FIELDS.items() if flag.value is not None}
    if _HIDDEN.value is not None:
        if not all(width.isdigit() for width in _HIDDEN.value):
            raise InputError(
                f"--hidden is {','.join(_HIDDEN.value)}, expected widths such as 1024,512"
            )
        changes["hidden"] = tuple(int(width) for width in _HIDDEN.value)
    recipe = dataclasses.replace(RECIPES[_RECIPE.value].recipe, **changes)
    model = chosen_model() or (recipe.model if task is None else task.model)
    return dataclasses.replace(recipe, model=model)


def chosen_model() -> Model | None:
    """Returns the network that the flags name for all tasks, or None for each task's own."""
    return cast(Model | None, _MODEL.value) or RECIPES[_RECIPE.value].model
