"""What would an accelerator run?  XLA's own programs for an H100 or TPUs, compiled without one.

python -m benchmarks.accelerator.compiled --device=h100 --out=results/speed/compiled.jsonl
python -m benchmarks.accelerator.compiled --device=v5e:2x2 --cases=mlp,cnn

Each case is compiled in a process of its own, as jleaks would for such a device: its packing, its
forms, its options.  A row says how long that took, how many kernels a step has and how many CUDA graphs
hold them, bytes and FLOPs of one model's step beside the least there can be, memory, collectives, and the
time that follows from stated assumptions.  NOTHING HERE IS MEASURED ON AN ACCELERATOR: kernels are not
tuned, times are predicted.

The compilers (0.6 GB for each kind of device) go into a folder of their own at first use.
"""

import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.accelerator import topologies
from benchmarks.accelerator.topologies import Speed, Topology
from benchmarks.harness import OUT, Command, Flag, Layout, Row, where
from jleaks.errors import InputError
from jleaks.report.table import Table

COMMAND = Command(
    "benchmarks.accelerator.compiled",
    __doc__,
    device=Flag(f"What to compile for: {topologies.NAMES}.", "h100"),
    cases=Flag("Programs to compile, all by default.", [], kind=list),
    minutes=Flag("Most for one case.", 8.0, 0.1),
    out=OUT,
    packages=where("Folder of the compilers, installed at first use.", "~/.cache/jleaks/compilers"),
    worker=where("Compile what this file says in this process (used by the benchmark itself)."),
)


def _seconds(body: Any, module: Any, speed: Speed, precision: str) -> float:
    """Returns the time that a body's launches are predicted to take, its loops left out."""
    moved = speed.share * speed.bytes_per_second
    if speed.clock:
        found = [module.instructions[name] for name in body.kernels]
        cycles = sum(one.cycles for one in found) / speed.clock
        return max(cycles, sum(map(module.moved, found)) / moved)
    peak = speed.flops_share * speed.flops.get(precision, math.inf)

    def least(name: str) -> float:
        one = module.instructions.get(name)
        return 0.0 if one is None else max(module.moved(one) / moved, module.flops(one) / peak)

    alone = sum(max(speed.alone, least(name)) for name in body.alone)
    inside = sum(max(speed.launch, least(name)) for graph in body.graphs for name in graph)
    return alone + inside + speed.graph * len(body.graphs)


def _all_seconds(body: Any, module: Any, speed: Speed, precision: str) -> float:
    """Returns the same with loops, each as often as XLA knows it to go round."""
    rest = sum((n or 1) * _all_seconds(b, module, speed, precision) for n, b in body.loops)
    return _seconds(body, module, speed, precision) + rest


def describe(compiled: Any, seconds: float, dump: Path, topology: Topology) -> Row:
    """Returns the row of a compiled program.

    Args:
      compiled: A `compiled_cases.Compiled`.
      seconds: It took to compile.
      dump: Folder in which XLA:GPU described it.
      topology: What it is for.
    """
    from benchmarks.accelerator import launches
    from benchmarks.accelerator.hlo import Module

    call = compiled.call
    module, memory = Module(call.as_text()), call.memory_analysis()
    on_gpu = topology.platform == "cuda"
    body = launches.of_gpu(dump, module) if on_gpu else launches.of_tpu(module)
    made = memory.output_size_in_bytes - memory.alias_size_in_bytes
    precision = compiled.about.get("precision", "float32")
    row = {
        **compiled.about,
        "compile_seconds": round(seconds, 2),
        "launches": body.launches if on_gpu else None,
        "host_calls": body.calls if on_gpu else None,
        "argument_bytes": memory.argument_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "program_bytes": memory.argument_size_in_bytes + made + memory.temp_size_in_bytes,
        "collectives": module.collectives,
    }
    if not compiled.group:
        total = _all_seconds(body, module, topology.speed, precision)
        # Of a TPU's loops XLA does not say how often they go round.
        return row | {"predicted_seconds": round(total, 4) if on_gpu else None}
    step, group = body.step(), compiled.group
    found = [module.instructions[n] for n in step.kernels if n in module.instructions]
    inside = [
        one for each in launches.instructions(step.kernels, module) for one in module.inside(each)
    ]
    flops = sum(map(module.flops, found)) if on_gpu else None
    least = compiled.about.get("least")
    moved = sum(map(module.moved, found)) / group
    return row | {
        "kernels": len(step.kernels),
        "graphs": len(step.graphs) if on_gpu else None,
        "alone": len(step.alone) if on_gpu else None,
        "scatters": sum(one.operation == "scatter" for one in inside),
        "grouped": len(grouped(module)),
        "bytes": round(moved),
        "times_least_bytes": least and round(moved / least["num_bytes"], 3),
        "flops": None if flops is None else round(flops / group),
        "times_least_flops": least and flops and round(flops / group / least["flops"], 3),
        "microseconds": round(1e6 * _seconds(step, module, topology.speed, precision) / group, 3),
    }


def grouped(module: Any) -> list[str]:
    """Returns the convolutions of several models at once, by name: cuDNN has no good kernels for these."""
    return [
        one.name
        for one in module.instructions.values()
        if "feature_group_count=" in one.text or "batch_group_count=" in one.text
    ]


def work(request: Row) -> None:
    """Compiles the request's cases in this process; a line of JSON for each goes to standard output."""
    from benchmarks.accelerator import compiled_cases as cases

    name = request["device"]
    topology = topologies.find(name)
    target = cases.Target(topologies.devices(name), topology.memory)
    for case in request["cases"]:
        made = cases.CASES[topology.platform][case]()
        before = set(Path(request["dump"]).iterdir())
        tick = time.perf_counter()
        compiled = made.compiled(target)
        seconds = time.perf_counter() - tick
        with tempfile.TemporaryDirectory(dir=request["dump"]) as folder:
            # What earlier cases left is not this one's.
            for file in set(Path(request["dump"]).glob("*.txt")) - before:
                file.rename(Path(folder) / file.name)
            row = describe(compiled, seconds, Path(folder), topology)
        print(json.dumps({"case": case, **row}), flush=True)


def compile_cases(device: str, names: Sequence[str], packages: str, seconds: float) -> list[Row]:
    """Compiles cases in one process that sees the device's compiler; returns their rows.

    Raises:
      InputError: it failed or took too long, with its last line.
    """
    topology = topologies.find(device)
    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder) / "dump"
        dump.mkdir()
        path = Path(folder) / "request.json"
        path.write_text(json.dumps({"device": device, "cases": list(names), "dump": str(dump)}))
        words = [sys.executable, "-m", COMMAND.module, f"--worker={path}"]
        environment = topologies.environment(topology, packages, str(dump))
        printed = harness.finished(words, env=environment, timeout=seconds)
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


def _mega(field: str) -> Any:
    return lambda r: f"{r[field] / 1e6:,.2f}"


_LAYOUT = Layout(
    "Programs compiled for {device}, without one",
    "Bytes: operands and results of every kernel of a step, of one model (of what is sliced, the slices); "
    "least: what benchmarks.accelerator.roofline counts.  Graphs: CUDA graphs of a step, and kernels "
    "outside of them.  Predicted from {assumed}.  Compiled by jaxlib {jaxlib} at commit {commit}, "
    "without tuning.",
    [
        ("Case", "{case}"),
        ("Network", "{network}"),
        ("Form", lambda r: r.get("form") or "-"),
        ("Models", "{num_models:,}"),
        ("Together", "{group:,}", "-"),
        ("Compile\ns", "{compile_seconds:,.1f}", "-"),
        ("Kernels", "{kernels:,}", "-"),
        ("Graphs", lambda r: f"{r['graphs']:,} + {r['alone']:,}", "-"),
        ("MB a\nmodel-step", _mega("bytes"), "-"),
        ("times\nleast", "{times_least_bytes:.2f}", "-"),
        ("MFLOP", _mega("flops"), "-"),
        ("GB", lambda r: f"{r['program_bytes'] / 1e9:,.2f}", "-"),
        ("Collec-\ntives", "{collectives:,}", "-"),
        ("Predicted", lambda r: _predicted(r), "-"),
        ("Launches", "{launches:,}", "-"),
    ],
    num_text_columns=3,
)  # fmt: skip


def _predicted(row: Row) -> str:
    if "failed" in row:
        return row["failed"]
    if row.get("microseconds") is not None:
        return f"{row['microseconds']:,.2f} us"
    return f"{row['predicted_seconds']:,.2f} s"


def assumptions(speed: Speed) -> str:
    """Says what times are predicted from."""
    moved = f"{100 * speed.share:.0f}% of {speed.bytes_per_second / 1e12:.2f} TB/s"
    if speed.clock:
        return f"XLA's estimated cycles at {speed.clock / 1e9:.2f} GHz, at least {moved}"
    flops = ", ".join(f"{name} {n / 1e12:.0f}" for name, n in speed.flops.items())
    least = (1e6 * seconds for seconds in (speed.launch, speed.alone, speed.graph))
    return (
        f"{moved}, {100 * speed.flops_share:.0f}% of the TFLOP/s {flops}; "
        "{:.1f} us a kernel in a graph at least, {:.0f} outside, {:.0f} between graphs".format(
            *least
        )
    )


def _measured(topology: Topology) -> list[Row]:
    """Compiles every case asked for; rows are kept one by one, and what fails becomes one."""
    from benchmarks.accelerator.compiled_cases import CASES
    from jleaks.versions import installed

    known = CASES[topology.platform]
    names = harness.check_names("cases", COMMAND.cases, tuple(known)) if COMMAND.cases else known
    topologies.install(topology, COMMAND.packages)
    versions = installed(("jleaks", "jax", "jaxlib", "flax", "optax", "numpy"))
    context = {
        "device": COMMAND.device,
        "compilers": topologies.pins(topology),
        "assumed": assumptions(topology.speed),
        "command": COMMAND.text(),
        "versions": versions,
        **harness.machine(),
    }
    rows = []
    for name in names:
        try:
            found = compile_cases(COMMAND.device, [name], COMMAND.packages, 60 * COMMAND.minutes)
        except InputError as error:
            found = [{"case": name, "failed": str(error)[:300], "network": "-", "num_models": 0}]
        new = [{"benchmark": "compiled", **row, **context} for row in found]
        harness.append(COMMAND.out, new)
        for row in new:
            print(f"{name}: {row.get('failed') or json.dumps(found[0])}", flush=True)
        rows += new
    return rows


def tables(rows: Sequence[Row]) -> list[Table]:
    """Returns a table for each device, in the order of the rows."""
    found = []
    for device in dict.fromkeys(row["device"] for row in rows):
        mine = [row for row in rows if row["device"] == device]
        found.append(_LAYOUT.table(mine, jaxlib=mine[0]["versions"]["jaxlib"]))
    return found


def main() -> int:
    if COMMAND.worker:
        work(json.loads(Path(COMMAND.worker).read_text()))
        return 0
    rows = _measured(topologies.find(COMMAND.device))
    # Rows were written one by one.
    COMMAND.finish([], *tables(rows))
    return int(any("failed" in row for row in rows))


if __name__ == "__main__":
    COMMAND.run(main)
