"""Does training cost grow as the work does?  Seconds against models, epochs, records, devices; and memory.

python -m benchmarks.scaling.growth --out=results/speed/growth.jsonl

MLPs of Location's shape (446-128-30) learn its synthetic stand-in through `Trainer`, as every launcher
trains, its programs compiled before.  Seconds are those of training, and of the whole run: from key data
to trained states on the host.  What does not grow has the middle of its own sizes.  All sizes take turns
(A B A B).  A line is fitted through the medians; the slope between neighbouring sizes is compared with the
line's.  Weak scaling keeps the models per device and adds host devices: devices beyond the cores share
them, and ideal seconds grow accordingly.  Every number of devices has a process of its own; so has memory.
"""

import dataclasses
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from benchmarks import harness
from benchmarks.fleets import fleet_spec, random_parts
from benchmarks.harness import OUT, Command, Flag, Layout, Row, where
from jleaks.data.synthetic import synthetic
from jleaks.errors import InputError
from jleaks.report.table import Table
from jleaks.training.execution import Execution
from jleaks.training.preemption import StopSignal
from jleaks.training.progress import Progress
from jleaks.training.recipe import Recipe
from jleaks.training.reporter import provenance
from jleaks.training.trainer import FleetSpec, Trainer
from launch.app import make_execution, start

COMMAND = Command(
    "benchmarks.scaling.growth",
    __doc__,
    ("repetitions",),
    trains=True,
    models=Flag("Numbers of models, ascending.", ["16", "32", "64", "128", "256"]),
    epochs=Flag("Numbers of epochs, ascending.", ["10", "20", "40"]),
    records=Flag("Records of each model, ascending.", ["400", "800", "1600"]),
    devices=Flag("Numbers of host devices, ascending.", ["1", "2", "4"]),
    repetitions=Flag("Turns of every size.", 3, 1),
    out=OUT,
    part=where(
        "Measure this alone, a turn for every line that arrives (used by the benchmark itself).",
        kind=("sizes", "devices", "memory"),
    ),
)

_TASK = "location"
# Slopes may differ by so much from the line's, and cost still counts as linear.
LINEAR_WITHIN = 0.1
_COLLECTIVE = re.compile(r"\b(all-reduce|all-gather|all-to-all|collective|reduce-scatter)[\w-]*\(")

# What was measured, or what is said of it, by name.
Found = Row
TurnFn = Callable[[], Found]


class Size(NamedTuple):
    """What is trained: so many models, for so many epochs, on so many records each."""

    models: int
    epochs: int
    records: int


def fit_line(sizes: Sequence[float], values: Sequence[float]) -> Found:
    """Fits a least-squares line through two measurements or more, sizes ascending.

    Returns:
      `origin` and `slope`: the line at size zero, and per unit of size; `neighbours`: the slope between
      each measurement and the next, relative to the line's; `furthest`: how far any of those is from 1.
    """
    slope, intercept = np.polyfit(sizes, values, 1).tolist()
    neighbours = (np.diff(values) / np.diff(sizes) / slope).round(4).tolist()
    furthest = round(max(abs(near - 1) for near in neighbours), 4)
    return {"origin": intercept, "slope": slope, "neighbours": neighbours, "furthest": furthest}


def collectives(text: str) -> int:
    """Returns how many operations of a compiled program's text talk to other devices."""
    return len(_COLLECTIVE.findall(text))


def efficiencies(devices: Sequence[int], seconds: Sequence[float], cores: int) -> list[float]:
    """Returns the efficiency of weak scaling for each number of devices, relative to the first.

    Ideal seconds are the same while every device has a core of its own; then devices take turns.
    """
    turns = [max(1.0, count / cores) for count in devices]
    one = seconds[0] / turns[0]
    return [one * turn / taken for turn, taken in zip(turns, seconds, strict=True)]


def middle(numbers: dict[str, list[int]]) -> Size:
    """Returns the middle of models, epochs and records, the lower one of two."""
    return Size(**{name: found[(len(found) - 1) // 2] for name, found in numbers.items()})


def axes(numbers: dict[str, list[int]]) -> dict[str, list[Size]]:
    """Returns the sizes along each axis: one number grows, the others are the middle of their own."""
    return {
        name: [middle(numbers)._replace(**{name: number}) for number in found]
        for name, found in numbers.items()
    }


def _numbers() -> dict[str, list[int]]:
    """Returns the sizes of models, epochs and records, checked."""
    found = {name: harness.whole_numbers(name, getattr(COMMAND, name), 2) for name in Size._fields}
    if found["records"][0] < (batch := Recipe().batch_size):
        raise InputError(f"--records has {found['records'][0]}, less than one batch of {batch}")
    return found


def _spec(size: Size, execution: Execution) -> FleetSpec:
    """Returns models, each of which trains on random records of the one dataset."""
    data = synthetic(_TASK, 2 * _numbers()["records"][-1])
    parts = random_parts(size.models, size.records, data.num_records)
    recipe, records = Recipe(epochs=size.epochs), (data.features, data.labels)
    return fleet_spec(data.task, recipe, records, parts, execution)


class _Models(NamedTuple):
    """Models, what trains them, and what it tells."""

    spec: FleetSpec
    trainer: Trainer
    progress: list[Progress]

    def timed(self) -> Found:
        """Trains them again; returns seconds of training and of the whole run, and cores kept busy."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.trainer.run()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return {"training": self.progress[-1].seconds, "run": wall, "cores_busy": cpu / wall}

    def about(self) -> Found:
        """Compiles; returns the packing, and how many collectives are in the training programs."""
        spec, trainer = self.spec, self.trainer
        state, count = trainer.initial(), trainer.packing.models_per_call
        whole, found = (state, spec.members, spec.key_data), 0
        for first in range(0, spec.num_models, count):
            part = jax.tree.map(lambda leaf, at=first: leaf[at : at + count], whole)
            trainer.fleet.prepare(trainer.data, *part)
            if first == 0:
                found = collectives(trainer.fleet.load(*part).compiled_text(trainer.data))
        return {"packing": dataclasses.asdict(trainer.packing), "collectives": found}


def _models(size: Size, execution: Execution) -> _Models:
    spec, progress = _spec(size, execution), list[Progress]()
    return _Models(spec, Trainer(spec, execution, progress.append, StopSignal()), progress)


def _measure_sizes(execution: Execution) -> tuple[Found, TurnFn]:
    """Every size of every axis; those on several axes once."""
    sizes = {str(tuple(size)): size for along in axes(_numbers()).values() for size in along}
    made = {text: _models(size, execution) for text, size in sizes.items()}
    about = {text: own.about() for text, own in made.items()}
    return about, lambda: {text: own.timed() for text, own in made.items()}


def _measure_devices(execution: Execution) -> tuple[Found, TurnFn]:
    """The middle number of models on each device of this process."""
    size = middle(_numbers())
    own = _models(size._replace(models=size.models * jax.device_count()), execution)
    return own.about(), own.timed


def _memory(size: Size, execution: Execution) -> Found:
    """Bytes while so many models train: the process' peak (Linux), and one call's on all devices."""
    own = _models(size._replace(epochs=1), execution)
    before = own.trainer.packing
    own.trainer.run()
    # Forgets the peak so far: compiling takes memory, too.
    Path("/proc/self/clear_refs").write_text("5")
    own.timed()
    peak = round(2**20 * harness.peak_megabytes())
    # Bytes of the first were predicted; those of the second are XLA's count.
    predicted, counted = (
        chosen.num_devices * (chosen.call_bytes - chosen.data_bytes)
        for chosen in (before, own.trainer.packing)
    )
    found = {"peak": peak, "predicted": predicted, "counted": counted}
    return {**found, "models": own.trainer.packing.models_per_call}


def _measure_memory(execution: Execution) -> tuple[Found, TurnFn]:
    return {}, lambda: {"of": [_memory(size, execution) for size in axes(_numbers())["models"]]}


_PARTS = {"sizes": _measure_sizes, "devices": _measure_devices, "memory": _measure_memory}


def _answer(part: str) -> int:
    """Measures a turn for every line that arrives, and prints what it found as JSON."""
    execution = start(make_execution())
    about, turn_fn = _PARTS[part](execution)
    origin = provenance(None, execution)
    print(json.dumps({**about, "origin": origin}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(turn_fn()), flush=True)
    return 0


def _process(part: str, *more: str) -> tuple[harness.Answering, Found]:
    """Starts a part in a process of its own, that waits between its turns; and what it says of itself."""
    process = harness.Answering(COMMAND.words(*sys.argv[1:], f"--part={part}", *more))
    try:
        return process, process.read()
    except InputError as error:
        raise InputError(f"{part}: {error}") from error


def axis_row(axis: str, sizes: Sequence[int], turns: Sequence[Sequence[Found]]) -> Found:
    """Returns what is said of one axis; every turn has what was found for all sizes, ascending."""
    row: Found = {"grows": axis, "sizes": list(sizes)}
    for kind in ("training", "run"):
        spreads = [harness.spread([f[kind] for f in column]) for column in zip(*turns, strict=True)]
        row[f"{kind}_seconds"] = spreads
        row[f"{kind}_line"] = fit_line(sizes, [found["median"] for found in spreads])
        row[f"{kind}_linear"] = row[f"{kind}_line"]["furthest"] <= LINEAR_WITHIN
    return {**row, "linear_within": LINEAR_WITHIN}


def devices_row(devices: Sequence[int], turns: Sequence[Sequence[Found]], cores: int) -> Found:
    """Returns what is said of weak scaling; every turn has what all numbers of devices found."""
    columns = list(zip(*turns, strict=True))
    spreads = [harness.spread([found["training"] for found in column]) for column in columns]
    busy = [float(np.median([found["cores_busy"] for found in column])) for column in columns]
    medians = [found["median"] for found in spreads]
    return {
        "grows": "devices",
        "sizes": list(devices),
        "training_seconds": spreads,
        "run_seconds": [harness.spread([found["run"] for found in column]) for column in columns],
        "cores_busy": [round(value, 2) for value in busy],
        "efficiency": [round(value, 4) for value in efficiencies(devices, medians, cores)],
        "devices_share_cores": [count > cores for count in devices],
    }


def memory_row(models: Sequence[int], found: Sequence[Found]) -> Found:
    """Returns what is said of memory; `found` holds the bytes of every number of models."""
    peaks, last = [size["peak"] for size in found], found[-1]
    return {
        "grows": "memory",
        "sizes": list(models),
        "peak_bytes": peaks,
        # Of the whole process: copies on the host included.
        "peak_bytes_per_model": round(fit_line(models, peaks)["slope"]),
        "counted_bytes_per_model": round(last["counted"] / last["models"]),
        "predicted_bytes_per_model": round(last["predicted"] / last["models"]),
    }


def _lines(row: Found) -> list[Found]:
    """Returns a line of the table for every size of a row."""
    slopes = {
        f"{kind}_slope": [
            "",
            *row.get(f"{kind}_line", {}).get("neighbours", [""] * len(row["sizes"])),
        ]
        for kind in ("training", "run")
    }
    columns = {"size": row["sizes"], "efficiency": row.get("efficiency", [""] * len(row["sizes"]))}
    columns |= {kind: row[f"{kind}_seconds"] for kind in ("training", "run")} | slopes
    return [
        {"grows": row["grows"], **{name: values[i] for name, values in columns.items()}}
        for i in range(len(row["sizes"]))
    ]


_LAYOUT = Layout(
    "Training MLPs (446-128-30), {kernels} kernels",
    "Medians over {turns} turns (least-largest) on {cores} cores of {cpu}, commit {commit}.  Slope: from "
    "the size before, relative to the line through all.  Devices have models of their own; those beyond "
    "the cores share them.  One more model takes {peak} of the process, {counted} of a call as XLA "
    "counts, {predicted} as jleaks.training.packing predicts.  Collectives in compiled programs: "
    "{collectives}.",
    [
        ("Grows", "{grows}"),
        ("Size", "{size}"),
        ("Training, s", harness.ranged("training", ".3f")),
        ("Slope", "{training_slope}"),
        ("Whole run, s", harness.ranged("run", ".3f")),
        ("Slope", "{run_slope}"),
        ("Efficiency", "{efficiency}"),
    ],
    section="{grows}",
)


def growth_table(rows: Sequence[Found]) -> Table:
    """Returns the table of one run."""
    *timed, memory = rows
    bytes_of = {
        kind: f"{memory[f'{kind}_bytes_per_model'] / 1e6:.2f} MB"
        for kind in ("peak", "counted", "predicted")
    }
    shared = {**memory, "collectives": timed[0]["collectives"], **bytes_of}
    return _LAYOUT.table([line for row in timed for line in _lines(row)], **shared)


def main() -> int:
    if COMMAND.part:
        return _answer(COMMAND.part)
    numbers, devices = _numbers(), harness.whole_numbers("devices", COMMAND.devices, 2)
    before = harness.machine()
    memory, of_memory = _process("memory")
    used = memory_row(numbers["models"], memory.ask()["of"])
    sizes, of_sizes = _process("sizes")
    started = [_process("devices", f"--num_cpu_devices={count}") for count in devices]
    scaling, of_scaling = zip(*started, strict=True)
    turns = harness.take_turns(
        COMMAND.repetitions, (sizes, *scaling), lambda process, _: process.ask()
    )
    rows: list[Found] = []
    for axis, along in axes(numbers).items():
        texts = [str(tuple(size)) for size in along]
        row = axis_row(
            axis, numbers[axis], [[turn[text] for text in texts] for turn in turns[sizes]]
        )
        row["fixed"] = {k: v for k, v in along[0]._asdict().items() if k != axis}
        row["packing"] = [of_sizes[text]["packing"] for text in texts]
        rows.append({**row, **of_sizes["origin"]})
    scaled = list(zip(*(turns[process] for process in scaling), strict=True))
    row = devices_row(devices, scaled, before["cores"]) | of_scaling[-1]["origin"]
    row["device"] = ", ".join(about["origin"]["device"] for about in of_scaling)
    row["packing"] = [about["packing"] for about in of_scaling]
    rows += [row, {**used, **of_memory["origin"]}]
    shared = {"task": _TASK, "turns": COMMAND.repetitions, **before}
    abouts = [*of_sizes.values(), *of_scaling]
    shared["collectives"] = sum(about.get("collectives", 0) for about in abouts)
    shared["command"] = COMMAND.text()
    rows = [{"benchmark": "growth", **row, **shared} for row in rows]
    for process in (sizes, *scaling, memory):
        process.close()
    return COMMAND.finish(rows, growth_table(rows))


if __name__ == "__main__":
    COMMAND.run(main)
