"""Table and figure of benchmarks.coverage, from its rows."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jleaks.attacks.registry import ATTACKS
from jleaks.report.figures.style import (
    SERIES_COLOURS,
    clean_axes,
    head_and_caption,
    legend_below_title,
    new_figure,
)
from jleaks.report.table import Cell, Table

_MEASURES = {
    "auc": "AUC",
    "balanced_accuracy": "Balanced accuracy",
    "precision": "Precision",
    "tpr_at_fpr_0.01": "TPR at 1% FPR",
    "tpr_at_fpr_0.001": "TPR at 0.1% FPR",
}
# What each of the quantities had before, what it has now, and how it is called.
_METHODS = {
    "mean over targets": ("t over targets", "records", "Mean over targets"),
    "difference": ("t over targets", "records", "Difference of attacks"),
    "one target": (
        "Clopper-Pearson at the realised threshold",
        "records, named FPR",
        "One target",
    ),
}

_By = dict[tuple[str, str, str, str], dict[str, dict[str, Any]]]


def _title(attack: str) -> str:
    return " - ".join(ATTACKS[name].title for name in attack.split(" - "))


def _by_quantity(rows: Sequence[dict[str, Any]]) -> _By:
    """Returns rows by process, what, measure and attack, then by method, in the order of reports."""
    found: _By = {}
    for process in dict.fromkeys(r["process"] for r in rows):
        for what in _METHODS:
            for measure in _MEASURES:
                for r in rows:
                    if (r["process"], r["what"], r["measure"]) == (process, what, measure):
                        key = (process, what, measure, r["attack"])
                        found.setdefault(key, {})[r["method"]] = r
    return found


def coverage_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Returns how often 95% intervals cover the truth, by the earlier method and by the one in use."""
    body: list[tuple[Cell, ...]] = []
    ends: set[int] = set()
    previous = None
    for (process, what, measure, attack), by_method in _by_quantity(rows).items():
        if previous not in (None, (process, what)):
            ends.add(len(body) - 1)
        previous = (process, what)
        old, new = (by_method[method] for method in _METHODS[what][:2])
        cells = [process, _METHODS[what][2], _MEASURES[measure], _title(attack)]
        cells += [f"{new['truth']:.4f}", f"{new['estimate']:.4f}"]
        cells += [f"{r[name]:.3f}" for r in (old, new) for name in ("coverage", "width")]
        body.append(tuple(map(Cell, cells)))
    first = rows[0]
    return Table(
        title="How often 95% intervals cover the truth",
        caption=f"{first['banks']} simulated banks of each process, {first['num_models']} models and "
        f"{first['num_records']:,} records each, so that {first['num_records'] // 2:,} non-members of a "
        "target allow so many at 1% and a tenth of that at 0.1%.  Truth and estimate: means over banks.  "
        "Before: t over targets, for one target Clopper-Pearson at the realised threshold.  Now: over "
        "records.  Width: median distance of the bounds.  A coverage of 0.95 has a standard error of "
        f"{(0.95 * 0.05 / first['banks']) ** 0.5:.3f}.",
        heads=(
            *("Process", "Of what", "Measure", "Attack", "Truth", "Estimate"),
            *("Coverage\nbefore", "Width\nbefore", "Coverage\nnow", "Width\nnow"),
        ),
        num_text_columns=4,
        rows=tuple(body),
        section_ends=frozenset(ends),
    )


def draw_coverage(rows: Sequence[dict[str, Any]]) -> Figure:
    """Draws the coverage of every quantity, before (hollow) and now (filled), a panel per process."""
    by = _by_quantity(rows)
    processes = list(dict.fromkeys(key[0] for key in by))
    lines = list(dict.fromkeys(key[1:3] for key in by))
    attacks = list(dict.fromkeys(key[3] for key in by))
    figure = new_figure(11.5, 1.9 + 0.42 * len(lines))
    panels = figure.subplots(1, len(processes), sharey=True, squeeze=False)[0]
    first = rows[0]
    noise = 2 * (0.95 * 0.05 / first["banks"]) ** 0.5
    for axes, process in zip(panels, processes, strict=True):
        axes.axvspan(0.95 - noise, min(1.0, 0.95 + noise), color="0.9", lw=0)
        axes.axvline(0.95, color="0.2", lw=1, ls=(0, (4, 3)))
        for (name, what, measure, attack), by_method in by.items():
            if name != process:
                continue
            # Attacks of one line stand close above each other.
            step = attacks.index(attack) % 3 - 1
            y = len(lines) - 1 - lines.index((what, measure)) - 0.2 * step
            colour = SERIES_COLOURS[attacks.index(attack) % len(SERIES_COLOURS)]
            old, new = (by_method[method]["coverage"] for method in _METHODS[what][:2])
            axes.plot([old, new], [y, y], color=colour, lw=0.8, alpha=0.5)
            axes.plot(old, y, "o", ms=5, mfc="white", mec=colour)
            axes.plot(new, y, "o", ms=5, color=colour)
        axes.set(xlim=(0, 1.02), xlabel="Share of intervals that cover the truth", title=process)
        axes.set_ylim(-0.6, len(lines) - 0.4)
        labels = [f"{_METHODS[what][2]}: {_MEASURES[measure]}" for what, measure in lines]
        axes.set_yticks(range(len(lines)), labels[::-1])
        axes.grid(True, axis="x", color="0.92", lw=0.8)
        clean_axes(axes)
    head_and_caption(
        figure,
        "How often 95% intervals cover the truth",
        f"{first['banks']} simulated banks of {first['num_models']} models and {first['num_records']:,} "
        "records.  Hollow: before (t over targets; for one target Clopper-Pearson at the realised "
        "threshold).  Filled: now (over records).  Dashed: 0.95; grey: two standard errors of so many "
        "banks.",
    )
    handles = [
        Line2D([], [], ls="none", marker="o", ms=6, label=_title(attack),
               color=SERIES_COLOURS[i % len(SERIES_COLOURS)])
        for i, attack in enumerate(attacks)
    ]  # fmt: skip
    legend_below_title(figure, handles)
    return figure
