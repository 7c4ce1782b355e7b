"""The table of benchmarks.scaling.growth, from its rows."""

from collections.abc import Sequence
from typing import Any

from jleaks.report.table import Cell, Table

Found = dict[str, Any]


_SECONDS = "{median:.3f} ({least:.3f}-{largest:.3f})".format


def growth_table(rows: Sequence[Found]) -> Table:
    """Returns the table of one run."""
    cells, ends = [], set()
    *timed, memory = rows
    for row in timed:
        blank = [""] * len(row["sizes"])
        columns: list[list[Any]] = [[row["grows"] for _ in blank], row["sizes"]]
        for kind in ("training", "run"):
            near = row.get(f"{kind}_line", {}).get("neighbours", blank[1:])
            columns += [[_SECONDS(**found) for found in row[f"{kind}_seconds"]], ["", *near]]
        columns.append(row.get("efficiency", blank))
        cells += [tuple(Cell(str(value)) for value in line) for line in zip(*columns, strict=True)]
        ends.add(len(cells) - 1)
    peak, counted, predicted = (
        f"{memory[f'{kind}_bytes_per_model'] / 1e6:.2f} MB"
        for kind in ("peak", "counted", "predicted")
    )
    return Table(
        title=f"Training MLPs (446-128-30), {memory['kernels']} kernels",
        caption=f"Medians over {memory['turns']} turns (least-largest) on {memory['cores']} cores of "
        f"{memory['cpu']}, commit {memory['commit']}.  Slope: from the size before, relative to the line "
        "through all.  Devices have models of their own; those beyond the cores share them.  One more "
        f"model takes {peak} of the process, {counted} of a call as XLA counts, {predicted} as "
        f"jleaks.training.packing predicts.  Collectives in compiled programs: {timed[0]['collectives']}.",
        heads=("Grows", "Size", "Training, s", "Slope", "Whole run, s", "Slope", "Efficiency"),
        num_text_columns=1,
        rows=tuple(cells),
        section_ends=frozenset(ends),
    )
