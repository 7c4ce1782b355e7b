"""Do intervals cover what they say?  Simulated banks whose truth is known, evaluated as all banks are.

python -m benchmarks.coverage --out=results/bank/coverage.jsonl --figure=results/bank/coverage.png

Draws banks (`benchmarks/coverage_banks.py`), with and without leakage, and evaluates each with loss, LiRA
and RMIA online.  Counts how often 95% intervals cover the truth: of means over the targets of a bank, of
differences of two attacks, and of single targets' TPRs; by the method in use and by the one it replaced (t
over targets; Clopper-Pearson at the realised threshold).
"""

import itertools
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from jax.sharding import Mesh

from benchmarks.coverage_banks import ATTACKS, FPRS, PROCESSES, Process, Truth, draw, truths
from benchmarks.coverage_table import coverage_table, draw_coverage
from benchmarks.rows import WHAT, WHERE, command, machine
from jleaks import json_lines
from jleaks.attacks.evaluate_bank import evaluate
from jleaks.attacks.references import assign
from jleaks.attacks.registry import get_attacks
from jleaks.errors import InputError
from jleaks.files import replace_file
from jleaks.metrics.bank_metrics import BankMetrics
from jleaks.metrics.estimates import over_targets, tpr_over_records
from jleaks.metrics.intervals import (
    Interval,
    clopper_pearson,
    paired_t_interval,
    t_interval,
)
from jleaks.metrics.resampling import mean_over_targets, paired_targets
from jleaks.report.figures.style import png
from jleaks.training.execution import Execution
from jleaks.training.fleet import make_mesh
from jleaks.training.reporter import provenance
from launch.flags import run, use_all_cores
from launch.log import console

_BANKS = flags.DEFINE_integer("num_banks", 400, "Of each process.", lower_bound=2, **WHAT)
_MODELS = flags.DEFINE_integer(
    "num_models", 16, "Of every bank, even; all are targets.", lower_bound=6, **WHAT
)
_RECORDS = flags.DEFINE_integer(
    "num_records", 4_000, "Of every bank, even.", lower_bound=200, **WHAT
)
_LARGE = flags.DEFINE_integer(
    "truth_records", 200_000, "Of the banks that truth is measured on.", lower_bound=1_000, **WHAT
)
_REPETITIONS = flags.DEFINE_integer("truth_banks", 5, "Of those.", lower_bound=1, **WHAT)
_OUT = flags.DEFINE_string("out", None, "JSON lines to write.", **WHERE)
_FIGURE = flags.DEFINE_string("figure", None, "Figure to draw.", **WHERE)

_COMPARED = ("auc", *(f"tpr_at_fpr_{fpr}" for fpr in FPRS))
# At given thresholds, of the loss alone: the scores of LiRA and RMIA move with what the rest of their bank
# happens to be (the variance of all records, the records compared with), and a threshold with them, so that
# fresh records of another bank say nothing of its rates.
_THRESHOLDED = ("balanced_accuracy", "precision")


class Key(NamedTuple):
    """What is covered, and by which interval.

    Attributes:
      what: "mean over targets", "difference" or "one target".
      attack: Its name, or "first - second".
      measure: As rows name it.
      method: Of the interval.
    """

    what: str
    attack: str
    measure: str
    method: str


class Trial(NamedTuple):
    """One interval and the truth it should cover."""

    interval: Interval
    truth: float


def _true(truth: Truth, measure: str) -> float:
    return dict(zip(_COMPARED, (truth.auc, *truth.tpr), strict=True))[measure]


def _true_mean(truth: Truth, measure: str, metrics: BankMetrics, a: int) -> float:
    """What a mean over targets would be on fresh records, at the thresholds that the bank has."""
    if measure in _COMPARED:
        return _true(truth, measure)
    recall, fallout = truth.rates(np.asarray(metrics.threshold, np.float64)[a])
    if measure == "balanced_accuracy":
        return float((recall + 1 - fallout).mean() / 2)
    p, n = (np.asarray(part)[a] for part in (metrics.positives, metrics.negatives))
    called = recall * p + fallout * n
    return float((recall * p / called)[called > 0].mean())


def trials(
    metrics: BankMetrics, truth: dict[str, Truth], names: tuple[str, ...]
) -> Iterable[tuple[Key, Trial]]:
    """Returns every interval of one evaluated bank, with what it should cover."""
    estimates = [over_targets(metrics, a) for a in range(len(names))]
    for a, name in enumerate(names):
        for measure in (*_COMPARED, *(_THRESHOLDED if name == "loss" else ())):
            true = _true_mean(truth[name], measure, metrics, a)
            estimate = estimates[a][measure]
            for method, interval in (
                ("t over targets", t_interval(estimate.values)),
                ("records", mean_over_targets(estimate)),
            ):
                yield Key("mean over targets", name, measure, method), Trial(interval, true)
        for f, fpr in enumerate(FPRS):
            measure = f"tpr_at_fpr_{fpr}"
            true = _true(truth[name], measure)
            for target, k in enumerate(np.asarray(metrics.tp)[a, :, f]):
                realised = clopper_pearson(int(k), int(np.asarray(metrics.positives)[a, target]))
                named = tpr_over_records(metrics, a, target, f)
                key = Key("one target", name, measure, "Clopper-Pearson at the realised threshold")
                yield key, Trial(realised, true)
                yield key._replace(method="records, named FPR"), Trial(named, true)
    for (a, first), (b, second) in itertools.combinations(enumerate(names), 2):
        for measure in _COMPARED:
            true = _true(truth[first], measure) - _true(truth[second], measure)
            one, other = estimates[a][measure], estimates[b][measure]
            key = Key("difference", f"{first} - {second}", measure, "t over targets")
            yield key, Trial(paired_t_interval(one.values, other.values), true)
            yield key._replace(method="records"), Trial(paired_targets(one, other).difference, true)


def measure(
    process: Process,
    truth: dict[str, Truth],
    num_banks: int,
    num_models: int,
    num_records: int,
    mesh: Mesh,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Returns one row per quantity and method: how often its intervals cover the truth.

    Fields: process; what, attack, measure, method, as in `Key`; truth and estimate, means over banks;
    coverage with its standard_error over banks; below and above, how often the truth lies on either side
    of the interval; width, the median; banks, num_models, num_records.
    """
    names = tuple(truth)
    attacks = get_attacks(list(names))
    # Registry order.
    names = tuple(attack.name for attack in attacks)
    rng = np.random.default_rng([seed, num_models, num_records])
    found: dict[Key, list[np.ndarray]] = {}
    for _ in range(num_banks):
        bank = draw(process, rng, num_models, num_records)
        references, shadows = assign(bank)
        metrics = evaluate(bank, attacks, references, shadows, mesh)
        mine: dict[Key, list[tuple[float, ...]]] = {}
        for key, (interval, true) in trials(metrics, truth, names):
            below, above = true < interval.low, true > interval.high
            numbers = (true, interval.mean, below, above, interval.high - interval.low)
            mine.setdefault(key, []).append(numbers)
        for key, several in mine.items():
            # Of single targets a bank has several, which are not independent.
            found.setdefault(key, []).append(np.mean(several, axis=0))
    rows = []
    for key, banks in found.items():
        true, mean, below, above, width = np.array(banks).T
        missed = below + above
        rows.append(
            {
                "benchmark": "coverage",
                "process": process.name,
                **key._asdict(),
                "truth": round(float(true.mean()), 6),
                "estimate": round(float(mean.mean()), 6),
                "coverage": round(float(1 - missed.mean()), 5),
                "standard_error": round(float(missed.std(ddof=1) / np.sqrt(len(missed))), 5),
                "below": round(float(below.mean()), 5),
                "above": round(float(above.mean()), 5),
                "width": round(float(np.median(width)), 6),
                "banks": num_banks,
                "num_models": num_models,
                "num_records": num_records,
            }
        )
    return rows


def main(_: list[str]) -> int:
    for flag in (_MODELS, _RECORDS, _LARGE):
        if flag.value % 2:
            raise InputError(
                f"--{flag.name} is {flag.value}, expected even: models come in twins on halves"
            )
    if _LARGE.value < _RECORDS.value:
        raise InputError(
            f"--truth_records is {_LARGE.value}, expected at least --num_records={_RECORDS.value}"
        )
    use_all_cores()
    mesh, before, tick, rows = make_mesh(), machine(), time.monotonic(), []
    sizes = (_BANKS, _MODELS, _RECORDS, _LARGE, _REPETITIONS)
    about = {**before, **provenance("", Execution())}
    # Of a plan; there is none.
    del about["fingerprint"]
    for i, process in enumerate(PROCESSES):
        large = _LARGE.value, _REPETITIONS.value
        truth = truths(process, 1 + i, _MODELS.value, _RECORDS.value, *large, ATTACKS)
        rows += measure(process, truth, _BANKS.value, _MODELS.value, _RECORDS.value, mesh, seed=i)
        print(f"{process.name}: {time.monotonic() - tick:.0f} s", flush=True)
    seconds = round(time.monotonic() - tick, 1)
    shown = {"seconds": seconds, "command": command("benchmarks.coverage", sizes)}
    rows = [{**row, **shown, **about} for row in rows]
    output = console()
    output.print(coverage_table(rows).to_rich(output))
    if _OUT.value:
        json_lines.write(_OUT.value, rows)
        output.print(f"wrote {_OUT.value}", highlight=False)
    if _FIGURE.value:
        replace_file(Path(_FIGURE.value), png(draw_coverage(rows)))
        output.print(f"wrote {_FIGURE.value}", highlight=False)
    return 0


if __name__ == "__main__":
    run(main, "python -m benchmarks.coverage", __doc__ or "")
