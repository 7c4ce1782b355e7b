"""Documents from committed rows; those that are mostly prose have a template beside them."""

from pathlib import Path
from typing import Any

import jinja2


def render(template: str, **values: Any) -> str:
    """Returns the text of a template of this folder with its values, ending in one line break."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(values).rstrip() + "\n"
