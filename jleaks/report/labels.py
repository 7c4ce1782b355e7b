"""Label placement: names beside the points of a scatter plot, without overlaps.

Candidate positions lie around each point at growing distances; a greedy first choice is improved
one label at a time until nothing changes (the discrete gradient descent of Christensen, Marks and
Shieber 1995).  All of it is deterministic, so that a figure is the same each time it is drawn.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

# Distances between a point and the nearest edge of its label, in points (1/72 inch).
_DISTANCES = (6.0, 11.0, 18.0, 27.0, 38.0, 52.0, 70.0, 90.0)
_DIRECTIONS = 24
_SWEEPS = 20

# Half the side of the square that a marker keeps free, in points.
_MARKER = 5.5

# A label this far from its point gets a line that leads to it, in points.
_LEADER_FROM = 12.0

# Relative costs.  Overlaps of text are never worth it; standing nearer to another point than to
# one's own, or on an error bar, is where space is short; of two free positions the nearer wins.
_COST_OUTSIDE = 1e4
_COST_TEXT = 1e3
_COST_MARKER = 5e2
_COST_LEADER = 2e2
_COST_AMBIGUOUS = 12.0
_COST_SEGMENT = 3.0
_COST_DISTANCE = 0.2

Boxes = np.ndarray
"""Boxes [..., 4]: left, bottom, right, top."""


def _overlaps(box: np.ndarray, boxes: Boxes) -> np.ndarray:
    """Returns which of `boxes` [n, 4] share an area with `box` [4], as booleans [n]."""
    return (
        (box[0] < boxes[:, 2])
        & (boxes[:, 0] < box[2])
        & (box[1] < boxes[:, 3])
        & (boxes[:, 1] < box[3])
    )


def _crosses(segments: np.ndarray, boxes: Boxes) -> np.ndarray:
    """Returns which segments [n, 4] (x0, y0, x1, y1) meet which boxes [m, 4]: booleans [n, m].

    Liang and Barsky's clipping: a segment meets a box if the stretches of it that lie between the
    box's vertical and between its horizontal sides have a part in common.
    """
    start, step = segments[:, None, :2], segments[:, None, 2:] - segments[:, None, :2]
    lower, upper = boxes[None, :, :2] - start, boxes[None, :, 2:] - start
    flat = step == 0
    safe = np.where(flat, 1.0, step)
    first, second = lower / safe, upper / safe
    # A segment parallel to two sides lies between them all along, or nowhere.
    within = (lower <= 0) & (upper >= 0)
    enter = np.where(flat, np.where(within, -np.inf, np.inf), np.minimum(first, second))
    leave = np.where(flat, np.where(within, np.inf, -np.inf), np.maximum(first, second))
    return np.maximum(enter.max(axis=-1), 0.0) <= np.minimum(leave.min(axis=-1), 1.0)


def _candidates(size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the candidate boxes of a label around a point at the origin.

    Args:
      size: Width and height of the label, [2], in points.

    Returns:
      Boxes [c, 4] and their distances from the point [c], in points.
    """
    boxes, distances = [], []
    for distance, step in itertools.product(_DISTANCES, range(_DIRECTIONS)):
        angle = 2 * math.pi * step / _DIRECTIONS
        direction = np.array([math.cos(angle), math.sin(angle)])
        centre = direction * (distance + size / 2)
        boxes.append(np.concatenate([centre - size / 2, centre + size / 2]))
        distances.append(distance)
    return np.array(boxes), np.array(distances)


def _leaders(points: np.ndarray, boxes: Boxes) -> np.ndarray:
    """Returns the segments [n, 4] from points [n, 2] to the nearest place of boxes [n, 4]."""
    return np.concatenate([points, np.clip(points, boxes[:, :2], boxes[:, 2:])], axis=1)


def arrange(
    points: np.ndarray, sizes: np.ndarray, segments: np.ndarray, frame: np.ndarray
) -> np.ndarray:
    """Chooses where the labels of a scatter plot stand.

    Args:
      points: The points, [n, 2].
      sizes: Width and height of their labels, [n, 2].
      segments: Lines better not covered, such as error bars, [m, 4]: x0, y0, x1, y1.
      frame: The box that labels must stay in, [4].  Everything is in points (1/72 inch).

    Returns:
      The labels' boxes, [n, 4].
    """
    n = len(points)
    markers = np.concatenate([points - _MARKER, points + _MARKER], axis=1)
    candidates, fixed = [], []
    for i in range(n):
        boxes, distances = _candidates(sizes[i])
        boxes = boxes + np.tile(points[i], 2)
        outside = (boxes[:, :2] < frame[:2]).any(axis=1) | (boxes[:, 2:] > frame[2:]).any(axis=1)
        covers = np.array([_overlaps(box, markers).sum() for box in boxes])
        lead = _leaders(np.tile(points[i], (len(boxes), 1)), boxes)
        # A line may touch the edge of another marker, but must not seem to end at it.
        others = np.delete(np.concatenate([points - 2, points + 2], axis=1), i, axis=0)
        cost = _COST_OUTSIDE * outside + _COST_MARKER * covers + _COST_DISTANCE * distances
        cost = cost + _COST_LEADER * _crosses(lead, others).sum(axis=1)
        # Positions at which another point is as near as the label's own; a line tells them apart.
        rest = np.delete(points, i, axis=0)
        nearest = np.clip(rest[:, None], boxes[:, :2], boxes[:, 2:])
        gaps = np.linalg.norm(rest[:, None] - nearest, axis=-1).min(axis=0, initial=np.inf)
        own = np.linalg.norm(lead[:, 2:] - lead[:, :2], axis=1)
        cost = cost + _COST_AMBIGUOUS * ((gaps < own + 2) & (own < _LEADER_FROM))
        if len(segments):
            cost = cost + _COST_SEGMENT * _crosses(segments, boxes).sum(axis=0)
        candidates.append(boxes)
        fixed.append(cost)

    chosen = np.full((n, 4), np.nan)  # NaN overlaps nothing: not placed yet
    choice = np.full(n, -1)
    for _ in range(_SWEEPS):
        changed = False
        # Points in a crowd have the fewest free positions: they choose first.
        for i in sorted(range(n), key=lambda i: (-float(np.min(fixed[i])), i)):
            placed = ~np.isnan(chosen[:, 0])
            placed[i] = False
            boxes, cost = candidates[i], fixed[i].copy()
            if placed.any():
                lead = _leaders(np.tile(points[i], (len(boxes), 1)), boxes)
                other_leads = _leaders(points[placed], chosen[placed])
                cost += _COST_TEXT * np.array(
                    [_overlaps(box, chosen[placed]).sum() for box in boxes]
                )
                cost += _COST_LEADER * _crosses(lead, chosen[placed]).sum(axis=1)
                cost += _COST_LEADER * _crosses(other_leads, boxes).sum(axis=0)
            best = int(np.argmin(cost))
            if best != choice[i]:
                choice[i], changed = best, True
                chosen[i] = boxes[best]
        if not changed:
            break
    return chosen


def label_points(
    axes: Axes,
    points: np.ndarray,
    texts: Sequence[str],
    segments: np.ndarray,
    fontsize: float = 8.0,
) -> np.ndarray:
    """Writes a label beside every point of `axes`, with a thin line where it stands far off.

    The layout and the limits of the axes must be final: positions are found on the drawn page.

    Args:
      axes: Axes of a figure whose canvas is Agg's.
      points: The points in data coordinates, [n, 2].
      texts: Their labels, n of them.
      segments: Lines better not covered, in data coordinates, [m, 4]: x0, y0, x1, y1.
      fontsize: Size of the labels, in points.

    Returns:
      The labels' boxes in points (1/72 inch) from the lower left corner of the page, [n, 4].
    """
    canvas = axes.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    scale = 72 / canvas.figure.dpi  # pixels -> points

    def on_page(places: np.ndarray) -> np.ndarray:
        return axes.transData.transform(places) * scale

    sizes = []
    for text in texts:
        probe = axes.text(0, 0, text, fontsize=fontsize)
        extent = probe.get_window_extent(canvas.get_renderer())
        # The margin keeps neighbours from touching.
        sizes.append([extent.width * scale + 2, extent.height * scale + 1])
        probe.remove()
    frame = np.concatenate([axes.bbox.min, axes.bbox.max]) * scale + np.array([3, 3, -3, -3])
    on = on_page(points)
    lines = np.concatenate([on_page(segments[:, :2]), on_page(segments[:, 2:])], axis=1)
    boxes = arrange(on, np.array(sizes), lines, frame)
    for point, place, box, text in zip(points, on, boxes, texts, strict=True):
        centre = (box[:2] + box[2:]) / 2 - place
        lead = _leaders(place[None], box[None])[0]
        far = math.dist(lead[:2], lead[2:]) >= _LEADER_FROM
        xy = (float(point[0]), float(point[1]))
        axes.annotate(
            text,
            xy=xy,
            xytext=(float(centre[0]), float(centre[1])),
            textcoords="offset points",
            fontsize=fontsize,
            ha="center",
            va="center",
            zorder=6,
        )
        if far:
            # An annotation's own arrow starts at the middle of the text, not at the nearest place.
            axes.annotate(
                "",
                xy=xy,
                xytext=(float(lead[2] - lead[0]), float(lead[3] - lead[1])),
                textcoords="offset points",
                zorder=5,
                arrowprops={
                    "arrowstyle": "-",
                    "color": "0.3",
                    "linewidth": 0.7,
                    "shrinkA": 0,
                    "shrinkB": 2,
                },
            )
    return boxes
