"""Heat maps of the transfer matrix: shadow tasks down, target tasks across."""

import math
from collections.abc import Sequence

import matplotlib
import matplotlib.patheffects
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jleaks.report.style import (
    GREY,
    METRIC_TITLES,
    NothingToDrawError,
    head_and_caption,
    new_figure,
    seeds_note,
)
from jleaks.report.summary import transfer_matrix
from jleaks.report.titles import Sources, flagged_title, order_tasks, source_note, source_suffix
from jleaks.rows import Row


def _draw_transfer(
    metric: str, colour_range: tuple[float, float], rows: Sequence[Row], sources: Sources,
    confidence: float,
) -> Figure:  # fmt: skip
    """Heat map of one metric: shadow tasks down, target tasks across."""
    if not any(row["adversary"] == 2 for row in rows):
        raise NothingToDrawError("no row is of adversary 2")
    matrix = transfer_matrix(rows, metric, confidence)
    if not matrix:
        raise NothingToDrawError("no row of adversary 2 is of the attack model")
    shadows = order_tasks(shadow for shadow, _ in matrix)
    targets = order_tasks(target for _, target in matrix)
    means = np.full((len(shadows), len(targets)), np.nan)
    for (shadow, target), interval in matrix.items():
        means[shadows.index(shadow), targets.index(target)] = interval.mean

    side = 0.62 if max(len(shadows), len(targets)) > 6 else 0.85  # of a cell, in inches
    figure = new_figure(max(6.2, 2.9 + side * len(targets)), max(4.2, 2.4 + side * len(shadows)))
    axes = figure.subplots()
    low, high = colour_range
    norm = Normalize(low, high)
    colours = matplotlib.colormaps["viridis"]
    axes.imshow(np.ma.masked_invalid(means), cmap=colours, norm=norm, aspect="auto")
    axes.set_facecolor("0.9")  # what was not run, or is not defined
    for i, shadow in enumerate(shadows):
        for j, target in enumerate(targets):
            value = means[i, j]
            if math.isnan(value):
                text, colour = ("undef." if (shadow, target) in matrix else "-"), GREY
            else:
                text = f"{value:.2f}"
                red, green, blue, _ = colours(norm(value))
                # Luma of the cell decides between white and black ink.
                colour = "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 else "black"
            axes.text(j, i, text, ha="center", va="center", fontsize=8.5, color=colour)
    # Thin gaps between the cells; the outlines of the diagonal lie on top of them.
    axes.set_xticks(np.arange(1, len(targets)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(shadows)) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.2)
    diagonal = [(i, targets.index(s)) for i, s in enumerate(shadows) if (s, s) in matrix]
    for i, j in diagonal:
        # Black within white stands out from every colour of the map.
        halo = matplotlib.patheffects.withStroke(linewidth=5, foreground="white")
        frame = Rectangle((j - 0.44, i - 0.44), 0.88, 0.88, fill=False, edgecolor="black")
        frame.set(linewidth=2, path_effects=[halo])
        axes.add_patch(frame)
    axes.tick_params(which="both", length=0, labelsize=8.5)
    if len(targets) <= 4:
        axes.set_xticks(range(len(targets)), [flagged_title(t, sources, "\n") for t in targets])
    else:
        axes.set_xticks(range(len(targets)), [flagged_title(t, sources) for t in targets])
        for label in axes.get_xticklabels():
            label.set(rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(shadows)), [flagged_title(s, sources) for s in shadows])
    axes.set_xlabel("Target task", fontsize=9.5)
    axes.set_ylabel("Shadow task", fontsize=9.5)
    axes.spines[:].set_visible(False)

    defined = means[~np.isnan(means)]
    below = bool((defined < low).any())
    bar = figure.colorbar(
        ScalarMappable(norm, colours), ax=axes, extend="min" if below else "neither", shrink=0.95,
        pad=0.02, aspect=25,
    )  # fmt: skip
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8.5)
    bar.set_label(f"{METRIC_TITLES[metric]} of “member” (fraction)", fontsize=9.5)
    tasks = {*shadows, *targets}
    seeds = seeds_note(matrix.values())
    caption = [f"{seeds}."] if seeds else []
    if diagonal:
        caption.append("Outlined diagonal: adversary 1, shadow and target of one task.")
    if below:
        caption.append(f"Values below {low:g} have the colour of {low:g}.")
    caption.append(source_note(tasks, sources))
    head_and_caption(
        figure,
        f"{METRIC_TITLES[metric]} of the attack model when it is transferred between tasks"
        + source_suffix(tasks, sources),
        " ".join(part for part in caption if part),
    )
    return figure


def draw_transfer_precision(rows: Sequence[Row], sources: Sources, confidence: float) -> Figure:
    """Heat map of the attack model's precision.

    A guess on balanced records has precision 0.5: the colours are spent above it.
    """
    return _draw_transfer("precision", (0.5, 1.0), rows, sources, confidence)


def draw_transfer_recall(rows: Sequence[Row], sources: Sources, confidence: float) -> Figure:
    """Heat map of the attack model's recall."""
    return _draw_transfer("recall", (0.0, 1.0), rows, sources, confidence)
