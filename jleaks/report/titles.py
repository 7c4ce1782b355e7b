"""What tasks, adversaries and sources are called in tables and figures."""

from collections.abc import Iterable, Mapping, Sequence

from jleaks.data.tasks import TASKS, Source
from jleaks.errors import InputError
from jleaks.rows import ATTACK_MODEL, Row

ADVERSARIES: dict[int, str] = {
    1: "Adversary 1: a shadow model trained on the target's own distribution",
    2: "Adversary 2: data transferring, a shadow model trained on another task",
    3: "Adversary 3: no training, a threshold on a statistic of the posteriors",
}

STATISTICS: tuple[str, ...] = (ATTACK_MODEL, "maximum", "standard deviation", "entropy")
"""The order in which attacks on one target are shown; others follow by name."""

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


def order_tasks(names: Iterable[str]) -> list[str]:
    """Returns the distinct task names in the registry's order; unknown ones follow by name."""
    known = {name: rank for rank, name in enumerate(TASKS)}
    return sorted(set(names), key=lambda name: (known.get(name, len(known)), name))


def order_statistics(names: Iterable[str]) -> list[str]:
    """Returns the distinct statistic names in the order in which reports show them."""
    known = {name: rank for rank, name in enumerate(STATISTICS)}
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


def task_sources(rows: Sequence[Row]) -> dict[str, Source]:
    """Returns where the records of every task in `rows`, target or shadow, come from.

    A row names its target's source.  A row of adversary 2 has two tasks and may name either, so
    the other adversaries' rows decide where there are any; a task known from adversary 2 alone
    takes the source farthest from real that its rows name.

    Raises:
      InputError: adversaries 1 and 3 name different sources for one task.
    """
    named: dict[str, set[Source]] = {}
    guessed: dict[str, set[Source]] = {}
    for row in rows:
        for task in {row["task"], row["shadow_task"] or row["task"]}:
            certain = task == row["task"] and row["adversary"] != 2
            (named if certain else guessed).setdefault(task, set()).add(row["source"])
    sources: dict[str, Source] = {}
    for task in named.keys() | guessed.keys():
        found = named.get(task) or guessed[task]
        if task in named and len(found) > 1:
            raise InputError(
                f"task {task!r} has rows with records from different sources "
                f"({', '.join(sorted(found))}); a report summarises one source per task"
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
