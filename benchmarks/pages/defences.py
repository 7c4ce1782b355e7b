"""What committed rows say of defences, in docs/defences.md.

python -m benchmarks.pages.defences --results=results/defences --page=docs/defences.md

--results holds what is kept of work directories of launch.defend: rows.jsonl(.gz), figures beside it; and
rows of benchmarks.checks.white_box.
"""

import os
from pathlib import Path

from benchmarks.checks.white_box import white_box_table
from benchmarks.harness import Command, versions, where
from benchmarks.pages import body, made, write
from jleaks import json_lines
from jleaks.report.defences import by_task, tables
from jleaks.rows import OF_EXPERIMENT, read_rows

COMMAND = Command(
    "benchmarks.pages.defences",
    __doc__,
    results=where("Committed results.", "results/defences"),
    page=where("The page whose tables are written.", "docs/defences.md"),
)
TABLES, WHITE_BOX = "defences tables", "white box table"


def measured(results: Path, folder: Path) -> str:
    """Returns a table, a figure and their origin for each task of which there are rows.

    Args:
      results: Where rows are, at any depth.
      folder: Where the page is, which links to figures start from.
    """
    parts = []
    for path in sorted(results.rglob("rows.jsonl*")):
        for task, own in by_task(read_rows(path, OF_EXPERIMENT)).items():
            made = f"`{own[0]['command']}`; {own[0]['device']}; {versions(own[0])}."
            # A task may have several runs, each in a folder of its own.
            heading = path.parent.name.replace("_", ", ")
            parts += [f"### {heading}", made, *(one.to_markdown() for one in tables(task, own))]
            figure = path.parent / f"defences_{task}.png"
            if figure.exists():
                parts.append(f"![Defences on {task}]({os.path.relpath(figure, folder)})")
    return "\n\n".join(part.strip() for part in parts) or "No rows are committed yet."


def white_box(results: Path) -> str:
    """Returns what canary gradients show of epsilon, and what made the rows."""
    path = results / "white_box.jsonl"
    if not path.exists():
        return "No rows are committed yet."
    rows = json_lines.read(path)
    return f"{body(white_box_table(rows))}\n\n{made(rows[0])}"


def main() -> int:
    page, results = Path(COMMAND.page), Path(COMMAND.results)
    parts = {TABLES: measured(results, page.parent), WHITE_BOX: white_box(results)}
    return write(COMMAND.page, parts)


if __name__ == "__main__":
    COMMAND.run(main)
