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
import math
import tempfile
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from benchmarks import harness
from benchmarks.harness import DATA_DIR, OUT, Command, Flag, Row
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
from jleaks.metrics.intervals import Interval, paired_t_interval
from jleaks.metrics.over_targets import OverTargets, paired_targets
from jleaks.models.registry import NETWORKS
from jleaks.report.numbers import few_mark, interval_text, notes
from jleaks.report.table import Cell, Table
from jleaks.training.execution import Execution
from jleaks.training.fleet import make_mesh
from jleaks.training.recipe import Recipe
from launch.app import make_execution, start

COMMAND = Command(
    "benchmarks.checks.precision",
    __doc__,
    ("tasks", "banks", "num_seeds", "num_models", "scale", "epochs"),
    trains=True,
    tasks=Flag("Targets and shadows of these.", ["location", "mnist"]),
    banks=Flag("Banks of these; or none.", ["location"]),
    precisions=Flag(
        "Compared with float32; also default, the backend's own.", ["tensorfloat32", "bfloat16"]
    ),
    num_seeds=Flag("Of every task.", 5, 2),
    num_models=Flag("Of every bank, even.", 32, 4, even=True),
    scale=Flag("Fraction of the paper's records of every task.", 0.04),
    epochs=Flag("Of every model.", 20, 1),
    attacks=Flag(
        "Run on every bank.", ["loss", "lira_offline", "rmia_offline", "lira_online", "rmia_online"]
    ),
    data_dir=DATA_DIR,
    out=OUT,
)

_ADVERSARY = ("precision", "recall", "auc")
_ACCURACY = ("train_accuracy", "test_accuracy")
_BANK = ("auc", "tpr_at_fpr_0.01", "tpr_at_fpr_0.001")


_OTHER_ORDER = "float32, other order"

# By (attack, metric): a value per seed or target of a bank, in the same order for every contender.
Values = dict[tuple[str, str], list[float | None] | OverTargets]


class Contender(NamedTuple):
    """One way to train the same models."""

    name: str
    recipe: Recipe
    execution: Execution


def contenders(formats: Sequence[str], recipe: Recipe, execution: Execution) -> list[Contender]:
    """Returns float32, float32 again, and the formats that are compared with it.

    Raises:
      InputError: there is no such format, or it is float32.
    """

    def contender(name: Any, how: Execution) -> Contender:
        return Contender(name, dataclasses.replace(recipe, precision=name), how)

    found = [contender("float32", execution)]
    if NETWORKS[recipe.model].splits:
        halves = dataclasses.replace(execution, records_per_block=-(-recipe.batch_size // 2))
        found.append(found[0]._replace(name=_OTHER_ORDER, execution=halves))
    # Host kernels do not serve narrow formats: with XLA's, blocks are chosen for them, too.
    plain = dataclasses.replace(execution, kernels="xla")
    for name in formats:
        new = contender(name, execution if name == "default" else plain)
        if problems := new.recipe.problems("model"):
            raise InputError("; ".join(problems))
        if name == "float32" or name in {c.name for c in found}:
            raise InputError(f"--precisions names {name}, which is compared with or named twice")
        found.append(new)
    return found


def compared(reference: Values, other: Values) -> list[Row]:
    """Returns, per metric, the mean of either and the paired difference, other minus reference.

    `intervals` says what the interval is over: seeds, or the records that a bank's targets share.
    """
    found = []
    for (attack, metric), values in reference.items():
        theirs = other[attack, metric]
        if isinstance(theirs, OverTargets) and isinstance(values, OverTargets):
            over, interval = "records", paired_targets(theirs, values).difference
            first, second = (np.asarray(v.values, np.float64) for v in (theirs, values))
        else:
            first, second = (np.asarray(v, np.float64) for v in (theirs, values))
            over, interval = "seeds", paired_t_interval(first, second).within(-1, 1)
        numbers = {
            "reference": np.nanmean(second),
            "mean": np.nanmean(first),
            "difference": interval.mean,
            "low": interval.low,
            "high": interval.high,
            "largest": np.nanmax(np.abs(first - second)),
        }
        rounded = {k: round(float(v), 6) if np.isfinite(v) else None for k, v in numbers.items()}
        about: Row = {"attack": attack, "metric": metric, "intervals": over}
        if isinstance(values, OverTargets):
            # In a bank of halves members and non-members are equally many.
            about["num_nonmembers"] = values.num_records
        found.append({**about, **rounded, "n": interval.n})
    return found


def _origin() -> Origin:
    return "synthetic" if COMMAND.data_dir is None else "prepared"


def sweep(task: str, contender: Contender, folder: str) -> tuple[Values, str]:
    """Trains targets and shadows of a task; returns a value per seed, and where the records come from."""
    plan = Plan(
        (task,),
        (COMMAND.num_seeds,),
        source=_origin(),
        scale=COMMAND.scale,
        target=contender.recipe,
        adversaries=(1,),
    )
    rows = main_job.run(plan, contender.execution, folder, COMMAND.data_dir)
    rows.sort(key=lambda row: row["seed"])
    found = [cast(Row, row) for row in rows]
    values: Values = {("target", name): [row[name] for row in found] for name in _ACCURACY}
    values |= {("adversary 1", name): [row[name] for row in found] for name in _ADVERSARY}
    return values, str(found[0]["source"])


def bank(task: str, contender: Contender, folder: str) -> tuple[Values, str]:
    """Trains and attacks a bank; returns values per model, and where the records come from."""
    source, recipe = _origin(), contender.recipe
    sizes = default_sizes(num_records(task, source, COMMAND.data_dir))
    plan = BankPlan(task, COMMAND.num_models, *sizes, source=source, recipe=recipe, num_queries=1)
    trained = bank_engine.train_bank(plan, contender.execution, folder, COMMAND.data_dir)
    attacks = get_attacks(COMMAND.attacks)
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


_CAPTION = """\
Means over {counts}.  ±: half-width of a 95% interval, t over seeds, over the shared records for targets \
of a bank, none for banks evaluated before intervals were over records; bold or * where it leaves out \
zero, which chance alone does once in twenty.  {other_order}: gradients added up in two halves.  Records: \
{sources}.  Epochs: {epochs}.  On {device}, commit {commit}."""


def _difference(r: Row | None) -> Cell:
    if r is None or r["difference"] is None:
        return Cell("-")
    # Earlier rows of banks have t intervals over targets, which are too narrow to be shown.
    known = r["low"] is not None and (r["part"] != "bank" or r.get("intervals") == "records")
    low, high = (r["low"], r["high"]) if known else (math.nan, math.nan)
    interval = Interval(r["difference"], low, high, math.nan, r["n"], "paired")
    mark = few_mark(r["metric"], r.get("num_nonmembers"))
    text = interval_text(interval, (r["n"], r["n"]), sign="+", digits=5, mark=mark)
    return Cell(text, marked=low > 0 or high < 0)


def difference_table(rows: Sequence[Row]) -> Table:
    """Returns the table of one run: a line per metric, a column per format."""
    names = list(dict.fromkeys(r["precision"] for r in rows))
    lines: dict[tuple[str, str, str], Row] = {}
    for r in rows:
        key = (f"{r['task']}, {r['part']}", r["attack"], r["metric"])
        lines.setdefault(key, {})[r["precision"]] = r
    body = []
    for key, by_name in lines.items():
        reference = next(iter(by_name.values()))["reference"]
        cells = [*key, "-" if reference is None else f"{reference:.4f}"]
        body.append((*map(Cell, cells), *(_difference(by_name.get(name)) for name in names)))
    most = {r["over"]: max(q["n"] for q in rows if q["over"] == r["over"]) for r in rows}
    caption = _CAPTION.format(
        **rows[0],
        counts=" or ".join(f"{n} {over}" for over, n in most.items()),
        other_order=_OTHER_ORDER,
        sources=", ".join(dict.fromkeys(r["source"] for r in rows)),
    )
    signs = notes([cell.text for row in body for cell in row])
    return Table.of(
        title="What narrower operands of products change: mean paired difference from float32",
        caption=f"{caption}  {signs}" if signs else caption,
        heads=("Task", "Attack", "Metric", "float32", *names),
        num_text_columns=3,
        rows=body,
    )


def main() -> int:
    parts: list[tuple[str, str, str, Any]] = [
        *(("main job", "seeds", get_task(name).name, sweep) for name in COMMAND.tasks),
        *(("bank", "targets of a bank", get_task(name).name, bank) for name in COMMAND.banks),
    ]
    if not parts:
        raise InputError("--tasks and --banks name nothing")
    get_attacks(COMMAND.attacks)
    recipe = Recipe(epochs=COMMAND.epochs)
    execution = make_execution()
    contenders(COMMAND.precisions, recipe, execution)
    execution, before = start(execution), harness.machine()
    rows: list[Row] = []
    for part, over, task, measure_fn in parts:
        reference: Values = {}
        of_task = dataclasses.replace(recipe, model=get_task(task).model)
        for contender in contenders(COMMAND.precisions, of_task, execution):
            tick = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                values, source = measure_fn(task, contender, folder)
            seconds = round(time.perf_counter() - tick, 2)
            print(f"{task}, {part}, {contender.name}: {seconds:.1f} s", flush=True)
            if not reference:
                reference = values
                continue
            first = {"benchmark": "precision", "part": part, "task": task, "source": source}
            first |= {"model": of_task.model, "precision": contender.name, "over": over}
            scale = COMMAND.scale if part == "main job" else None
            last = {"epochs": recipe.epochs, "scale": scale, "seconds": seconds}
            last |= COMMAND.about(before, contender.execution)
            rows += [{**first, **found, **last} for found in compared(reference, values)]
    return COMMAND.finish(rows, difference_table(rows))


if __name__ == "__main__":
    COMMAND.run(main)
