"""What committed rows say of killed runs, in docs/reliability.md.

python -m benchmarks.pages.reliability --soak=results/soak.jsonl --page=docs/reliability.md
"""

from pathlib import Path

from benchmarks.checks.soak import tables
from benchmarks.harness import Command, versions, where
from benchmarks.pages import filled
from jleaks import json_lines
from jleaks.files import replace_file

COMMAND = Command(
    "benchmarks.pages.reliability",
    __doc__,
    soak=where("Rows of benchmarks.checks.soak.", "results/soak.jsonl"),
    page=where("The page whose table is written.", "docs/reliability.md"),
)
TABLE = "soak table"


def measured(path: Path) -> str:
    """Returns the table of killed runs, and what made it."""
    if not path.exists():
        return "No rows are committed yet."
    rows = list(json_lines.read(path))
    made = f"`{rows[0]['command']}`; {rows[0]['device']}; {versions(rows[0])}."
    told = "\n".join(table.to_markdown() for table in tables(rows))
    return f"{told}\n\n{made}"


def main() -> int:
    target = Path(COMMAND.page)
    found = measured(Path(COMMAND.soak))
    replace_file(target, filled(target.read_text(), TABLE, found).encode())
    print(f"wrote {target}")
    return 0


if __name__ == "__main__":
    COMMAND.run(main)
