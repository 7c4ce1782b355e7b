"""E11: where members and non-members of two tasks lie, as t-SNE sees their posteriors."""

import dataclasses
import json
import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jleaks.errors import InputError
from jleaks.report.paper.results import Results
from jleaks.report.style import (
    BLUE,
    VERMILION,
    clean_axes,
    head_and_caption,
    legend_below_title,
    new_figure,
)
from jleaks.report.table import Cell, Table
from jleaks.report.titles import Sources, flagged_title, order_tasks, source_note, source_suffix

_FILE = "points.npz"
_ARRAYS = ("embedding", "task", "member")

# Colour tells members, shape the task, so that each can be read without the other.
_COLOURS = {True: VERMILION, False: BLUE}
_MARKERS = "o^sD"


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
    arrays = results.arrays(_FILE)
    path = results.folder / _FILE
    if not set(_ARRAYS) <= set(arrays):
        raise InputError(f"{path} holds {', '.join(arrays)}; expected {', '.join(_ARRAYS)}")
    embedding, task, member = (arrays[name] for name in _ARRAYS)
    n = len(task)
    if n == 0 or embedding.shape != (n, 2) or member.shape != (n,) or member.dtype != bool:
        raise InputError(
            f"{path}: embedding {embedding.shape}, task {task.shape}, member {member.shape} of "
            f"{member.dtype}; expected [n, 2], [n] and [n] of bool"
        )
    try:
        settings = json.loads(str(arrays.get("meta", "{}")))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: meta is not JSON ({error.msg})") from error
    # Rows know most sources; the file may name those of tasks that no row has.
    sources = dict(settings.pop("sources", {})) | dict(results.sources)
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
        cells = (
            flagged_title(task, points.sources),
            f"{mine.sum():,}",
            f"{(~mine).sum():,}",
            *shares,
        )
        rows.append(tuple(map(Cell, cells)))
    return Table(
        title=f"{results.name}: points" + source_suffix(points.tasks, points.sources),
        caption="Nearest alike: share of a task's points whose nearest point of the other task is a member "
        "if they are and none if they are not; chance: the same for memberships dealt at random.  "
        + source_note(points.tasks, points.sources),
        heads=("Task", "Members", "Non-members", "Nearest alike", "By chance"),
        num_text_columns=1,
        rows=tuple(rows),
    )


def draw_points(results: Results) -> Figure:
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
        " ".join(note for note in notes if note),
    )
    legend_below_title(figure, handles)
    return figure
