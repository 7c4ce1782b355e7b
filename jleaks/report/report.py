"""Reports: everything that a run or an experiment says, from its rows alone."""

import io
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from jleaks.activity import doing
from jleaks.experiments import designs
from jleaks.experiments.claims import EXPERIMENTS
from jleaks.files import replace_file
from jleaks.report.drawings import draw_experiment, draw_run
from jleaks.report.findings import finding
from jleaks.report.groups import Results, collect, collect_run
from jleaks.report.run_pages import write_page
from jleaks.report.table import Table
from jleaks.report.tables import run_tables, tables
from jleaks.rows import Row, read_rows, write_csv, write_rows

_log = logging.getLogger(__name__)


def markdown(results: Results) -> str:
    """Returns question, finding, the paper's claim and the tables of an experiment as Markdown."""
    experiment = EXPERIMENTS[results.name]
    lines = [
        f"# {results.name}. {experiment.title}",
        experiment.question,
        f"**Here.** {finding(results)}",
        f"**The paper.** {experiment.claim}",
        "\n".join(table.to_markdown() for table in tables(results)),
    ]
    return "\n\n".join(lines).rstrip() + "\n"


@doing("writing the report")
def report_experiment(name: str, rows: Sequence[object], folder: Path) -> list[Path]:
    """Writes `table.md` and the figures of one experiment, each whole or not at all.

    `figure.png` is the paper's figure; the experiment's design may have others.  A figure whose rows are
    missing is left out with a warning; older figures are removed.

    Args:
      name: The experiment, for example "E6".
      rows: Its rows; E11 may have none.
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
    drawn = draw_experiment(results, lambda line: _log.warning("%s: %s", name, line))
    for old in folder.glob("figure*.png"):
        if old.name not in drawn:
            old.unlink()
    paths = [replace_file(folder / "table.md", text.encode())]
    return paths + [replace_file(folder / file, content) for file, content in drawn.items()]


def write_figures(
    folder: str | os.PathLike[str],
    rows: Sequence[Row],
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
      notify_fn: Called with one line per figure that is left out, saying why.

    Returns:
      The files written.

    Raises:
      InputError: there are no rows, they are not of one run, or a file cannot be written.
    """
    drawn = draw_run(collect_run(rows), notify_fn)
    for file in designs.MAIN_JOB:
        if file not in drawn:
            (Path(folder) / file).unlink(missing_ok=True)
    return [replace_file(Path(folder) / file, content) for file, content in drawn.items()]


def print_tables(rows: Sequence[Row], console: Console) -> None:
    """Prints the tables of a run.

    A transfer matrix too wide for the console is printed without the half-widths.  Columns for
    which there still is no room continue below.

    Raises:
      InputError: there are no rows, or they are not of one run.
    """
    _print(run_tables(collect_run(rows), lambda table: table.fits(console)), console)


def _print(found: Iterable[Table], console: Console) -> None:
    for table in found:
        console.print(table.to_rich(console))


def print_experiment(name: str, rows: Sequence[object], folder: Path, console: Console) -> None:
    """Prints an experiment in short: its question, what the rows say, and the table that compares.

    Args:
      name: The experiment, for example "E6".
      rows: Its rows; E11 may have none.
      folder: Where its arrays lie.
      console: Where it is printed.

    Raises:
      InputError: the experiment is unknown, or rows are missing or not as they must be.
    """
    results = collect(name, rows, Path(folder))
    experiment = EXPERIMENTS[name]
    console.print(Text(f"{name}. {experiment.title}", "bold"))
    console.print(Text(experiment.question))
    console.print(Text(f"Here: {finding(results)}"))
    console.print(Text(f"The paper: {experiment.claim}"))
    _print(tables(results)[-1:], console)


def text_tables(rows: Sequence[Row]) -> str:
    """Returns the tables of a run as plain text, 160 columns wide or less for twelve tasks.

    Raises:
      InputError: there are no rows, or they are not of one run.
    """
    # Everything that rich would otherwise find out from the terminal or the environment is said, so that
    # the text is the same wherever it is made.
    console = Console(
        file=io.StringIO(), width=160, color_system=None, force_terminal=False, force_jupyter=False,
        legacy_windows=False,
    )  # fmt: skip
    print_tables(rows, console)
    assert isinstance(console.file, io.StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    return "\n".join(lines).rstrip() + "\n"


def markdown_tables(rows: Sequence[Row]) -> str:
    """Returns the tables of a run as GitHub-flavoured Markdown, for a results folder.

    Raises:
      InputError: there are no rows, or they are not of one run.
    """
    return "\n".join(table.to_markdown() for table in run_tables(collect_run(rows)))


@doing("writing the report")
def report_run(
    rows: Sequence[Row], out_dir: str | os.PathLike[str], console: Console, command: str = ""
) -> list[Path]:
    """Writes everything that a run reports and prints its tables.

    `rows.jsonl` first, so that nothing computed is lost should a later step fail; then
    `results.csv`, `tables.txt`, `tables.md`, `figures/*.png` and `report.html`.  Each file replaces an
    older one whole.

    Args:
      rows: The rows of the run, at least one.
      out_dir: The run's folder; made if missing.
      console: Where the tables are printed, and which figures could not be drawn.
      command: What made the rows, for the page's end.

    Returns:
      The files written, in the order above.

    Raises:
      InputError: there are no rows, they are not as `Row` says or not of one run, or a file
        cannot be written.
    """
    out_dir = Path(out_dir)
    paths = [write_rows(out_dir / "rows.jsonl", rows), write_csv(out_dir / "results.csv", rows)]
    # From here on what is on disk is reported, plain values whatever the rows came as.
    rows = read_rows(paths[0])
    print_tables(rows, console)
    paths.append(replace_file(out_dir / "tables.txt", text_tables(rows).encode()))
    paths.append(replace_file(out_dir / "tables.md", markdown_tables(rows).encode()))
    paths += write_figures(
        out_dir / "figures", rows, notify_fn=lambda line: console.print(Text(line))
    )
    paths.append(write_page(out_dir, command))
    return paths
