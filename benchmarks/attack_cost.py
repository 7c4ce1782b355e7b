"""What does another shadow or reference model bring?  Attacks against the number, and the cost, of them.

python -m benchmarks.attack_cost --tasks=location --counts=1,2,5,10,20,50,100 --workdir=checkpoints/cost
python -m benchmarks.attack_cost --banks=checkpoints/bank/location/bank.npz --out_dir=results/bank

With --tasks: adversary 1 of ML-Leaks, whose attack model learns from the answers of 1 to hundreds of shadow
models.  All shadows of a draw are trained as one fleet, smaller numbers are nested subsets of it.

With --banks: the attacks that compare a record with reference models.  A bank is trained once
(launch.bank); every model of it is the target of nested subsets of the others.

Device seconds: the fleet's training time times devices, per model, times models.  FLOPs: of all gradient
steps, as XLA counts them.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
from absl import flags
from rich.console import Console

from benchmarks.shadow_cost import shadow_cost
from jleaks.attacks import score_files
from jleaks.attacks.bank import Bank
from jleaks.attacks.evaluate_bank import evaluate, lacking, missing
from jleaks.attacks.options import published
from jleaks.attacks.references import assign, most_references
from jleaks.attacks.registry import Attack, get_attacks
from jleaks.data.tasks import TASKS, get_task
from jleaks.errors import InputError
from jleaks.experiments import bank_results
from jleaks.experiments.paper_plan import PRESETS, make_plan
from jleaks.files import replace_file
from jleaks.report.bank_tables import cost_table
from jleaks.report.figures.cost import draw_cost
from jleaks.report.figures.style import png
from jleaks.rows import OF_SUMMARY, write_rows
from jleaks.training import packing
from jleaks.training.execution import Execution
from jleaks.training.fleet import make_mesh
from jleaks.training.preemption import Preempted
from jleaks.training.recipe import Recipe
from jleaks.training.reporter import Reporter, provenance
from launch.execution import make_execution
from launch.flags import public_flags, run, use_all_cores
from launch.log import Log, console

_BANKS = flags.DEFINE_list("banks", None, "Files of launch.bank.", module_name="Where")
_TASKS = flags.DEFINE_list(
    "tasks",
    None,
    f"Adversary 1 on some of {', '.join(TASKS)}.",
    module_name="What is measured (defines the numbers)",
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "For --tasks: datasets prepared by launch.prepare; without it synthetic stand-ins.",
    module_name="Where",
)
_WORKDIR = flags.DEFINE_string(
    "workdir", "checkpoints/shadow_cost", "For --tasks: directory of the run.", module_name="Where"
)
_SCALE = flags.DEFINE_enum(
    "scale",
    "paper",
    list(PRESETS),
    "For --tasks: size of the parts and recipes, as in launch.paper.",
    module_name="What is measured (defines the numbers)",
)
_NUM_SEEDS = flags.DEFINE_integer(
    "num_seeds",
    None,
    "For --tasks: independent repetitions; default by scale.",
    module_name="What is measured (defines the numbers)",
)
_OUT = flags.DEFINE_string(
    "out_dir", None, "Where to write TASK/cost.jsonl, cost.md and cost.png.", module_name="Where"
)
_ATTACKS = flags.DEFINE_list(
    "attacks",
    [
        *("lira_online", "rmia_online", "bavaria", "lira_offline"),
        *("rmia_offline", "bavaria_offline", "calibrated", "attack_r"),
    ],
    "Attacks that use references.",
    module_name="What is measured (defines the numbers)",
)
_COUNTS = flags.DEFINE_list(
    "counts",
    None,
    "Numbers of shadows (default by scale) or references (default 1, 2, 4, ... and all).",
    module_name="What is measured (defines the numbers)",
)


def default_counts(most: int) -> list[int]:
    """Returns the powers of two below `most`, and `most`."""
    return [2**i for i in range(most.bit_length()) if 2**i < most] + [most]


def flops_per_model(bank: Bank) -> float | None:
    """Returns the FLOPs of training one model, or None for a bank from elsewhere."""
    plan = bank.meta.get("plan")
    if plan is None:
        return None
    task = get_task(plan["task"])
    known = {field.name for field in dataclasses.fields(Recipe)}
    fields = {name: value for name, value in plan["recipe"].items() if name in known}
    recipe = Recipe(**{**fields, "hidden": tuple(fields["hidden"])})
    learner = packing.make_learner(recipe, task.encoding, task.num_classes, Execution())
    features = jax.ShapeDtypeStruct(
        (plan["num_candidates"], *task.feature_shape), np.dtype(task.feature_dtype)
    )
    cost = packing.measure(learner, features, plan["num_candidates"] // 2)
    return cost.flops_per_epoch * recipe.epochs


def measure(bank: Bank, attacks: list[Attack], counts: list[int]) -> list[bank_results.Row]:
    """Returns one row per attack and number of references."""
    mesh = make_mesh()
    options = published(bank.meta.get("task", ""))
    seconds = bank.meta.get("seconds", {}).get("training", float("nan"))
    # Devices that trained the bank, as its device text says: "cpu x86_64 x2".
    devices = int(str(bank.meta.get("device", "x1")).rsplit("x", 1)[-1])
    per_model = seconds * devices / bank.num_models
    flops = flops_per_model(bank)
    rows = []
    for count in counts:
        references, shadows = assign(bank, count)
        possible = [a for a in attacks if lacking(a, bank, references) is None]
        if not possible:
            continue
        tick = time.monotonic()
        metrics = evaluate(bank, possible, references, shadows, mesh, options)
        wall = time.monotonic() - tick
        per_target = bank_results.attack_rows(bank, possible, metrics, references)
        about: dict[str, Any] = {
            "device_seconds": round(per_model * count, 3),
            "flops": None if flops is None else flops * count,
            "attack_wall_seconds": round(wall, 3),
            "trained_on": bank.meta.get("device"),
            **provenance(bank.meta.get("fingerprint"), Execution(), bank.format),
        }
        rows += bank_results.summarise(per_target, possible, metrics, about)
    return rows


def _shadows(tasks: list[str], output: Console) -> int:
    """Measures adversary 1."""
    changes = {}
    if _COUNTS.value:
        if not all(text.isdigit() and int(text) > 0 for text in _COUNTS.value):
            raise InputError(f"--counts is {','.join(_COUNTS.value)}, expected numbers above 0")
        counts = tuple(int(text) for text in _COUNTS.value)
        changes = {"shadow_counts": counts, "shadow_counts_mlp": counts}
    source = "synthetic" if _DATA_DIR.value is None else "prepared"
    plan = make_plan(
        cast(Any, _SCALE.value),
        tuple(TASKS) if tasks == ["all"] else tuple(tasks),
        cast(Any, source),
        _NUM_SEEDS.value,
        changes=changes,
    )
    use_all_cores()
    log = Log(output)
    command = f"python -m benchmarks.attack_cost {public_flags()}"
    try:
        _, paths = shadow_cost(
            plan,
            make_execution(),
            _WORKDIR.value,
            _DATA_DIR.value,
            command,
            Reporter(log.line, log.progress),
        )
    except Preempted as stopped:
        log.line(f"{stopped}; the same command continues")
        return 0
    for path in paths:
        log.line(f"wrote {path}")
    output.print((paths[0].parent / "table.md").read_text(), highlight=False)
    return 0


def main(_: list[str]) -> int:
    if bool(_BANKS.value) == bool(_TASKS.value):
        raise InputError("name either --tasks or --banks, see --help")
    if _TASKS.value:
        return _shadows(_TASKS.value, console())
    attacks = get_attacks(_ATTACKS.value)
    free = [attack.name for attack in attacks if attack.references == "none"]
    if free:
        raise InputError(f"{', '.join(free)} use no references")
    use_all_cores()
    output: Console = console()
    for path in _BANKS.value or []:
        bank = score_files.read(path)
        runnable = [attack for attack in attacks if missing(attack, bank) is None]
        most = most_references(bank)
        counts = default_counts(most)
        if _COUNTS.value:
            if not all(text.isdigit() and 1 <= int(text) <= most for text in _COUNTS.value):
                raise InputError(f"--counts is {','.join(_COUNTS.value)}, expected 1 to {most}")
            counts = sorted({int(text) for text in _COUNTS.value})
        rows = measure(bank, runnable, counts)
        table = cost_table(rows)
        output.print(table.to_rich(output))
        if _OUT.value:
            folder = Path(_OUT.value) / rows[0]["task"]
            write_rows(folder / "cost.jsonl", rows, OF_SUMMARY)
            replace_file(folder / "cost.md", table.to_markdown().encode())
            replace_file(folder / "cost.png", png(draw_cost(table.title, rows)))
            output.print(f"wrote {folder}/cost.jsonl, .md, .png", highlight=False)
    return 0


if __name__ == "__main__":
    run(main, "python -m benchmarks.attack_cost", __doc__ or "")
