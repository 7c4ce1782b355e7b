"""E14: how the largest posteriors of random points, non-members and members are spread."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jleaks.errors import InputError
from jleaks.report.paper.curves import panel_grid
from jleaks.report.paper.results import Results
from jleaks.report.style import BLUE, ORANGE, clean_axes, head_and_caption, legend_below_title
from jleaks.report.titles import flagged_title, order_tasks, source_note, source_suffix

_FILE = "densities.npz"
_KINDS = {
    "random": ("Random points", "0.45", "-"),
    "nonmember": ("Non-members", BLUE, (0, (5, 2))),
    "member": ("Members", ORANGE, "-"),
}
_NUM_BINS = 40

PERCENTILE = 10.0
"""The paper's t: the threshold is the maximum that the top 10% of random points exceed."""


def read_maxima(results: Results) -> dict[str, dict[str, np.ndarray]]:
    """Returns the largest posteriors by task and kind of point, each [n], in [0, 1].

    Raises:
      InputError: the file cannot be read or holds something else.
    """
    arrays = results.arrays(_FILE)
    path = results.folder / _FILE
    tasks = order_tasks(name.split("/")[0] for name in arrays)
    if not tasks:
        raise InputError(
            f"{path} holds no arrays; expected TASK/random, TASK/nonmember, TASK/member"
        )
    found: dict[str, dict[str, np.ndarray]] = {}
    for task in tasks:
        if task not in results.sources:
            raise InputError(f"{path}: no row of E14 is of task {task!r}")
        for kind in _KINDS:
            values = arrays.get(f"{task}/{kind}")
            if values is None or values.ndim != 1 or not values.size:
                raise InputError(f"{path}: expected an array {task}/{kind} of one dimension")
            if not ((values >= 0) & (values <= 1 + 1e-5)).all():
                raise InputError(f"{path}: {task}/{kind} has values outside [0, 1]")
            found.setdefault(task, {})[kind] = values.astype(np.float64)
    return found


def threshold(maxima: dict[str, np.ndarray]) -> float:
    """Returns the maximum that the top `PERCENTILE` percent of random points exceed."""
    return float(np.percentile(maxima["random"], 100 - PERCENTILE))


def draw_densities(results: Results) -> Figure:
    """A panel per task: histograms of the maxima, the threshold at t = 10 marked."""
    found = read_maxima(results)
    figure, panels, columns = panel_grid(len(found), 2.3)
    edges = np.linspace(0, 1, _NUM_BINS + 1)
    for i, (axes, (task, maxima)) in enumerate(zip(panels, found.items(), strict=False)):
        for kind, (_, colour, style) in _KINDS.items():
            share, _ = np.histogram(np.minimum(maxima[kind], 1), edges)
            axes.stairs(
                share / maxima[kind].size, edges, color=colour, ls=style, lw=1.6,
                fill=False,
            )  # fmt: skip
        axes.axvline(threshold(maxima), color="0.1", lw=1.2)
        # Members crowd at 1: only a logarithm shows the others beside them.
        axes.set_yscale("log")
        axes.set(xlim=(0, 1.01), ylim=(3e-4, 1.3))
        axes.set_title(flagged_title(task, results.sources), fontsize=9.5, loc="left")
        axes.grid(color="0.92", linewidth=0.8)
        clean_axes(axes)
        if i + columns >= len(found):
            axes.set_xlabel("Largest posterior (probability)", fontsize=9)
        if i % columns == 0:
            axes.set_ylabel(f"Share of points per {1 / _NUM_BINS:g}", fontsize=9)
    handles = [
        Line2D([], [], color=colour, ls=style, lw=1.6, label=title)
        for title, colour, style in _KINDS.values()
    ]
    handles.append(Line2D([], [], color="0.1", lw=1.2, label=f"Threshold at t = {PERCENTILE:g}"))
    head_and_caption(
        figure,
        "The target's largest posterior on random points, non-members and members"
        + source_suffix(found, results.sources),
        f"One target per task (seed 0).  Vertical: the value that the top {PERCENTILE:g}% of random points "
        f"exceed.  Logarithmic shares.  {source_note(found, results.sources)}",
    )
    legend_below_title(figure, handles)
    return figure
