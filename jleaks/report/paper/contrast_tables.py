"""The table of contrasts: every arm of an experiment minus its reference."""

import math
from collections.abc import Sequence

from jleaks.metrics.intervals import Interval
from jleaks.report.numbers import interval_text, notes
from jleaks.report.paper.cells import flat_title, range_text
from jleaks.report.paper.contrasts import (
    Contrast,
    arm_rank,
    compared,
    contrasts,
    leaves_out_zero,
    over_tasks,
)
from jleaks.report.paper.groups import CONFIDENCE
from jleaks.report.paper.results import Results
from jleaks.report.table import Cell, Table
from jleaks.report.titles import flagged_title, source_note, source_suffix

_METRICS = ("precision", "recall", "auc", "accuracy", "target_test_accuracy")

# A threshold moves along one ROC curve.
_WITHOUT_AUC = ("E14",)


def _cell(interval: Interval, num_expected: int) -> Cell:
    return Cell(
        interval_text(interval, (interval.n, num_expected), sign="+"), leaves_out_zero(interval)
    )


def _arms(name: str, found: Sequence[Contrast]) -> list[str]:
    """Returns the arms that have a column, in order."""
    ranks = {contrast.arm: arm_rank(name, contrast.first) for contrast in found}
    arms = sorted(ranks, key=lambda arm: ranks[arm])
    # Of a grid of ratios the far corner says enough.
    return arms[-1:] if name == "E17" else arms


def contrast_table(results: Results) -> Table | None:
    """Returns every arm minus its reference, or None where nothing is compared."""
    found = contrasts(results.name, results.groups)
    if not found:
        return None
    arms = _arms(results.name, found)
    lines: dict[str, dict[str, dict[str, Contrast]]] = {}
    for contrast in found:
        by_task = lines.setdefault(contrast.about, {})
        by_task.setdefault(contrast.task, {})[contrast.arm] = contrast
    rows, ends = [], set()
    for metric in _METRICS:
        if results.name in _WITHOUT_AUC and metric == "auc":
            continue
        if not any(_moves(contrast, metric) for contrast in found):
            continue
        title = flat_title(metric)
        for text, by_task in lines.items():
            for task, by_arm in by_task.items():
                cells = [Cell(title), Cell(flagged_title(task, results.sources)), Cell(text)]
                cells.append(Cell(range_text((len(c.seeds) for c in by_arm.values()), "d")))
                cells += [
                    _cell(by_arm[arm].interval(metric), len(by_arm[arm].seeds))
                    if arm in by_arm
                    else Cell("")
                    for arm in arms
                ]
                rows.append(tuple(cells))
            if len(by_task) > 1:
                cells = [Cell(title), Cell(f"mean over {len(by_task)} tasks"), Cell(text), Cell("")]
                for arm in arms:
                    mine = [by_arm[arm] for by_arm in by_task.values() if arm in by_arm]
                    cells.append(_cell(over_tasks(mine, metric), len(mine)) if mine else Cell(""))
                rows.append(tuple(cells))
        ends.add(len(rows) - 1)
    references = " or ".join(dict.fromkeys(contrast.reference for contrast in found))
    return Table(
        title=f"{results.name}: differences by {compared(results.name)}, each minus {references}"
        + source_suffix(results.tasks, results.sources),
        caption=f"Mean difference on the same seeds ± half-width of the paired {CONFIDENCE:.0%} t interval "
        "over seeds (none for one seed); means over tasks: of the tasks' mean differences, t interval over "
        "tasks, which takes them for independent.  Marked: the interval leaves out "
        "zero, as one in twenty does by chance.  "
        + _explained(rows)
        + source_note(results.tasks, results.sources),
        heads=("Metric", "Task", "Attack", "Seeds", *arms),
        num_text_columns=3,
        rows=tuple(rows),
        section_ends=frozenset(ends),
    )


def _explained(rows: Sequence[Sequence[Cell]]) -> str:
    found = notes([cell.text for row in rows for cell in row[3:]])
    return f"{found}  " if found else ""


def _moves(contrast: Contrast, metric: str) -> bool:
    """Whether a metric is defined and, for the target's own, can differ at all."""
    interval = contrast.interval(metric)
    if math.isnan(interval.mean):
        return False
    return not metric.startswith("target") or interval.mean != 0
