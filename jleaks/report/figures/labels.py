"""Names beside the points of a scatter plot, without overlaps, the same each time a figure is drawn.

Candidate places lie around each point at growing distances; a greedy first choice is improved one label at
a time until nothing changes (the discrete gradient descent of Christensen, Marks and Shieber 1995).  All
lengths are in points (1/72 inch).
"""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

_DISTANCES = (6.0, 11.0, 18.0, 27.0, 38.0, 52.0, 70.0, 90.0)
_DIRECTIONS = 24
_SWEEPS = 20

# Half the side of the square that a marker keeps free; lines are dots this far apart.
_MARKER = 5.5
_DOTS = 4.0

# A label this far from its point gets a line that leads to it.
_LEADER_FROM = 12.0

# Costs of a place: off the axes, per label or marker covered, per covered dot of a leader or of a line, for
# standing near another point, and per point of distance.
_OUTSIDE, _COVERED, _LEADER, _LINE, _AMBIGUOUS, _DISTANCE = 1e4, 1e3, 2e2, 2.0, 12.0, 0.2


def _dots(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Returns dots [n, 2] along the segment between two places."""
    count = 2 + int(math.dist(start, end) / _DOTS)
    return start + np.linspace(0, 1, count)[:, None] * (end - start)


def _holds(boxes: np.ndarray, dots: np.ndarray, margin: float = 0.0) -> np.ndarray:
    """Returns how many of some dots [n, 2] lie in each of boxes [c, 4]: left, bottom, right, top."""
    low, high = boxes[:, None, :2] - margin, boxes[:, None, 2:] + margin
    return ((dots > low) & (dots < high)).all(-1).sum(1)


def _overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns with how many of boxes [n, 4] each of boxes [c, 4] shares an area."""
    apart = (boxes[:, None, :2] >= others[:, 2:]) | (others[:, :2] >= boxes[:, None, 2:])
    return (~apart.any(-1)).sum(1)


def _leader(point: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Returns dots of the line from a point to the nearest place of its label."""
    return _dots(point, np.clip(point, box[:2], box[2:]))


def arrange(
    points: np.ndarray, sizes: np.ndarray, segments: np.ndarray, frame: np.ndarray
) -> np.ndarray:
    """Chooses where the labels of a scatter plot stand.

    Args:
      points: The points, [n, 2].
      sizes: Width and height of their labels, [n, 2].
      segments: Lines better not covered, such as error bars, [m, 4]: x0, y0, x1, y1.
      frame: The box that labels should stay in, [4].

    Returns:
      The labels' boxes, [n, 4]: left, bottom, right, top.
    """
    n = len(points)
    markers = np.concatenate([points - _MARKER, points + _MARKER], axis=1)
    lines = np.concatenate([np.empty((0, 2)), *(_dots(s[:2], s[2:]) for s in segments)])
    angles = 2 * math.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    ways = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    candidates, costs = [], []
    for point, size, i in zip(points, sizes, range(n), strict=True):
        centres = np.concatenate([point + ways * (d + size / 2) for d in _DISTANCES])
        boxes = np.concatenate([centres - size / 2, centres + size / 2], axis=1)
        far = np.repeat(_DISTANCES, _DIRECTIONS)
        others = np.delete(points, i, axis=0)
        # Another point as near as its own is taken for it, unless a line tells them apart.
        near = (_holds(boxes, others, margin=8.0) > 0) & (far < _LEADER_FROM)
        rest = np.delete(markers, i, axis=0)
        crossed = np.array([_holds(rest, _leader(point, box), -2.0).sum() for box in boxes])
        outside = ((boxes[:, :2] < frame[:2]) | (boxes[:, 2:] > frame[2:])).any(1)
        costs.append(
            _OUTSIDE * outside + _COVERED * _overlaps(boxes, markers) + _AMBIGUOUS * near
            + _LEADER * crossed + _LINE * _holds(boxes, lines) + _DISTANCE * far
        )  # fmt: skip
        candidates.append(boxes)
    chosen = np.full((n, 4), np.nan)  # NaN overlaps nothing: not placed yet
    # Points in a crowd have the fewest free places: they choose first.
    order = sorted(range(n), key=lambda i: (-float(costs[i].min()), i))
    for _ in range(_SWEEPS):
        before = chosen.copy()
        for i in order:
            placed = [j for j in range(n) if j != i and not np.isnan(chosen[j, 0])]
            cost = costs[i].copy()
            if placed:
                leaders = np.concatenate([_leader(points[j], chosen[j]) for j in placed])
                mine = [
                    _holds(chosen[placed], _leader(points[i], box)).sum() for box in candidates[i]
                ]
                cost += _COVERED * _overlaps(candidates[i], chosen[placed])
                cost += _LEADER * (_holds(candidates[i], leaders) + np.array(mine))
            chosen[i] = candidates[i][int(np.argmin(cost))]
        if np.array_equal(before, chosen):
            break
    return chosen


def label_points(
    axes: Axes, points: np.ndarray, texts: Sequence[str], segments: np.ndarray
) -> None:
    """Writes a label beside every point of `axes`, with a thin line where it stands far off.

    The layout and the limits of the axes must be final: places are found on the drawn page.

    Args:
      axes: Axes of a figure whose canvas is Agg's.
      points: The points in data coordinates, [n, 2].
      texts: Their labels, n of them.
      segments: Lines better not covered, in data coordinates, [m, 4]: x0, y0, x1, y1.
    """
    canvas = axes.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    scale = 72 / canvas.figure.dpi  # pixels -> points
    labels = [
        axes.text(point[0], point[1], text, fontsize=8.0, zorder=6)
        for point, text in zip(points, texts, strict=True)
    ]
    extents = [label.get_window_extent(canvas.get_renderer()) for label in labels]
    # The margin keeps neighbours from touching.
    sizes = np.array([(one.width * scale + 2, one.height * scale + 1) for one in extents])
    on_page = axes.transData.transform(points) * scale
    ends = axes.transData.transform(segments.reshape(-1, 2)).reshape(-1, 4) * scale
    frame = np.concatenate([axes.bbox.min, axes.bbox.max]) * scale + np.array([3, 3, -3, -3])
    to_data = axes.transData.inverted()
    for label, place, box in zip(
        labels, on_page, arrange(on_page, sizes, ends, frame), strict=True
    ):
        label.set(
            ha="center", va="center", position=to_data.transform((box[:2] + box[2:]) / 2 / scale)
        )
        nearest = np.clip(place, box[:2], box[2:])
        if math.dist(place, nearest) >= _LEADER_FROM:
            line = to_data.transform(np.stack([place, nearest]) / scale)
            axes.plot(*line.T, color="0.3", linewidth=0.7, zorder=3, scalex=False, scaley=False)
