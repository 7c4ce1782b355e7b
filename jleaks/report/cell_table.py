"""What the cells of a grid found, one line for each attack in each of them."""

from collections.abc import Sequence

from jleaks.report.columns import COLUMNS
from jleaks.report.groups import Group, average_over_shadow_tasks, group_rows, to_frame
from jleaks.report.numbers import notes
from jleaks.report.table import Cell, Table
from jleaks.report.tables import number, seeds_text
from jleaks.rows import Row

_COLUMNS = ("test_accuracy", "precision", "recall", "auc", "tpr_at_fpr_0.01")


def cell_table(rows: Sequence[Row]) -> Table:
    """Returns the table of a grid's rows (`jleaks.experiments.cells.gathered`), means over seeds.

    Adversary 2 is averaged over its shadow tasks.
    """
    flags = list(rows[0]["cell"])
    parts: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        named = *(row["cell"][flag] for flag in flags), row.get("experiment", "")
        parts.setdefault(named, []).append(row)
    lines, ends, groups = [], [], list[Group]()
    for named, mine in parts.items():
        for group in average_over_shadow_tasks(group_rows(to_frame(mine))):
            groups.append(group)
            varied = ", ".join(f"{name} {value}" for name, value in group.variant)
            names = (*named, group.task, group.attack, varied)
            lines.append([*names, *(number(group, column) for column in _COLUMNS)])
        ends.append(len(lines) - 1)
    texts = [text for line in lines for text in line[-len(_COLUMNS) :]]
    heads = [*flags, "Experiment", "Task", "Attack", "Variant"]
    # What no line has is no column.
    used = [i for i in range(len(heads)) if any(line[i] for line in lines)]
    return Table(
        title="Cells of a grid",
        caption=f"{seeds_text(len(group.seeds) for group in groups)} {notes(texts)}".strip(),
        heads=(*(heads[i] for i in used), *(COLUMNS[c].head or COLUMNS[c].title for c in _COLUMNS)),
        num_text_columns=len(used),
        rows=tuple(
            tuple(Cell(line[i]) for i in (*used, *range(len(heads), len(line)))) for line in lines
        ),
        section_ends=frozenset(ends[:-1]),
    )
