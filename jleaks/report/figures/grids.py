"""Heat maps: the transfer matrix, shadow tasks by target tasks; and a defence's ratios, hidden by input."""

import math
from collections.abc import Mapping, Sequence

import matplotlib
import matplotlib.patheffects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jleaks.experiments import designs
from jleaks.experiments.claims import ATTACKS, value_title
from jleaks.report.columns import COLUMNS
from jleaks.report.figures.style import (
    GREY,
    NothingToDrawError,
    head_and_caption,
    ink,
    new_figure,
    seeds_note,
)
from jleaks.report.groups import CONFIDENCE, Group, Results, transfers
from jleaks.report.numbers import UNDEFINED, interval_text
from jleaks.report.titles import flagged_title, order_tasks, source_note, source_suffix

# Where the colours of a column begin; a guess on as many members as non-members has precision 0.5.
_LEAST = {"precision": 0.5}


def _draw_map(
    axes: Axes, means: np.ndarray, texts: Mapping[tuple[int, int], str], column: str
) -> Colorbar:
    """Draws means [rows, columns] as colours with their texts and a colour bar; "-" where none is."""
    low, high = _LEAST.get(column, 0.0), 1.0
    norm, colours = Normalize(low, high), matplotlib.colormaps["viridis"]
    axes.imshow(np.ma.masked_invalid(means), cmap=colours, norm=norm, aspect="auto")
    axes.set_facecolor("0.9")  # what was not run, or is not defined
    for at, mean in np.ndenumerate(means):
        i, j = at
        colour = GREY if math.isnan(mean) else ink(colours(norm(mean)))
        text = texts.get((i, j), UNDEFINED)
        axes.text(j, i, text, ha="center", va="center", fontsize=8, color=colour, linespacing=1.05)
    # Thin gaps between the cells.
    axes.set_xticks(np.arange(1, means.shape[1]) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, means.shape[0]) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.2)
    axes.tick_params(which="both", length=0, labelsize=8.5)
    axes.spines[:].set_visible(False)
    extend = "min" if (means[~np.isnan(means)] < low).any() else "neither"
    bar = axes.figure.colorbar(
        ScalarMappable(norm, colours), ax=axes, extend=extend, pad=0.02, aspect=22
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8)
    return bar


def draw_transfer(results: Results, figure: designs.Figure) -> Figure:
    """Draws a column of the attack model: shadow tasks down, target tasks across, adversary 1 outlined."""
    (column,) = figure.metrics
    if not any(group.attack == "adversary 2" for group in results.groups):
        raise NothingToDrawError("no row is of adversary 2")
    matrix = {pair: group.interval(column) for pair, group in transfers(results.groups).items()}
    shadows, targets = (order_tasks(pair[side] for pair in matrix) for side in (0, 1))
    means = np.full((len(shadows), len(targets)), np.nan)
    texts = {}
    for (shadow, target), interval in matrix.items():
        at = shadows.index(shadow), targets.index(target)
        means[at] = interval.mean
        texts[at] = "undef." if math.isnan(interval.mean) else f"{interval.mean:.2f}"
    side = 0.62 if max(means.shape) > 6 else 0.85  # of a cell, in inches
    page = new_figure(max(6.2, 2.9 + side * len(targets)), max(4.2, 2.4 + side * len(shadows)))
    axes = page.subplots()
    bar = _draw_map(axes, means, texts, column)
    bar.set_label(f"{COLUMNS[column].title} (fraction)", fontsize=9.5)
    diagonal = [(i, targets.index(s)) for i, s in enumerate(shadows) if (s, s) in matrix]
    for i, j in diagonal:
        # Black within white stands out from every colour of the map.
        halo = matplotlib.patheffects.withStroke(linewidth=5, foreground="white")
        frame = Rectangle((j - 0.44, i - 0.44), 0.88, 0.88, fill=False, edgecolor="black")
        frame.set(linewidth=2, path_effects=[halo])
        axes.add_patch(frame)
    few = len(targets) <= 4
    titles = [flagged_title(t, results.sources, "\n" if few else " ") for t in targets]
    axes.set_xticks(range(len(targets)), titles)
    if not few:
        for label in axes.get_xticklabels():
            label.set(rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(shadows)), [flagged_title(s, results.sources) for s in shadows])
    axes.set_xlabel("Target task", fontsize=9.5)
    axes.set_ylabel("Shadow task", fontsize=9.5)
    tasks = {*shadows, *targets}
    seeds = seeds_note(matrix.values())
    notes = (
        f"{seeds}." if seeds else "",
        "Outlined diagonal: adversary 1, shadow and target of one task." if diagonal else "",
        _least_note(column),
        source_note(tasks, results.sources),
    )
    title = f"{figure.title}{source_suffix(tasks, results.sources)}"
    head_and_caption(page, title, *notes)
    return page


def _least_note(column: str) -> str:
    if column not in _LEAST:
        return ""
    least = _LEAST[column]
    return f"{COLUMNS[column].title}s below {least:g}, a coin's, have the colour of {least:g}."


def ratio_grid(
    groups: Sequence[Group], column: str
) -> tuple[list[float], list[float], np.ndarray, dict[tuple[int, int], str]]:
    """Returns a column over the grid of ratios.

    Args:
      groups: Of one task and attack, each with an input and a hidden ratio.
      column: Of `COLUMNS`.

    Returns:
      Input ratios [I] and hidden ratios [H], ascending; means [H, I], NaN where nothing was run or
      defined; and what is written in each place (h, i) where something was, the interval below the mean.
    """
    places = [
        tuple(float(group.get(entry) or 0) for entry in ("hidden_ratio", "input_ratio"))
        for group in groups
    ]
    hiddens, inputs = (sorted(set(ratios)) for ratios in zip(*places, strict=True))
    means, texts = np.full((len(hiddens), len(inputs)), np.nan), {}
    for group, (hidden, given) in zip(groups, places, strict=True):
        at = hiddens.index(hidden), inputs.index(given)
        interval = group.interval(column)
        means[at] = interval.mean
        text = interval_text(interval, group.defined(column), digits=2)
        texts[at] = text.replace("±", "\n±", 1).replace(" ", "\n", 1)
    return inputs, hiddens, means, texts


def draw_ratios(results: Results, figure: designs.Figure) -> Figure:
    """A row of heat maps per task and attack: the attack's columns for each attacker, then the target's."""
    lines: dict[tuple[str, str], dict[str, list[Group]]] = {}
    for group in filter(figure.shows, results.groups):
        by_attacker = lines.setdefault((group.task, ATTACKS[group.attack]), {})
        by_attacker.setdefault(value_title(group.get("attacker")), []).append(group)
    if not lines:
        raise NothingToDrawError("no row is of an attack model or a threshold on the maximum")
    attackers = list(dict.fromkeys(name for found in lines.values() for name in found))
    # The target's accuracy is the same whoever attacks it.
    columns = [
        (name, attacker)
        for name in figure.metrics
        for attacker in (attackers[:1] if name == "test_accuracy" else attackers)
    ]
    every = [group for found in lines.values() for groups in found.values() for group in groups]
    inputs, hiddens, _, _ = ratio_grid(every, columns[0][0])
    page = new_figure(
        0.9 + len(columns) * (0.85 + 0.55 * max(3, len(inputs))),
        1.4 + len(lines) * (0.9 + 0.52 * max(2, len(hiddens))),
    )
    panels = page.subplots(len(lines), len(columns), squeeze=False)
    for row, ((task, attack), found) in zip(panels, lines.items(), strict=True):
        for axes, (name, attacker) in zip(row, columns, strict=True):
            if attacker not in found:
                axes.set_axis_off()
                continue
            inputs, hiddens, means, texts = ratio_grid(found[attacker], name)
            _draw_map(axes, means, texts, name)
            axes.invert_yaxis()  # no dropout stands in the corner
            axes.set_xticks(range(len(inputs)), [value_title(ratio) for ratio in inputs])
            axes.set_yticks(range(len(hiddens)), [value_title(ratio) for ratio in hiddens])
            title = COLUMNS[name].title
            if name != "test_accuracy" and len(attackers) > 1:
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
    bounded = any(bar.is_bounded for bar in bars)
    notes = (
        f"{seeds_note(bars)}.",
        f"± or [low, high]: the {CONFIDENCE:.0%} t interval over seeds." if bounded else "",
        figure.note if len(attackers) > 1 else "",
        "Fractions.",
        _least_note("precision"),
        source_note(tasks, results.sources),
    )
    title = f"{figure.title}{source_suffix(tasks, results.sources)}"
    head_and_caption(page, title, *notes)
    return page
