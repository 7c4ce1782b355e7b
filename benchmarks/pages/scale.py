"""What sweeps and grids cost, in docs/scale.md: committed rows, and what follows from them for larger ones.

python -m benchmarks.pages.scale --scale=results/scale.jsonl --page=docs/scale.md
"""

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.checks import cells as cells_check
from benchmarks.harness import Command, Layout, Row, where
from benchmarks.pages import body, made, told, write
from benchmarks.scaling.scale import LAWS, Size, checks_table, fit, laws_table, predict
from jleaks import json_lines
from jleaks.errors import InputError

COMMAND = Command(
    "benchmarks.pages.scale",
    __doc__,
    scale=where("Rows of benchmarks.scaling.scale.", "results/scale.jsonl"),
    cells=where("Rows of benchmarks.checks.cells.", "results/cells.jsonl"),
    compiled=where("Rows of benchmarks.accelerator.compiled.", "results/speed/compiled.jsonl"),
    page=where("The page whose tables are written.", "docs/scale.md"),
)


class Fleet(NamedTuple):
    """Machines, and the grid that they run.

    Attributes:
      name: Of the machines.
      workers: Processes that run cells at the same time.
      devices: Of each: cores, or accelerators.
      device: As rows of compiled programs name it; None for cores.
      cells: Of the grid.
      size: Of a cell.
    """

    name: str
    workers: int
    devices: int
    device: str | None
    cells: int
    size: Size


FLEETS = (
    Fleet("a laptop of 4 cores", 1, 4, None, 12, Size(10, 400, 50)),
    Fleet("a server of 32 cores, 4 workers", 4, 8, None, 100, Size(20, 1200, 100)),
    Fleet("one H100", 1, 1, "h100", 100, Size(64, 10_000, 100)),
    Fleet("64 TPU v5e chips, 16 workers", 16, 4, "v5e:2x2", 1_000, Size(64, 10_000, 100)),
    Fleet("256 H100, a worker each", 256, 1, "h100", 10_000, Size(64, 10_000, 100)),
)


def predicted(fleet: Fleet, rows: Sequence[Row], compiled: Sequence[Row], gather: float) -> Row:
    """Returns what a grid costs on some machines.

    A cell takes a run's CPU seconds, which do not spread, then those of its models and of the records that
    training sees, spread over the worker's cores.  On accelerators the programs' compilation comes on top,
    the models' seconds stay on the host, and a step takes what its compiled program is predicted to.

    Args:
      fleet: Machines and grid.
      rows: Of benchmarks.scaling.scale, to which the laws are fitted.
      compiled: Of compiled programs.
      gather: CPU seconds of a cell in `jleaks gather`.

    Raises:
      InputError: no compiled program of the device is known.
    """
    laws = {name: fit([row for row in rows if not row["checked"]], name) for name in LAWS}
    run, model, seen = laws["cpu_seconds"].values()
    size, spread = fleet.size, fleet.devices
    if fleet.device is None:
        seconds = run + (model * size.models + seen * size.seen / 1e6) / spread
    else:
        steps = [r for r in compiled if r["device"] == fleet.device and r["case"] == "mlp"]
        if not steps:
            raise InputError(f"no compiled program of an MLP on {fleet.device}")
        step = steps[-1]
        trains = size.seen * step["microseconds"] / step["batch"] / 1e6 / spread
        seconds = run + step["compile_seconds"] + model * size.models + trains
    turns = -(-fleet.cells // fleet.workers)
    found = {name: predict(laws[name], name, size) for name in LAWS if name != "cpu_seconds"}
    return {
        **fleet._asdict(),
        **found,
        "models": fleet.cells * size.models,
        "cell_seconds": seconds,
        "hours": turns * seconds / 3600,
        "gather_seconds": gather * fleet.cells,
    }


def fleets_table(rows: Sequence[Row], compiled: Sequence[Row], grids: Sequence[Row]) -> str:
    """Returns the table of all fleets."""
    gather = min(row["gather_cpu_seconds"] / row["cells"] for row in grids)
    lines = [predicted(fleet, rows, compiled, gather) for fleet in FLEETS]
    return body(
        Layout(
            "",
            "",
            (
                ("Machines", "{name}"),
                ("Cells", "{cells:,}"),
                ("Models of a cell", "{size.models}"),
                ("Records", "{size.records:,}"),
                ("Epochs", "{size.epochs}"),
                ("Seconds a cell", "{cell_seconds:,.0f}"),
                ("Hours", "{hours:,.2f}"),
                ("Memory of a worker, GiB", lambda row: f"{row['peak_mib'] / 1024:.1f}"),
                (
                    "Checkpoints of a worker, MB",
                    lambda row: f"{row['checkpoint_bytes'] / 1e6:,.0f}",
                ),
                ("Kept models, GB", lambda row: f"{row['cells'] * row['kept_bytes'] / 1e9:,.2f}"),
                ("Rows, MB", lambda row: f"{row['cells'] * row['row_bytes'] / 1e6:,.1f}"),
                ("Gathered, s", "{gather_seconds:,.0f}"),
            ),
        ).table(lines)
    )


def parts(scale: str, cells: str, compiled: str) -> dict[str, str]:
    """Returns the page's tables by their markers, from files of rows."""
    rows, grids, programs = map(json_lines.read, (scale, cells, compiled))
    loads = sorted(row["load_before"] for row in (*rows, *grids))
    busy = f"Load of the machine's {rows[0]['cores']} cores before: {loads[0]:g} to {loads[-1]:g}."
    simulated = body(cells_check.LAYOUT.table(grids))
    commands = "; ".join(dict.fromkeys(f"`{row['command']}`" for row in grids))
    return {
        "laws table": f"{told(laws_table(rows), rows[0])} {busy}",
        "checks table": body(checks_table(rows)),
        "cells table": f"{simulated}\n\n{commands}; {made(grids[0]).partition('; ')[2]}",
        "fleets table": fleets_table(rows, programs, grids),
    }


def main() -> int:
    return write(COMMAND.page, parts(COMMAND.scale, COMMAND.cells, COMMAND.compiled))


if __name__ == "__main__":
    COMMAND.run(main)
