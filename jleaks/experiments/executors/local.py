"""Cells in this process, one after the other; any number of such processes share the cells of a grid."""

import random
import time
from collections import deque
from collections.abc import Mapping, Sequence

from jleaks.errors import InputError
from jleaks.experiments.cells import Cell
from jleaks.experiments.executors.executor import (
    AGAIN,
    EXECUTORS,
    LOOK,
    Executor,
    Runner,
    Say,
    attempt,
    run_process,
)
from jleaks.training.preemption import Preempted, StopSignal

# Seconds between two looks at cells that others run, in the end.
_LONGEST = 30.0


def one_by_one(
    cells: Sequence[Cell], say: Say, stop: StopSignal, runner: Runner = run_process
) -> list[Cell]:
    """Runs cells one after the other; what others run is come back to, until it has finished or is free.

    Who meets a cell that another runs goes on at a random place: so many workers of one grid seldom meet.

    Args:
      cells: See `Executor`.
      say: Likewise.
      stop: Likewise.
      runner: How one is run.

    Raises:
      Preempted: this process, or a cell of it, was told to stop.
    """
    failed, waited_for, left, wait = list[Cell](), set[str](), deque(cells), AGAIN
    while left:
        later, count = deque[Cell](), len(left)
        while left:
            cell = left.popleft()
            ended = attempt(cell, runner, say, stop)
            stop.check(f"running {cell.name}")
            if ended == "stopped":
                raise Preempted(f"{cell.name} was stopped")
            if ended == "failed":
                failed.append(cell)
            if ended == "elsewhere":
                later.append(cell)
                left.rotate(random.randrange(len(left) + 1))
                if cell.name not in waited_for:
                    waited_for.add(cell.name)
                    say(f"{cell.name}: {cell.holder or 'another process'} runs it")
        wait = min(2 * wait, _LONGEST) if len(later) == count else AGAIN
        until = time.monotonic() + wait
        while later and time.monotonic() < until:
            time.sleep(LOOK)
            stop.check("waiting for cells that others run")
        left = later
    return failed


def _make(resources: Mapping[str, float]) -> Executor:
    if resources:
        raise InputError(
            f"--resources names {', '.join(resources)}, but cells that run here take this machine; "
            "expected with --executor=ray"
        )
    return one_by_one


EXECUTORS.register("local", _make)
