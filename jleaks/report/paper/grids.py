"""E17: heat maps of attack and accuracy over the dropout ratios of input and hidden layer."""

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from jleaks.experiments.claims import ATTACKS, value_title
from jleaks.report.numbers import UNDEFINED, interval_text
from jleaks.report.paper.groups import CONFIDENCE, Group
from jleaks.report.paper.results import Results
from jleaks.report.style import GREY, NothingToDrawError, head_and_caption, new_figure, seeds_note
from jleaks.report.titles import flagged_title, source_note, source_suffix

# Metric -> title and range of the colours.
_PANELS = {
    "precision": ("Precision", 0.5, 1.0),
    "recall": ("Recall", 0.0, 1.0),
    "target_test_accuracy": ("Target's test accuracy", 0.0, 1.0),
}


def ratio_grid(
    groups: Sequence[Group], metric: str
) -> tuple[list[float], list[float], np.ndarray, dict[tuple[int, int], str]]:
    """Returns a metric over the grid of ratios.

    Args:
      groups: Of one task and attack, each with an input and a hidden ratio.
      metric: A field of a row.

    Returns:
      Input ratios [I] and hidden ratios [H], ascending; means [H, I], NaN where nothing was run or
      defined; and what is written in each place (h, i) where something was, the interval below the mean.
    """
    inputs = sorted({float(group.get("input_ratio") or 0) for group in groups})
    hiddens = sorted({float(group.get("hidden_ratio") or 0) for group in groups})
    means = np.full((len(hiddens), len(inputs)), np.nan)
    texts = {}
    for group in groups:
        at = (
            hiddens.index(float(group.get("hidden_ratio") or 0)),
            inputs.index(float(group.get("input_ratio") or 0)),
        )
        interval = group.interval(metric)
        means[at] = interval.mean
        text = interval_text(interval, group.defined(metric), digits=2)
        texts[at] = text.replace("±", "\n±", 1).replace(" ", "\n", 1)
    return inputs, hiddens, means, texts


def _draw_map(axes: Axes, groups: Sequence[Group], metric: str) -> ScalarMappable:
    inputs, hiddens, means, texts = ratio_grid(groups, metric)
    _, low, high = _PANELS[metric]
    norm, colours = Normalize(low, high), matplotlib.colormaps["viridis"]
    # Row 0 is the lowest hidden ratio: the origin is at the bottom, as on any axis.
    axes.imshow(np.ma.masked_invalid(means), cmap=colours, norm=norm, aspect="auto", origin="lower")
    axes.set_facecolor("0.9")
    for i, j in np.ndindex(*means.shape):
        if math.isnan(means[i, j]):
            axes.text(j, i, UNDEFINED, ha="center", va="center", fontsize=8.5, color=GREY)
            continue
        red, green, blue, _ = colours(norm(means[i, j]))
        # Luma of the cell decides between white and black ink.
        ink = "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 else "black"
        axes.text(
            j, i, texts[i, j], ha="center", va="center", fontsize=8, color=ink, linespacing=1.05
        )
    axes.set_xticks(range(len(inputs)), [value_title(ratio) for ratio in inputs])
    axes.set_yticks(range(len(hiddens)), [value_title(ratio) for ratio in hiddens])
    axes.tick_params(length=0, labelsize=8.5)
    axes.spines[:].set_visible(False)
    return ScalarMappable(norm, colours)


def draw_ratios(results: Results) -> Figure:
    """A row of heat maps per task and attack: precision and recall of each attacker, accuracy."""
    lines: dict[tuple[str, str], dict[str, list[Group]]] = {}
    for group in results.groups:
        if group.get("statistic", "maximum") == "maximum":
            attacker = value_title(group.get("attacker"))
            by_attacker = lines.setdefault((group.task, ATTACKS[group.attack]), {})
            by_attacker.setdefault(attacker, []).append(group)
    if not lines:
        raise NothingToDrawError("no row is of an attack model or a threshold on the maximum")
    attackers = list(dict.fromkeys(name for found in lines.values() for name in found))
    # The target's accuracy is the same whoever attacks it.
    columns = [(metric, name) for metric in ("precision", "recall") for name in attackers]
    columns.append(("target_test_accuracy", attackers[0]))
    every = [group for found in lines.values() for groups in found.values() for group in groups]
    inputs, hiddens, _, _ = ratio_grid(every, "precision")
    figure = new_figure(
        0.9 + len(columns) * (0.85 + 0.55 * max(3, len(inputs))),
        1.4 + len(lines) * (0.9 + 0.52 * max(2, len(hiddens))),
    )
    panels = figure.subplots(len(lines), len(columns), squeeze=False)
    for row, ((task, attack), found) in zip(panels, lines.items(), strict=True):
        for axes, (metric, attacker) in zip(row, columns, strict=True):
            if attacker not in found:
                axes.set_axis_off()
                continue
            bar = figure.colorbar(
                _draw_map(axes, found[attacker], metric), ax=axes, pad=0.02, aspect=20
            )
            bar.outline.set_visible(False)
            bar.ax.tick_params(labelsize=8)
            title = _PANELS[metric][0]
            if metric != "target_test_accuracy" and len(attackers) > 1:
                title += f", {attacker} attacker"
            axes.set_title(title, fontsize=9, loc="left")
            axes.set_xlabel("Dropout of the input (ratio)", fontsize=8.5)
        row[0].set_ylabel(
            f"{flagged_title(task, results.sources)}, {attack.lower()}\n"
            "Dropout of the hidden layer (ratio)",
            fontsize=8.5,
        )
    tasks = {task for task, _ in lines}
    bars = [group.interval("recall") for group in every]
    note = f"{seeds_note(bars)}."
    if any(bar.is_bounded for bar in bars):
        note += f" ± or [low, high]: the {CONFIDENCE:.0%} t interval over seeds."
    if len(attackers) > 1:
        note += " An aware attacker trains shadow models with the target's dropout, a naive one without."
    head_and_caption(
        figure,
        "The attack and the target's accuracy by the dropout of the target"
        + source_suffix(tasks, results.sources),
        f"{note} Fractions; precisions below 0.5, a coin's, have the colour of 0.5. "
        + source_note(tasks, results.sources),
    )
    return figure
