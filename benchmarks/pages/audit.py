"""The table of docs/audit.md from committed rows: the same audit by other tools.

python -m benchmarks.pages.audit --page=docs/audit.md
"""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Command, Row, where
from benchmarks.peers.peers import tools_table
from jleaks import json_lines
from jleaks.errors import InputError
from jleaks.files import replace_file
from jleaks.report.table import Table

COMMAND = Command(
    "benchmarks.pages.audit",
    __doc__,
    tools=where("Rows of benchmarks.peers.", "results/audit_peers.jsonl"),
    page=where("The page whose table is written.", "docs/audit.md"),
)


def _made(rows: Sequence[Row]) -> str:
    """Returns where and how rows were measured, in a sentence."""
    first = rows[0]
    versions = ", ".join(f"{package} {version}" for package, version in first["versions"].items())
    busy = (
        f"; other work ran beside it (load {first['load_before']} before)"
        if first["load_before"] > 0.5
        else ""
    )
    return (
        f"(`{first['command']}`; {first['cores']} cores of {first['cpu']}, commit "
        f"{first['commit']}{busy}; {versions}.)"
    )


def _body(table: Table, rows: Sequence[Row]) -> str:
    """Returns a table without its heading, and how it was made."""
    text = table.to_markdown().split("\n", 1)[1].strip()
    return f"{text}\n\n{_made(rows)}"


def with_table(page: str, tools: Sequence[Row]) -> str:
    """Returns the page with the table between its markers.

    Raises:
      InputError: a marker is not there, once.
    """
    start, end = "<!-- tools table -->", "<!-- /tools table -->"
    if page.count(start) != 1 or page.count(end) != 1:
        raise InputError(f"the page must have the lines {start} and {end}, once each")
    before, rest = page.split(start)
    return f"{before}{start}\n\n{_body(tools_table(tools), tools)}\n\n{end}{rest.split(end)[1]}"


def main() -> int:
    target = Path(COMMAND.page)
    tools = json_lines.read(COMMAND.tools)
    replace_file(target, with_table(target.read_text(), tools).encode())
    print(f"wrote {target}")
    return 0


if __name__ == "__main__":
    COMMAND.run(main)
