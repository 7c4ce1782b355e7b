"""HTML pages: self-contained, made by templates that escape all text, readable without a network.

Every report is a template that extends `templates/base.html`: a finding in plain words, figures, sortable
tables, what was not tested, method and provenance, and where such numbers are asked for.
"""

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from jleaks.report.table import Table

# Of figures, of which a page shows 96 an inch.
_DPI = 130
# In general terms: what such documents ask for is for their readers to judge, in their current versions.
_FRAMEWORKS = {
    "EDPB Opinion 28/2024": "whether personal data of the training set can be obtained from a model, by "
    "means reasonably likely to be used",
    "NIST AI 100-2": "membership inference as one of the privacy attacks on models, and its mitigation",
    "NIST SP 800-226": "how to evaluate claims of differential privacy; an attack bounds epsilon from "
    "below, a proof from above",
    "OWASP AISVS": "privacy testing of models before release, membership inference among the attacks",
}


def render(template: str, **values: Any) -> str:
    """Returns a template's page; all text is escaped, and a value that the template lacks is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jleaks.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(template).render(**values)


def frameworks(where: Mapping[str, str]) -> Table:
    """Returns the appendix: which frameworks ask for such numbers, and where a page has them.

    Args:
      where: From the name of a framework to the places of the page; others are left out.
    """
    return Table.of(
        "",
        "A measurement is evidence for such an assessment, not the assessment; read the documents in their "
        "current versions.",
        ("Framework", "What it asks, in general terms", "Where it is here"),
        3,
        ((name, asks, where[name]) for name, asks in _FRAMEWORKS.items() if name in where),
    )


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Returns the entries of nested objects as (name, text), names of nested ones put one after another."""
    found = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += flat(value, f"{prefix}{name} ")
        else:
            found.append((f"{prefix}{name}", str(value)))
    return found


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG inside a page; `title` is read out where it cannot be seen."""

    title: str
    png: bytes

    @property
    def width(self) -> int:
        """Pixels of the page that it takes at most: a figure's letters are then as large as the text."""
        return int(int.from_bytes(self.png[16:20]) * 96 / _DPI)

    @property
    def uri(self) -> str:
        """The image as an address that holds it."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a run's page.

    Attributes:
      title: Its heading.
      texts: Paragraphs, each with the words in bold before it, or "".
      pictures: Its figures.
      tables: Below them.
      anchor: By which other parts of the page point to it.
    """

    title: str
    texts: Sequence[tuple[str, str]] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    anchor: str = ""


@dataclasses.dataclass(frozen=True)
class RunPage:
    """What the page of a run says, from its rows alone.

    Attributes:
      heading: What was run.
      lead: The finding, in one or two sentences of plain words.
      first: Paragraphs below it.
      cards: The most important numbers: label, value, note.
      sections: Figures and tables.
      untested: Sentences on what the run leaves open.
      method: Sentences on how it was measured.
      provenance: Of the rows: names and texts.
      where: Where the page has what frameworks ask for (see `frameworks`).
      notes: What the run itself remarked.
    """

    heading: str
    lead: str
    first: Sequence[str]
    cards: Sequence[tuple[str, str, str]]
    sections: Sequence[Section]
    untested: Sequence[str]
    method: Sequence[str]
    provenance: Sequence[tuple[str, str]]
    where: Mapping[str, str]
    notes: Sequence[str] = ()

    def to_html(self) -> str:
        """Returns the text of the HTML file."""
        values: dict[str, Any] = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self)
        }
        cards = [dict(zip(("label", "value", "note"), card, strict=True)) for card in self.cards]
        appendix = frameworks(values.pop("where"))
        return render("run.html", **(values | {"cards": cards, "frameworks": appendix}))
