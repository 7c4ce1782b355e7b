"""Documents from committed rows; those that are mostly prose have a template beside them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from benchmarks.harness import Row, versions
from jleaks.errors import InputError
from jleaks.files import replace_file
from jleaks.report.table import Table


def render(template: str, **values: Any) -> str:
    """Returns the text of a template of this folder with its values, ending in one line break."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(values).rstrip() + "\n"


def filled(page: str, name: str, text: str) -> str:
    """Returns a page with a text between its lines <!-- NAME --> and <!-- /NAME -->.

    Raises:
      InputError: the lines are not there, once each and in order.
    """
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = page.partition(start)
    between, _, after = rest.partition(end)
    if f"{before}{start}{between}{end}{after}" != page or start in rest or end in before + after:
        raise InputError(
            f"the page must have the lines {start} and {end}, once each and in this order"
        )
    return f"{before}{start}\n\n{text.strip()}\n\n{end}{after}"


def write(path: str, parts: Mapping[str, str]) -> int:
    """Fills a page's marked places, by name (see `filled`), and says so; returns the exit status."""
    target = Path(path)
    page = target.read_text()
    for name, text in parts.items():
        page = filled(page, name, text)
    replace_file(target, page.encode())
    print(f"wrote {target}")
    return 0


def made(row: Row) -> str:
    """Returns what made a row, in a sentence."""
    return f"`{row['command']}`; {row['device']}; {versions(row)}."


def told(table: Table, row: Row) -> str:
    """Returns a table without its heading, and what made its rows, one of which is given."""
    return f"{body(table)}\n\n{made(row)}"


def body(table: Table) -> str:
    """Returns a table as markdown without its heading, for a page that has its own."""
    return table.to_markdown().split("\n", 1)[1].strip()
