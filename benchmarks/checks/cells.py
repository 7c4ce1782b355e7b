"""What does a grid cost on many workers that are killed at random, by the protocol of real cells?

python -m benchmarks.checks.cells --out=results/cells.jsonl

Workers are processes that run what `jleaks cells` runs (`jleaks.experiments.executors.local`), but cells
that sleep in place of training: they hold a run's lock, note how far they are, and leave rows as a run
does.  Each worker is killed after an exponentially distributed time, by SIGKILL or SIGTERM, and replaced
seconds later.  All have all cells (`--shard=0/1`), or each its own shard.  Then `jleaks gather` joins what
there is.

Ideal is the work of all cells spread evenly over all workers.  Of what it took beyond that, lost is what
kills cost: workers that are away, and work that is done again; the rest is the protocol's, the end's, when
workers run out of cells, and that of whatever else the machine does.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

from benchmarks.harness import (
    OUT,
    Command,
    Flag,
    Layout,
    Row,
    children_seconds,
    finished,
    machine,
    where,
)
from jleaks import json_lines, locks
from jleaks.errors import STOPPED
from jleaks.experiments import cells
from jleaks.experiments.cells import Cell
from jleaks.experiments.executors.local import one_by_one
from jleaks.files import replace_file
from jleaks.outcome import Outcome
from jleaks.training.execution import Execution
from jleaks.training.preemption import Preempted, StopSignal

COMMAND = Command(
    "benchmarks.checks.cells",
    __doc__,
    ("cells", "workers"),
    cells=Flag("Cells of the grid.", 10_000, 1),
    workers=Flag("Workers.", 64, 1),
    seconds=Flag("A cell's work.", 1.0, 0.0),
    parts=Flag("Equal parts of a cell's work; after each it notes how far it is.", 4, 1),
    life=Flag("Seconds until a worker is killed, their mean; 0 for never.", 30.0, 0.0),
    away=Flag("Seconds until a killed worker is replaced.", 2.0, 0.0),
    dealt=Flag(
        "Whether workers have all cells, or each a shard.", "shared", kind=("shared", "shards")
    ),
    seed=Flag("Of the moments.", 0, 0),
    folder=where(
        "Where the grid lies for as long as it runs, such as /dev/shm; default: temporary files'."
    ),
    out=OUT,
)
_WORDS = ["sweep", "--tasks=location"]
# Statuses of workers by what they were sent; told to stop before they listen, or later.
_ENDS = {"SIGKILL": (-signal.SIGKILL,), "SIGTERM": (-signal.SIGTERM, STOPPED)}
_ATTACKS = ("attack model", "maximum", "standard deviation", "entropy")


def rows_of(cell: Cell) -> list[Row]:
    """Returns what a cell finds: rows as of a sweep of one task and seed, numbers that tell cells apart."""
    number = int(cell.values["epochs"])
    return [
        {
            "task": "location", "shadow_task": "location" if at == 0 else None, "seed": 0,
            "adversary": 1 if at == 0 else 3, "attack": attack, "source": "synthetic",
            "auc": number % 997 / 997, "precision": number % 13 / 13, "recall": number % 7 / 7,
            "tpr_at_fpr_0.01": 0.0, "test_accuracy": 0.5, "train_accuracy": 1.0, "num_members": 400,
            "num_nonmembers": 400, "epochs": number, "model": "mlp", "device": "none",
        }
        for at, attack in enumerate(_ATTACKS)
    ]  # fmt: skip


class _Sleeping:
    """Runs cells that sleep (see `executor.Runner`), and notes what it does in a log of its worker."""

    def __init__(self, log: Path):
        self._log = log

    def _note(self, *words: object) -> None:
        with self._log.open("a") as file:
            print(*words, file=file, flush=True)

    def __call__(self, cell: Cell, stop: StopSignal) -> int:
        far, outcome = cell.folder / "far", Outcome(cell.folder / "rows.jsonl", cell.name)
        with locks.alone(cell.folder / locks.FILE):
            done = int(far.read_text()) if far.exists() else 0
            self._note("begun", cell.name)
            while done < COMMAND.parts:
                if stop.received is not None:
                    return STOPPED
                time.sleep(COMMAND.seconds / COMMAND.parts)
                done += 1
                self._note("part", cell.name)
                if done < COMMAND.parts:
                    replace_file(far, str(done).encode())
            with outcome.writing() as path:
                json_lines.write(path, rows_of(cell))
            self._note("ended", cell.name)
        return 0


def _work(root: Path, shard: str, log: Path) -> None:
    """Runs cells as `jleaks cells --shard=...` does, in a process of its own."""
    try:
        with StopSignal() as stop:
            found = cells.read(root).cells(root)
            mine = [found[place] for place in cells.shard(shard, len(found))]
            one_by_one(mine, lambda _: None, stop, _Sleeping(log))
    except Preempted:
        os._exit(STOPPED)


class _Worker:
    """A worker that is killed and replaced until it ends by itself."""

    def __init__(self, start: Callable[[int], BaseProcess], rng: np.random.Generator):
        self._start, self._rng, self._returns = start, rng, 0.0
        self.statuses: list[int] = []
        self._begin()

    def _begin(self) -> None:
        self.process: BaseProcess | None = self._start(len(self.statuses))
        life = self._rng.exponential(COMMAND.life) if COMMAND.life else np.inf
        self._dies, self._signal = time.monotonic() + life, self._rng.choice([9, 15])

    def tend(self) -> bool:
        """Kills it or replaces it when that is due; returns whether it has ended by itself."""
        now = time.monotonic()
        if self.process is None:
            if now >= self._returns:
                self._begin()
        elif (status := self.process.exitcode) is None:
            if now >= self._dies:
                # Once: a worker that was told to stop has its time.
                self._dies = np.inf
                os.kill(self.process.pid or 0, self._signal)
        elif status == 0:
            return True
        else:
            self.statuses.append(status)
            self.process, self._returns = None, now + COMMAND.away
        return False

    def end(self) -> None:
        """Ends it whatever it does."""
        if self.process is not None and self.process.is_alive():
            self.process.kill()


def _ran(root: Path, logs: Path) -> tuple[float, list[int]]:
    """Runs the grid; returns seconds, and how workers ended before they ended by themselves."""
    rng, fork = np.random.default_rng(COMMAND.seed), multiprocessing.get_context("fork")

    def starts(place: int) -> Callable[[int], BaseProcess]:
        shard = "0/1" if COMMAND.dealt == "shared" else f"{place}/{COMMAND.workers}"

        def start(life: int) -> BaseProcess:
            log = logs / f"{place}.{life}"
            process = fork.Process(target=_work, args=(root, shard, log), daemon=True)
            # Until it listens, a worker ends by SIGTERM as any process does.
            handled = signal.signal(signal.SIGTERM, signal.SIG_DFL)
            process.start()
            signal.signal(signal.SIGTERM, handled)
            return process

        return start

    began = time.monotonic()
    workers = [_Worker(starts(place), rng) for place in range(COMMAND.workers)]
    try:
        left = workers
        while left := [worker for worker in left if not worker.tend()]:
            time.sleep(0.02)
    finally:
        for worker in workers:
            worker.end()
    return time.monotonic() - began, [status for one in workers for status in one.statuses]


def _noted(logs: Path) -> dict[str, Counter[str]]:
    """Returns by word of the logs how often it was said of each cell; a line cut by a kill is left out."""
    found: dict[str, Counter[str]] = {word: Counter() for word in ("begun", "part", "ended")}
    for path in logs.iterdir():
        for line in path.read_text().splitlines():
            word, _, name = line.partition(" ")
            if word in found:
                found[word][name] += 1
    return found


def measure(folder: Path) -> Row:
    """Runs a grid in an empty folder; returns what it took, and what became of its cells."""
    root, logs = folder / "grid", folder / "logs"
    logs.mkdir()
    grid = cells.parse(f"epochs={','.join(map(str, range(1, COMMAND.cells + 1)))}", _WORDS)
    cells.keep(grid, root)
    before = children_seconds()
    seconds, statuses = _ran(root, logs)
    cpu = children_seconds() - before
    noted, found = _noted(logs), grid.cells(root)
    began = time.monotonic()
    ended = sum(cell.has_finished for cell in found)
    listing = time.monotonic() - began
    before = children_seconds()
    finished([sys.executable, "-m", "jleaks", "gather", f"--root={root}"])
    gather = children_seconds() - before
    expected = [{**row, "cell": cell.values} for cell in found for row in rows_of(cell)]
    gathered = json_lines.read(root / "rows.jsonl")
    again = noted["part"].total() - COMMAND.cells * COMMAND.parts
    work = COMMAND.cells * COMMAND.seconds
    lost = len(statuses) * COMMAND.away + again * COMMAND.seconds / COMMAND.parts
    ideal = work / COMMAND.workers
    return {
        "cells": COMMAND.cells, "workers": COMMAND.workers, "dealt": COMMAND.dealt,
        "cell_seconds": COMMAND.seconds, "life": COMMAND.life, "away": COMMAND.away,
        "kills": {
            name: sum(status in ended for status in statuses)
            for name, ended in _ENDS.items()
        },
        "other_ends": sorted(set(statuses).difference(*_ENDS.values())),
        "seconds": round(seconds, 2), "ideal_seconds": round(ideal, 2),
        "overhead": round(seconds / ideal - 1, 4), "lost": round(lost / COMMAND.workers / ideal, 4),
        "cpu_ms_per_cell": round(1000 * cpu / COMMAND.cells, 2),
        "begun_again": noted["begun"].total() - COMMAND.cells, "parts_again": again,
        "finished_twice": sum(count > 1 for count in noted["ended"].values()),
        "missing": COMMAND.cells - ended, "equal": gathered == expected,
        "listing_seconds": round(listing, 3), "gather_cpu_seconds": round(gather, 2),
    }  # fmt: skip


LAYOUT = Layout(
    "Cells of {cell_seconds:g} s on {workers} workers, killed at random and replaced {away:g} s later",
    "Overhead: time beyond the cells' work spread evenly over all workers; lost: of it, what kills "
    "cost, workers away and work done again.  Equal: gathered rows are those of all cells, each once.",
    (
        ("cells", "{cells:,}"),
        ("workers have", lambda row: {"shared": "all cells"}.get(row["dealt"], "shards")),
        ("a worker lives, s", lambda row: f"{row['life']:g}" if row["life"] else "on"),
        ("kills", lambda row: f"{sum(row['kills'].values()):,}"),
        ("cells begun again", "{begun_again:,}"),
        ("seconds", "{seconds:.1f}"),
        ("ideal", "{ideal_seconds:.1f}"),
        ("overhead", "{overhead:.1%}"),
        ("lost", "{lost:.1%}"),
        ("CPU a cell, ms", "{cpu_ms_per_cell:.1f}"),
        ("finished twice", "{finished_twice}"),
        ("missing", "{missing}"),
        ("equal", lambda row: "yes" if row["equal"] else "no"),
        ("gathered, CPU s", "{gather_cpu_seconds:.0f}"),
    ),
    num_text_columns=2,
)


def main() -> int:
    before = machine()
    with tempfile.TemporaryDirectory(dir=COMMAND.folder) as folder:
        row = measure(Path(folder))
    row |= COMMAND.about(before, Execution())
    COMMAND.finish([row], LAYOUT.table([row]))
    good = row["equal"] and not (row["missing"] or row["finished_twice"] or row["other_ends"])
    return 0 if good else 1


if __name__ == "__main__":
    COMMAND.run(main)
