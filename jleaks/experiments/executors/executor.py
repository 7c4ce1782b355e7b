"""What an executor is, and what all do with one cell: run it, unless it has finished or somebody runs it.

Whoever runs a cell holds a lock in its directory, beside the run's own: of several who have the same cell
one runs it, and the lock ends with its process, however that ends.  So cells may be run in any order, by
any number of workers, any number of times.
"""

import importlib.util
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

from jleaks import locks
from jleaks.errors import STOPPED, InputError
from jleaks.experiments.cells import Cell
from jleaks.registry import Registry
from jleaks.training.preemption import StopSignal

CLAIM = ".cell"
"""The lock of whoever runs a cell, in its directory."""

Ended = Literal["finished", "stopped", "failed", "elsewhere"]
"""How an attempt at a cell ended; elsewhere: another process runs it."""

Runner = Callable[[Cell, StopSignal], int]
"""Runs one cell to its end and returns its exit status; a signal is handed on to it once."""

Say = Callable[[str], None]

# Seconds between two looks at a process, and at a cell that somebody else runs.
LOOK, AGAIN = 0.1, 1.0


class Executor(Protocol):
    """Runs cells until each has finished or failed."""

    def __call__(self, cells: Sequence[Cell], say: Say, stop: StopSignal) -> list[Cell]:
        """Returns the cells that failed.

        Args:
          cells: What to run.
          say: Is told a line for whatever begins or ends.
          stop: Looked at all the time.

        Raises:
          Preempted: a signal has arrived, and what was running has saved.
        """


EXECUTORS: Registry[Callable[[Mapping[str, float]], Executor]] = Registry("executor")
"""From a name to what makes an executor of the resources that a cell takes, or refuses them.

One that has `needs`, a module, is refused where it is missing.
"""


def make_executor(name: str, resources: Mapping[str, float]) -> Executor:
    """Returns an executor.

    Args:
      name: In the registry.
      resources: What one cell takes, by name.

    Raises:
      InputError: there is none of that name, it needs what is not installed, or has no use for resources.
    """
    made = EXECUTORS.find(name)
    module = getattr(made, "needs", None)
    if module is not None and importlib.util.find_spec(module) is None:
        raise InputError(
            f"--executor={name} needs {module}, which is not installed: pip install 'jleaks[{name}]'"
        )
    return made(resources)


def run_process(cell: Cell, stop: StopSignal) -> int:
    """Runs a cell as a process of its own (see `Runner`)."""
    # Run by name: the launchers are `launch` in a clone and `jleaks.launch` in a wheel.
    # One process: several that were started together share the cells, not one cell.
    words = [sys.executable, "-m", "jleaks", *cell.words, "--distributed=off"]
    # Of its own session, so that Ctrl-C reaches it once.
    process = subprocess.Popen(words, start_new_session=True)
    told = False
    try:
        while process.poll() is None:
            if stop.received is not None and not told:
                told = True
                process.send_signal(stop.received)
            time.sleep(LOOK)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    return process.returncode


def attempt(cell: Cell, runner: Runner, say: Say, stop: StopSignal) -> Ended:
    """Runs a cell unless it has finished or somebody else runs it.

    Raises:
      InputError: its directory cannot be written.
    """
    if cell.has_finished:
        say(f"{cell.name}: finished before")
        return "finished"
    try:
        with locks.alone(cell.folder / CLAIM):
            # Somebody else may have ended it since.
            if cell.has_finished:
                return "finished"
            if cell.holder is not None:
                return "elsewhere"
            say(f"{cell.name}: {shlex.join(['jleaks', *cell.words])}")
            status = runner(cell, stop)
    except locks.InUseError:
        return "elsewhere"
    if status == 0 and cell.has_finished:
        return "finished"
    # A run whose --stopped_status is 0, or that was told to stop before it listened.
    if status in (0, STOPPED, -signal.SIGTERM, -signal.SIGINT):
        return "stopped"
    say(f"{cell.name}: failed, status {status}")
    return "failed"
