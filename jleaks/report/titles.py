"""What tasks, adversaries and sources are called in tables and figures."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jleaks.attacks.registry import ATTACKS
from jleaks.data.tasks import TASKS, Source
from jleaks.errors import InputError

ADVERSARIES: dict[str, str] = {
    "adversary 1": "Adversary 1: a shadow model trained on the target's own distribution",
    "adversary 2": "Adversary 2: data transferring, a shadow model trained on another task",
    "adversary 3": "Adversary 3: no training, a threshold on a statistic of the posteriors",
}

# From real to wholly made up; where a choice must be made, the later one is claimed.
_SOURCES: tuple[Source, ...] = ("real", "own", "stand-in", "synthetic")

# Column heads of the transfer matrix, eight characters at most.
_SHORT_TITLES = {
    "cifar10": "C-10",
    "cifar100": "C-100",
    "purchase2": "P-2",
    "purchase10": "P-10",
    "purchase20": "P-20",
    "purchase50": "P-50",
    "purchase100": "P-100",
}

Sources = Mapping[str, Source]


def attack_title(attack: str) -> str:
    """Returns the registry's title of an attack on banks, or its name if the registry lacks it."""
    return ATTACKS[attack].title if attack in ATTACKS else attack


def order_tasks(names: Iterable[str]) -> list[str]:
    """Returns the distinct task names in the registry's order; unknown ones follow by name."""
    known = {name: rank for rank, name in enumerate(TASKS)}
    return sorted(set(names), key=lambda name: (known.get(name, len(known)), name))


def plain_title(task: str) -> str:
    """Returns the registry's title of `task`, or its name if the registry lacks it."""
    return TASKS[task].title if task in TASKS else task


def short_title(task: str) -> str:
    """Returns a title of at most eight characters."""
    return _SHORT_TITLES.get(task, plain_title(task))[:8]


def flagged_title(task: str, sources: Sources, separator: str = " ") -> str:
    """Returns the title of `task`, with the source of its records unless they are real."""
    source = sources[task]
    title = plain_title(task)
    return title if source == "real" else f"{title}{separator}({source})"


def task_sources(rows: Sequence[Mapping[str, Any]]) -> dict[str, Source]:
    """Returns where the records of every target and shadow task come from.

    A row names its target's source, and may name its shadow's.  Rows of adversary 2 decide only where no
    others do; a task whose source none names takes the one farthest from real that the rows with it as a
    shadow name, so that made-up records are never shown as real.

    Raises:
      InputError: rows name different sources for one task.
    """
    # What the targets of other adversaries, those of adversary 2, shadows, and neighbours of shadows say.
    said: list[dict[str, set[Source]]] = [{}, {}, {}, {}]
    for row in rows:
        said[int(row["adversary"] == 2)].setdefault(row["task"], set()).add(row["source"])
        if shadow := row["shadow_task"]:
            own = row.get("shadow_source")
            said[2 if own else 3].setdefault(shadow, set()).add(own or row["source"])
    sources: dict[str, Source] = {}
    for certain, named in zip((True, True, True, False), said, strict=True):
        for task, found in named.items():
            if task in sources:
                continue
            if certain and len(found) > 1:
                raise InputError(
                    f"task {task!r} has rows with records from different sources "
                    f"({', '.join(sorted(found))}); a report shows one source per task"
                )
            sources[task] = max(found, key=_SOURCES.index)
    return sources


def source_suffix(tasks: Iterable[str], sources: Sources) -> str:
    """Returns what a title must add about the records of `tasks`: "" if all of them are real.

    Examples: " (synthetic data)", " (real and stand-in data)".
    """
    found = {sources[task] for task in tasks}
    if found <= {"real"}:
        return ""
    *first, last = [source for source in _SOURCES if source in found]
    return f" ({', '.join(first)}{' and ' if first else ''}{last} data)"


def source_note(tasks: Iterable[str], sources: Sources) -> str:
    """Returns the sentences of a caption that say which tasks' records are not real, or ""."""
    tasks = order_tasks(tasks)
    notes = []
    for source, meaning in (
        ("own", "Own data (a user's own records, as they were given)"),
        ("stand-in", "Stand-in data (another public data set in the format of the paper's)"),
        ("synthetic", "Synthetic data (drawn from a generator, no real records)"),
    ):
        concerned = [plain_title(task) for task in tasks if sources[task] == source]
        if concerned:
            everything = len(concerned) == len(tasks)
            notes.append(f"{meaning}: {'all tasks' if everything else ', '.join(concerned)}.")
    return " ".join(notes)
