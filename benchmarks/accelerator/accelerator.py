"""How fast is training on this accelerator, and how far from what it allows?  All of it in one call.

python -m benchmarks.accelerator --out=results/speed/accelerator.jsonl
python -m benchmarks.accelerator --sections=peaks,wide --full --out=results/speed/accelerator.jsonl
python -m benchmarks.accelerator --smoke

One device, synthetic records of the tasks' shapes.  Fleets of 1 to 1,024 of the paper's MLPs and CNNs, in
every precision and form of convolution: models and steps a second, FLOP/s and bytes a second beside the
measured peaks, which of the two binds (`roofline.py` says what is counted), memory, compilation,
time to the first step, the knee (fewest models within 5% of the best rate).  The 256 models of the wide
Purchase-100 bank: some epochs, all of it with --full.  Which kernels the time goes to,
by JAX's profiler.  PyTorch, one model after another on the same device, eager and as CUDA graphs, in
turns with jleaks.

Each section runs in a process of its own and ends at its share of --minutes; each row is written as soon
as it is measured, and what fails becomes a row with the reason.
"""

import json
import tempfile
import time
import typing
from collections.abc import Sequence
from pathlib import Path

import jax

from benchmarks import harness
from benchmarks.accelerator.sections import SECTIONS, SHARES
from benchmarks.accelerator.session import SMOKE, Scale, Session, measure, read_run
from benchmarks.harness import OUT, Command, Flag, Layout, Row, where
from jleaks.errors import InputError
from jleaks.fields import Precision
from jleaks.training.execution import Execution
from jleaks.training.reporter import provenance
from launch.log import console

COMMAND = Command(
    "benchmarks.accelerator",
    __doc__,
    sections=Flag("Parts of the benchmark; those after peaks need it.", list(SHARES)),
    precisions=Flag(
        "Of products, as in a plan.", ["tensorfloat32", "float32", "bfloat16", "default"]
    ),
    minutes=Flag("For all sections.", 9.0, 0.1),
    smoke=Flag("Everything tiny, in one process, on any device: does it run?", False),
    full=Flag("Train the wide bank wholly, query and attack it.", False),
    out=OUT,
    worker=where("Measure what this file says in this process (used by the benchmark itself)."),
)


def _work(request: Row) -> int:
    """Measures in this process."""
    if jax.default_backend() == "cpu" and not request["smoke"]:
        raise InputError("JAX sees no accelerator; --smoke runs everything small on any device")
    # Compilation is measured, so no program may be there already.
    jax.config.update("jax_enable_compilation_cache", False)
    about = provenance(None, Execution(num_devices=1))
    session = Session(
        SMOKE if request["smoke"] else Scale(),
        request["precisions"],
        request["path"],
        {**request["context"], **about},
        request["started"],
        request["seconds"],
        request["full"],
    )
    sections = {name: SECTIONS[name] for name in request["sections"]}
    session.run(sections, read_run(request["path"], request["context"]["run"]))
    return 0


def _measured(path: str) -> list[Row]:
    """Measures all sections; returns the rows."""
    began, name = time.time(), time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    context = {"run": name, "smoke": COMMAND.smoke, "command": COMMAND.text(), **harness.machine()}
    left = [section for section in SHARES if section in COMMAND.sections]
    while left:
        # Starting a process costs seconds, which the smoke test has not.
        sections = left if COMMAND.smoke else left[:1]
        rest = 60 * COMMAND.minutes - (time.time() - began)
        share = sum(SHARES[s] for s in sections) / sum(SHARES[s] for s in left)
        left = left[len(sections) :]
        request = {name: getattr(COMMAND, name) for name in ("precisions", "smoke", "full")}
        request |= {"sections": sections, "path": path, "context": context}
        if (failed := measure({**request, "seconds": max(rest * share, 1.0)})) is not None:
            row = {"what": "process", "section": ",".join(sections), "failed": failed}
            print(json.dumps(row), flush=True)
            harness.append(path, [{"benchmark": "accelerator", **row, **context}])
    return read_run(path, name)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f}%"


def _rate(row: Row) -> str:
    if "failed" in row:
        return row["failed"].split(":")[0]
    return f"{row['model_steps_per_second']:,.0f}"


LAYOUT = Layout(
    "Fleets on {device}",
    "Models/s: whole trainings (epochs of the paper on parts of its size), from the rate of steps.  "
    "TFLOP/s of products and GB/s of the least traffic, beside the device's own large product in that "
    "precision and large copy.  Roofline: what binds, and the time it takes at least over the time "
    "measured.  Commit {commit}.",
    [
        ("Fleet", "{section}, {network}"),
        ("Precision", "{precision}"),
        ("Form", lambda r: r["form"] or "-"),
        ("Models", "{num_models:,}"),
        ("Together", "{group:,}"),
        ("Model\nsteps/s", _rate),
        ("Models/s", "{models_per_second:,.2f}", "-"),
        ("TFLOP/s", lambda r: f"{r['flops_per_second'] / 1e12:,.2f}", "-"),
        ("of\npeak", lambda r: _percent(r["share_of_flops"]), "-"),
        ("GB/s", lambda r: f"{r['bytes_per_second'] / 1e9:,.0f}", "-"),
        ("of\npeak", lambda r: _percent(r["share_of_bytes"]), "-"),
        ("Roofline", lambda r: f"{r['roofline'] or '-'} {_percent(r['share_of_roofline'])}", "-"),
        ("Compile\ns", "{compile_seconds:,.1f}", "-"),
        ("GB", lambda r: f"{r['program_bytes'] / 1e9:,.2f}", "-"),
    ],
    num_text_columns=3,
)  # fmt: skip


# By what a row is about: the sentence that says it, from its fields and those of `_spoken`.
_SENTENCES = {
    "peak": "peak of a {of} {rate}",
    "start": "first step {seconds_to_first_step} s after the process began",
    "knee": "knee at {num_models} of {measured} models, best {best} model steps/s",
    "kernels": "{num_models} models, {launches} kernels a step, {microseconds} us; longest {longest_first}",
    "best form": "{form} is the best form of convolution ({rates})",
    "extrapolated": "{num_models} models, {epochs} epochs would train in {training_seconds:,.0f} s",
    "bank": "bank in seconds: {spent}; attacks {evaluation_seconds}",
    "evaluator": "{num_models} models of {num_records} records evaluated in {evaluation_seconds} s",
    "traffic": "seconds for {bytes} bytes: {seconds}",
    "ratio": "{num_models} models, times PyTorch: {times}{lacking}",
}


def _spoken(row: Row) -> Row:
    """Returns what a row's sentence says beside its fields."""
    if row["what"] == "peak":
        unit, size = ("GB/s", 1e9) if row["of"] == "copy" else ("TFLOP/s", 1e12)
        return {"rate": f"{row['per_second'] / size:,.2f} {unit}"}
    if row["what"] == "knee":
        return {"best": f"{row['best_model_steps_per_second']:,.0f}"}
    if row["what"] == "kernels":
        top = row["longest"][:3]
        return {"longest_first": ", ".join(f"{k['name']} {k['microseconds']}" for k in top)}
    if row["what"] == "best form":
        rates = row["model_steps_per_second"].items()
        return {"rates": ", ".join(f"{form} {rate:,.0f}" for form, rate in rates)}
    if row["what"] == "bank":
        return {"spent": ", ".join(f"{k} {v:,.1f}" for k, v in row["seconds"].items())}
    if row["what"] == "ratio":
        span = "{median:.1f} ({least:.1f}-{largest:.1f})"
        times = [f"{name} {span.format(**v)}" for name, v in row["times_torch"].items()]
        lacking = f"; without {row['without']}" if row["without"] else ""
        return {"times": ", ".join(times), "lacking": lacking}
    return {}


def sentences(rows: Sequence[Row]) -> list[str]:
    """Returns a sentence per row that is no fleet."""
    found = []
    for row in rows:
        place = " ".join(str(row[k]) for k in ("section", "network", "precision") if row.get(k))
        if "failed" in row:
            found.append(f"{place}: {row['what']} failed: {row['failed']}")
        elif row["what"] in _SENTENCES:
            text = _SENTENCES[row["what"]].format_map({**row, **_spoken(row)})
            found.append(f"{place}: {text}")
    return found


def main() -> int:
    if COMMAND.worker:
        return _work(json.loads(Path(COMMAND.worker).read_text()))
    COMMAND.names("sections", tuple(SHARES))
    COMMAND.names("precisions", typing.get_args(Precision))
    with tempfile.TemporaryDirectory() as folder:
        rows = _measured(COMMAND.out or str(Path(folder) / "rows.jsonl"))
    fleets = [row for row in rows if row["what"] == "fleet"]
    # Its rows were written one by one.
    COMMAND.finish([], *([LAYOUT.table(fleets)] if fleets else []))
    for line in sentences([row for row in rows if row["what"] != "fleet"]):
        console().print(line, highlight=False, soft_wrap=True)
    return 0
