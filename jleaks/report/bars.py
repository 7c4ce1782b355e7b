"""Bar charts over tasks: the adversaries' precision and recall, adversary 3's AUC."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jleaks.metrics.intervals import Interval
from jleaks.report.style import (
    BLUE,
    GREEN,
    GREY,
    METRIC_TITLES,
    ORANGE,
    SERIES_COLOURS,
    NothingToDrawError,
    clean_axes,
    head_and_caption,
    new_figure,
    whisker_note,
)
from jleaks.report.summary import Summary, average_over_shadow_tasks, summarise
from jleaks.report.titles import (
    Sources,
    flagged_title,
    order_statistics,
    order_tasks,
    source_note,
    source_suffix,
)
from jleaks.rows import ATTACK_MODEL, Row

_ADVERSARY_COLOURS = {1: BLUE, 2: ORANGE, 3: GREEN}


def _bars(
    axes: Axes, groups: Sequence[str], series: dict[str, tuple[str, list[Interval | None]]]
) -> None:
    """Draws grouped bars with whiskers of rates in [0, 1].

    Args:
      axes: Where to draw.
      groups: Labels of the groups along the x axis.
      series: Legend label -> colour and one interval per group (None: was not run).
    """
    width = 0.8 / len(series)
    for i, (label, (colour, intervals)) in enumerate(series.items()):
        places = np.arange(len(groups)) + (i - (len(series) - 1) / 2) * width
        drawn = [
            (x, interval)
            for x, interval in zip(places, intervals, strict=True)
            if interval is not None and not math.isnan(interval.mean)
        ]
        axes.bar(
            [x for x, _ in drawn],
            [interval.mean for _, interval in drawn],
            width * 0.92,
            color=colour,
            label=label,
        )
        whiskers = [(x, interval) for x, interval in drawn if interval.is_bounded]
        if whiskers:
            means = np.array([interval.mean for _, interval in whiskers])
            # A t interval may leave [0, 1]; a rate cannot.
            low = np.clip([interval.low for _, interval in whiskers], 0, 1)
            high = np.clip([interval.high for _, interval in whiskers], 0, 1)
            axes.errorbar(
                [x for x, _ in whiskers],
                means,
                yerr=[means - low, high - means],
                fmt="none",
                ecolor="0.15",
                elinewidth=1,
                capsize=min(3.0, 14 * width),
            )
        for x, interval in zip(places, intervals, strict=True):
            if interval is not None and math.isnan(interval.mean):
                # Ran, but no seed defines the value: not the same as a bar of height 0.
                axes.text(
                    x, 0.02, "undefined", rotation=90, ha="center", va="bottom", fontsize=7,
                    color=GREY,
                )  # fmt: skip
    axes.axhline(0.5, color="0.2", linewidth=1, linestyle=(0, (4, 3)), zorder=1.5)
    # One or two groups keep bars of a usual width.
    centre, reach = (len(groups) - 1) / 2, max(len(groups) / 2, 1.25) + 0.1
    axes.set_xlim(centre - reach, centre + reach)
    axes.set_ylim(0, 1.0)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_xticks(range(len(groups)), groups)
    axes.tick_params(axis="x", length=0)
    clean_axes(axes)
    axes.tick_params(axis="x", labelsize=8.5)


def _bar_figure_width(num_tasks: int, num_series: int) -> float:
    """Returns inches that give every task's label and bars room."""
    return min(24.0, max(6.5, 1.4 + num_tasks * max(0.95, 0.22 * num_series + 0.2)))


def _tilt_long_labels(figure: Figure, axes: Axes, labels: Sequence[str]) -> None:
    """Turns the x labels if one is wider than its group, and makes room for them below."""
    slot = figure.get_figwidth() / len(labels)
    if max(len(line) for label in labels for line in label.split("\n")) * 0.075 > slot:
        # 30 degrees: half of a label's length stands upright.
        longest = max(len(label) for label in labels)
        figure.set_figheight(figure.get_figheight() + longest * 0.075 / 2)
        axes.set_xticks(range(len(labels)), [label.replace("\n", " ") for label in labels])
        for text in axes.get_xticklabels():
            text.set(rotation=30, ha="right", rotation_mode="anchor")


def _legend_above(axes: Axes, width: float) -> None:
    """Puts the legend above the axes, where no bar can be; in one row if the page is wide."""
    handles, _ = axes.get_legend_handles_labels()
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=len(handles) if width >= 9 else 1,
        frameon=False,
        fontsize=9,
        borderaxespad=0.2,
        borderpad=0.2,
        handlelength=1.4,
    )


def _count_of(shadow_counts: set[int]) -> str:
    most = max(shadow_counts)
    if most == 1:
        return "one other shadow task"
    return f"mean over {'up to ' if len(shadow_counts) > 1 else ''}{most} other shadow tasks"


def draw_precision_recall(rows: Sequence[Row], sources: Sources, confidence: float) -> Figure:
    """Bars of precision and recall per task, one colour per adversary."""
    summaries = summarise(rows, confidence)
    found: dict[int, dict[str, Summary]] = {}
    for summary in summaries:
        # Adversary 3 is represented by the statistic the paper settles on.
        if (summary.adversary, summary.statistic) in ((1, ATTACK_MODEL), (3, "maximum")):
            found.setdefault(summary.adversary, {})[summary.task] = summary
    for summary in average_over_shadow_tasks(rows, confidence):
        if summary.statistic == ATTACK_MODEL:
            found.setdefault(2, {})[summary.task] = summary
    if not found:
        raise NothingToDrawError("no attack model and no threshold on the maximum was run")
    names = {1: "adversary 1", 3: "adversary 3 (threshold on the maximum)"}
    if 2 in found:
        counts = {len(summary.shadow_tasks) for summary in found[2].values()}
        names[2] = f"adversary 2 ({_count_of(counts)})"
    tasks = order_tasks(task for by_task in found.values() for task in by_task)
    labels = [flagged_title(task, sources, separator="\n") for task in tasks]
    width = _bar_figure_width(len(tasks), len(found))
    figure = new_figure(width, 7.2)
    shown: list[Interval] = []
    panels = figure.subplots(2, 1, sharex=True)
    for axes, metric in zip(panels, ("precision", "recall"), strict=True):
        series: dict[str, tuple[str, list[Interval | None]]] = {}
        for adversary in sorted(found):
            by_task = found[adversary]
            intervals = [by_task[t].metrics[metric] if t in by_task else None for t in tasks]
            shown += [interval for interval in intervals if interval is not None]
            series[names[adversary]] = (_ADVERSARY_COLOURS[adversary], intervals)
        _bars(axes, labels, series)
        axes.set_ylabel(f"{METRIC_TITLES[metric]} of “member” (fraction)", fontsize=9.5)
    _tilt_long_labels(figure, panels[1], labels)
    _legend_above(panels[0], width)
    shadows = {s for summary in found.get(2, {}).values() for s in summary.shadow_tasks}
    head_and_caption(
        figure,
        "Precision and recall of the adversaries, per target task"
        + source_suffix({*tasks, *shadows}, sources),
        f"{whisker_note(shown, confidence)} Dashed: 0.5, the precision of a guess where members "
        f"and non-members are equally many. {source_note({*tasks, *shadows}, sources)}",
    )
    return figure


def draw_statistics(rows: Sequence[Row], sources: Sources, confidence: float) -> Figure:
    """Bars of adversary 3's AUC per task, one colour per statistic."""
    chosen = {
        (summary.statistic, summary.task): summary.metrics["auc"]
        for summary in summarise(rows, confidence)
        if summary.adversary == 3
    }
    if not chosen:
        raise NothingToDrawError("no row is of adversary 3")
    tasks = order_tasks(task for _, task in chosen)
    labels = [flagged_title(task, sources, separator="\n") for task in tasks]
    names = order_statistics(statistic for statistic, _ in chosen)
    series: dict[str, tuple[str, list[Interval | None]]] = {
        name: (
            SERIES_COLOURS[i % len(SERIES_COLOURS)],
            [chosen.get((name, task)) for task in tasks],
        )
        for i, name in enumerate(names)
    }
    width = _bar_figure_width(len(tasks), len(series))
    figure = new_figure(width, 4.6)
    axes = figure.subplots()
    _bars(axes, labels, series)
    axes.set_ylabel("AUC (area under the ROC curve)", fontsize=9.5)
    _tilt_long_labels(figure, axes, labels)
    _legend_above(axes, width)
    head_and_caption(
        figure,
        "Adversary 3: AUC of a threshold on one statistic of the target's posteriors"
        + source_suffix(tasks, sources),
        f"{whisker_note(list(chosen.values()), confidence)} Dashed: 0.5, chance. "
        f"{source_note(tasks, sources)}",
    )
    return figure
