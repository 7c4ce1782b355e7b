"""The table of benchmarks.scaling.step_profile, from its rows."""

from typing import Any

from jleaks.report.table import Cell, Table

WHOLE, REST = "whole step", "rest"
# Ends the name of a layer's gradients that are one kernel with the optimiser.
FUSED = ", gradients and Adam"
TITLES = {"xla": "XLA", "host": "host kernels"}


def profile_table(network: str, rows: list[dict[str, Any]]) -> Table:
    """Returns the parts of a network's step, a column for each kind of kernels."""
    found = dict.fromkeys(part for r in rows for part in r["microseconds"])
    names = [part for part in found if not part.endswith(FUSED)]
    body = [(Cell(part), *(Cell(_shown(r, part)) for r in rows)) for part in names]
    first = rows[0]
    return Table(
        title=f"One training step of {network} on one core, microseconds",
        caption=f"Medians over {first['turns']} turns on {first['cores']} cores of {first['cpu']}, both at "
        "work.  Gradients: of weights, and of inputs but in the first layer.  Rest: dispatch, and memory "
        "that other parts pushed out of the caches.  XLA compiles some parts otherwise alone than within a "
        "step, where it fuses them: there parts do not add up, and the rest is not shown.  *: with Adam.",
        heads=("Part", *(TITLES[r["kernels"]] for r in rows)),
        num_text_columns=1,
        rows=tuple(body),
        section_ends=frozenset({len(body) - 3}),
    )


def _shown(row: dict[str, Any], part: str) -> str:
    if part == REST and row["kernels"] == "xla":
        return "-"
    fused = part.replace(", gradients", FUSED)
    microseconds = row["microseconds"]
    if part not in microseconds and fused not in microseconds:
        return "-"
    mark = "" if part in microseconds else "*"
    return f"{microseconds.get(part, microseconds.get(fused))['median']:,.1f}{mark}"
