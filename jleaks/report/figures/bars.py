"""Bars: panels one below the other, tasks along the page, one colour per arm, whiskers over seeds."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from jleaks.experiments import designs
from jleaks.experiments.claims import value_rank, value_title
from jleaks.metrics.intervals import Interval
from jleaks.report.columns import COLUMNS
from jleaks.report.contrasts import arm_rank
from jleaks.report.figures.style import (
    GREY,
    GUESS,
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
from jleaks.report.groups import Group, Results
from jleaks.report.titles import flagged_title, source_note, source_suffix

# Longer labels are tilted, inches of width per character.
_CHARACTER = 0.075


@dataclasses.dataclass(frozen=True)
class Panel:
    """One row of bars.

    Attributes:
      ylabel: Quantity and unit.
      bars: (place along the page, arm) -> mean and interval.
      guess: Whether 0.5 is what a guess achieves.
    """

    ylabel: str
    bars: dict[tuple[str, str], Interval]
    guess: bool


def _draw_panel(axes: Axes, places: Sequence[str], arms: dict[str, str], panel: Panel) -> None:
    """Draws grouped bars of rates, with whiskers where there are intervals."""
    width = 0.8 / len(arms)
    for i, (arm, colour) in enumerate(arms.items()):
        offset = (i - (len(arms) - 1) / 2) * width
        found = [(j + offset, panel.bars.get((place, arm))) for j, place in enumerate(places)]
        present = [(x, bar) for x, bar in found if bar is not None]
        drawn = [(x, bar) for x, bar in present if not math.isnan(bar.mean)]
        axes.bar([x for x, _ in drawn], [bar.mean for _, bar in drawn], width * 0.92, color=colour)
        bounded = [(x, bar) for x, bar in drawn if bar.is_bounded]
        means = np.array([bar.mean for _, bar in bounded])
        low, high = drawn_bounds([bar for _, bar in bounded])
        axes.errorbar(
            [x for x, _ in bounded], means, yerr=np.maximum([means - low, high - means], 0), fmt="none",
            ecolor="0.15", elinewidth=1, capsize=min(3.0, 14 * width),
        )  # fmt: skip
        for x, bar in present:
            if math.isnan(bar.mean):
                # Ran, but no seed defines the value: not the same as a bar of height 0.
                axes.text(
                    x, 0.02, "undefined", rotation=90, ha="center", va="bottom", fontsize=7,
                    color=GREY,
                )  # fmt: skip
    if panel.guess:
        guess_line(axes)
    # One or two groups keep bars of a usual width.
    centre, reach = (len(places) - 1) / 2, max(len(places) / 2, 1.25) + 0.1
    axes.set_xlim(centre - reach, centre + reach)
    axes.set_ylim(0, 1)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.set_ylabel(panel.ylabel, fontsize=9)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_xticks(range(len(places)), places)
    clean_axes(axes)
    axes.tick_params(axis="x", length=0)


def _page_width(places: Sequence[str], num_arms: int) -> tuple[float, bool]:
    """Returns inches that give every place's label and bars room, and whether labels must tilt."""
    label = max(len(line) for place in places for line in place.split("\n")) * _CHARACTER
    slot = max(0.95, 0.17 * num_arms + 0.25, label)
    width = min(16.0, max(8.2, 1.4 + len(places) * slot))
    return width, label > (width - 1.0) / len(places)


def _draw(
    places: Sequence[str], arms: dict[str, str], panels: Sequence[Panel], title: str, caption: str
) -> Figure:
    width, tilted = _page_width(places, len(arms))
    # 30 degrees: half of a label's length stands upright.
    upright = max(map(len, places)) * _CHARACTER / 2 if tilted else 0
    height = 1.6 + max(2.35 * len(panels), 3.0) + upright
    figure = new_figure(width, height)
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(rows, panels, strict=True):
        _draw_panel(axes, places, arms, panel)
    if tilted:
        rows[-1].set_xticks(range(len(places)), [place.replace("\n", " ") for place in places])
        for label in rows[-1].get_xticklabels():
            label.set(rotation=30, ha="right", rotation_mode="anchor")
    shown = [bar for panel in panels for bar in panel.bars.values()]
    guess = GUESS if any(panel.guess for panel in panels) else ""
    note = interval_note(shown, "whiskers")
    head_and_caption(figure, title, note, guess, caption)
    legend_below_title(figure, [Patch(color=colour, label=arm) for arm, colour in arms.items()])
    return figure


def _place(results: Results, group: Group, by_kind: bool) -> str:
    """Returns the target's task; before it adversary 2's shadow's, behind it the target's kind."""
    place = flagged_title(group.task, results.sources, "\n")
    if group.attack == "adversary 2" and not results.design.averaged:
        shadow, target = (
            flagged_title(t, results.sources) for t in (*group.shadow_tasks, group.task)
        )
        place = f"{shadow}\nto {target}"
    return f"{place}\n{value_title(group.get('target'))}" if by_kind else place


def _colours(groups: dict[str, Group], hues: str) -> dict[str, str]:
    """Returns the colour of each arm, from one group of each: that of its place, or of its hue.

    Of arms with one hue the half is lighter than the double; what has none is grey.
    """
    if not hues:
        return {arm: SERIES_COLOURS[i % len(SERIES_COLOURS)] for i, arm in enumerate(groups)}
    grey = [arm for arm, group in groups.items() if group.get("shadow") == "same"]
    others = {arm: group.get(hues, "all") for arm, group in groups.items() if arm not in grey}
    values = sorted(set(others.values()), key=value_rank)
    found = dict.fromkeys(grey, "0.55")
    for arm in sorted(others, key=lambda arm: value_rank(others[arm])):
        colour = SERIES_COLOURS[values.index(others[arm]) % len(SERIES_COLOURS)]
        found[arm] = _lighter(colour) if groups[arm].get("shadow") == "half" else colour
    return found


def _lighter(colour: str) -> str:
    """Returns a colour "#RRGGBB" mixed with white."""
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(255 - 0.45 * (255 - part)):02X}" for part in parts)


def draw_bars(results: Results, figure: designs.Figure) -> Figure:
    """Draws the arms of an experiment side by side, a row of bars per column that is defined.

    Args:
      results: With a design that has arms.
      figure: Which groups and columns, and what it is called.
    """
    design = results.design
    chosen: dict[tuple[str, str], Group] = {}
    arms: dict[str, Group] = {}
    for group in results.compared:
        if figure.shows(group) and (arm := design.arm(group)) is not None:
            title = design.arm_title(arm)
            arms.setdefault(title, group)
            chosen.setdefault((_place(results, group, figure.by_kind), title), group)
    arms = dict(sorted(arms.items(), key=lambda item: arm_rank(design, item[1])))
    panels = []
    for name in figure.metrics:
        bars = {key: group.interval(name) for key, group in chosen.items()}
        if any(bar.n for bar in bars.values()):
            title = COLUMNS[name].title
            # A panel is as high as about twenty characters are long.
            ylabel = f"{title}{' ' if len(title) < 12 else chr(10)}(fraction)"
            panels.append(Panel(ylabel, bars, guess=name != "test_accuracy"))
    if not panels:
        raise NothingToDrawError("no row has what it shows")
    tasks = {task for group in chosen.values() for task in group.tasks}
    return _draw(
        list(dict.fromkeys(place for place, _ in chosen)),
        _colours(arms, figure.hues),
        panels,
        f"{figure.title}{source_suffix(tasks, results.sources)}",
        f"{figure.note} {source_note(tasks, results.sources)}".strip(),
    )
