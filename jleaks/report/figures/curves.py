"""Curves: a panel per task, or per column, against what varies, with bands over seeds."""

import itertools
import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from jleaks.experiments import designs
from jleaks.experiments.claims import ATTACKS
from jleaks.metrics.intervals import Interval
from jleaks.report.bank_tables import KNEE_NOTE, knee
from jleaks.report.columns import COLUMNS, MAIN
from jleaks.report.figures.style import (
    BLUE,
    GREEN,
    GUESS,
    MARKERS,
    ORANGE,
    SERIES_COLOURS,
    NothingToDrawError,
    clean_axes,
    drawn_bounds,
    guess_line,
    head_and_caption,
    interval_note,
    legend_below_title,
    new_figure,
)
from jleaks.report.groups import Group, Results, families
from jleaks.report.titles import flagged_title, source_note, source_suffix

_LOOKS = {
    "precision": (BLUE, "o"),
    "recall": (ORANGE, "s"),
    "auc": (GREEN, "^"),
    "accuracy": (GREEN, "^"),
    "test_accuracy": ("0.45", "x"),
}

LineStyle = str | tuple[float, tuple[float, float]]

_STYLES: dict[str, LineStyle] = {
    "adversary 1": "-",
    "adversary 2": "-.",
    "shokri": (0, (5, 2)),
    "adversary 3": (0, (1, 1.2)),
}

# Places of means along the x axis, ascending, with their intervals.
Points = Sequence[tuple[float, Interval]]


def _draw_line(
    axes: Axes, points: Points, colour: str, marker: str, style: LineStyle = "-"
) -> None:
    """Draws the means and the band of their intervals."""
    x, bars = zip(*points, strict=True)
    axes.plot(x, [bar.mean for bar in bars], color=colour, marker=marker, ms=4, lw=1.6, ls=style)
    # NaN leaves a gap in the band.
    low, high = drawn_bounds(bars)
    if len(x) > 1:
        axes.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)
    elif bars[0].is_bounded:
        axes.plot([x[0]] * 2, [low[0], high[0]], color=colour, lw=1)


def _rate_axes(axes: Axes) -> None:
    """Makes the y axis one of rates, with a line where a guess is."""
    axes.set_ylim(0, 1.02)
    guess_line(axes)
    axes.grid(color="0.92", linewidth=0.8)
    clean_axes(axes)


def _apart(low: float, high: float, values: Sequence[float], wide: bool) -> bool:
    """Whether the labels of two ticks have room beside each other, on an axis of ascending values."""
    if wide:
        return math.log(high / low) > 0.1 * math.log(values[-1] / values[0])
    return high - low > 0.04 * (values[-1] - values[0])


def _set_ticks(axes: Axes, values: Sequence[float], measured: bool) -> None:
    """Sets the x axis: logarithmic where values span more than ten times, ticks at them or round ones."""
    values = sorted(set(values))
    wide = 0 < 10 * values[0] < values[-1]
    if wide:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if not measured:
        # Those that have room.
        kept: list[float] = []
        for value in values:
            if not kept or _apart(kept[-1], value, values, wide):
                kept.append(value)
        axes.xaxis.set_major_locator(FixedLocator(kept))
    elif not wide:
        axes.xaxis.set_major_locator(MaxNLocator(4))


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


def _x(group: Group, along: str) -> float | None:
    """Returns a group's place: an entry of its variant or the mean of a column, if it is a number."""
    value = group.interval(along).mean if along in COLUMNS else group.get(along)
    if not isinstance(value, (int, float)) or math.isnan(value):
        return None
    return value if along not in COLUMNS or value > 0 else None


def _lines(
    groups: Sequence[Group], figure: designs.Figure
) -> dict[tuple[str, str], list[tuple[float, Interval]]]:
    """Returns one task's curves by attack and column, of columns that are defined somewhere."""
    found: dict[tuple[str, str], list[tuple[float, Interval]]] = {}
    for attack, name in itertools.product(ATTACKS, figure.metrics):
        points = sorted(
            (
                (x, group.interval(name))
                for group in groups
                if group.attack == attack and (x := _x(group, figure.along)) is not None
            ),
            key=lambda point: point[0],
        )
        # The target is the same whoever attacks it.
        again = name == "test_accuracy" and any(name == drawn for _, drawn in found)
        if any(bar.n for _, bar in points) and not again:
            found[attack, name] = points
    return found


def _handles(keys: Sequence[tuple[str, str]]) -> list[Line2D]:
    """Returns a legend: columns by colour and, if there are several, attacks by line."""
    drawn = {name for _, name in keys}
    handles = [
        Line2D([], [], color=colour, marker=marker, ms=5, label=COLUMNS[name].title)
        for name, (colour, marker) in _LOOKS.items()
        if name in drawn
    ]
    attacks = [attack for attack in ATTACKS if attack in {attack for attack, _ in keys}]
    if len(attacks) > 1:
        handles += [
            Line2D([], [], color="0.2", ls=_STYLES.get(attack, "--"), label=ATTACKS[attack])
            for attack in attacks
        ]
    return handles


def draw_curves(results: Results, figure: designs.Figure) -> Figure:
    """Draws a panel per task: columns against an entry of the variant, or against another column."""
    by_task: dict[str, list[Group]] = {}
    for group in filter(figure.shows, results.groups):
        by_task.setdefault(group.task, []).append(group)
    lines = {task: found for task, mine in by_task.items() if (found := _lines(mine, figure))}
    if not lines:
        raise NothingToDrawError("no row holds what it shows")
    keys = [key for found in lines.values() for key in found]
    several = len({attack for attack, _ in keys}) > 1
    measured = figure.along in COLUMNS
    page, panels, columns = panel_grid(len(lines), 2.5)
    for i, (axes, (task, found)) in enumerate(zip(panels, lines.items(), strict=True)):
        for (attack, name), points in found.items():
            # Styles tell attacks apart where there are several.
            colour, marker = _LOOKS[name]
            _draw_line(axes, points, colour, marker, _STYLES.get(attack, "--") if several else "-")
            if figure.knee:
                at = knee([(j, bar.mean) for j, (_, bar) in enumerate(points) if bar.n])
                x, bar = points[at]
                axes.plot(x, bar.mean, "o", ms=11, mfc="none", mec=colour, mew=1.3)
        _rate_axes(axes)
        axes.set_title(flagged_title(task, results.sources), fontsize=9.5, loc="left")
        # The panel below, if there is one, has the same axis.
        if i + columns >= len(lines):
            axes.set_xlabel(figure.xlabel, fontsize=9)
        if i % columns == 0:
            axes.set_ylabel("Fraction", fontsize=9)
        _set_ticks(axes, [x for points in found.values() for x, _ in points], measured)
        if figure.mark is not None:
            axes.axvline(figure.mark, color="0.2", linewidth=1.2, zorder=1.5)
    bars = [bar for found in lines.values() for points in found.values() for _, bar in points]
    notes = (
        interval_note(bars, "bands"),
        figure.note,
        f"Rings: {KNEE_NOTE}." if figure.knee else "",
        GUESS,
        source_note(lines, results.sources),
    )
    title = f"{figure.title}{source_suffix(lines, results.sources)}"
    head_and_caption(page, title, *notes)
    legend_below_title(page, _handles(keys))
    return page


def draw_classes(results: Results, _: designs.Figure) -> Figure:
    """Precision, recall and AUC of adversary 1 against the number of classes, a line per data set."""
    lines = families(results.groups)
    if not lines:
        raise NothingToDrawError("no row is of adversary 1")
    looks = list(zip(SERIES_COLOURS, MARKERS, strict=True))
    figure = new_figure(12.4, 4.6)
    shown, handles = [], []
    classes = [group.first("num_classes") for mine in lines for group in mine]
    panels = figure.subplots(1, len(MAIN), sharey=True)
    for axes, name in zip(panels, MAIN, strict=True):
        for i, mine in enumerate(lines):
            points = [(group.first("num_classes"), group.interval(name)) for group in mine]
            shown += [bar for _, bar in points]
            _draw_line(axes, points, *looks[i % len(looks)])
        _rate_axes(axes)
        _set_ticks(axes, classes, measured=False)
        axes.set_xlabel("Classes of the target's task", fontsize=9)
        axes.set_ylabel(f"{COLUMNS[name].title} (fraction)", fontsize=9)
    for i, mine in enumerate(lines):
        ends = (flagged_title(mine[j].task, results.sources) for j in (0, -1))
        colour, marker = looks[i % len(looks)]
        label = " to ".join(dict.fromkeys(ends))
        handles.append(Line2D([], [], color=colour, marker=marker, ms=5, label=label))
    tasks = {group.task for mine in lines for group in mine}
    head_and_caption(
        figure,
        f"Adversary 1 against the number of classes{source_suffix(tasks, results.sources)}",
        f"{interval_note(shown, 'bands')} {GUESS} {source_note(tasks, results.sources)}",
    )
    legend_below_title(figure, handles)
    return figure
