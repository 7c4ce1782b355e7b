"""Runs a grid of runs cell by cell, or prints their commands: for arrays of jobs, on machines that stop.

Each cell is one command with a work directory of its own below --root.  A finished cell is passed over, one
that was stopped continues, one that another process runs is left to it: run shards in any order, any number
of times.  `jleaks gather` joins what the cells found.

Example: python -m launch.cells --grid="epochs=5,20; dropout=0,0.5" -- sweep --tasks=location --num_seeds=2
"""

import shlex
import subprocess
import sys
import time
from pathlib import Path

from absl import flags

from jleaks.experiments import cells
from jleaks.training.preemption import StopSignal

from .app import FAILED, STOPPED, WHAT, WHERE, run

# What stands behind `--` is the command of every cell.
TAKES_REST = True

_GRID = flags.DEFINE_string(
    "grid",
    None,
    'Flags and their values, whose combinations are the cells: "epochs=5,20; dropout=0,0.5".  Default: '
    "that of --root.",
    module_name=WHAT,
)
_ROOT = flags.DEFINE_string("root", "checkpoints/grid", "Directory of the grid.", module_name=WHERE)
_SHARD = flags.DEFINE_string(
    "shard",
    None,
    'Run these cells here, one after the other: "0/4" is the first quarter of four, "0/1" all of them.  '
    "Default: print every cell's command, one a line.",
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
    chosen = None if _SHARD.value is None else cells.shard(_SHARD.value, len(found))
    cells.keep(grid, root)
    if chosen is None:
        for cell in found:
            print(shlex.join(["jleaks", *cell.words]))
        return 0
    failed, elsewhere = [], []
    with StopSignal() as stop:
        for place in chosen:
            cell = found[place]
            if cell.has_finished:
                print(f"{cell.name}: finished before", flush=True)
            elif (holder := cell.holder) is not None:
                elsewhere.append(cell.name)
                print(f"{cell.name}: {holder} runs it", flush=True)
            else:
                print(f"{cell.name}: {shlex.join(['jleaks', *cell.words])}", flush=True)
                status = _ran(cell, stop)
                stop.check(f"running {cell.name}")
                if status == STOPPED:
                    return STOPPED
                if status:
                    failed.append(cell.name)
    done = len(chosen) - len(failed) - len(elsewhere)
    print(f"{done} of {len(chosen)} cells of this shard have finished")
    if failed:
        print(f"error: {len(failed)} cells failed: {', '.join(failed)}", file=sys.stderr)
    return FAILED if failed else 0


def _ran(cell: cells.Cell, stop: StopSignal) -> int:
    """Runs one cell to its end and returns its status; a signal is handed on to it once."""
    # Run by name: this file's package is `launch` in a clone and `jleaks.launch` in a wheel.
    words = [sys.executable, "-m", "jleaks", *cell.words]
    # Of its own session, so that Ctrl-C reaches it once.
    process = subprocess.Popen(words, start_new_session=True)
    told = False
    try:
        while process.poll() is None:
            if stop.received is not None and not told:
                told = True
                process.send_signal(stop.received)
            time.sleep(0.1)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    return process.returncode


if __name__ == "__main__":
    run(main, "python -m launch.cells", __doc__ or "", takes_rest=True)
