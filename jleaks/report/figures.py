"""Figures of a run: the paper's plots, with intervals over seeds.

Figures are made from Matplotlib's objects and drawn by Agg, never through pyplot, so that drawing
needs no display and leaves no state behind.
"""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from jleaks.errors import InputError
from jleaks.files import replace_file
from jleaks.report.bars import draw_precision_recall, draw_statistics
from jleaks.report.heatmaps import draw_transfer_precision, draw_transfer_recall
from jleaks.report.scatter import draw_overfitting
from jleaks.report.style import NothingToDrawError, png
from jleaks.report.titles import Sources, task_sources
from jleaks.rows import Row

_log = logging.getLogger(__name__)

_FIGURES: dict[str, Callable[[Sequence[Row], Sources, float], Figure]] = {
    "precision_recall.png": draw_precision_recall,
    "transfer_precision.png": draw_transfer_precision,
    "transfer_recall.png": draw_transfer_recall,
    "overfitting.png": draw_overfitting,
    "statistics.png": draw_statistics,
}


def write_figures(
    folder: str | os.PathLike[str],
    rows: Sequence[Row],
    confidence: float = 0.95,
    notify_fn: Callable[[str], None] = _log.warning,
) -> list[Path]:
    """Draws the figures of a run as PNG files of 150 dpi.

    `precision_recall.png` (the adversaries side by side), `transfer_precision.png` and
    `transfer_recall.png` (shadow task by target task), `overfitting.png` (gap against adversary 1)
    and `statistics.png` (adversary 3).  A figure whose rows are missing is left out; an older file
    of its name is removed, since it would show another run.

    Args:
      folder: Where to write; made if missing.
      rows: The rows of a run.
      confidence: Coverage of the intervals.
      notify_fn: Called with one line per figure that is left out, saying why.

    Returns:
      The files written.

    Raises:
      InputError: there are no rows, they are not of one run (see `summarise`, `task_sources`), or
        a file cannot be written.
    """
    if not rows:
        raise InputError("no result rows to draw; expected at least one")
    sources = task_sources(rows)
    paths = []
    for name, draw_fn in _FIGURES.items():
        path = Path(folder) / name
        try:
            figure = draw_fn(rows, sources, confidence)
        except NothingToDrawError as reason:
            path.unlink(missing_ok=True)
            notify_fn(f"figure {name} left out: {reason}")
            continue
        paths.append(replace_file(path, png(figure)))
    return paths
