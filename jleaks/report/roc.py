"""ROC curves of a bank's attacks, both axes logarithmic, with bands over targets."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from jleaks.attacks.registry import ATTACKS
from jleaks.report.style import SERIES_COLOURS, clean_axes, head_and_caption, new_figure

# Shown if they were run: the best known of each family.  More curves could not be told apart.
SHOWN = (
    "lira_online",
    "rmia_online",
    "bavaria",
    "lira_offline",
    "rmia_offline",
    "calibrated",
    "class_thresholds",
    "loss",
)
_DASHES: dict[str, Any] = {"in and out": "-", "out": (0, (5, 2)), "none": (0, (1, 1.2))}


def _percent(value: float, _: object = None) -> str:
    return f"{100 * value:.10f}".rstrip("0").rstrip(".") + "%"


def draw_roc(
    title: str,
    attacks: Sequence[str],
    fpr: np.ndarray,
    tpr: np.ndarray,
    num_nonmembers: int,
) -> Figure:
    """Draws the mean ROC curve of the main attacks and a user's own, and the middle 80% of targets.

    Args:
      title: Above the figure.
      attacks: [A] names.
      fpr: [G] grid.
      tpr: [A, T, G].
      num_nonmembers: Of each target: no FPR below one in so many can be measured.
    """
    # A user's own are what the figure is drawn for.
    own = [name for name in attacks if name in ATTACKS and ATTACKS.origin(name) is not None]
    own = own[: len(SHOWN)]
    known = [name for name in SHOWN if name in attacks][: len(SHOWN) - len(own)]
    shown = [*known, *own] or list(attacks)[: len(SHOWN)]
    figure = new_figure(8.6, 6.4)
    axes = figure.subplots()
    resolved = fpr >= 1 / num_nonmembers
    least = 1.0
    for i, name in enumerate(shown):
        curves = tpr[list(attacks).index(name)][:, resolved]
        mean = curves.mean(0)
        low, high = np.quantile(curves, [0.1, 0.9], axis=0)
        least = min(least, *mean[mean > 0], 1.0)
        colour = SERIES_COLOURS[i]
        axes.fill_between(
            fpr[resolved], np.maximum(low, 1e-6), high, color=colour, alpha=0.13, lw=0
        )
        axes.plot(
            fpr[resolved], np.maximum(mean, 1e-6), color=colour, lw=1.9,
            ls=_DASHES[ATTACKS[name].references] if name in ATTACKS else "-",
            label=ATTACKS[name].title if name in ATTACKS else name,
        )  # fmt: skip
    grid = fpr[resolved]
    axes.plot(grid, grid, color="0.55", lw=1, ls=(0, (2, 2)), label="Guessing")
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(grid[0], 1),
        ylim=(max(min(least, grid[0]) / 1.5, 1e-5), 1.05),
        xlabel="False-positive rate (log)",
        ylabel="True-positive rate (log)",
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(_percent))
    axes.grid(True, which="major", color="0.9", lw=0.8)
    clean_axes(axes)
    axes.legend(frameon=False, fontsize=8.5, loc="lower right")
    head_and_caption(
        figure,
        title,
        f"Mean over {tpr.shape[1]} targets; bands hold the middle 80% of targets.  Each point is the "
        "largest TPR among thresholds whose FPR is at most the abscissa.  Solid: IN and OUT "
        f"references; dashed: OUT alone; dotted: none.  {num_nonmembers:,} non-members per target.",
    )
    return figure
