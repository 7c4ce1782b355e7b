"""Cells as tasks of a Ray cluster: on whatever node has room, and again on another if that is lost.

`ray.init()` finds the cluster: that of RAY_ADDRESS, the one that `ray start` began on this machine, or a
new one of this machine alone.  All nodes see the grid's directory, and the one in which the command was
given, under the same paths.
"""

import importlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

from jleaks.experiments.cells import Cell
from jleaks.experiments.executors.executor import (
    AGAIN,
    EXECUTORS,
    LOOK,
    Ended,
    Say,
    attempt,
    run_process,
)
from jleaks.training.preemption import StopSignal

# A lost node, or a cell that was stopped, counts as one.
_RETRIES = 1000
# Ray looks at all the tasks that are waited for each time.
_IN_FLIGHT = 500


class _StoppedError(Exception):
    """A cell was stopped where it ran: Ray runs it again."""


def _task(cell: Cell, folder: str) -> Ended:
    """Runs a cell on a node; ended by Ray, it has its process save first (see `run_process`)."""
    # Flags name files from there.
    os.chdir(folder)
    # Never entered: the signals of this process are Ray's.
    stop = StopSignal()
    while (ended := attempt(cell, run_process, print, stop)) == "elsewhere":
        # By the process of a worker that was killed, for one; it ends, or its machine does.
        time.sleep(AGAIN)
    if ended == "stopped":
        raise _StoppedError(cell.name)
    return ended


class _OnRay:
    """See `Executor`; resources are Ray's: CPU, GPU, TPU and a cluster's own."""

    needs = "ray"

    def __init__(self, resources: Mapping[str, float]):
        known = {"CPU": "num_cpus", "GPU": "num_gpus"}
        self._takes: dict[str, Any] = {known[k]: v for k, v in resources.items() if k in known}
        self._takes["resources"] = {k: v for k, v in resources.items() if k not in known}

    def __call__(self, cells: Sequence[Cell], say: Say, stop: StopSignal) -> list[Cell]:
        ray: Any = importlib.import_module(self.needs)
        # Ray's own handlers end the process at once.
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        ray.init()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        task = ray.remote(max_retries=_RETRIES, retry_exceptions=[_StoppedError], **self._takes)(
            _task
        )
        left, running, failed = list(reversed(cells)), dict[Any, Cell](), list[Cell]()
        try:
            while left or running:
                while left and len(running) < _IN_FLIGHT:
                    cell = left.pop()
                    running[task.remote(cell, os.getcwd())] = cell
                ended, _ = ray.wait(list(running), timeout=LOOK)
                for reference in ended:
                    cell = running.pop(reference)
                    try:
                        how = ray.get(reference)
                    # What a task raised is of a class that Ray makes.
                    except ray.exceptions.RayError as error:
                        how = "failed"
                        say(f"{cell.name}: {' '.join(str(error).split())[-300:]}")
                    say(f"{cell.name}: {how}")
                    if how == "failed":
                        failed.append(cell)
                stop.check("running cells on Ray")
        finally:
            for reference in running:
                ray.cancel(reference)
            # They end when what they run has saved.
            if running:
                ray.wait(list(running), num_returns=len(running))
            ray.shutdown()
        return failed


EXECUTORS.register("ray", _OnRay)
