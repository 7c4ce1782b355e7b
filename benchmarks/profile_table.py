"""The table of benchmarks.step_profile, from its rows."""

from typing import Any

from jleaks.report.table import Cell, Table

WHOLE, REST = "whole step", "rest"
TITLES = {"xla": "XLA", "host": "host kernels"}


def profile_table(network: str, records: list[dict[str, Any]]) -> Table:
    """Returns the parts of a network's step, a column for each kind of kernels."""
    names = list(dict.fromkeys(part for r in records for part in r["microseconds"]))
    rows = [(Cell(part), *(Cell(_shown(r, part)) for r in records)) for part in names]
    first = records[0]
    return Table(
        title=f"One training step of {network} on one core, microseconds",
        caption=f"Medians over {first['turns']} turns on {first['cores']} cores of {first['cpu']}, both at "
        "work.  Gradients: of weights, and of inputs but in the first layer.  Rest: dispatch, and memory "
        "that other parts pushed out of the caches.  XLA compiles some parts otherwise alone than within a "
        "step, where it fuses them: there parts do not add up, and the rest is not shown.",
        heads=("Part", *(TITLES[r["kernels"]] for r in records)),
        num_text_columns=1,
        rows=tuple(rows),
        section_ends=frozenset({len(rows) - 3}),
    )


def _shown(record: dict[str, Any], part: str) -> str:
    if part == REST and record["kernels"] == "xla":
        return "-"
    return f"{record['microseconds'][part]['median']:,.1f}"
