"""What committed rows say of defences, in docs/defences.md.

python -m benchmarks.pages.defences --results=results/defences --page=docs/defences.md

--results holds what is kept of work directories of launch.defend: rows.jsonl(.gz), figures beside it; and
rows of benchmarks.checks.white_box.  --memguard holds the rows of examples/memguard_thresholds.py.
"""

import os
from pathlib import Path
from typing import Any

from benchmarks.checks import white_box as white_box_check
from benchmarks.harness import Command, where
from benchmarks.pages import made, told, write
from jleaks import json_lines
from jleaks.metrics.intervals import t_interval
from jleaks.report.defence_banks import shown
from jleaks.report.defences import by_task, tables
from jleaks.report.table import Table
from jleaks.rows import OF_EXPERIMENT, read_rows

COMMAND = Command(
    "benchmarks.pages.defences",
    __doc__,
    results=where("Committed results.", "results/defences"),
    memguard=where("Rows of MemGuard's budgets.", "results/claims/location/memguard.jsonl"),
    page=where("The page whose tables are written.", "docs/defences.md"),
)
TABLES, WHITE_BOX, MEMGUARD = "defences tables", "white box table", "memguard table"
# Who attacks it: the case attack, whether the shadow has the defence, and the column's head.
_ATTACKERS = (
    ("attack model", "naive", "network, naive"),
    ("attack model", "aware", "network, aware"),
    ("class thresholds", "naive", "class thresholds, naive"),
    ("class thresholds", "aware", "class thresholds, aware"),
    ("correctness", "naive", "correctness"),
)


def measured(results: Path, folder: Path) -> str:
    """Returns a table, a figure and their origin for each task of which there are rows.

    Args:
      results: Where rows are, at any depth.
      folder: Where the page is, which links to figures start from.
    """
    parts = []
    for path in sorted(results.rglob("rows.jsonl*")):
        for task, own in by_task(read_rows(path, OF_EXPERIMENT)).items():
            # A task may have several runs, each in a folder of its own.
            heading = path.parent.name.replace("_", ", ")
            parts += [
                f"### {heading}",
                made(dict(own[0])),
                *(one.to_markdown() for one in tables(task, own)),
            ]
            figure = path.parent / f"defences_{task}.png"
            if figure.exists():
                parts.append(f"![Defences on {task}]({os.path.relpath(figure, folder)})")
    return "\n\n".join(part.strip() for part in parts) or "No rows are committed yet."


def budgets(path: Path) -> str:
    """Returns the balanced accuracies of attacks on MemGuard by its budget, and where they are from."""
    rows: list[Any] = [*read_rows(path, OF_EXPERIMENT)]
    cells = []
    for budget in sorted({row["variant"]["budget"] for row in rows}):
        line = [f"{budget:g}"]
        for attack, attacker, _ in _ATTACKERS:
            wanted = {"budget": budget, "attacker": attacker}
            found = [r["accuracy"] for r in rows if (r["attack"], r["variant"]) == (attack, wanted)]
            line.append(shown(t_interval(found)))
        cells.append(line)
    table = Table.of(
        title=f"Balanced accuracy on {rows[0]['task']} by MemGuard's budget",
        caption=f"Means over {len({row['seed'] for row in rows})} seeds ± half of the 95% t interval. "
        "Naive: the shadow lacks the defence; aware: it has it. Correctness: whether an answer is right.",
        heads=("budget", *(head for *_, head in _ATTACKERS)),
        num_text_columns=1,
        rows=cells,
    )
    return told(table, rows[0])


def white_box(results: Path) -> str:
    """Returns what canary gradients show of epsilon, and what made the rows."""
    path = results / "white_box.jsonl"
    if not path.exists():
        return "No rows are committed yet."
    rows = json_lines.read(path)
    return told(white_box_check.LAYOUT.table(rows), rows[0])


def main() -> int:
    page, results = Path(COMMAND.page), Path(COMMAND.results)
    parts = {
        WHITE_BOX: white_box(results),
        MEMGUARD: budgets(Path(COMMAND.memguard)),
        TABLES: measured(results, page.parent),
    }
    return write(COMMAND.page, parts)


if __name__ == "__main__":
    COMMAND.run(main)
