"""Documents from committed rows; those that are mostly prose have a template beside them."""

from pathlib import Path
from typing import Any

import jinja2

from jleaks.errors import InputError


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
