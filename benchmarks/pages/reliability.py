"""What docs/reliability.md says of killed and damaged runs, by committed rows, and of bad inputs, by tests.

python -m benchmarks.pages.reliability --soak=results/soak.jsonl --page=docs/reliability.md
"""

import importlib
import sys
from pathlib import Path

from benchmarks.checks.soak import tables
from benchmarks.harness import Command, Layout, versions, where
from benchmarks.pages import write
from jleaks import json_lines

COMMAND = Command(
    "benchmarks.pages.reliability",
    __doc__,
    soak=where("Rows of benchmarks.checks.soak.", "results/soak.jsonl"),
    page=where("The page whose table is written.", "docs/reliability.md"),
)
TABLE, INPUTS = "soak table", "bad inputs"
# Of the clone that this file lies in.
_TESTS = Path(__file__).resolve().parents[2] / "tests"


def measured(path: Path) -> str:
    """Returns the table of killed runs, and what made it."""
    if not path.exists():
        return "No rows are committed yet."
    rows = list(json_lines.read(path))
    first = {row["command"]: row for row in reversed(rows)}
    made = "  \n".join(
        f"`{command}`; {row['device']}; {versions(row)}." for command, row in first.items()
    )
    told = "\n".join(table.to_markdown() for table in tables(rows))
    return f"{told}\n\n{made}"


def inputs() -> str:
    """Returns how many bad inputs the suite tries, by command."""
    if str(_TESTS) not in sys.path:
        sys.path.insert(0, str(_TESTS))
    tables = importlib.import_module("bad_inputs").TABLES
    counts = {f"jleaks {one.command}": len(one.cases) for one in tables}
    counts["all"] = sum(counts.values())
    rows = [{"command": name, "count": count} for name, count in counts.items()]
    columns = (("command", "{command}"), ("bad inputs", "{count}"))
    return Layout("Bad inputs that the suite tries", "", columns).table(rows).to_markdown()


def main() -> int:
    return write(COMMAND.page, {TABLE: measured(Path(COMMAND.soak)), INPUTS: inputs()})


if __name__ == "__main__":
    COMMAND.run(main)
