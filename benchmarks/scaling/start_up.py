"""How long until the first step?  Imports, kernels, tracing, compiling, for every architecture.

python -m benchmarks.scaling.start_up --out=results/speed/start_up.jsonl

A model on every device takes one step through `Trainer`, in a process of its own: first with no compiled
programs in `--cache_dir`, then with those that the first one left there; architectures take turns (A B).
Seconds since the process was started, by what went on: interpreter and imports; starting devices and
loading kernels; tracing and lowering; compiling, or reading what was compiled before; the rest, which is
data, first states and the step.  Residual networks get small batches.  Building the kernels, once for a
machine, is timed beforehand.
"""

import collections
import dataclasses
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from benchmarks import harness
from benchmarks.fleets import fleet_spec
from benchmarks.harness import OUT, Command, Flag, Layout, Row, where
from jleaks.data.synthetic import synthetic
from jleaks.errors import InputError
from jleaks.models.cpu_kernels import library
from jleaks.report.table import Table
from jleaks.training.execution import Execution
from jleaks.training.preemption import StopSignal
from jleaks.training.recipe import RECIPES, Recipe
from jleaks.training.reporter import provenance
from jleaks.training.trainer import Trainer
from launch.app import make_execution, start


class Architecture(NamedTuple):
    """What takes the first step.

    Attributes:
      recipe: How it is trained.
      task: Whose synthetic stand-in.
    """

    recipe: Recipe
    task: str


def _residual(name: str) -> Architecture:
    return Architecture(
        dataclasses.replace(RECIPES[name].recipe, epochs=1, batch_size=8), "cifar10"
    )


ARCHITECTURES = {
    "mlp": Architecture(Recipe("mlp", epochs=1), "purchase100"),
    "cnn": Architecture(Recipe("cnn", epochs=1), "cifar10"),
    "logistic": Architecture(Recipe("logistic", epochs=1), "purchase100"),
    "wrn28_2": _residual("wrn28_2"),
    "resnet18": _residual("resnet18"),
}

COMMAND = Command(
    "benchmarks.scaling.start_up",
    __doc__,
    ("repetitions",),
    trains=True,
    architectures=Flag(f"Some of {', '.join(ARCHITECTURES)}.", list(ARCHITECTURES)),
    repetitions=Flag("Turns of every architecture.", 2, 1),
    out=OUT,
    one=where(
        "Take the first step of this, in this process (used by the benchmark itself).",
        kind=tuple(ARCHITECTURES),
    ),
    began=where("With --one: when this process was started.", kind=float),
)

# What goes on before the first step is done, in order.
STAGES = ("imports", "devices and kernels", "tracing and lowering", "compiling", "rest")
CACHES = ("empty", "warm")

# What JAX tells about.
_DURATIONS = {
    "/jax/core/compile/jaxpr_trace_duration": "tracing and lowering",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "tracing and lowering",
    # Of reading from the cache, too.
    "/jax/core/compile/backend_compile_duration": "compiling",
}
_REQUESTED = "/jax/compilation_cache/compile_requests_use_cache"
_FOUND = "/jax/compilation_cache/cache_hits"

Found = Row


def _take_step(architecture: Architecture, execution: Execution) -> None:
    recipe, task = architecture
    count, batch = jax.device_count(), recipe.batch_size
    data = synthetic(task, 2 * batch)
    parts = np.tile(np.arange(batch, dtype=np.int32), (count, 1))
    spec = fleet_spec(data.task, recipe, (data.features, data.labels), parts, execution)
    Trainer(spec, execution, lambda _: None, StopSignal()).run()


def _start_up(name: str, began: float) -> Found:
    """Takes the first step of one architecture; returns seconds of every stage, and programs."""
    seconds = dict.fromkeys(STAGES, 0.0) | {"imports": time.time() - began}
    events: collections.Counter[str] = collections.Counter()

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event in _DURATIONS:
            seconds[_DURATIONS[event]] += duration_secs

    jax.monitoring.register_event_duration_secs_listener(listen)
    jax.monitoring.register_event_listener(lambda event, **_: events.update([event]))
    tick = time.time()
    execution = start(make_execution())
    jax.devices()
    seconds["devices and kernels"] = time.time() - tick
    _take_step(ARCHITECTURES[name], execution)
    total = time.time() - began
    seconds["rest"] = total - sum(seconds.values())
    origin = provenance(None, execution)
    return {
        "total": total,
        **seconds,
        "compiled": events[_REQUESTED] - events[_FOUND],
        "read": events[_FOUND],
        "origin": origin,
    }


def _in_process(name: str, cache: Path) -> Found:
    """Starts one architecture in a process of its own."""
    own = (f"--cache_dir={cache}", f"--one={name}", f"--began={time.time()}")
    try:
        return json.loads(COMMAND.child(*sys.argv[1:], *own))
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def start_up_row(name: str, turns: Sequence[dict[str, Found]]) -> Found:
    """Returns what is said of one architecture; every turn has what was found with either cache."""
    row: Found = {"architecture": name}
    for cache in CACHES:
        found = [turn[cache] for turn in turns]
        row[cache] = {
            key: harness.spread([one[key] for one in found]) for key in ("total", *STAGES)
        }
        row[cache] |= {key: max(one[key] for one in found) for key in ("compiled", "read")}
    ratios = [turn["empty"]["total"] / turn["warm"]["total"] for turn in turns]
    return {**row, "empty_to_warm": harness.spread(ratios)}


def _build(folder: Path, execution: Execution) -> float | None:
    """Builds the kernels; returns the seconds, or None without a compiler, or without the wish for them."""
    if execution.kernels == "xla":
        return None
    began = time.perf_counter()
    try:
        library.build(folder)
    except InputError:
        if execution.kernels == "host":
            raise
        return None
    return time.perf_counter() - began


_LAYOUT = Layout(
    "Seconds until the first step is done, {kernels} kernels",
    "Medians over {turns} turns (least-largest) on {cores} cores of {cpu}, commit {commit}; {built}.  "
    "Cache: of compiled programs.  Programs: compiled + read; those that compile in less than 0.1 s are "
    "not kept.  Ratio: empty to warm.  Batches of 100 records, of 8 for residual networks; a model on "
    "each device.",
    [
        ("Architecture", "{architecture}"),
        ("Cache", "{cache}"),
        ("Seconds", harness.ranged("total", ".1f")),
        *(
            (head, f"{{{stage}[median]:.2f}}")
            for head, stage in zip(
                (
                    "Interpreter,\nimports",
                    "Devices,\nkernels",
                    "Tracing,\nlowering",
                    "Compiling",
                    "Rest",
                ),
                STAGES,
                strict=True,
            )
        ),
        ("Programs", "{compiled} + {read}"),
        ("Ratio", "{ratio}"),
    ],
    num_text_columns=2,
    section="{architecture}",
)


def start_up_table(rows: Sequence[Found]) -> Table:
    """Returns the table of one run."""
    ratios = {"empty": "", "warm": "{empty_to_warm[median]:.1f}"}
    lines = [
        {**row, **row[cache], "cache": cache, "ratio": ratios[cache].format(**row)}
        for row in rows
        for cache in CACHES
    ]
    built = rows[0]["kernels_build_seconds"]
    kernels = (
        "no kernels of the host were built"
        if built is None
        else f"building the kernels, once for a machine, took {built:.1f} s before"
    )
    return _LAYOUT.table(lines, built=kernels)


def main() -> int:
    if COMMAND.one:
        if COMMAND.began is None:
            raise InputError("--one needs --began")
        print(json.dumps(_start_up(COMMAND.one, COMMAND.began)))
        return 0
    names, before = COMMAND.names("architectures", list(ARCHITECTURES)), harness.machine()
    with tempfile.TemporaryDirectory() as folder:
        kernels = Path(folder) / "kernels"
        built = _build(kernels, make_execution())

        def turn(name: str, number: int) -> dict[str, Found]:
            cache = Path(folder) / f"{name} {number}"
            if built is not None:
                shutil.copytree(kernels, cache / "kernels")
            found = {kind: _in_process(name, cache) for kind in CACHES}
            shutil.rmtree(cache)
            return found

        turns = harness.take_turns(COMMAND.repetitions, names, turn)
    rows = [
        {
            "benchmark": "start_up",
            **start_up_row(name, found),
            "task": ARCHITECTURES[name].task,
            "batch_size": ARCHITECTURES[name].recipe.batch_size,
            "kernels_build_seconds": None if built is None else round(built, 2),
            "turns": len(found),
            "command": COMMAND.text(),
            **before,
            **found[0]["empty"]["origin"],
        }
        for name, found in turns.items()
    ]
    return COMMAND.finish(rows, start_up_table(rows))


if __name__ == "__main__":
    COMMAND.run(main)
