"""What the cells of a grid found, one line for each attack in each of them.

A grid has thousands of groups of a few rows: they are put together here without tables of pandas.
"""

import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from jleaks.errors import InputError
from jleaks.experiments.claims import ATTACKS, Value, value_rank
from jleaks.metrics.intervals import Interval, t_interval
from jleaks.report.columns import COLUMNS
from jleaks.report.groups import CONFIDENCE, grouped, mean_of
from jleaks.report.numbers import few_mark, interval_text, notes
from jleaks.report.table import Table
from jleaks.report.tables import seeds_text
from jleaks.report.titles import order_tasks
from jleaks.rows import Row

_COLUMNS = ("test_accuracy", "precision", "recall", "auc", "tpr_at_fpr_0.01")


class _Line(NamedTuple):
    """One attack in one variant on the targets of one task, in one cell.

    Attributes:
      task: The targets'.
      attack: One of `ATTACKS`.
      variant: What is varied.
      seeds: Its rows by seed, one for each shadow task; only seeds that all shadow tasks have.
    """

    task: str
    attack: str
    variant: tuple[tuple[str, Value], ...]
    seeds: dict[int, list[dict[str, Any]]]

    def number(self, name: str) -> str:
        """Returns a column as the table has it: the mean over seeds of the mean over shadow tasks."""
        rows = [row for same in self.seeds.values() for row in same]
        defined = [row for row in rows if mean_of(row.get(name)) is not None]
        means = [_mean(mean_of(row.get(name)) for row in same) for same in self.seeds.values()]
        column, interval = COLUMNS[name], _interval(tuple(means))
        others = [n for row in rows if (n := row.get("num_nonmembers")) is not None]
        return interval_text(
            interval.within(column.least, column.most), (len(defined), len(rows)),
            digits=column.digits or 3, mark=few_mark(name, min(others, default=None)),
        )  # fmt: skip


def _mean(values: Iterable[float | None]) -> float:
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else math.nan


@functools.lru_cache(1 << 16)
def _interval(values: tuple[float, ...]) -> Interval:
    return t_interval(values, CONFIDENCE)


def _lines(rows: Sequence[Row], where: str) -> list[_Line]:
    """Returns the lines of one cell, in the order of reports.

    Raises:
      InputError: two rows of an attack share a seed.
    """
    found: dict[Any, dict[str | None, dict[int, dict[str, Any]]]] = {}
    for row in map(grouped, rows):
        by_shadow = found.setdefault((row["task"], row["attack"], row["variant"]), {})
        seeds = by_shadow.setdefault(row.get("shadow_task"), {})
        if row["seed"] in seeds:
            raise InputError(
                f"cell {where} has two rows for {row['attack']}, task {row['task']!r}, seed {row['seed']}; "
                "expected one"
            )
        seeds[row["seed"]] = row
    lines = []
    for (task, attack, variant), by_shadow in found.items():
        shared = set.intersection(*map(set, by_shadow.values()))
        same = {seed: [of[seed] for of in by_shadow.values()] for seed in sorted(shared)}
        if same:
            lines.append(_Line(task, attack, variant, same))
    tasks = order_tasks(line.task for line in lines)
    # Those of banks, which are no case's, come last.
    attacks = list(dict.fromkeys([*ATTACKS, *(line.attack for line in lines)]))
    return sorted(
        lines,
        key=lambda line: (
            tasks.index(line.task),
            attacks.index(line.attack),
            [(name, value_rank(value)) for name, value in line.variant],
        ),
    )


def cell_table(rows: Sequence[Row]) -> Table:
    """Returns the table of a grid's rows (`jleaks.experiments.cells.gathered`), means over seeds.

    Adversary 2 is averaged over its shadow tasks.

    Raises:
      InputError: a cell has two rows of one attack for one seed.
    """
    flags = list(rows[0]["cell"])
    parts: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        named = *(row["cell"][flag] for flag in flags), row.get("experiment", "")
        parts.setdefault(named, []).append(row)
    lines, ends, counts = [], [], set[int]()
    for named, mine in parts.items():
        for line in _lines(mine, ", ".join(filter(None, named))):
            counts.add(len(line.seeds))
            varied = ", ".join(f"{name} {value}" for name, value in line.variant)
            names = (*named, line.task, line.attack, varied)
            lines.append([*names, *map(line.number, _COLUMNS)])
        ends.append(len(lines) - 1)
    texts = [text for line in lines for text in line[-len(_COLUMNS) :]]
    heads = [*flags, "Experiment", "Task", "Attack", "Variant"]
    # What no line has is no column.
    used = [i for i in range(len(heads)) if any(line[i] for line in lines)]
    return Table.of(
        title="Cells of a grid",
        caption=f"{seeds_text(counts)} {notes(texts)}".strip(),
        heads=(*(heads[i] for i in used), *(COLUMNS[c].head or COLUMNS[c].title for c in _COLUMNS)),
        num_text_columns=len(used),
        rows=([line[i] for i in (*used, *range(len(heads), len(line)))] for line in lines),
        section_ends=ends[:-1],
    )
