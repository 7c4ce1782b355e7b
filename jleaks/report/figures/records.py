"""How risk is spread over records, and the own scores of those at either end."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jleaks.report.figures.style import (
    BLUE,
    SERIES_COLOURS,
    VERMILION,
    clean_axes,
    head_and_caption,
    legend_below_title,
    new_figure,
)
from jleaks.report.record_tables import fprs_of
from jleaks.report.titles import attack_title


def draw_spread(title: str, rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws which share of the records has at least some AUC, and some TPR at its own FPR.

    Args:
      title: Above the figure.
      rows: One per attack and record (`jleaks.experiments.record_risks`).
    """
    first = rows[0]
    told = [fpr for fpr in fprs_of(first) if first[f"tpr_at_own_fpr_{fpr}"] is not None]
    panels = [("auc", "AUC of a record")]
    panels += [
        (f"tpr_at_own_fpr_{fpr}", f"TPR at a record's own {float(fpr):.4g} FPR") for fpr in told
    ]
    attacks = list(dict.fromkeys(row["attack"] for row in rows))[: len(SERIES_COLOURS)]
    figure = new_figure(5.2 * len(panels), 4.8)
    for axes, (name, label) in zip(np.ravel(figure.subplots(1, len(panels))), panels, strict=True):
        for colour, attack in zip(SERIES_COLOURS, attacks, strict=False):
            mine = [row[name] for row in rows if row["attack"] == attack]
            values = np.sort([value for value in mine if value is not None])
            share = 1 - np.arange(len(values)) / len(values)
            axes.step(values, share, where="pre", color=colour, lw=1.8, label=attack_title(attack))
        axes.set(xlabel=label, ylabel="Share of records with at least as much", ylim=(0, 1.02))
        axes.set_xlim(right=1.01)
        axes.grid(True, color="0.92", lw=0.8)
        clean_axes(axes)
    count = sum(row["attack"] == attacks[0] for row in rows)
    untold = [fpr for fpr in fprs_of(first) if fpr not in told]
    rest = f"  Not told by so few models: {', '.join(untold)} FPR." if untold else ""
    head_and_caption(
        figure,
        title,
        f"{count:,} records, {first['num_models']:,} models, half of which trained on each.  A record "
        f"that tells nothing has an AUC of 0.5 and a TPR equal to its FPR.{rest}",
    )
    legend_below_title(figure, figure.axes[0].get_lines())
    return figure


def draw_ends(
    title: str,
    scores: Mapping[int, tuple[np.ndarray, np.ndarray]],
    rows: Sequence[Mapping[str, Any]],
) -> Figure:
    """Draws the own scores of the records at either end, members beside others.

    Args:
      title: Above the figure.
      scores: By record, the most vulnerable first: of one half of the models, and which trained on it.
      rows: One attack's, for their areas.
    """
    areas = {row["record"]: row["auc"] for row in rows}
    figure = new_figure(11.4, 5.8)
    columns = max(1, (len(scores) + 1) // 2)
    grid = np.ravel(figure.subplots(2, columns, squeeze=False))
    for axes, (record, (values, member)) in zip(grid, scores.items(), strict=False):
        low, high = np.quantile(values, [0, 1])
        edges = np.linspace(low, high if high > low else low + 1, 33)
        for chosen, colour, label in (
            (~member, BLUE, "Did not train on it"),
            (member, VERMILION, "Trained on it"),
        ):
            axes.hist(values[chosen], edges, color=colour, alpha=0.6, label=label)
        axes.set_title(f"Record {record}: AUC {areas[record]:.3f}", fontsize=9.5, loc="left")
        axes.set(xlabel="Score", ylabel="Models")
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        clean_axes(axes)
    for axes in grid[len(scores) :]:
        axes.set_visible(False)
    head_and_caption(
        figure,
        title,
        "The records with the largest and the smallest AUC: scores of the first half of the models, with "
        "the second for references.",
    )
    legend_below_title(figure, grid[0].get_legend_handles_labels()[0])
    return figure
