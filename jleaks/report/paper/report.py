"""The report of one experiment: `table.md`, `figure.png` and any further figures."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from jleaks.experiments.claims import EXPERIMENTS
from jleaks.files import replace_file
from jleaks.report.bars import draw_precision_recall, draw_statistics
from jleaks.report.heatmaps import draw_transfer_precision, draw_transfer_recall
from jleaks.report.paper import comparisons, series
from jleaks.report.paper.classes import draw_classes
from jleaks.report.paper.densities import draw_densities
from jleaks.report.paper.findings import finding
from jleaks.report.paper.grids import draw_ratios
from jleaks.report.paper.groups import CONFIDENCE
from jleaks.report.paper.own import draw_own
from jleaks.report.paper.points import draw_points
from jleaks.report.paper.results import Results, collect
from jleaks.report.paper.rows import engine_rows
from jleaks.report.paper.tables import tables
from jleaks.report.scatter import draw_overfitting
from jleaks.report.style import NothingToDrawError, indexed_png
from jleaks.report.titles import Sources
from jleaks.rows import Row

_log = logging.getLogger(__name__)

DrawFn = Callable[[Results], Figure]


def _main_job(draw_fn: Callable[[Sequence[Row], Sources, float], Figure]) -> DrawFn:
    """Returns a figure of the main job's report, drawn from an experiment's rows."""
    return lambda results: draw_fn(engine_rows(results.rows), results.sources, CONFIDENCE)


def _defence(attack: str) -> DrawFn:
    return lambda results: comparisons.draw_defence(results, attack)


_FIGURES: dict[str, dict[str, DrawFn]] = {
    "E1": {"figure.png": comparisons.draw_shokri},
    "E2": {"figure.png": _main_job(draw_overfitting)},
    "E3": {"figure.png": series.draw_epochs},
    "E4": {"figure.png": draw_classes},
    "E5": {"figure.png": comparisons.draw_posteriors},
    "E6": {"figure.png": series.draw_shadows, "figure_cost.png": series.draw_cost},
    "E7": {"figure.png": comparisons.draw_access},
    "E8": {"figure.png": comparisons.draw_hyperparameters},
    "E9": {"figure.png": comparisons.draw_kinds},
    "E10": {
        "figure.png": _main_job(draw_transfer_precision),
        "figure_recall.png": _main_job(draw_transfer_recall),
    },
    "E11": {"figure.png": draw_points},
    "E12": {"figure.png": comparisons.draw_access},
    "E13": {"figure.png": _main_job(draw_statistics)},
    "E14": {"figure.png": series.draw_percentiles, "figure_densities.png": draw_densities},
    "E15": {"figure.png": _main_job(draw_precision_recall)},
    "E16": {
        "figure.png": _defence("adversary 1"),
        "figure_adversary_3.png": _defence("adversary 3"),
    },
    "E17": {"figure.png": draw_ratios},
    "E18": {
        "figure.png": _defence("adversary 1"),
        "figure_adversary_3.png": _defence("adversary 3"),
    },
}


def markdown(results: Results) -> str:
    """Returns question, finding, the paper's claim and the tables of an experiment as Markdown."""
    experiment = EXPERIMENTS[results.name]
    lines = [
        f"# {results.name}. {experiment.title}",
        "",
        experiment.question,
        "",
        f"**Here.** {finding(results)}",
        "",
        f"**The paper.** {experiment.claim}",
        "",
        *(table.to_markdown() for table in tables(results)),
    ]
    return "\n".join(lines).rstrip() + "\n"


def report_experiment(name: str, rows: Sequence[object], folder: Path) -> list[Path]:
    """Writes `table.md` and the figures of one experiment, each whole or not at all.

    `figure.png` is the paper's figure; E6 has `figure_cost.png` beside it, E10
    `figure_recall.png`, E14 `figure_densities.png`, E16 and E18 `figure_adversary_3.png`.  A figure
    whose rows are missing is left out with a warning; older figures are removed.

    Args:
      name: The experiment, for example "E6".
      rows: Its rows (see `jleaks.report.paper.rows`); E11 may have none.
      folder: Where to write, and where E11's `points.npz` and E14's `densities.npz` lie.

    Returns:
      The files written, the table first.

    Raises:
      InputError: the experiment is unknown; rows or arrays are missing or not as they must be; a
        file cannot be written.
    """
    folder = Path(folder)
    results = collect(name, rows, folder)
    # All that can be wrong with the input comes before the first file.
    text = markdown(results)
    drawn: dict[str, bytes] = {}
    for file, draw_fn in _FIGURES.get(name, {"figure.png": draw_own}).items():
        try:
            drawn[file] = indexed_png(draw_fn(results))
        except NothingToDrawError as reason:
            _log.warning("%s: %s left out: %s", name, file, reason)
    for old in folder.glob("figure*.png"):
        if old.name not in drawn:
            old.unlink()
    paths = [replace_file(folder / "table.md", text.encode())]
    return paths + [replace_file(folder / file, content) for file, content in drawn.items()]
