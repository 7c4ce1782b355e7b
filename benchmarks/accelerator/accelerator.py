"""How fast is training on this accelerator, and how far from what it allows?  All of it in one call.

python -m benchmarks.accelerator --out=results/speed/accelerator.jsonl
python -m benchmarks.accelerator --sections=peaks,wide --full --out=results/speed/accelerator.jsonl
python -m benchmarks.accelerator --smoke

One device, synthetic records of the tasks' shapes.  Fleets of 1 to 1,024 of the paper's MLPs and CNNs, in
every precision and form of convolution: models and steps a second, FLOP/s and bytes a second beside the
measured peaks, which of the two binds (benchmarks/roofline.py says what is counted), memory, compilation,
time to the first step, the knee (fewest models within 5% of the best rate).  The 256 models of the wide
Purchase-100 bank: some epochs, all of it with --full.  PyTorch, one model after another on the same device,
eager and as CUDA graphs, in turns with jleaks.

Each section runs in a process of its own and ends at its share of --minutes; each row is written as soon
as it is measured, and what fails becomes a row with the reason.
"""

import json
import tempfile
import time
import typing
from pathlib import Path
from typing import Any

import jax
from absl import flags

from benchmarks.accelerator.sections import SECTIONS, SHARES
from benchmarks.accelerator.session import SMOKE, Scale, Session, check_names, measure, read_run
from benchmarks.accelerator.table import fleet_table, sentences
from benchmarks.harness import WHAT, WHERE, append, command, machine
from jleaks.errors import InputError
from jleaks.fields import Precision
from jleaks.training.execution import Execution
from jleaks.training.reporter import provenance
from launch.flags import run
from launch.log import console

_SECTIONS = flags.DEFINE_list(
    "sections", list(SHARES), "Parts of the benchmark; those after peaks need it.",
    **WHAT,
)  # fmt: skip
_PRECISIONS = flags.DEFINE_list(
    "precisions",
    ["tensorfloat32", "float32", "bfloat16", "default"],
    "Of products, as in a plan.",
    **WHAT,
)
_MINUTES = flags.DEFINE_float("minutes", 9.0, "For all sections.", lower_bound=0.1, **WHAT)
_SMOKE = flags.DEFINE_bool(
    "smoke",
    False,
    "Everything tiny, in one process, on any device: does it run?",
    **WHAT,
)
_FULL = flags.DEFINE_bool("full", False, "Train the wide bank wholly, query and attack it.", **WHAT)
_OUT = flags.DEFINE_string("out", None, "JSON lines to append to.", **WHERE)
_WORKER = flags.DEFINE_string(
    "worker", None, "Measure what this file says in this process (used by the benchmark itself).",
    **WHERE,
)  # fmt: skip


def _work(request: dict[str, Any]) -> int:
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


def _measured(path: str) -> list[dict[str, Any]]:
    """Measures all sections; returns the rows."""
    began, name = time.time(), time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    context = {
        "run": name,
        "smoke": _SMOKE.value,
        "command": command("benchmarks.accelerator", ()),
        **machine(),
    }
    left = [section for section in SHARES if section in _SECTIONS.value]
    while left:
        # Starting a process costs seconds, which the smoke test has not.
        sections = left if _SMOKE.value else left[:1]
        rest = 60 * _MINUTES.value - (time.time() - began)
        share = sum(SHARES[s] for s in sections) / sum(SHARES[s] for s in left)
        left = left[len(sections) :]
        request = {
            "sections": sections,
            "precisions": _PRECISIONS.value,
            "path": path,
            "context": context,
            "seconds": max(rest * share, 1.0),
            "smoke": _SMOKE.value,
            "full": _FULL.value,
        }
        if (failed := measure(request)) is not None:
            row = {"what": "process", "section": ",".join(sections), "failed": failed}
            print(json.dumps(row), flush=True)
            append(path, [{"benchmark": "accelerator", **row, **context}])
    return read_run(path, name)


def main(_: list[str]) -> int:
    if _WORKER.value:
        return _work(json.loads(Path(_WORKER.value).read_text()))
    check_names(_SECTIONS.name, _SECTIONS.value, tuple(SHARES))
    check_names(_PRECISIONS.name, _PRECISIONS.value, typing.get_args(Precision))
    with tempfile.TemporaryDirectory() as folder:
        rows = _measured(_OUT.value or str(Path(folder) / "rows.jsonl"))
    output = console()
    fleets = [row for row in rows if row["what"] == "fleet"]
    if fleets:
        output.print(fleet_table(fleets).to_rich(output))
    for line in sentences([row for row in rows if row["what"] != "fleet"]):
        output.print(line, highlight=False, soft_wrap=True)
    if _OUT.value:
        output.print(f"wrote {_OUT.value}", highlight=False)
    return 0


if __name__ == "__main__":
    run(main, "python -m benchmarks.accelerator", __doc__ or "")
