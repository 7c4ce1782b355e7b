"""Joins what the cells of a grid found: all rows in one file, a table, and the cells that are missing.

Writes rows.jsonl (each row with its `cell`), results.csv and tables.md to the grid's directory.  As long as
cells are missing they are named, and the exit status is 1.

Example: python -m launch.gather --root=checkpoints/grid
"""

import dataclasses
from pathlib import Path

from absl import flags

from jleaks.errors import InputError

from .app import FAILED, WHERE, run
from .log import console

# `jleaks gather DIR` is `jleaks gather --root=DIR`.
POSITIONAL = "root"

_ROOT = flags.DEFINE_string("root", "checkpoints/grid", "Directory of the grid.", module_name=WHERE)
# As many missing cells are named, and lines of the table shown.
_MOST_NAMES, _MOST_LINES = 10, 200


def main(_: list[str]) -> int:
    """Writes the files and prints the table."""
    from jleaks.experiments import cells
    from jleaks.files import replace_file
    from jleaks.report.cell_table import cell_table
    from jleaks.rows import write_csv, write_rows

    root = Path(_ROOT.value)
    grid = cells.read(root)
    found = grid.cells(root)
    rows, missing = cells.gathered(found)
    if not rows:
        raise InputError(
            f"none of the {len(found)} cells of {root} has finished: jleaks cells --root={root} --shard=0/1"
        )
    output, table = console(), cell_table(rows)
    shown = dataclasses.replace(table, rows=table.rows[:_MOST_LINES])
    output.print(shown.to_rich(output))
    if len(table.rows) > _MOST_LINES:
        print(f"the first {_MOST_LINES} of {len(table.rows):,} lines, all of them in tables.md")
    need = ("task", "attack", "seed", "cell")
    for path in (
        write_rows(root / "rows.jsonl", rows, need),
        write_csv(root / "results.csv", rows, need),
        replace_file(root / "tables.md", table.to_markdown().encode()),
    ):
        print(f"wrote {path}")
    if missing:
        names = [cell.name for cell in missing]
        more = ", ..." if len(names) > _MOST_NAMES else ""
        print(
            f"{len(names)} of {len(found)} cells are missing: {', '.join(names[:_MOST_NAMES])}{more}"
        )
        return FAILED
    return 0


if __name__ == "__main__":
    run(main, "python -m launch.gather", __doc__ or "", POSITIONAL)
