"""Do narrower formats of products change what attacks find?  The same seeds in each format, in pairs.

python -m benchmarks.checks.precision --out=results/speed/precision.jsonl
python -m benchmarks.checks.precision --data_dir=data --scale=0.1 --out=results/speed/precision.jsonl

Trains targets and shadows of every task, and a bank, once per format: same records, same random start, same
batches.  Prints, per metric, its mean in float32 and the mean paired difference of every other format, with
a 95% interval: t over seeds (targets' accuracy, adversary 1), or over the records that the targets of the
bank share (models' accuracy, attacks).  "float32, other order" is float32 again with every batch's gradient
added up in two halves: what differs there is chaos, which any other rounding sets off, and the measure of
the others.
"""

import dataclasses
import tempfile
import time
from typing import Any, cast

import numpy as np
from absl import flags

from benchmarks.checks.precision_pairs import (
    Contender,
    Values,
    compared,
    contenders,
    difference_table,
)
from benchmarks.harness import WHAT, WHERE, append, command, machine
from jleaks.attacks.evaluate_bank import evaluate
from jleaks.attacks.options import published
from jleaks.attacks.references import assign
from jleaks.attacks.registry import get_attacks
from jleaks.data.origin import Origin, num_records
from jleaks.data.tasks import get_task
from jleaks.errors import InputError
from jleaks.experiments import bank as bank_engine
from jleaks.experiments import sweep as main_job
from jleaks.experiments.bank_plan import BankPlan, default_sizes
from jleaks.experiments.plan import Plan
from jleaks.metrics.estimates import over_targets
from jleaks.metrics.resampling import OverTargets
from jleaks.training.fleet import make_mesh
from jleaks.training.recipe import Recipe
from jleaks.training.reporter import provenance
from launch.execution import make_execution, start
from launch.flags import run
from launch.log import console

_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Datasets prepared by launch.prepare; without it the synthetic stand-ins are used.",
    **WHERE,
)
_OUT = flags.DEFINE_string("out", None, "JSON lines to append to.", **WHERE)
_TASKS = flags.DEFINE_list("tasks", ["location", "mnist"], "Targets and shadows of these.", **WHAT)
_BANKS = flags.DEFINE_list("banks", ["location"], "Banks of these; or none.", **WHAT)
_FORMATS = flags.DEFINE_list(
    "precisions",
    ["tensorfloat32", "bfloat16"],
    "Compared with float32; also default, the backend's own.",
    **WHAT,
)
_SEEDS = flags.DEFINE_integer("num_seeds", 5, "Of every task.", lower_bound=2, **WHAT)
_MODELS = flags.DEFINE_integer("num_models", 32, "Of every bank, even.", lower_bound=4, **WHAT)
_SCALE = flags.DEFINE_float("scale", 0.04, "Fraction of the paper's records of every task.", **WHAT)
_EPOCHS = flags.DEFINE_integer("epochs", 20, "Of every model.", lower_bound=1, **WHAT)
_ATTACKS = flags.DEFINE_list(
    "attacks",
    ["loss", "lira_offline", "rmia_offline", "lira_online", "rmia_online"],
    "Run on every bank.",
    **WHAT,
)

_ADVERSARY = ("precision", "recall", "auc")
_ACCURACY = ("train_accuracy", "test_accuracy")
_BANK = ("auc", "tpr_at_fpr_0.01", "tpr_at_fpr_0.001")


def sweep(task: str, contender: Contender, folder: str) -> tuple[Values, str]:
    """Trains targets and shadows of a task; returns a value per seed, and where the records come from."""
    source: Origin = "synthetic" if _DATA_DIR.value is None else "prepared"
    plan = Plan(
        (task,),
        (_SEEDS.value,),
        source=source,
        scale=_SCALE.value,
        target=contender.recipe,
        adversaries=(1,),
    )
    rows = main_job.run(plan, contender.execution, folder, _DATA_DIR.value)
    rows.sort(key=lambda row: row["seed"])
    found = [cast(dict[str, Any], row) for row in rows]
    values: Values = {("target", name): [row[name] for row in found] for name in _ACCURACY}
    values |= {("adversary 1", name): [row[name] for row in found] for name in _ADVERSARY}
    return values, str(found[0]["source"])


def bank(task: str, contender: Contender, folder: str) -> tuple[Values, str]:
    """Trains and attacks a bank; returns values per model, and where the records come from."""
    source: Origin = "synthetic" if _DATA_DIR.value is None else "prepared"
    sizes = default_sizes(num_records(task, source, _DATA_DIR.value))
    plan = BankPlan(
        task,
        _MODELS.value,
        *sizes,
        source=source,
        recipe=contender.recipe,
        num_queries=1,
    )
    trained = bank_engine.train_bank(plan, contender.execution, folder, _DATA_DIR.value)
    attacks = get_attacks(_ATTACKS.value)
    references, shadows = assign(trained)
    metrics = evaluate(trained, attacks, references, shadows, make_mesh(), published(task))
    values: Values = {}
    if trained.correct is not None:
        correct, audited = trained.correct[0], ~trained.population
        for name, asked in zip(_ACCURACY, (trained.member, ~trained.member & audited), strict=True):
            sizes = asked.sum(1)
            shares = (correct & asked).sum(1) / sizes
            apart = np.where(asked, correct - shares[:, None], 0) / sizes[:, None]
            values["model", name] = OverTargets(shares, apart.mean(0), int(sizes.min()))
    for a, attack in enumerate(attacks):
        found = over_targets(metrics, a)
        values |= {(attack.name, metric): found[metric] for metric in _BANK}
    return values, str(trained.meta["source"])


def main(_: list[str]) -> int:
    if _MODELS.value % 2:
        raise InputError(f"--num_models is {_MODELS.value}, expected even: models come in twins")
    parts: list[tuple[str, str, str, Any]] = [
        *(("main job", "seeds", get_task(name).name, sweep) for name in _TASKS.value),
        *(("bank", "targets of a bank", get_task(name).name, bank) for name in _BANKS.value),
    ]
    if not parts:
        raise InputError("--tasks and --banks name nothing")
    get_attacks(_ATTACKS.value)
    recipe = Recipe(epochs=_EPOCHS.value)
    execution = make_execution()
    contenders(_FORMATS.value, recipe, execution)
    execution, before, rows = start(execution), machine(), []
    shown = command(
        "benchmarks.checks.precision", (_TASKS, _BANKS, _SEEDS, _MODELS, _SCALE, _EPOCHS)
    )
    for part, over, task, measure_fn in parts:
        reference: Values = {}
        of_task = dataclasses.replace(recipe, model=get_task(task).model)
        for contender in contenders(_FORMATS.value, of_task, execution):
            tick = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                values, source = measure_fn(task, contender, folder)
            seconds = round(time.perf_counter() - tick, 2)
            print(f"{task}, {part}, {contender.name}: {seconds:.1f} s", flush=True)
            if not reference:
                reference = values
                continue
            about = provenance(None, contender.execution)
            rows += [
                {
                    "benchmark": "precision",
                    "part": part,
                    "task": task,
                    "source": source,
                    "model": of_task.model,
                    "precision": contender.name,
                    "over": over,
                    **found,
                    "epochs": recipe.epochs,
                    "scale": _SCALE.value if part == "main job" else None,
                    "seconds": seconds,
                    "command": shown,
                    **before,
                    **about,
                }
                for found in compared(reference, values)
            ]
    output = console()
    output.print(difference_table(rows).to_rich(output))
    append(_OUT.value, rows)
    if _OUT.value:
        output.print(f"wrote {_OUT.value}", highlight=False)
    return 0


if __name__ == "__main__":
    run(main, "python -m benchmarks.checks.precision", __doc__ or "")
