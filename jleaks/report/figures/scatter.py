"""Scatter plots over tasks: how far the target overfits against how well it is attacked."""

import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jleaks.experiments import designs
from jleaks.metrics.intervals import Interval, correlation_interval
from jleaks.report.columns import COLUMNS, GAP, MAIN
from jleaks.report.figures.labels import label_points
from jleaks.report.figures.style import (
    BLUE,
    NothingToDrawError,
    clean_axes,
    drawn_bounds,
    guess_line,
    head_and_caption,
    interval_note,
    new_figure,
)
from jleaks.report.groups import CONFIDENCE, Results
from jleaks.report.titles import plain_title, source_note, source_suffix

_MARKERS = {"real": "o", "own": "^", "stand-in": "D", "synthetic": "s"}


def _look(source: str) -> dict[str, Any]:
    """Returns what a point of records from a source looks like: filled if they are real."""
    return {
        "linestyle": "none",
        "marker": _MARKERS[source],
        "markersize": 6.5 if source == "real" else 6,
        "markerfacecolor": BLUE if source == "real" else "white",
        "markeredgecolor": BLUE,
        "markeredgewidth": 1.4,
    }


def _correlation_text(r: Interval) -> str:
    # Two points always lie on a line.
    if r.n < 3 or math.isnan(r.mean):
        return f"correlation not defined (n = {r.n} task{'' if r.n == 1 else 's'})"
    bounds = f" [{r.low:.3f}, {r.high:.3f}]" if r.is_bounded else ""
    return f"Pearson r = {r.mean:.3f}{bounds}, n = {r.n} tasks"


def draw_overfitting(results: Results, _: designs.Figure) -> Figure:
    """Scatter of adversary 1's precision, recall and AUC over the overfitting gap, per task."""
    chosen = [g for g in results.groups if g.attack == "adversary 1" and g.interval(GAP).n]
    if not chosen:
        raise NothingToDrawError("no row of adversary 1 has the target's accuracies")
    figure = new_figure(15.0, 5.6)
    shown: list[Interval] = []
    labels = []
    for axes, name in zip(figure.subplots(1, len(MAIN)), MAIN, strict=True):
        groups = [group for group in chosen if group.interval(name).n]
        x, y = ([group.interval(column) for group in groups] for column in (GAP, name))
        shown += [*x, *y]
        left, right = np.array([(bar.low, bar.high) for bar in x]).reshape(-1, 2).T
        low, high = drawn_bounds(y)
        means = np.array([[bar.mean for bar in bars] for bars in (x, y)]).T
        axes.hlines(means[:, 1], left, right, color="0.6", linewidth=1, zorder=2)
        axes.vlines(means[:, 0], low, high, color="0.6", linewidth=1, zorder=2)
        for group, place in zip(groups, means, strict=True):
            look = _look(results.sources[group.task])
            axes.plot(*place, alpha=0.85, zorder=4, **look)
        r = correlation_interval(means[:, 0], means[:, 1], CONFIDENCE)
        title = COLUMNS[name].title
        axes.set_title(f"{title}: {_correlation_text(r)}", fontsize=9.5, loc="left")
        guess_line(axes)
        axes.set_ylabel(f"{title} of adversary 1 (fraction)", fontsize=9.5)
        axes.set_xlabel(f"{COLUMNS[GAP].title} (fraction)", fontsize=9.5)
        axes.grid(color="0.92", linewidth=0.8)
        axes.margins(0.16, 0.14)
        clean_axes(axes)
        whiskers = np.concatenate(
            [
                np.stack([left, means[:, 1], right, means[:, 1]], axis=1),
                np.stack([means[:, 0], low, means[:, 0], high], axis=1),
            ]
        )
        # The dashed line is not to be written over either; gaps lie between -1 and 1.
        lines = np.concatenate([whiskers[~np.isnan(whiskers).any(1)], [(-1.0, 0.5, 1.0, 0.5)]])
        labels.append((axes, means, [plain_title(group.task) for group in groups], lines))
    tasks = [group.task for group in chosen]
    kinds = {results.sources[task] for task in tasks}
    if kinds != {"real"}:
        handles = [
            Line2D([], [], label=f"{source} data", **_look(source))
            for source in _MARKERS
            if source in kinds
        ]
        figure.legend(
            handles=handles,
            loc="outside upper right",
            ncols=len(_MARKERS),
            frameon=False,
            fontsize=9,
        )
    notes = (
        interval_note(shown, "whiskers"),
        f"One point per task; correlation over tasks, in brackets Fisher's {CONFIDENCE:.0%} interval, "
        "which takes the tasks for independent (tasks cut from one data set are not).",
        "Dashed: 0.5.",
        source_note(tasks, results.sources),
    )
    head_and_caption(
        figure,
        "Overfitting of the target against the attack of adversary 1"
        + source_suffix(tasks, results.sources),
        *notes,
    )
    figure.draw_without_rendering()
    # Labels are placed on the final page, so the layout must not move any more.
    figure.set_layout_engine("none")
    for axes, means, texts, lines in labels:
        if texts:
            label_points(axes, means, texts, lines)
    return figure
