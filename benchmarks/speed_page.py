"""benchmarks/README.md from measured rows: what was asked, what was found, with figures."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from benchmarks import speed_figures
from benchmarks.evaluator_table import evaluator_table
from benchmarks.evaluator_table import latest as latest_evaluator
from benchmarks.growth_table import growth_table
from benchmarks.packing_table import curve_table
from benchmarks.precision_pairs import difference_table
from benchmarks.profile_table import profile_table
from benchmarks.start_up_table import start_up_table
from benchmarks.training_table import training_table
from jleaks import json_lines
from jleaks.errors import InputError
from jleaks.files import replace_file
from jleaks.report.figures.style import png
from jleaks.report.table import Table

Row = dict[str, Any]


class Question(NamedTuple):
    """One benchmark on the page.

    Attributes:
      name: Of its file of rows, and of its figure.
      module: That measures it.
      asks: The question.
      tables: Makes its tables from the rows of one run.
      figure: Draws it, if anything is drawn.
    """

    name: str
    module: str
    asks: str
    tables: Callable[[list[Row]], list[Table]]
    figure: Callable[[Sequence[Row]], Figure] | None = None


def _profiles(rows: list[Row]) -> list[Table]:
    networks = list(dict.fromkeys(r["network"] for r in rows))
    return [profile_table(name, [r for r in rows if r["network"] == name]) for name in networks]


QUESTIONS = (
    Question(
        "training", "benchmarks.training", "How fast are shadow models trained?",
        lambda rows: [training_table(rows)], speed_figures.training_figure,
    ),
    Question(
        "sizes", "benchmarks.training", "Does that hold for few models and for many?",
        lambda rows: [training_table(rows)],
    ),
    Question(
        "profile", "benchmarks.step_profile", "Where does the time of a step go?",
        _profiles, speed_figures.profile_figure,
    ),
    Question(
        "growth", "benchmarks.growth", "Does training cost grow as the work does?",
        lambda rows: [growth_table(rows)], speed_figures.growth_figure,
    ),
    Question(
        "packing", "benchmarks.packing_curve", "How many models belong into one call?",
        lambda rows: [curve_table(rows)], speed_figures.packing_figure,
    ),
    Question(
        "start_up", "benchmarks.start_up", "How long until the first step?",
        lambda rows: [start_up_table(rows)],
    ),
    Question(
        "precision", "benchmarks.precision", "What do narrower products do to the attacks' numbers?",
        lambda rows: [difference_table(rows)],
    ),
    Question(
        "evaluator", "benchmarks.evaluator", "How fast is the evaluator of banks?",
        lambda rows: [evaluator_table(latest_evaluator(rows))],
    ),
)  # fmt: skip

# Rows of one run share these.
_OF_RUN = ("command", "commit", "load_before")


def last_run(rows: Sequence[Row]) -> list[Row]:
    """Returns the rows at the end of a file that one run appended."""
    run_of = [tuple(r.get(key) for key in _OF_RUN) for r in rows]
    first = len(rows)
    while first > 0 and run_of[first - 1] == run_of[-1]:
        first -= 1
    return list(rows[first:])


def page(results: Path, figures: Path) -> str:
    """Writes the figures and returns the page as Markdown.

    Args:
      results: Directory with a file of rows for some of the questions.
      figures: Where figures go; the page names them relative to its own directory.

    Raises:
      InputError: there are no rows.
    """
    parts = [
        "# How fast is jleaks?",
        "",
        "Generated from the rows in `results/speed`, which the commands below append.  `python -m "
        "benchmarks.speed` runs all but the second, some of them smaller than here to end within twenty "
        "minutes, and writes this page; with `--only=page` it writes the page alone.  "
        "`docs/profile.md` tells what was changed to get here, and what failed.",
        "",
    ]
    answered = 0
    for question in QUESTIONS:
        path = results / f"{question.name}.jsonl"
        if not path.exists():
            continue
        answered += 1
        rows = last_run(json_lines.read(path))
        parts += [f"## {question.asks}", "", f"`{rows[0]['command']}`", ""]
        if question.figure:
            replace_file(figures / f"{question.name}.png", png(question.figure(rows)))
            parts += [f"![{question.asks}]({figures.name}/{question.name}.png)", ""]
        parts += [table.to_markdown() for table in question.tables(rows)]
        versions = ", ".join(f"{k} {v}" for k, v in rows[0]["versions"].items())
        parts += [f"Versions: {versions}.", ""]
    if not answered:
        raise InputError(f"no rows in {results}: run python -m benchmarks.speed first")
    return "\n".join(parts)


def write(results: Path, target: Path) -> None:
    """Writes the page and its figures."""
    replace_file(target, page(results, target.parent / "figures").encode())
    print(f"wrote {target}")
