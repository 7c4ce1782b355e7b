"""The table of benchmarks.scaling.packing, from its rows."""

from collections.abc import Sequence
from typing import Any

from jleaks.report.table import Cell, Table

_RATE = "{median:,.0f} ({least:,.0f}-{largest:,.0f})".format


def curve_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Returns the table of one run."""
    cells, ends = [], set()
    for row in rows:
        best = max(cell["steps_per_second"]["median"] for cell in row["cells"])
        for cell in row["cells"]:
            shape, rate = (cell["per_call"], cell["per_vmap"]), cell["steps_per_second"]
            texts = (
                row["model"], row["kernels"], *map(str, shape), _RATE(**rate),
                f"{rate['median'] * row['flops_per_step'] / 1e9:,.0f}", f"{rate['median'] / best:.2f}",
            )  # fmt: skip
            chosen = shape == tuple(row["chosen"].values())
            cells.append(tuple(Cell(text, chosen) for text in texts))
        ends.add(len(cells) - 1)
    first = rows[0]
    knees = "; ".join(
        f"{row['model']} on {row['kernels']}: knees at {row['knee_per_call']} per call and "
        f"{row['knee_per_vmap']} per instruction, chosen {row['chosen_share_of_best']:.3f} of the best"
        for row in rows
    )
    return Table(
        title="Steps a second against models per call and per instruction",
        caption=f"Medians over {first['turns']} turns (least-largest) on {first['cores']} cores of "
        f"{first['cpu']}, commit {first['commit']}.  A step is one model's on 100 records.  Marked: what "
        f"jleaks.training.packing chooses.  Knee: smallest within 5% of its curve's best.  {knees}.",
        heads=("Model", "Kernels", "Per call", "Per vmap", "Steps/s", "GFLOP/s", "Of the best"),
        num_text_columns=2,
        rows=tuple(cells),
        section_ends=frozenset(ends),
    )
