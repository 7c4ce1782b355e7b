"""Tables as specifications: what each column of a row's table shows."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from benchmarks.harness.origin import Row
from jleaks.report.table import Cell, Table

# How a cell is made of a row: by a format of its fields, or a function.
Form = str | Callable[[Row], str]


def ranged(field: str, form: str) -> str:
    """Returns the format of a spread: its median, with least and largest."""
    median, least, largest = (f"{{{field}[{k}]:{form}}}" for k in ("median", "least", "largest"))
    return f"{median} ({least}-{largest})"


class Layout(NamedTuple):
    """How a table is made of rows.

    Attributes:
      title: Format of the first row's fields.
      caption: Likewise.
      columns: Head, form, and the text where the row lacks a field; without one, a lack is an error.
      num_text_columns: So many from the left name the row.
      section: Format; a rule stands between rows of which it differs.
      marked: Which rows are marked.
    """

    title: str
    caption: str
    columns: Sequence[tuple[str, Form] | tuple[str, Form, str]]
    num_text_columns: int = 1
    section: str = ""
    marked: Callable[[Row], bool] = lambda _: False

    def table(self, rows: Sequence[Row], **more: Any) -> Table:
        """Returns the table of rows; `more` are fields of title and caption beside the first row's."""
        first = {**rows[0], **more}
        sections = [self.section.format_map(row) for row in rows]
        return Table.of(
            title=self.title.format_map(first),
            caption=self.caption.format_map(first),
            heads=(column[0] for column in self.columns),
            num_text_columns=self.num_text_columns,
            rows=(
                [Cell(_cell(row, *column[1:]), self.marked(row)) for column in self.columns]
                for row in rows
            ),
            section_ends=(i for i, (a, b) in enumerate(itertools.pairwise(sections)) if a != b),
        )


def _cell(row: Row, form: Form, missing: str | None = None) -> str:
    try:
        return form(row) if callable(form) else form.format_map(row)
    # A field that is not there, or None.
    except (KeyError, TypeError):
        if missing is None:
            raise
        return missing
