"""The figures of a run or an experiment as PNG files, from its rows."""

import dataclasses
from collections.abc import Callable, Mapping

from matplotlib.figure import Figure

from jleaks.experiments import designs
from jleaks.report.figures.bars import draw_bars
from jleaks.report.figures.curves import draw_classes, draw_curves
from jleaks.report.figures.grids import draw_ratios, draw_transfer
from jleaks.report.figures.points import draw_densities, draw_points
from jleaks.report.figures.scatter import draw_overfitting
from jleaks.report.figures.style import NothingToDrawError, indexed_png, png
from jleaks.report.groups import Results
from jleaks.report.own import draw_own

_DRAW: dict[designs.Kind, Callable[[Results, designs.Figure], Figure]] = {
    "bars": draw_bars,
    "classes": draw_classes,
    "curves": draw_curves,
    "densities": draw_densities,
    "overfitting": draw_overfitting,
    "own": draw_own,
    "points": draw_points,
    "ratios": draw_ratios,
    "transfer": draw_transfer,
}


def _drawn(
    figures: Mapping[str, tuple[Results, designs.Figure]],
    png_fn: Callable[[Figure], bytes],
    tell_fn: Callable[[str], None],
) -> dict[str, bytes]:
    """Draws figures by the names of their files; one whose rows are missing is left out, and told so."""
    found = {}
    for file, (results, figure) in figures.items():
        try:
            found[file] = png_fn(_DRAW[figure.kind](results, figure))
        except NothingToDrawError as reason:
            tell_fn(f"figure {file} left out: {reason}")
    return found


def draw_run(results: Results, tell_fn: Callable[[str], None]) -> dict[str, bytes]:
    """Returns the figures of the main job by the names of their files (see `report.write_figures`).

    Args:
      results: Of the main job.
      tell_fn: Called with one line per figure that is left out, saying why.
    """
    figures = {}
    for file, (name, place) in designs.MAIN_JOB.items():
        design = designs.design_of(name)
        figures[file] = (dataclasses.replace(results, design=design), design.figures[place])
    return _drawn(figures, png, tell_fn)


def draw_experiment(results: Results, tell_fn: Callable[[str], None]) -> dict[str, bytes]:
    """Returns the figures of an experiment's design by the names of their files.

    Args:
      results: Of one experiment.
      tell_fn: Called with one line per figure that is left out, saying why.
    """
    figures = {figure.file: (results, figure) for figure in results.design.figures}
    return _drawn(figures, indexed_png, tell_fn)
