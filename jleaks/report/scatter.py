"""Scatter plots over tasks: how far the target overfits against how well it is attacked."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jleaks.metrics.intervals import Interval, correlation_interval
from jleaks.report.labels import label_points
from jleaks.report.style import (
    BLUE,
    METRIC_TITLES,
    NothingToDrawError,
    clean_axes,
    head_and_caption,
    new_figure,
    whisker_note,
)
from jleaks.report.summary import summarise
from jleaks.report.titles import Sources, plain_title, source_note, source_suffix
from jleaks.rows import ATTACK_MODEL, Row

_MARKERS = {"real": "o", "own": "^", "stand-in": "D", "synthetic": "s"}


def _correlation_text(r: Interval) -> str:
    # Two points always lie on a line.
    if r.n < 3 or math.isnan(r.mean):
        return f"correlation not defined (n = {r.n} task{'' if r.n == 1 else 's'})"
    bounds = f" [{r.low:.3f}, {r.high:.3f}]" if r.is_bounded else ""
    return f"Pearson r = {r.mean:.3f}{bounds}, n = {r.n} tasks"


def _whisker_segments(x: Interval, y: Interval) -> list[tuple[float, float, float, float]]:
    """Returns the error bars of a point as segments x0, y0, x1, y1; none for a single seed."""
    segments = []
    if x.is_bounded:
        segments.append((x.low, y.mean, x.high, y.mean))
    if y.is_bounded:
        # Rates cannot leave [0, 1], t intervals may.
        segments.append((x.mean, max(0.0, y.low), x.mean, min(1.0, y.high)))
    return segments


def draw_overfitting(rows: Sequence[Row], sources: Sources, confidence: float) -> Figure:
    """Scatter of adversary 1's precision, recall and AUC over the overfitting gap, per task."""
    chosen = [
        summary
        for summary in summarise(rows, confidence)
        if summary.adversary == 1
        and summary.statistic == ATTACK_MODEL
        and not math.isnan(summary.metrics["overfitting_gap"].mean)
    ]
    if not chosen:
        raise NothingToDrawError("no row of adversary 1 has the target's accuracies")
    figure = new_figure(15.0, 5.6)
    panels = figure.subplots(1, 3)
    tasks = [summary.task for summary in chosen]
    shown: list[Interval] = []
    with_bounds = False
    to_label = []
    for axes, (metric, title) in zip(panels, METRIC_TITLES.items(), strict=True):
        pairs = [(s, s.metrics["overfitting_gap"], s.metrics[metric]) for s in chosen]
        pairs = [(s, x, y) for s, x, y in pairs if not math.isnan(y.mean)]
        shown += [interval for _, x, y in pairs for interval in (x, y)]
        segments: list[tuple[float, float, float, float]] = []
        for summary, x, y in pairs:
            lines = _whisker_segments(x, y)
            segments += lines
            for x0, y0, x1, y1 in lines:
                axes.plot([x0, x1], [y0, y1], color="0.6", linewidth=1, zorder=2)
            source = sources[summary.task]
            axes.plot(
                x.mean,
                y.mean,
                _MARKERS[source],
                markersize=6.5 if source == "real" else 6,
                markerfacecolor=BLUE if source == "real" else "white",
                markeredgecolor=BLUE,
                markeredgewidth=1.4,
                alpha=0.85,
                zorder=4,
            )
        r = correlation_interval(
            [x.mean for _, x, _ in pairs], [y.mean for _, _, y in pairs], confidence
        )
        with_bounds = with_bounds or r.is_bounded
        axes.set_title(f"{title}: {_correlation_text(r)}", fontsize=9.5, loc="left")
        axes.axhline(0.5, color="0.2", linewidth=1, linestyle=(0, (4, 3)), zorder=1.5)
        axes.set_ylabel(f"{title} of adversary 1 (fraction)", fontsize=9.5)
        axes.set_xlabel("Train minus test accuracy of the target (fraction)", fontsize=9.5)
        axes.grid(color="0.92", linewidth=0.8)
        axes.margins(0.16, 0.14)
        clean_axes(axes)
        to_label.append(
            (
                axes,
                np.array([[x.mean, y.mean] for _, x, y in pairs]).reshape(-1, 2),
                [plain_title(s.task) for s, _, _ in pairs],
                # The dashed line is not to be written over either; gaps lie between -1 and 1.
                np.array([*segments, (-1.0, 0.5, 1.0, 0.5)]),
            )
        )
    found = {sources[task] for task in tasks}
    note = whisker_note(shown, confidence)
    if found != {"real"}:
        handles = [
            Line2D([], [], linestyle="none", marker=_MARKERS[source], markersize=6,
                   markerfacecolor=BLUE if source == "real" else "white",
                   markeredgecolor=BLUE, markeredgewidth=1.4, label=f"{source} data")
            for source in _MARKERS if source in found
        ]  # fmt: skip
        figure.legend(
            handles=handles, loc="outside upper right", ncols=3, frameon=False, fontsize=9
        )
    brackets = (
        f", in brackets Fisher's {100 * confidence:g}% interval, which takes the tasks for "
        f"independent (tasks cut from one data set are not)"
        if with_bounds
        else ""
    )
    head_and_caption(
        figure,
        "Overfitting of the target against the attack of adversary 1"
        + source_suffix(tasks, sources),
        f"{note} One point per task; correlation over tasks{brackets}. "
        f"Dashed: 0.5. {source_note(tasks, sources)}",
    )
    figure.draw_without_rendering()
    # Labels are placed on the final page, so the layout must not move any more.
    figure.set_layout_engine("none")
    for axes, points, texts, whiskers in to_label:
        if texts:
            label_points(axes, points, texts, whiskers)
    return figure
