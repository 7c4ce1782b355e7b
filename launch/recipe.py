"""The flags of how targets, shadows and reference models are trained."""

from typing import Any, cast

from absl import flags

from jleaks.datasets.registry import Task
from jleaks.errors import InputError
from jleaks.plan import Recipe

_WHAT = "What is measured (defines the numbers)"

_RECIPE = Recipe()
_EPOCHS = flags.DEFINE_integer(
    "epochs", _RECIPE.epochs, "Of targets and shadows.", module_name=_WHAT
)
_BATCH = flags.DEFINE_integer(
    "batch_size", _RECIPE.batch_size, "Of targets and shadows.", module_name=_WHAT
)
_RATE = flags.DEFINE_float(
    "learning_rate", _RECIPE.learning_rate, "Adam's, of targets and shadows.", module_name=_WHAT
)
_L2 = flags.DEFINE_float("l2", _RECIPE.l2, "Penalty on squared weights.", module_name=_WHAT)
_PRECISION = flags.DEFINE_enum(
    "precision",
    _RECIPE.precision,
    ["float32", "default"],
    "Of matrix products; default is the backend's fast path (TF32 on GPUs).",
    module_name=_WHAT,
)
_HIDDEN = flags.DEFINE_list(
    "hidden",
    [str(width) for width in _RECIPE.hidden],
    "Widths of the MLP's hidden layers.",
    module_name=_WHAT,
)
_OPTIMIZER = flags.DEFINE_enum(
    "optimizer",
    _RECIPE.optimizer,
    ["adam", "sgd"],
    "Of targets, shadows and references; the recipe of the literature's wide MLP is --hidden=1024,512 "
    "--optimizer=sgd --learning_rate=0.01 --l2=2.5e-4 --schedule=cosine --batch_size=128 --epochs=100.",
    module_name=_WHAT,
)
_MOMENTUM = flags.DEFINE_float("momentum", _RECIPE.momentum, "SGD's.", module_name=_WHAT)
_SCHEDULE = flags.DEFINE_enum(
    "schedule",
    _RECIPE.schedule,
    ["constant", "cosine"],
    "Of the learning rate; cosine falls to zero at the last step.",
    module_name=_WHAT,
)


def make_recipe(task: Task | None = None) -> Recipe:
    """Returns the recipe that the flags describe, with a task's own architecture if one is given.

    Raises:
      InputError: a width is not a number.
    """
    if not all(width.isdigit() for width in _HIDDEN.value):
        raise InputError(f"--hidden is {','.join(_HIDDEN.value)}, expected widths such as 1024,512")
    return Recipe(
        model=_RECIPE.model if task is None else task.model,
        epochs=_EPOCHS.value,
        batch_size=_BATCH.value,
        learning_rate=_RATE.value,
        l2=_L2.value,
        precision=cast(Any, _PRECISION.value),
        hidden=tuple(int(width) for width in _HIDDEN.value),
        optimizer=cast(Any, _OPTIMIZER.value),
        momentum=_MOMENTUM.value,
        schedule=cast(Any, _SCHEDULE.value),
    )
