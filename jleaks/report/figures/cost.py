"""What references cost and what they bring, and the ROC curves of a bank's attacks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from jleaks.attacks.registry import ATTACKS
from jleaks.experiments.bank_results import OVER
from jleaks.report.bank_tables import KNEE_NOTE, knee
from jleaks.report.columns import COLUMNS
from jleaks.report.figures.style import (
    MARKERS,
    SERIES_COLOURS,
    clean_axes,
    head_and_caption,
    legend_below_title,
    new_figure,
    roc_axes,
)
from jleaks.report.numbers import few_mark, notes
from jleaks.report.titles import attack_title

_PANELS = ("auc", "tpr_at_fpr_0.001")

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
_DASHES: dict[str, Any] = {
    "in and out": "-",
    "proxies and out": (0, (5, 1, 1, 1)),
    "out": (0, (5, 2)),
    "none": (0, (1, 1.2)),
}


def _compact(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def _places(attacks: Sequence[str]) -> dict[str, int]:
    """Returns every attack's place among colours: that of its ROC curve, or one that is left."""
    found = {name: i for i, name in enumerate(SHOWN) if name in attacks}
    others = [name for name in attacks if name not in found]
    free = [i for i in range(len(SHOWN) + len(others)) if i not in found.values()]
    return found | dict(zip(others, free, strict=False))


def draw_cost(title: str, rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws AUC and TPR at 0.1% FPR against the number of references, the knees ringed.

    Args:
      title: Above the figure.
      rows: One per attack and number of references (see `benchmarks.attack_cost`).
    """
    places = _places(list(dict.fromkeys(r["attack"] for r in rows)))
    counts = sorted({r["num_references"] for r in rows})
    cost = {r["num_references"]: r["device_seconds"] for r in rows}
    first = rows[0]
    banded = all(r.get("intervals") == OVER for r in rows)
    bands = ", bands 95% intervals over records" if banded else ""
    marks = [few_mark(metric, first["num_nonmembers"]) for metric in _PANELS]
    figure = new_figure(12.4, 5.6)
    panels = figure.subplots(1, len(_PANELS))
    for axes, mark, metric in zip(panels, marks, _PANELS, strict=True):
        for attack, i in places.items():
            mine = sorted(
                (r for r in rows if r["attack"] == attack), key=lambda r: r["num_references"]
            )
            x = [r["num_references"] for r in mine]
            colour = SERIES_COLOURS[i % len(SERIES_COLOURS)]
            online = ATTACKS[attack].references == "in and out"
            if banded:
                axes.fill_between(
                    x,
                    [r[metric]["low"] for r in mine],
                    [r[metric]["high"] for r in mine],
                    color=colour,
                    alpha=0.18,
                    lw=0,
                )
            y = [r[metric]["mean"] for r in mine]
            axes.plot(
                x, y, color=colour, marker=MARKERS[i % len(MARKERS)], ms=4.5, lw=1.7,
                ls="-" if online else (0, (5, 2)), label=ATTACKS[attack].title,
            )  # fmt: skip
            at = knee(list(zip(x, y, strict=True)))
            axes.plot(at, y[x.index(at)], "o", ms=11, mfc="none", mec=colour, mew=1.3)
        axes.set(
            xscale="log", xlabel="Reference models per target", ylabel=COLUMNS[metric].title + mark
        )
        axes.xaxis.set_major_locator(FixedLocator(counts))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        above = axes.secondary_xaxis("top")
        above.xaxis.set_major_locator(FixedLocator(counts[::-2]))
        above.xaxis.set_minor_locator(NullLocator())
        above.xaxis.set_major_formatter(
            FuncFormatter(lambda value, _: _compact(cost[round(value)]))
        )
        above.tick_params(labelsize=8)
        above.set_xlabel("Device time to train them", fontsize=8.5)
        axes.grid(True, color="0.92", lw=0.8)
        clean_axes(axes)
    head_and_caption(
        figure,
        title,
        f"Means over {first['num_targets']} targets of one bank of {first['num_models']} models{bands}; "
        "nested subsets of references.  Solid: IN and OUT references; dashed: OUT alone.  Rings: "
        f"{KNEE_NOTE}.  {notes(marks)}",
    )
    # Inside the panels it would hide curves.
    legend_below_title(figure, panels[0].get_lines()[::2])
    return figure


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
            label=attack_title(name),
        )  # fmt: skip
    grid = fpr[resolved]
    roc_axes(axes, grid, max(min(least, grid[0]) / 1.5, 1e-5))
    head_and_caption(
        figure,
        title,
        f"Mean over {tpr.shape[1]} targets; bands hold the middle 80% of targets.  Each point is the "
        "largest TPR among thresholds whose FPR is at most the abscissa.  Solid: IN and OUT "
        f"references; dashed: OUT alone; dotted: none.  {num_nonmembers:,} non-members per target.",
    )
    return figure
