"""Defences beside each other: accuracy against what attacks find, a table and a figure for each task.

A point is one defence at one strength.  Its leak is that of the strongest of its attackers: the one of
largest mean among adversary 1, naive and aware, adversary 3, and those that have banks.  On the Pareto
front is every point that no other is ahead of on both: at least as accurate, at most as leaky, and better
on one of them, by means.
"""

import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jleaks.attacks.bank import CANDIDATES
from jleaks.experiments.defend import NONE
from jleaks.files import replace_file
from jleaks.metrics.intervals import Interval, t_interval
from jleaks.report import defence_banks
from jleaks.report.defence_banks import HEADS, LOW, BankPoint, bank_points, begun, shown
from jleaks.report.figures.style import (
    GREY,
    MARKERS,
    SERIES_COLOURS,
    clean_axes,
    drawn_bounds,
    head_and_caption,
    interval_note,
    legend_below_title,
    new_figure,
    png,
)
from jleaks.report.numbers import diverged_note
from jleaks.report.table import Cell, Table
from jleaks.report.titles import source_suffix, task_sources
from jleaks.rows import Row

METRICS = {
    "auc": "AUC",
    "tpr_at_fpr_0.01": "TPR at 1% FPR",
    "tpr_at_fpr_0.001": "TPR at 0.1% FPR",
}
ATTACKERS = {
    (1, "naive"): "naive",
    (1, "aware"): "aware",
    (3, "naive"): "no shadow",
}


@dataclasses.dataclass(frozen=True)
class Point:
    """One defence at one strength on one task.

    Attributes:
      defence: Its name.
      strength: As it was given.
      accuracy: The targets' on non-members, over seeds.
      epsilon: What training guarantees (the largest over seeds); None for nothing.
      leaks: By metric and attacker, over seeds; of those with banks, on candidates as they came.
      bank: What attacks on its bank find; None where it has none.
    """

    defence: str
    strength: str
    accuracy: Interval
    epsilon: float | None
    leaks: dict[tuple[str, str], Interval]
    bank: BankPoint | None = None

    def strongest(self, metric: str) -> tuple[str, Interval]:
        """Returns the attacker of largest mean, and what it finds."""
        found = {who: leak for (name, who), leak in self.leaks.items() if name == metric}
        who = max(found, key=lambda one: (not math.isnan(found[one].mean), found[one].mean))
        return who, found[who]


def points(rows: Sequence[Row]) -> list[Point]:
    """Returns the points of one task's rows, in their order."""
    banks = {(one.defence, one.strength): one for one in bank_points(rows, list(METRICS))}
    groups: dict[tuple[str, str], list[Any]] = {}
    for row in rows:
        variant = row["variant"]
        assert isinstance(variant, dict)
        if row["adversary"] is None:
            continue
        key = str(variant["defence"]), str(variant["strength"])
        groups.setdefault(key, []).append((row, variant))
    found = []
    for (name, strength), pairs in groups.items():
        by_seed = {row["seed"]: row["test_accuracy"] for row, _ in pairs}
        epsilons = [row.get("epsilon") for row, _ in pairs]
        leaks: dict[tuple[str, str], Interval] = {}
        for (adversary, attacker), who in ATTACKERS.items():
            own = [
                row
                for row, variant in pairs
                if (row["adversary"], variant["attacker"]) == (adversary, attacker)
            ]
            if own:
                leaks |= {(m, who): t_interval([row[m] for row in own]) for m in METRICS}
        known = [value for value in epsilons if value is not None]
        epsilon = max(known) if len(known) == len(epsilons) else None
        accuracy = t_interval(list(by_seed.values()))
        bank = banks.get((name, strength))
        if bank is not None:
            leaks |= {
                (metric, who): leak
                for (group, metric, who), leak in bank.leaks.items()
                if group == CANDIDATES
            }
        found.append(Point(name, strength, accuracy, epsilon, leaks, bank))
    return found


def front(found: Sequence[Point], metric: str) -> set[int]:
    """Returns the indices of points on the Pareto front of accuracy and leak, by means."""
    return defence_banks.front(
        [(point.accuracy.mean, point.strongest(metric)[1].mean) for point in found]
    )


_OF_BANKS = " What is found on banks has the jackknife's intervals over records."
_BESIDE = ", and those of the banks below (of one seed, ± over records)"


def tables(task: str, rows: Sequence[Row]) -> list[Table]:
    """Returns the tables of one task's rows."""
    return [table(task, rows), *defence_banks.tables(task, rows)]


def table(task: str, rows: Sequence[Row]) -> Table:
    """Returns the table of one task's rows; bold is what is on the Pareto front of a column."""
    found = points(rows)
    fronts = {metric: front(found, metric) for metric in METRICS}
    heads = [*HEADS]
    heads += [f"AUC\n{who}" for who in ATTACKERS.values()]
    heads += [f"{title}\nstrongest" for title in METRICS.values()]
    cells = []
    for i, point in enumerate(found):
        line: list[Cell | str] = [*begun(point, shown(point.accuracy))]
        for who in ATTACKERS.values():
            leak = point.leaks.get(("auc", who))
            line.append("-" if leak is None else shown(leak))
        for metric in METRICS:
            who, leak = point.strongest(metric)
            line.append(Cell(f"{shown(leak)} ({who})", i in fronts[metric]))
        cells.append(line)
    seeds = max(point.accuracy.n for point in found)
    means = "One seed: no intervals"
    if seeds > 1:
        means = f"Means over {seeds} seeds ± half of the 95% t interval"
    has_banks = any(point.bank is not None for point in found)
    caption = (
        f"{means}. Attackers: adversary 1 whose shadow lacks "
        f"(naive) or has (aware) the defence, adversary 3 (no shadow){_BESIDE if has_banks else ''}; "
        f"strongest: the largest mean of {'all' if has_banks else 'the three'}. Marked: on the Pareto "
        "front of test accuracy and that column, by means. epsilon: accounted, an upper bound at the row's "
        f"delta. {diverged_note(pd.DataFrame(rows))}"
    ).rstrip()
    title = f"Defences on {task}{source_suffix([task], task_sources(rows))}"
    return Table.of(title, caption, heads, 3, cells)


def figure(task: str, rows: Sequence[Row]) -> Figure:
    """Returns test accuracy against what the strongest attacker finds, a panel for each metric."""
    found = points(rows)
    names = list(dict.fromkeys(point.defence for point in found))
    looks: dict[str, dict[str, Any]] = {
        name: {
            "color": SERIES_COLOURS[i % len(SERIES_COLOURS)],
            "marker": MARKERS[(i + i // len(SERIES_COLOURS)) % len(MARKERS)],
        }
        for i, name in enumerate(names)
    }
    page = new_figure(15.0, 6.4)
    drawn: list[Interval] = []
    panels = [
        (
            title,
            [point.accuracy for point in found],
            [point.strongest(metric)[1] for point in found],
            0.45 if metric == "auc" else 0,
        )
        for metric, title in METRICS.items()
    ]
    banks = [point.bank for point in found]
    if all(bank is not None and len(bank.groups) > 1 for bank in banks):
        known = [bank for bank in banks if bank is not None]
        leaks = [bank.strongest(LOW, bank.groups[1:])[2] for bank in known]
        panels.append(
            ("TPR at 0.1% FPR, canaries", [_exactly(b.accuracy) for b in known], leaks, 0)
        )
    for axes, (title, x, y, bottom) in zip(page.subplots(1, len(panels)), panels, strict=True):
        chosen = defence_banks.front([(a.mean, b.mean) for a, b in zip(x, y, strict=True)])
        drawn += [one for one in (*x, *y) if one.method == "t"]
        (left, right), (low, high) = drawn_bounds(x), drawn_bounds(y)
        axes.hlines([one.mean for one in y], left, right, color="0.8", linewidth=0.9, zorder=1)
        axes.vlines([one.mean for one in x], low, high, color="0.8", linewidth=0.9, zorder=1)
        for i, point in enumerate(found):
            place = x[i].mean, y[i].mean
            axes.plot(*place, linestyle="none", markersize=6.5, zorder=3, **looks[point.defence])
            if i in chosen:
                axes.plot(
                    *place, linestyle="none", marker="o", markersize=12, markerfacecolor="none",
                    markeredgecolor=GREY, zorder=2,
                )  # fmt: skip
        steps = sorted((x[i].mean, y[i].mean) for i in chosen)
        axes.plot(*zip(*steps, strict=True), color=GREY, linewidth=0.8, zorder=1.5)
        axes.set_xlabel("test accuracy (fraction)", fontsize=9.5)
        axes.set_ylabel(f"{title}, strongest attacker", fontsize=9.5)
        axes.set_ylim(bottom=bottom)
        axes.grid(color="0.92", linewidth=0.8)
        clean_axes(axes)
    notes = (
        interval_note(drawn, "whiskers"),
        "A point is a defence at one strength; strongest: the largest mean of adversary 1, naive and "
        f"aware, {'adversary 3, LiRA, RMIA and labels' if any(banks) else 'and adversary 3'}. Ringed and "
        f"joined: the Pareto front, by means.{_OF_BANKS if any(banks) else ''}",
    )
    suffix = source_suffix([task], task_sources(rows))
    head_and_caption(page, f"Defences on {task}: accuracy and leak{suffix}", *notes)
    legend_below_title(
        page,
        [
            Line2D([], [], linestyle="none", label="no defence" if name == NONE else name, **look)
            for name, look in looks.items()
        ],
    )
    return page


def _exactly(value: float) -> Interval:
    return Interval(value, value, value, 0.0, 1, "one value")


def by_task(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Returns rows by their task, in order."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["task"], []).append(row)
    return found


def write(rows: Sequence[Row], folder: str | os.PathLike[str]) -> list[Path]:
    """Writes the tables (tables.md) and a figure for each task (defences_TASK.png).

    Raises:
      InputError: a file cannot be written.
    """
    folder, tasks = Path(folder), by_task(rows)
    text = "\n".join(one.to_markdown() for task, own in tasks.items() for one in tables(task, own))
    return [
        replace_file(folder / "tables.md", text.encode()),
        *(
            replace_file(folder / f"defences_{task}.png", png(figure(task, own)))
            for task, own in tasks.items()
        ),
    ]
