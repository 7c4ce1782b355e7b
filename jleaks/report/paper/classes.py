"""E4: the attack against the number of classes."""

import re
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jleaks.report.paper.curves import (
    GUESS,
    METRICS,
    Line,
    band_note,
    draw_line,
    log_ticks,
    rate_axes,
)
from jleaks.report.paper.groups import Group
from jleaks.report.paper.results import Results
from jleaks.report.style import (
    SERIES_COLOURS,
    NothingToDrawError,
    head_and_caption,
    legend_below_title,
    new_figure,
)
from jleaks.report.titles import flagged_title, source_note, source_suffix

_MARKERS = "osD^vPX*"


def families(groups: Sequence[Group]) -> list[list[Group]]:
    """Returns adversary 1's groups by data set, each by rising number of classes.

    Purchase-2 to Purchase-100 are one data set; CIFAR-10 and CIFAR-100 are treated as one.
    """
    found: dict[str, list[Group]] = {}
    for group in groups:
        if group.attack == "adversary 1":
            found.setdefault(re.sub(r"\d+$", "", group.task), []).append(group)
    return [sorted(mine, key=lambda group: group.any_row["num_classes"]) for mine in found.values()]


def draw_classes(results: Results) -> Figure:
    """Precision, recall and AUC of adversary 1 against the number of classes, a line per data set."""
    lines = families(results.groups)
    if not lines:
        raise NothingToDrawError("no row is of adversary 1")
    figure = new_figure(12.4, 4.6)
    shown, handles = [], []
    classes = [group.any_row["num_classes"] for mine in lines for group in mine]
    for axes, metric in zip(
        figure.subplots(1, 3, sharey=True), ("precision", "recall", "auc"), strict=True
    ):
        for i, mine in enumerate(lines):
            bars = [group.interval(metric) for group in mine]
            shown += bars
            x = [group.any_row["num_classes"] for group in mine]
            draw_line(axes, Line(x, bars, _colour(i), _marker(i)))
        rate_axes(axes)
        log_ticks(axes, classes)
        axes.set_xlabel("Classes of the target's task", fontsize=9)
        axes.set_ylabel(f"{METRICS[metric][0]} (fraction)", fontsize=9)
    for i, mine in enumerate(lines):
        first, last = (flagged_title(mine[j].task, results.sources) for j in (0, -1))
        name = first if first == last else f"{first} to {last}"
        handles.append(Line2D([], [], color=_colour(i), marker=_marker(i), ms=5, label=name))
    tasks = {group.task for mine in lines for group in mine}
    head_and_caption(
        figure,
        f"Adversary 1 against the number of classes{source_suffix(tasks, results.sources)}",
        f"{band_note(shown)} {GUESS} {source_note(tasks, results.sources)}",
    )
    legend_below_title(figure, handles)
    return figure


def _colour(i: int) -> str:
    return SERIES_COLOURS[i % len(SERIES_COLOURS)]


def _marker(i: int) -> str:
    return _MARKERS[i % len(_MARKERS)]
