"""Where members and non-members of two tasks lie, as t-SNE sees them; how largest posteriors spread."""

import dataclasses
import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jleaks.errors import InputError
from jleaks.experiments import designs
from jleaks.report.figures.curves import panel_grid
from jleaks.report.figures.style import (
    BLUE,
    ORANGE,
    VERMILION,
    clean_axes,
    head_and_caption,
    legend_below_title,
    new_figure,
)
from jleaks.report.groups import Results
from jleaks.report.table import Table
from jleaks.report.titles import Sources, flagged_title, order_tasks, source_note, source_suffix

_POINTS = "points.npz"
_ARRAYS = ("embedding", "task", "member")

# Colour tells members, shape the task, so that each can be read without the other.
_COLOURS = {True: VERMILION, False: BLUE}
_MARKERS = "o^sD"

_MAXIMA = "densities.npz"
_KINDS = {
    "random": ("Random points", "0.45", "-"),
    "nonmember": ("Non-members", BLUE, (0, (5, 2))),
    "member": ("Members", ORANGE, "-"),
}
_NUM_BINS = 40

PERCENTILE = 10.0
"""The paper's t: the threshold is the maximum that the top 10% of random points exceed."""


@dataclasses.dataclass(frozen=True)
class Points:
    """An embedding of posteriors in the plane.

    Attributes:
      embedding: [n, 2] places, without unit.
      task: [n] the task of the model that was asked.
      member: [n] whether the record was in its training set.
      settings: What the embedding was made with.
      sources: Where the records of each task come from.
    """

    embedding: np.ndarray
    task: np.ndarray
    member: np.ndarray
    settings: dict[str, Any]
    sources: Sources

    @property
    def tasks(self) -> list[str]:
        """The tasks, in the order of reports."""
        return order_tasks(self.task.tolist())


def read_points(results: Results) -> Points:
    """Returns the points of E11.

    Raises:
      InputError: the file cannot be read, or its arrays do not fit one another.
    """
    arrays, settings = results.arrays(_POINTS)
    path = results.folder / _POINTS
    if not set(_ARRAYS) <= set(arrays):
        raise InputError(f"{path} holds {', '.join(arrays)}; expected {', '.join(_ARRAYS)}")
    embedding, task, member = (arrays[name] for name in _ARRAYS)
    n = len(task)
    if n == 0 or embedding.shape != (n, 2) or member.shape != (n,) or member.dtype != bool:
        raise InputError(
            f"{path}: embedding {embedding.shape}, task {task.shape}, member {member.shape} of "
            f"{member.dtype}; expected [n, 2], [n] and [n] of bool"
        )
    # Rows know most sources; the file may name those of tasks that no row has.
    told = settings.pop("sources", {})
    if not isinstance(told, dict):
        raise InputError(
            f'{path}: "sources" in meta is {told!r}, expected an object of task to source'
        )
    sources = told | dict(results.sources)
    unnamed = sorted(set(task.tolist()) - set(sources))
    if unnamed:
        raise InputError(
            f'{path}: no row and no "sources" in meta say where the records of {", ".join(unnamed)} '
            "come from"
        )
    return Points(embedding, task, member, settings, sources)


def nearest_agree(points: Points, task: str) -> tuple[float, float]:
    """Returns how alike a task's points and their nearest neighbours of other tasks are.

    If a shared boundary parts members from non-members, the nearest point of the other task is
    alike in membership more often than chance.

    Returns:
      Share of the points of `task` whose nearest neighbour among the other tasks' points has their
      membership, and the share expected were memberships dealt at random.  NaN for a lone task.
    """
    mine = points.task == task
    if mine.all():
        return math.nan, math.nan
    here, there = points.embedding[mine], points.embedding[~mine]
    squares = ((here[:, None, :] - there[None, :, :]) ** 2).sum(axis=-1)
    theirs = points.member[~mine]
    alike = theirs[squares.argmin(axis=1)] == points.member[mine]
    a, b = points.member[mine].mean(), theirs.mean()
    return float(alike.mean()), float(a * b + (1 - a) * (1 - b))


def points_table(results: Results) -> Table:
    """Returns the numbers of points, and how well a boundary is shared."""
    points = read_points(results)
    rows = []
    for task in points.tasks:
        mine = points.member[points.task == task]
        found, chance = nearest_agree(points, task)
        shares = ["-" if math.isnan(share) else f"{share:.3f}" for share in (found, chance)]
        title = flagged_title(task, points.sources)
        rows.append((title, f"{mine.sum():,}", f"{(~mine).sum():,}", *shares))
    return Table.of(
        title=f"{results.name}: points" + source_suffix(points.tasks, points.sources),
        caption="Nearest alike: share of a task's points whose nearest point of the other task is a member "
        "if they are and none if they are not; chance: the same for memberships dealt at random.  "
        + source_note(points.tasks, points.sources),
        heads=("Task", "Members", "Non-members", "Nearest alike", "By chance"),
        num_text_columns=1,
        rows=rows,
    )


def draw_points(results: Results, _: designs.Figure) -> Figure:
    """Draws the points, membership by colour and task by shape."""
    points = read_points(results)
    figure = new_figure(7.6, 6.2)
    axes = figure.subplots()
    handles = []
    # Members and non-members in random order: neither covers the other.
    order = np.random.default_rng(0).permutation(len(points.task))
    for task, shape in zip(points.tasks, _MARKERS, strict=False):
        chosen = order[points.task[order] == task]
        axes.scatter(
            points.embedding[chosen, 0],
            points.embedding[chosen, 1],
            s=20,
            marker=shape,
            c=[_COLOURS[bool(member)] for member in points.member[chosen]],
            alpha=0.6,
            linewidths=0,
        )
    for task, shape in zip(points.tasks, _MARKERS, strict=False):
        for member in (True, False):
            name = (
                f"{flagged_title(task, points.sources)}, {'members' if member else 'non-members'}"
            )
            handles.append(
                Line2D([], [], ls="none", marker=shape, color=_COLOURS[member], ms=6, label=name)
            )
    axes.set_xlabel("First t-SNE coordinate (no unit)", fontsize=9.5)
    axes.set_ylabel("Second t-SNE coordinate (no unit)", fontsize=9.5)
    clean_axes(axes)
    settings = ", ".join(
        f"{name} {value}"
        for name, value in points.settings.items()
        if isinstance(value, (int, float, str))
    )
    notes = (
        f"{len(points.task):,} records.",
        f"Settings: {settings}." if settings else "",
        "Distances between far points have no meaning.",
        source_note(points.tasks, points.sources),
    )
    head_and_caption(
        figure,
        "Three largest posteriors of members and others, by t-SNE"
        + source_suffix(points.tasks, points.sources),
        *notes,
    )
    legend_below_title(figure, handles)
    return figure


def read_maxima(results: Results) -> dict[str, dict[str, np.ndarray]]:
    """Returns the largest posteriors by task and kind of point, each [n], in [0, 1].

    Raises:
      InputError: the file cannot be read or holds something else.
    """
    arrays, _ = results.arrays(_MAXIMA)
    path = results.folder / _MAXIMA
    tasks = order_tasks(name.split("/")[0] for name in arrays)
    if not tasks:
        raise InputError(
            f"{path} holds no arrays; expected TASK/random, TASK/nonmember, TASK/member"
        )
    found: dict[str, dict[str, np.ndarray]] = {}
    for task in tasks:
        if task not in results.sources:
            raise InputError(f"{path}: no row is of task {task!r}")
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


def draw_densities(results: Results, _: designs.Figure) -> Figure:
    """A panel per task: histograms of the maxima, the threshold at t = 10 marked."""
    found = read_maxima(results)
    figure, panels, columns = panel_grid(len(found), 2.3)
    edges = np.linspace(0, 1, _NUM_BINS + 1)
    for i, (axes, (task, maxima)) in enumerate(zip(panels, found.items(), strict=False)):
        for kind, (_title, colour, style) in _KINDS.items():
            share = np.histogram(np.minimum(maxima[kind], 1), edges)[0]
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
