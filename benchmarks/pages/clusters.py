"""What committed rows say of grids that schedulers ran, in docs/clusters.md.

python -m benchmarks.pages.clusters --rows=results/clusters.jsonl --page=docs/clusters.md
"""

from benchmarks.checks.clusters import LAYOUT
from benchmarks.harness import Command, where
from benchmarks.pages import told, write
from jleaks import json_lines

COMMAND = Command(
    "benchmarks.pages.clusters",
    __doc__,
    rows=where("Rows of benchmarks.checks.clusters.", "results/clusters.jsonl"),
    page=where("The page whose table is written.", "docs/clusters.md"),
)


def parts(path: str) -> dict[str, str]:
    """Returns the page's table by its marker."""
    rows = json_lines.read(path)
    return {"clusters table": told(LAYOUT.table(rows), rows[0])}


def main() -> int:
    return write(COMMAND.page, parts(COMMAND.rows))


if __name__ == "__main__":
    COMMAND.run(main)
