"""Bars: panels one below the other, places along the page, one colour per arm, whiskers over seeds."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from jleaks.metrics.intervals import Interval
from jleaks.report.paper.curves import GUESS
from jleaks.report.paper.groups import CONFIDENCE
from jleaks.report.style import (
    GREY,
    clean_axes,
    head_and_caption,
    legend_below_title,
    new_figure,
    whisker_note,
)

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
    guess: bool = True


def _draw_panel(axes: Axes, places: Sequence[str], arms: dict[str, str], panel: Panel) -> None:
    """Draws grouped bars of rates, with whiskers where there are intervals."""
    width = 0.8 / len(arms)
    for i, (arm, colour) in enumerate(arms.items()):
        offset = (i - (len(arms) - 1) / 2) * width
        found = [(j + offset, panel.bars.get((place, arm))) for j, place in enumerate(places)]
        present = [(x, bar) for x, bar in found if bar is not None]
        drawn = [(x, bar) for x, bar in present if not math.isnan(bar.mean)]
        axes.bar(
            [x for x, _ in drawn],
            [bar.mean for _, bar in drawn],
            width * 0.92,
            color=colour,
        )
        for x, bar in drawn:
            if bar.is_bounded:
                # A t interval may leave [0, 1]; a rate cannot.
                low, high = np.clip([bar.low, bar.high], 0, 1)
                below, above = max(bar.mean - low, 0), max(high - bar.mean, 0)
                axes.errorbar(
                    [x], [bar.mean], yerr=[[below], [above]], fmt="none", ecolor="0.15", elinewidth=1,
                    capsize=min(3.0, 14 * width),
                )  # fmt: skip
        for x, bar in present:
            if math.isnan(bar.mean):
                # Ran, but no seed defines the value: not the same as a bar of height 0.
                axes.text(
                    x, 0.02, "undefined", rotation=90, ha="center", va="bottom", fontsize=7,
                    color=GREY,
                )  # fmt: skip
    if panel.guess:
        axes.axhline(0.5, color="0.2", linewidth=1, linestyle=(0, (4, 3)), zorder=1.5)
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
    width = min(16.0, max(7.0, 1.4 + len(places) * slot))
    return width, label > (width - 1.0) / len(places)


def draw_bars(
    places: Sequence[str], arms: dict[str, str], panels: Sequence[Panel], title: str, caption: str
) -> Figure:
    """Draws panels one below the other.

    Args:
      places: Labels along the page.
      arms: Label of each arm and its colour.
      panels: From top to bottom.
      title: Above the figure.
      caption: Below, after the notes on intervals and guesses.
    """
    width, tilted = _page_width(places, len(arms))
    # 30 degrees: half of a label's length stands upright.
    upright = max(map(len, places)) * _CHARACTER / 2 if tilted else 0
    height = 1.6 + 2.35 * len(panels) + upright
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
    head_and_caption(figure, title, f"{whisker_note(shown, CONFIDENCE)} {guess} {caption}")
    legend_below_title(figure, [Patch(color=colour, label=arm) for arm, colour in arms.items()])
    return figure
