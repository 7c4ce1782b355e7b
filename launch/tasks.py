"""The flags of which tasks, how many seeds of each, and where their records are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from absl import flags

from jleaks.data.tasks import PAPER_TASKS, TASKS, Task, get_task, register
from jleaks.errors import InputError
from jleaks.fields import whole_number

from .app import WHAT, WHERE

DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Datasets prepared by launch.prepare; without it the synthetic stand-ins are used.",
    module_name=WHERE,
)


def define_tasks(default: str) -> flags.FlagHolder[Any]:
    """Defines --tasks."""
    text = f"Tasks to run: all, or some of {', '.join(PAPER_TASKS)} and of those of a --plugin."
    return flags.DEFINE_list("tasks", [default], text, module_name=WHAT)


def define_task_seeds() -> flags.FlagHolder[Any]:
    """Defines --task_seeds."""
    text = "Exceptions to --num_seeds, such as cifar10=1,mnist=3."
    return flags.DEFINE_list("task_seeds", [], text, module_name=WHAT)


def source() -> Literal["prepared", "synthetic"]:
    """Returns where --data_dir says that records come from."""
    return "synthetic" if DATA_DIR.value is None else "prepared"


def define_own_data(group: str = WHAT) -> None:
    """Defines --data and what says more of it, in a group; `read_tasks` registers the task they make."""
    define = flags.DEFINE_string
    define(
        "data",
        None,
        "Your own records, a task without a --plugin: a .npz, .csv, .tsv or .parquet file, a folder "
        "with a folder of images for each class, or one that TFDS prepared.  The task is this one unless "
        "another is named.",
        module_name=WHERE,
    )
    define(
        "data_name", None, "Name of the task of --data.  Default: the file's.", module_name=group
    )
    define(
        "label",
        None,
        "Of --data, the column or array of the classes.  Default: whichever is called labels, y, "
        "targets, target, label or classes.",
        module_name=group,
    )
    define(
        "features",
        None,
        "Of --data in an npz, the array of the records.  Default: whichever is called features, x, data, "
        "images or records.",
        module_name=group,
    )
    flags.DEFINE_list("drop", [], "Of --data in a table, columns to leave out.", module_name=group)
    define(
        "encoding",
        None,
        "Of --data, how records become network inputs: real, columns, binary, pixels, terms or one that "
        "a --plugin registers.  Default: what the records look like, which is told.",
        module_name=group,
    )


def own_task() -> str | None:
    """Registers the task of --data, and returns its name; None without --data."""
    path, *others = (_value(name) for name in ("data", "data_name", *_OF_DATA))
    name, label, features, drop, encoding = others
    if path is None:
        for flag, value in zip(("data_name", *_OF_DATA), others, strict=True):
            if value:
                raise InputError(f"--{flag} says something of --data, which is not given")
        return None
    stem = Path(path).resolve().name.split(".")[0]
    name = name or "".join(c if c.isalnum() or c in "_-" else "_" for c in stem)
    return register(
        Task(
            name,
            data=path,
            label=label,
            features=features,
            drop=tuple(drop),
            encoding=encoding or "",
        )
    ).name


_OF_DATA = ("label", "features", "drop", "encoding")


def _value(name: str) -> Any:
    """Returns a flag's value; None where the launcher has no such flag."""
    return flags.FLAGS[name].value if name in flags.FLAGS else None


def read_tasks(flag: flags.FlagHolder[Any]) -> tuple[str, ...]:
    """Returns the tasks that --tasks names, or else that of --data, in registry order.

    Raises:
      InputError: there is no such task, or own data cannot be read or used.
    """
    own = own_task()
    names = flag.value if own is None or flag.present else [own]
    if names == ["all"]:
        return PAPER_TASKS
    if not names:
        raise InputError(f"--tasks names no task; allowed: all, {', '.join(TASKS)}")
    return tuple(sorted({get_task(name).name for name in names}, key=list(TASKS).index))


def told(names: Sequence[str]) -> list[str]:
    """Returns what must be told of tasks that bring their own data."""
    found = [get_task(name).records for name in names]
    return [line for records in found if records is not None for line in records.lines]


def read_seeds(items: list[str], tasks: tuple[str, ...]) -> dict[str, int]:
    """Returns the number of seeds of each task that --task_seeds names.

    Raises:
      InputError: an item is not of the form TASK=COUNT, or of none of the tasks.
    """
    seeds = {}
    for item in items:
        name, _, text = item.partition("=")
        if name not in tasks or (count := whole_number(text)) is None:
            raise InputError(
                f"--task_seeds has {item!r:.80}, expected TASK=COUNT with a chosen task"
            )
        seeds[name] = count
    return seeds
