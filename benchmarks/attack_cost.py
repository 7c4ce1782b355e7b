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
from rich.console import Console

from benchmarks.harness import Command, Flag, where
from jleaks.attacks import score_files
from jleaks.attacks.bank import Bank
from jleaks.attacks.evaluate_bank import evaluate
from jleaks.attacks.options import published
from jleaks.attacks.references import assign, most_references
from jleaks.attacks.registry import Attack, get_attacks
from jleaks.attacks.requirements import lacking, missing
from jleaks.data.tasks import TASKS, get_task
from jleaks.errors import InputError
from jleaks.experiments import bank_results
from jleaks.experiments.engine import opened, rows_of
from jleaks.experiments.experiment import get_experiment
from jleaks.experiments.paper_plan import PRESETS, PaperPlan, make_plan
from jleaks.files import replace_file
from jleaks.report.bank_tables import cost_table
from jleaks.report.figures.cost import draw_cost
from jleaks.report.figures.style import png
from jleaks.report.report import report_experiment
from jleaks.rows import OF_EXPERIMENT, OF_SUMMARY, read_rows, write_rows
from jleaks.training import cost as training_cost
from jleaks.training import packing
from jleaks.training.execution import Execution
from jleaks.training.fleet import make_mesh
from jleaks.training.recipe import Recipe
from jleaks.training.reporter import Reporter, provenance
from launch.app import make_execution, use_all_cores
from launch.log import Log, console

COMMAND = Command(
    "benchmarks.attack_cost",
    __doc__,
    trains=True,
    banks=where("Files of launch.bank.", kind=list),
    tasks=Flag(f"Adversary 1 on some of {', '.join(TASKS)}.", kind=list),
    data_dir=where(
        "For --tasks: datasets prepared by launch.prepare; without it synthetic stand-ins."
    ),
    workdir=where("For --tasks: directory of the run.", "checkpoints/shadow_cost"),
    scale=Flag(
        "For --tasks: size of the parts and recipes, as in launch.paper.",
        "paper",
        kind=tuple(PRESETS),
    ),
    num_seeds=Flag("For --tasks: independent repetitions; default by scale.", kind=int),
    out_dir=where("Where to write TASK/cost.jsonl, cost.md and cost.png."),
    attacks=Flag(
        "Attacks that use references.",
        [
            *("lira_online", "rmia_online", "bavaria", "lira_offline"),
            *("rmia_offline", "bavaria_offline", "calibrated", "attack_r"),
        ],
    ),
    counts=Flag(
        "Numbers of shadows (default by scale) or references (default 1, 2, 4, ... and all).",
        kind=list,
    ),
)
# The paper's experiment on the number of shadow models, whose rows and figures those of --tasks are.
_EXPERIMENT = "E6"


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
    cost = training_cost.measure(learner, features, plan["num_candidates"] // 2)
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


def _counts(most: int | None = None) -> tuple[int, ...] | None:
    """Returns the numbers that --counts lists, ascending; None where it is not given."""
    texts = COMMAND.counts
    if not texts:
        return None
    if not all(text.isdigit() and 1 <= int(text) <= (most or int(text)) for text in texts):
        allowed = f"1 to {most}" if most else "numbers above 0"
        raise InputError(f"--counts is {','.join(texts)}, expected {allowed}")
    return tuple(sorted({int(text) for text in texts}))


def _shadow_plan() -> PaperPlan:
    tasks, counts = COMMAND.tasks, _counts()
    return make_plan(
        cast(Any, COMMAND.scale),
        tuple(TASKS) if tasks == ["all"] else tuple(tasks),
        cast(Any, "synthetic" if COMMAND.data_dir is None else "prepared"),
        COMMAND.num_seeds,
        changes={"shadow_counts": counts, "shadow_counts_mlp": counts} if counts else {},
    )


def _shadows(output: Console) -> int:
    """Measures adversary 1.

    The largest number of shadows of every draw is trained as one fleet and attacked with nested subsets.
    Writes one row per task, seed and number of shadows: precision, recall, AUC beside device seconds, wall
    seconds and FLOPs of training the shadows and device seconds of training the attack model; the table;
    figures with the knee marked.  The same call continues after a stop signal.
    """
    plan = _shadow_plan()
    use_all_cores()
    log, execution, workdir = Log(output), make_execution(), COMMAND.workdir
    folder = Path(workdir) / "shadow cost"
    path, data_dir = folder / "rows.jsonl", COMMAND.data_dir
    if path.exists():
        rows = read_rows(path, OF_EXPERIMENT)
    else:
        reporter = Reporter(log.line, log.progress)
        with opened(plan, execution, workdir, data_dir, None, COMMAND.text(), reporter) as context:
            curve = dataclasses.replace(get_experiment(_EXPERIMENT), tasks=plan.tasks)
            rows = rows_of(context, curve)
        write_rows(path, rows, OF_EXPERIMENT)
    for written in [path, *report_experiment(_EXPERIMENT, rows, folder)]:
        log.line(f"wrote {written}")
    output.print((folder / "table.md").read_text(), highlight=False)
    return 0


def main() -> int:
    if bool(COMMAND.banks) == bool(COMMAND.tasks):
        raise InputError("name either --tasks or --banks, see --help")
    output = console()
    if COMMAND.tasks:
        return _shadows(output)
    attacks = get_attacks(COMMAND.attacks)
    free = [attack.name for attack in attacks if attack.references == "none"]
    if free:
        raise InputError(f"{', '.join(free)} use no references")
    use_all_cores()
    for path in COMMAND.banks:
        bank = score_files.read(path)
        runnable = [attack for attack in attacks if missing(attack, bank) is None]
        most = most_references(bank)
        rows = measure(bank, runnable, list(_counts(most) or default_counts(most)))
        table = cost_table(rows)
        output.print(table.to_rich(output))
        if COMMAND.out_dir:
            folder = Path(COMMAND.out_dir) / rows[0]["task"]
            write_rows(folder / "cost.jsonl", rows, OF_SUMMARY)
            replace_file(folder / "cost.md", table.to_markdown().encode())
            replace_file(folder / "cost.png", png(draw_cost(table.title, rows)))
            output.print(f"wrote {folder}/cost.jsonl, .md, .png", highlight=False)
    return 0


if __name__ == "__main__":
    COMMAND.run(main)
