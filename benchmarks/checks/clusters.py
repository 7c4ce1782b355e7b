"""Do cells that a scheduler runs, and interrupts, end with the rows of the same commands run plainly?

python -m benchmarks.checks.clusters --schedulers=slurm,ray --out=results/clusters.jsonl

slurm  an array of jobs by launch/clusters/slurm.sh on a SLURM that is up, or that --slurm_start brings up;
       `scontrol requeue` of one that trains: SIGTERM, then the same job anew, minutes later
ray    `jleaks cells --executor=ray` on a Ray cluster of several nodes on this machine, one of which is lost
       with all its processes while it trains

A row tells of one grid: its cells, how often they were begun, and whether gathered rows are the plain ones.
"""

import contextlib
import fcntl
import importlib
import importlib.util
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.checks.soak import difference, untimed
from benchmarks.harness import OUT, Command, Flag, Layout, Row, finished, last_line, machine, where
from jleaks import json_lines
from jleaks.errors import InputError
from jleaks.training.execution import Execution

COMMAND = Command(
    "benchmarks.checks.clusters",
    __doc__,
    ("schedulers", "epochs"),
    schedulers=Flag("Which schedulers are tried.", ["slurm", "ray"], kind=list),
    epochs=Flag(
        "Epochs of the cells: some seconds of training each.", ["1000", "1200", "1400"], kind=list
    ),
    slurm_start=where(
        "Command that brings SLURM up, and ends it if `stop` follows; default: it is up."
    ),
    out=OUT,
)
_ROOT = Path(__file__).parents[2]
_SWEEP = (
    *("sweep", "--tasks=location", "--num_seeds=1", "--scale=0.02", "--attack_epochs=2"),
    *("--chunk_seconds=0.1", "--checkpoint_seconds=0.5"),
)
_TASKS = 2
# Seconds until something is given up: a cell's first checkpoint, and the grid's end.
_SOON, _LATE = 180.0, 900.0


def _until(done: Callable[[], Any], seconds: float, what: str) -> None:
    """Waits for something.

    Raises:
      InputError: it has not come within so many seconds.
    """
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise InputError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.2)


def _said(*words: str, env: dict[str, str] | None = None) -> str:
    """Runs a command in the checkout; returns what it printed.

    Raises:
      InputError: it failed; with its last line.
    """
    try:
        return finished(words, cwd=_ROOT, env=env)
    except InputError as error:
        raise InputError(f"{shlex.join(words)}: {error}") from error


def _trains(folder: Path) -> Callable[[], bool]:
    """Says whether a cell, by its directory, has a checkpoint and has not finished."""
    return lambda: any(folder.glob("fleets/*/[0-9]*")) and not (folder / "rows.jsonl").exists()


@contextlib.contextmanager
def _slurm() -> Iterator[None]:
    """Brings SLURM up for as long as the block runs, on this machine for one process at a time."""
    if COMMAND.slurm_start is None:
        yield
        return
    with (Path(tempfile.gettempdir()) / "jleaks-slurm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            _said(COMMAND.slurm_start)
            yield
        finally:
            _said(COMMAND.slurm_start, "stop")


def _on_slurm(grid: Path, folder: Path) -> Row:
    """Runs a grid as an array, one of whose jobs is queued again while it trains."""
    program = folder / "bin" / "jleaks"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m jleaks "$@"\n')
    program.chmod(0o755)
    env = {**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    script, log = str(_ROOT / "launch/clusters/slurm.sh"), folder / "log-%a"
    with _slurm():
        array = f"--array=0-{_TASKS - 1}"
        job = _said("sbatch", "--parsable", array, f"--output={log}", script, str(grid), env=env)
        job = job.strip().partition(";")[0]
        try:
            first = grid / f"epochs={COMMAND.epochs[0]}"
            _until(_trains(first), _SOON, "a first checkpoint on SLURM")
            _said("scontrol", "requeue", f"{job}_0")
            _until(lambda: not _said("squeue", "-h", "-j", job).strip(), _LATE, "SLURM's jobs")
        finally:
            subprocess.run(["scancel", job], check=False)
    return {"workers": _TASKS, "log": "".join(map(Path.read_text, sorted(folder.glob("log-*"))))}


def _descendants(pid: int) -> list[int]:
    """Returns the processes below one."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def _on_ray(grid: Path, folder: Path) -> Row:
    """Runs a grid on a cluster of three nodes, one of which is lost with all its processes."""
    cluster_utils: Any = importlib.import_module("ray.cluster_utils")
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
        words = [sys.executable, "-m", "jleaks", "cells", f"--root={grid}", "--executor=ray"]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                words, cwd=_ROOT, stdout=log, stderr=subprocess.STDOUT,
                env={**os.environ, "RAY_ADDRESS": cluster.address, "RAY_DEDUP_LOGS": "0"},
            )  # fmt: skip
        try:
            first = grid / f"epochs={COMMAND.epochs[0]}"
            _until(_trains(first), _SOON, "a first checkpoint on Ray")
            (lost,) = (node for node in nodes if _runs(node, first))
            processes = _descendants(_raylet(lost))
            cluster.remove_node(lost, allow_graceful=False)
            for pid in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            _until(lambda: process.poll() is not None, _LATE, "jleaks cells --executor=ray")
        finally:
            if process.poll() is None:
                process.kill()
    finally:
        cluster.shutdown()
    told = (folder / "log").read_text()
    if process.returncode:
        raise InputError(f"jleaks cells --executor=ray: {last_line(told)}")
    return {"workers": len(nodes), "log": told}


def _raylet(node: Any) -> int:
    return node.all_processes["raylet"][0].process.pid


def _runs(node: Any, folder: Path) -> bool:
    """Whether a cell's process is one of a node's."""
    found = (Path(f"/proc/{pid}/cmdline") for pid in _descendants(_raylet(node)))
    for path in found:
        with contextlib.suppress(OSError):
            if f"--workdir={folder}".encode() in path.read_bytes():
                return True
    return False


_SCHEDULERS: dict[str, Callable[[Path, Path], Row]] = {"slurm": _on_slurm, "ray": _on_ray}


def _plain(rows: list[Row]) -> list[Row]:
    """Returns rows without what two runs of one plan may differ in."""
    return [untimed({k: v for k, v in row.items() if k not in ("cell", "command")}) for row in rows]


def measure(name: str, folder: Path, expected: list[Row]) -> Row:
    """Runs the grid with a scheduler; returns what became of it.

    Args:
      name: Of the scheduler.
      folder: An empty one, that all of the scheduler's nodes see.
      expected: Rows of all cells run plainly, in the grid's order.
    """
    grid, jleaks = folder / "grid", [sys.executable, "-m", "jleaks"]
    flags = [f"--root={grid}", f"--grid=epochs={','.join(COMMAND.epochs)}"]
    _said(*jleaks, "cells", *flags, "--", *_SWEEP)
    began = time.monotonic()
    found = _SCHEDULERS[name](grid, folder)
    seconds, told = time.monotonic() - began, found.pop("log")
    gathered = subprocess.run(
        [*jleaks, "gather", f"--root={grid}"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    rows = json_lines.read(grid / "rows.jsonl")
    cells = [row["cell"]["epochs"] for row in rows]
    other = difference(_plain(rows), _plain(expected))
    if other:
        print(f"{name}: {other}")
    return {
        "scheduler": name,
        **found,
        "cells": len(COMMAND.epochs),
        "begun": told.count(": jleaks sweep"),
        "missing": gathered.returncode,
        "rows": len(rows),
        "twice": len(rows)
        - len({(cell, *_named(row)) for cell, row in zip(cells, rows, strict=True)}),
        "equal": not other,
        "seconds": round(seconds, 1),
    }


def _named(row: Row) -> tuple[Any, ...]:
    return tuple(row[field] for field in ("task", "shadow_task", "adversary", "attack", "seed"))


LAYOUT = Layout(
    "Grids that a scheduler ran, and interrupted once",
    "Begun: processes of cells, the one that was interrupted among them.  Equal: gathered rows are "
    "those of the same commands run plainly, number for number.",
    (
        ("scheduler", "{scheduler}"),
        ("workers", "{workers}"),
        ("cells", "{cells}"),
        ("begun", "{begun}"),
        ("rows", "{rows}"),
        ("missing", "{missing}"),
        ("twice", "{twice}"),
        ("equal", lambda row: "yes" if row["equal"] else "no"),
        ("seconds", "{seconds:.0f}"),
    ),
)


def main() -> int:
    names = COMMAND.names("schedulers", tuple(_SCHEDULERS))
    if "ray" in names and importlib.util.find_spec("ray") is None:
        raise InputError(
            "--schedulers names ray, which is not installed: pip install 'jleaks[ray]'"
        )
    if "slurm" in names and shutil.which(COMMAND.slurm_start or "sbatch") is None:
        raise InputError(
            "--schedulers names slurm, but there is no sbatch; --slurm_start brings it up"
        )
    about = COMMAND.about(machine(), Execution())
    with tempfile.TemporaryDirectory() as root:
        expected: list[Row] = []
        for epochs in COMMAND.epochs:
            place = Path(root) / "plain" / epochs
            words = [*_SWEEP, f"--epochs={epochs}", f"--workdir={place}"]
            _said(sys.executable, "-m", "jleaks", *words)
            expected += json_lines.read(place / "rows.jsonl")
        rows = []
        for name in names:
            (Path(root) / name).mkdir()
            rows.append(measure(name, Path(root) / name, expected))
            print(json.dumps(rows[-1]), flush=True)
    good = all(row["equal"] and not row["missing"] and not row["twice"] for row in rows)
    COMMAND.finish([{**row, **about} for row in rows], LAYOUT.table(rows))
    return 0 if good else 1


if __name__ == "__main__":
    COMMAND.run(main)
