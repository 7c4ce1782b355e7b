"""Curves of the paper's experiments: a panel per task, metrics against what varies, with bands."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from jleaks.experiments.claims import ATTACKS
from jleaks.metrics.intervals import Interval
from jleaks.report.paper.groups import CONFIDENCE, Group
from jleaks.report.paper.results import Results
from jleaks.report.style import (
    BLUE,
    GREEN,
    ORANGE,
    NothingToDrawError,
    clean_axes,
    head_and_caption,
    legend_below_title,
    new_figure,
    seeds_note,
)
from jleaks.report.titles import flagged_title, source_note, source_suffix

METRICS = {
    "precision": ("Precision", BLUE, "o"),
    "recall": ("Recall", ORANGE, "s"),
    "auc": ("AUC", GREEN, "^"),
    "accuracy": ("Balanced accuracy", GREEN, "^"),
    "target_test_accuracy": ("Target's test accuracy", "0.45", "x"),
}
GUESS = "Dashed: 0.5, what a coin achieves."

LineStyle = str | tuple[float, tuple[float, float]]

_STYLES: dict[str, LineStyle] = {
    "adversary 1": "-",
    "adversary 2": "-.",
    "shokri": (0, (5, 2)),
    "adversary 3": (0, (1, 1.2)),
}


@dataclasses.dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
      x: Places, ascending.
      bars: Mean and interval at each.
      colour: Of line and band.
      marker: Of the means.
    """

    x: Sequence[float]
    bars: Sequence[Interval]
    colour: str
    marker: str


def draw_line(axes: Axes, line: Line, style: LineStyle = "-") -> None:
    """Draws the means and the band of their intervals."""
    mean = np.array([bar.mean for bar in line.bars])
    axes.plot(line.x, mean, color=line.colour, marker=line.marker, ms=4, lw=1.6, ls=style)
    # A t interval may leave [0, 1]; a rate cannot.  NaN leaves a gap in the band.
    low = np.clip([bar.low for bar in line.bars], 0, 1)
    high = np.clip([bar.high for bar in line.bars], 0, 1)
    if len(line.x) > 1:
        axes.fill_between(line.x, low, high, color=line.colour, alpha=0.18, lw=0)
    elif line.bars[0].is_bounded:
        axes.plot([line.x[0]] * 2, [low[0], high[0]], color=line.colour, lw=1)


def rate_axes(axes: Axes) -> None:
    """Makes the y axis one of rates, with a line where a guess is."""
    axes.set_ylim(0, 1.02)
    axes.axhline(0.5, color="0.2", linewidth=1, linestyle=(0, (4, 3)), zorder=1.5)
    axes.grid(color="0.92", linewidth=0.8)
    clean_axes(axes)


def log_ticks(axes: Axes, values: Sequence[float]) -> None:
    """Puts a logarithmic axis with ticks at those of `values` that have room."""
    axes.set_xscale("log")
    kept: list[float] = []
    for value in sorted(set(values)):
        if not kept or math.log(value / kept[-1]) > 0.1 * math.log(max(values) / min(values)):
            kept.append(value)
    axes.xaxis.set_major_locator(FixedLocator(kept))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def panel_grid(num_panels: int, height: float) -> tuple[Figure, list[Axes], int]:
    """Returns a figure with panels of that height in inches, the panels, and how many a row has."""
    columns = num_panels if num_panels < 4 else 3 if num_panels in (5, 6) else 4
    rows = math.ceil(num_panels / columns)
    width = {1: 6.0, 2: 4.4, 3: 4.0}.get(columns, 3.1)
    figure = new_figure(1.0 + width * columns, 1.6 + height * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for spare in panels[num_panels:]:
        spare.remove()
    return figure, list(panels[:num_panels]), columns


def _lines(
    groups: Sequence[Group], x_fn: Callable[[Group], float | None], metrics: Sequence[str]
) -> dict[tuple[str, str], Line]:
    """Returns one task's curves by attack and metric, of metrics that are defined somewhere."""
    found: dict[tuple[str, str], Line] = {}
    for attack, metric in itertools.product(ATTACKS, metrics):
        pairs = sorted(
            (
                (x, group.interval(metric))
                for group in groups
                if group.attack == attack and (x := x_fn(group)) is not None
            ),
            key=lambda pair: pair[0],
        )
        # The target is the same whoever attacks it.
        again = metric.startswith("target") and any(metric == drawn for _, drawn in found)
        if any(bar.n for _, bar in pairs) and not again:
            _, colour, marker = METRICS[metric]
            found[attack, metric] = Line(
                [x for x, _ in pairs], [bar for _, bar in pairs], colour, marker
            )
    return found


def _handles(keys: Sequence[tuple[str, str]]) -> list[Line2D]:
    """Returns a legend: metrics by colour and, if there are several, attacks by line."""
    handles = [
        Line2D([], [], color=colour, marker=marker, ms=5, label=title)
        for metric, (title, colour, marker) in METRICS.items()
        if any(metric == found for _, found in keys)
    ]
    attacks = [attack for attack in ATTACKS if any(attack == found for found, _ in keys)]
    if len(attacks) > 1:
        handles += [
            Line2D([], [], color="0.2", ls=_STYLES.get(attack, "--"), label=ATTACKS[attack])
            for attack in attacks
        ]
    return handles


def draw_panels(
    results: Results,
    groups: Sequence[Group],
    x_fn: Callable[[Group], float | None],
    metrics: Sequence[str],
    xlabel: str,
    title: str,
    caption: str,
    finish_fn: Callable[[Axes, dict[tuple[str, str], Line]], None],
) -> Figure:
    """Draws a panel per task; `finish_fn` sets what is special about the x axis."""
    by_task: dict[str, list[Group]] = {}
    for group in groups:
        by_task.setdefault(group.task, []).append(group)
    lines = {task: _lines(mine, x_fn, metrics) for task, mine in by_task.items()}
    lines = {task: found for task, found in lines.items() if found}
    if not lines:
        raise NothingToDrawError("no row holds what it shows")
    attacks = {attack for found in lines.values() for attack, _ in found}
    figure, panels, columns = panel_grid(len(lines), 2.5)
    for i, (axes, (task, found)) in enumerate(zip(panels, lines.items(), strict=True)):
        for (attack, _), line in found.items():
            # Styles tell attacks apart where there are several.
            draw_line(axes, line, _STYLES.get(attack, "--") if len(attacks) > 1 else "-")
        rate_axes(axes)
        axes.set_title(flagged_title(task, results.sources), fontsize=9.5, loc="left")
        # The panel below, if there is one, has the same axis.
        if i + columns >= len(lines):
            axes.set_xlabel(xlabel, fontsize=9)
        if i % columns == 0:
            axes.set_ylabel("Fraction", fontsize=9)
        finish_fn(axes, found)
    bars = [bar for found in lines.values() for line in found.values() for bar in line.bars]
    head_and_caption(
        figure,
        f"{title}{source_suffix(lines, results.sources)}",
        f"{band_note(bars)} {caption} {source_note(lines, results.sources)}",
    )
    legend_below_title(figure, _handles([key for found in lines.values() for key in found]))
    return figure


def band_note(bars: Sequence[Interval]) -> str:
    """Returns the sentence that says what bands are and how many seeds stand behind them."""
    seeds = seeds_note(bars)
    if not any(bar.is_bounded for bar in bars):
        return f"{seeds}: no intervals."
    none = " (none where n = 1)" if any(bar.n == 1 for bar in bars) else ""
    return f"{seeds}; bands: {CONFIDENCE:.0%} t intervals{none}."
