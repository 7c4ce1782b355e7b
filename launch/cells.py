"""Runs a grid of runs cell by cell, or prints their commands: for arrays of jobs, on machines that stop.

Each cell is one command with a work directory of its own below --root.  A finished cell is passed over, one
that was stopped continues, one that another process runs is waited for in the end: run shards in any order,
any number of times, the same one by several.  `jleaks gather` joins what the cells found.

Example: python -m launch.cells --grid="epochs=5,20; dropout=0,0.5" -- sweep --tasks=location --num_seeds=2
"""

import functools
import math
import shlex
import sys
from pathlib import Path

from absl import flags

from jleaks.errors import InputError
from jleaks.experiments import cells
from jleaks.experiments.executors.executor import EXECUTORS, make_executor
from jleaks.training.preemption import StopSignal

from .app import FAILED, WHAT, WHERE, run

# What stands behind `--` is the command of every cell.
TAKES_REST = True

_GRID = flags.DEFINE_string(
    "grid",
    None,
    'Flags and their values, whose combinations are the cells: "epochs=5,20; dropout=0,0.5".  Default: '
    "that of --root.",
    module_name=WHAT,
)
_EXECUTOR = flags.DEFINE_string(
    "executor",
    None,
    f"Who runs the cells: {', '.join(EXECUTORS)}, or your own by --plugin.  Default: local, if --shard is "
    "given.",
    module_name=WHERE,
)
_RESOURCES = flags.DEFINE_list(
    "resources",
    [],
    "What one cell takes of a cluster that is asked for it (--executor=ray): CPU=4,GPU=1.",
    module_name=WHERE,
)
_ROOT = flags.DEFINE_string("root", "checkpoints/grid", "Directory of the grid.", module_name=WHERE)
_SHARD = flags.DEFINE_string(
    "shard",
    None,
    'Run these cells, here one after the other: "0/4" is the first quarter of four, "0/1" all of them.  '
    "Default: all if --executor is given; else print every cell's command, one a line.",
    module_name=WHAT,
)


def main(argv: list[str]) -> int:
    """Prints the commands of all cells, or runs some of them."""
    root = Path(_ROOT.value)
    if _GRID.value is None and not argv[1:]:
        grid = cells.read(root)
    else:
        grid = cells.parse(_GRID.value or "", argv[1:])
    found = grid.cells(root)
    chosen = cells.shard(_SHARD.value or "0/1", len(found))
    executor = make_executor(_EXECUTOR.value or "local", _resources())
    cells.keep(grid, root)
    if _SHARD.value is None and _EXECUTOR.value is None:
        for cell in found:
            print(shlex.join(["jleaks", *cell.words]))
        return 0
    mine = [found[place] for place in chosen]
    with StopSignal() as stop:
        failed = executor(mine, functools.partial(print, flush=True), stop)
    print(f"{len(mine) - len(failed)} of {len(mine)} cells of this shard have finished")
    if failed:
        names = ", ".join(cell.name for cell in failed)
        print(f"error: {len(failed)} cells failed: {names}", file=sys.stderr)
    return FAILED if failed else 0


def _resources() -> dict[str, float]:
    """Returns --resources by name."""
    found = {}
    for text in _RESOURCES.value:
        name, _, amount = text.partition("=")
        try:
            found[name.strip()] = float(amount)
        except ValueError:
            raise InputError(
                f"--resources has {text!r}, expected names and amounts: CPU=4,GPU=1"
            ) from None
        if not name.strip() or not 0 <= found[name.strip()] < math.inf:
            raise InputError(f"--resources has {text!r}, expected names and amounts: CPU=4,GPU=1")
    return found


if __name__ == "__main__":
    run(main, "python -m launch.cells", __doc__ or "", takes_rest=True)
