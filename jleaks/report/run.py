"""Everything that a run reports, from its rows alone."""

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from jleaks.files import replace_file
from jleaks.report.figures import write_figures
from jleaks.report.tables import markdown_tables, print_tables, write_text_tables
from jleaks.rows import Row, read_rows, write_csv, write_rows


def report_run(
    rows: Sequence[Row], out_dir: str | os.PathLike[str], console: Console
) -> list[Path]:
    """Writes everything that a run reports and prints its tables.

    `rows.jsonl` first, so that nothing computed is lost should a later step fail; then
    `results.csv`, `tables.txt`, `tables.md` and `figures/*.png`.  Each file replaces an older one
    whole.

    Args:
      rows: The rows of the run, at least one.
      out_dir: The run's folder; made if missing.
      console: Where the tables are printed, and which figures could not be drawn.

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
    paths.append(write_text_tables(out_dir / "tables.txt", rows))
    paths.append(replace_file(out_dir / "tables.md", markdown_tables(rows).encode()))
    paths += write_figures(
        out_dir / "figures", rows, notify_fn=lambda line: console.print(Text(line))
    )
    return paths
