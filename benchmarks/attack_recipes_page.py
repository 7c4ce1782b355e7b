"""docs/attack_recipes.md."""

from jleaks.report.table import Cell, Table


def recipes_table(records: list) -> Table:
    """Returns the table."""
    return Table(
        title="x", caption="", heads=("a",), num_text_columns=1, rows=((Cell(str(len(records))),),)
    )
