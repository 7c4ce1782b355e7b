"""The flags of which tasks, how many seeds of each, and where their records are."""

from typing import Any, Literal

from absl import flags

from jleaks.data.tasks import TASKS, get_task
from jleaks.errors import InputError

from .app import WHAT, WHERE

DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Datasets prepared by launch.prepare; without it the synthetic stand-ins are used.",
    module_name=WHERE,
)


def define_tasks(default: str) -> flags.FlagHolder[Any]:
    """Defines --tasks."""
    text = f"Tasks to run: all, or some of {', '.join(TASKS)}."
    return flags.DEFINE_list("tasks", [default], text, module_name=WHAT)


def define_task_seeds() -> flags.FlagHolder[Any]:
    """Defines --task_seeds."""
    text = "Exceptions to --num_seeds, such as cifar10=1,mnist=3."
    return flags.DEFINE_list("task_seeds", [], text, module_name=WHAT)


def source() -> Literal["prepared", "synthetic"]:
    """Returns where --data_dir says that records come from."""
    return "synthetic" if DATA_DIR.value is None else "prepared"


def read_tasks(names: list[str]) -> tuple[str, ...]:
    """Returns the tasks that --tasks names, in registry order.

    Raises:
      InputError: there is no such task.
    """
    if names == ["all"]:
        return tuple(TASKS)
    return tuple(sorted({get_task(name).name for name in names}, key=list(TASKS).index))


def read_seeds(items: list[str], tasks: tuple[str, ...]) -> dict[str, int]:
    """Returns the number of seeds of each task that --task_seeds names.

    Raises:
      InputError: an item is not of the form TASK=COUNT, or of none of the tasks.
    """
    seeds = {}
    for item in items:
        name, _, count = item.partition("=")
        if name not in tasks or not count.isdigit():
            raise InputError(f"--task_seeds has {item!r}, expected TASK=COUNT with a chosen task")
        seeds[name] = int(count)
    return seeds
