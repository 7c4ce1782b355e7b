"""How many models belong in one call, and how many in one instruction?  Steps a second against both.

python -m benchmarks.scaling.packing --out=results/speed/packing.jsonl

MLPs of Purchase's shape (600-128-100) and CNNs of CIFAR-10's images train on synthetic stand-ins: P models
in one compiled call, G of them on every device in the same instruction (`vmap`), the others in turn.  The
choice of `jleaks.training.packing` for a fleet of the largest P is measured, too, and its G is that of all
P; along G every device has two of the largest groups.  A call trains every MLP for ten epochs, every CNN
for two: calls of the largest P are then about as long as `Trainer` has them.  All shapes, with both
kernels, take turns (A B A B) on one host device per core, programs compiled before.  A knee is the
smallest number within 5% of the best of its curve.
"""

import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import jax
import numpy as np

from benchmarks import harness
from benchmarks.fleets import fleet_spec, random_parts
from benchmarks.harness import OUT, Command, Flag, Layout, Row
from benchmarks.training.workload import flops_per_step
from jleaks.data.dataset import Dataset
from jleaks.data.synthetic import synthetic
from jleaks.errors import InputError
from jleaks.models.cpu_kernels import library
from jleaks.report.table import Table
from jleaks.training import packing
from jleaks.training.execution import Execution
from jleaks.training.fleet import Fleet, make_mesh
from jleaks.training.recipe import Recipe
from launch.app import cache_folder, use_all_cores

COMMAND = Command(
    "benchmarks.scaling.packing",
    __doc__,
    ("records", "cnn_records", "repetitions"),
    calls=Flag("MLPs in one call, ascending.", [str(2**i) for i in range(1, 9)]),
    groups=Flag("MLPs in one instruction, ascending.", [str(2**i) for i in range(5)]),
    cnn_calls=Flag("CNNs in one call, ascending; empty for none.", ["2", "4", "8"]),
    cnn_groups=Flag("CNNs in one instruction, ascending.", ["1", "2", "4"]),
    kernels=Flag("What computes; host where there is a compiler.", ["host", "xla"]),
    records=Flag("Records an MLP learns.", 500, 100),
    cnn_records=Flag("Records a CNN learns.", 200, 100),
    repetitions=Flag("Turns of every cell.", 3, 1),
    out=OUT,
)

_EPOCHS_PER_CALL = {"mlp": 10, "cnn": 2}


class Shape(NamedTuple):
    """Models of one call, over all devices, and models of one device in the same instruction."""

    per_call: int
    per_vmap: int


def shapes(
    calls: Sequence[int], groups: Sequence[int], chosen: Shape, num_devices: int
) -> tuple[list[Shape], list[Shape]]:
    """Returns the shapes along models per call and along models per instruction, ascending.

    Args:
      calls: Models per call.
      groups: Models per instruction.
      chosen: By `jleaks.training.packing`; one of the shapes along models per call.
      num_devices: Devices that the models of a call are spread over; no group is larger than their share.
    """

    def within(per_call: int, per_vmap: int) -> Shape:
        return Shape(per_call, min(per_vmap, -(-per_call // num_devices)))

    room = min(2 * num_devices * groups[-1], calls[-1])
    along_calls = {chosen, *(within(count, chosen.per_vmap) for count in calls)}
    return sorted(along_calls), sorted({within(room, group) for group in groups})


class Fleets:
    """Models of one task and one kind of kernels, in calls of any shape."""

    def __init__(self, data: Dataset, kernels: str, calls: Sequence[int], records: int):
        """Draws as many untrained models as the largest call takes, and chooses a packing for them.

        Args:
          data: Their dataset.
          kernels: What computes.
          calls: Numbers of models per call, ascending.
          records: Of the training part of each.
        """
        task, most = data.task, calls[-1]
        self.task = task.name
        self.execution = execution = Execution(kernels=cast(Any, kernels))
        self.epochs_per_call = _EPOCHS_PER_CALL[task.model]
        recipe = Recipe(task.model, epochs=self.epochs_per_call)
        records_of, parts = (
            (data.features, data.labels),
            random_parts(most, records, data.num_records),
        )
        spec = fleet_spec(task, recipe, records_of, parts, execution)
        self.learner, self._members, self._key_data = spec.learner, spec.members, spec.key_data
        self.num_records, self.most, self.mesh = records, most, make_mesh()
        fleet = Fleet(self.learner, self.mesh)
        self._data = fleet.put_data(*records_of)
        self._state = fleet.init(self._data, self._members, self._key_data)
        self.packing = packing.choose(
            self.learner, self._data, records, most, list(self.mesh.devices.flat), execution
        )
        self.flops_per_step = flops_per_step(task)

    def seconds_per_step(self, shape: Shape) -> float:
        """Times one call; one that trains nothing compiles before.  Returns seconds a model and step."""
        fleet, count = Fleet(self.learner, self.mesh, shape.per_vmap), shape.per_call
        state, members, key_data = jax.tree.map(
            lambda leaf: leaf[:count], (self._state, self._members, self._key_data)
        )
        pack = fleet.load(state, members, key_data)
        pack.fit(self._data, 0, 0)
        began = time.perf_counter()
        pack.fit(self._data, 0, self.epochs_per_call)
        seconds = time.perf_counter() - began
        steps = self.num_records // self.learner.recipe.batch_size * self.epochs_per_call
        return seconds / (count * steps)


def curve_row(
    calls: Sequence[Shape],
    groups: Sequence[Shape],
    chosen: Shape,
    rates: Mapping[Shape, Sequence[float]],
) -> dict[str, Any]:
    """Returns what is said of both curves.

    Args:
      calls: Shapes along models per call.
      groups: Shapes along models per instruction.
      chosen: By `jleaks.training.packing`.
      rates: Steps per second of every shape, one number a turn.
    """
    medians = {shape: float(np.median(values)) for shape, values in rates.items()}
    best = max(medians, key=lambda shape: medians[shape])
    return {
        "cells": [
            {**shape._asdict(), "steps_per_second": harness.spread(rates[shape], 1)}
            for shape in sorted({*calls, *groups})
        ],
        "chosen": chosen._asdict(),
        "best": best._asdict(),
        "chosen_share_of_best": round(medians[chosen] / medians[best], 4),
        "knee_per_call": harness.knee([s.per_call for s in calls], [medians[s] for s in calls]),
        "knee_per_vmap": harness.knee([s.per_vmap for s in groups], [medians[s] for s in groups]),
        "knee_within": harness.KNEE_WITHIN,
    }


def _loaded(named: Sequence[str]) -> list[str]:
    """Returns the kinds of kernels that can be measured, those of the host loaded."""
    if "host" in named:
        try:
            library.load(cache_folder() / "kernels")
        except InputError as error:
            if "xla" not in named:
                raise
            print(f"not measured: kernels of the host ({error})", file=sys.stderr)
            return ["xla"]
    return list(named)


class _Curves(NamedTuple):
    """What is measured of one kind of model and kernels: the shapes along both curves."""

    fleets: Fleets
    chosen: Shape
    calls: list[Shape]
    groups: list[Shape]

    def turn(self) -> dict[Shape, float]:
        """Returns steps a second of every shape."""
        shapes = sorted({*self.calls, *self.groups})
        return {shape: 1 / self.fleets.seconds_per_step(shape) for shape in shapes}


def _row(curves: _Curves, turns: Sequence[dict[Shape, float]], before: Row) -> Row:
    own = curves.fleets
    rates = {shape: [turn[shape] for turn in turns] for shape in turns[0]}
    return {
        "benchmark": "packing_curve",
        "task": own.task,
        "model": own.learner.recipe.model,
        "records": own.num_records,
        "num_models": own.most,
        "epochs_per_call": own.epochs_per_call,
        "flops_per_step": own.flops_per_step,
        "packing": dataclasses.asdict(own.packing),
        **curve_row(curves.calls, curves.groups, curves.chosen, rates),
        "turns": len(turns),
        **COMMAND.about(before, own.execution),
    }


_LAYOUT = Layout(
    "Steps a second against models per call and per instruction",
    "Medians over {turns} turns (least-largest) on {cores} cores of {cpu}, commit {commit}.  A step is "
    "one model's on 100 records.  Marked: what jleaks.training.packing chooses.  Knee: smallest within 5% "
    "of its curve's best.  {knees}.",
    [
        ("Model", "{model}"),
        ("Kernels", "{kernels}"),
        ("Per call", "{per_call}"),
        ("Per vmap", "{per_vmap}"),
        ("Steps/s", harness.ranged("steps_per_second", ",.0f")),
        ("GFLOP/s", "{gflops:,.0f}"),
        ("Of the best", "{share:.2f}"),
    ],
    num_text_columns=2,
    section="{model} {kernels}",
    marked=lambda cell: cell["is_chosen"],
)


def curve_table(rows: Sequence[Row]) -> Table:
    """Returns the table of one run."""
    lines = []
    for row in rows:
        best = max(cell["steps_per_second"]["median"] for cell in row["cells"])
        for cell in row["cells"]:
            rate, shape = cell["steps_per_second"]["median"], (cell["per_call"], cell["per_vmap"])
            found = {"gflops": rate * row["flops_per_step"] / 1e9, "share": rate / best}
            is_chosen = shape == tuple(row["chosen"].values())
            lines.append({**row, **cell, **found, "is_chosen": is_chosen})
    knees = "; ".join(
        "{model} on {kernels}: knees at {knee_per_call} per call and {knee_per_vmap} per instruction, "
        "chosen "
        "{chosen_share_of_best:.3f} of the best".format(**row)
        for row in rows
    )
    return _LAYOUT.table(lines, knees=knees)


def main() -> int:
    wanted = []
    for task, prefix in (("purchase100", ""), ("cifar10", "cnn_")):
        calls, groups = (
            harness.whole_numbers(name, getattr(COMMAND, name))
            for name in (f"{prefix}calls", f"{prefix}groups")
        )
        if calls and not groups:
            raise InputError(f"--{prefix}groups is empty, but --{prefix}calls is not")
        if calls:
            wanted.append((task, calls, groups, getattr(COMMAND, f"{prefix}records")))
    if not wanted:
        raise InputError("--calls and --cnn_calls are both empty: nothing to measure")
    named, before = COMMAND.names("kernels", ("host", "xla")), harness.machine()
    use_all_cores()
    measured = []
    for kernels in _loaded(named):
        for task, calls, groups, records in wanted:
            fleets = Fleets(synthetic(task, 2 * records), kernels, calls, records)
            chosen = Shape(fleets.packing.models_per_call, fleets.packing.models_per_vmap)
            both = shapes(calls, groups, chosen, fleets.mesh.size)
            measured.append(_Curves(fleets, chosen, *both))
    turns = harness.take_turns(
        COMMAND.repetitions, range(len(measured)), lambda i, _: measured[i].turn()
    )
    rows = [_row(curves, turns[i], before) for i, curves in enumerate(measured)]
    return COMMAND.finish(rows, curve_table(rows))


if __name__ == "__main__":
    COMMAND.run(main)
