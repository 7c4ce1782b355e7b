"""One table, made once and rendered twice: by rich for a terminal, and as Markdown.

All places thus show the same figures and the same caption.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import rich.box
import rich.table
from rich.console import Console, Group
from rich.measure import Measurement
from rich.text import Text

_UNLIMITED = 100_000  # columns
# The share of a console that names of rows may take before they are broken over lines.
_MOST_NAMES = 0.6


@dataclasses.dataclass(frozen=True)
class Cell:
    """The text of one cell; `marked` cells are shown bold, in plain text with an asterisk."""

    text: str
    marked: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """A table ready to be rendered.

    Attributes:
      title: One line.
      caption: What the reader must know to read a cell.
      heads: Head of every column; may have several lines.
      num_text_columns: So many columns from the left name the row, the others hold numbers.
      rows: Cells, as many in each row as there are heads.
      section_ends: Indices of the rows after which a rule is drawn.
      compact: Whether columns stand as close as possible.
    """

    title: str
    caption: str
    heads: tuple[str, ...]
    num_text_columns: int
    rows: tuple[tuple[Cell, ...], ...]
    section_ends: frozenset[int] = frozenset()
    compact: bool = False

    @classmethod
    def of(
        cls,
        title: str,
        caption: str,
        heads: Iterable[str],
        num_text_columns: int,
        rows: Iterable[Iterable[Cell | str]],
        section_ends: Iterable[int] = (),
        compact: bool = False,
    ) -> "Table":
        """Returns the table of rows whose cells are `Cell`s or, where nothing is marked, their texts."""
        cells = (
            tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in row) for row in rows
        )
        ends = frozenset(section_ends)
        return cls(title, caption, tuple(heads), num_text_columns, tuple(cells), ends, compact)

    def _columns_to_rich(
        self, columns: Sequence[int], widths: Sequence[int] = ()
    ) -> rich.table.Table:
        """Returns the table of some of the columns, without title and caption.

        Args:
          columns: Which, in order.
          widths: Of the columns of names, whose texts are broken where they are longer.
        """
        table = rich.table.Table(
            box=rich.box.SIMPLE_HEAD,
            padding=(0, 0) if self.compact else (0, 1),
            pad_edge=False,
        )
        for i in columns:
            is_text = i < self.num_text_columns
            # A number broken over two lines, or cut, would be misread.
            table.add_column(
                Text(self.heads[i]), justify="left" if is_text else "right",
                no_wrap=not (is_text and widths), vertical="bottom",
                max_width=widths[i] if is_text and widths else None, overflow="fold",
            )  # fmt: skip
        for index, row in enumerate(self.rows):
            cells = [
                Text(f"{cell.text}*" if cell.marked else cell.text, "bold" if cell.marked else "")
                for cell in row
            ]
            table.add_row(*(cells[i] for i in columns), end_section=index in self.section_ends)
        return table

    def fits(self, console: Console) -> bool:
        """Whether all columns can stand side by side on the console."""
        return self._columns_fit(range(len(self.heads)), console, ())

    def _name_widths(self, console: Console) -> list[int]:
        """Returns the widths of columns of names that would take most of the console, else none."""
        columns = [
            [self.heads[i], *(row[i].text for row in self.rows)]
            for i in range(self.num_text_columns)
        ]
        # Words are not broken.
        least = [max(map(len, " ".join(texts).split()), default=0) for texts in columns]
        found = [max(map(len, "\n".join(texts).splitlines()), default=0) for texts in columns]
        room = int(console.width * _MOST_NAMES) - 2 * len(found)
        if sum(found) <= room:
            return []
        while sum(found) > max(room, sum(least)):
            i = max(range(len(found)), key=lambda i: (found[i] > least[i], found[i]))
            found[i] -= 1
        return found

    def _columns_fit(self, columns: Sequence[int], console: Console, widths: Sequence[int]) -> bool:
        # Asked with the console's own width, rich would answer how far it can shrink the table.
        options = console.options.update(max_width=_UNLIMITED)
        table = self._columns_to_rich(columns, widths)
        return Measurement.get(console, options, table).maximum <= console.width

    def to_rich(self, console: Console) -> Group:
        """Returns the table for `console`, title above and caption below.

        Where the console is too narrow, the number columns continue in further blocks, each with
        the row's names before it, broken over lines where they are long.  Title and caption stand
        outside the table, since rich would break their lines at the table's width, which a run of
        one task makes narrow.
        """
        names, widths = list(range(self.num_text_columns)), self._name_widths(console)
        blocks: list[list[int]] = [names]
        for i in range(self.num_text_columns, len(self.heads)):
            longer = [*blocks[-1], i]
            if blocks[-1] == names or self._columns_fit(longer, console, widths):
                blocks[-1] = longer
            else:
                blocks.append([*names, i])
        return Group(
            Text(self.title, "bold"),
            *(self._columns_to_rich(block, widths) for block in blocks),
            Text(self.caption, "dim"),
            Text(),
        )

    def markdown_lines(self) -> list[str]:
        """Returns heads and rows as lines of GitHub-flavoured Markdown, without title and caption."""

        def line(texts: Sequence[str]) -> str:
            return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"

        rules = ["---" if i < self.num_text_columns else "---:" for i in range(len(self.heads))]
        body = [
            line([f"**{cell.text}**" if cell.marked else cell.text for cell in row])
            for row in self.rows
        ]
        return [line([head.replace("\n", " ") for head in self.heads]), line(rules), *body]

    def to_markdown(self) -> str:
        """Returns the table as GitHub-flavoured Markdown under a heading of the third level."""
        caption = self.caption.replace("*", "\\*")
        return "\n".join([f"### {self.title}", "", *self.markdown_lines(), "", caption, ""])
