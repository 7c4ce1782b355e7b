"""Do intervals cover what they say?  Simulated banks whose truth is known, evaluated as all banks are.

python -m benchmarks.checks.coverage --out=results/bank/coverage.jsonl --figure=results/bank/coverage.png

Draws banks (`simulated_banks.py`), with and without leakage, and evaluates each with loss, LiRA and RMIA
online.  Counts how often 95% intervals cover the truth: of means over the targets of a bank, of differences
of two attacks, and of single targets' TPRs; by the method in use and by the one it replaced (t over
targets; Clopper-Pearson at the realised threshold).
"""

import itertools
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks import harness
from benchmarks.checks.simulated_banks import FPRS, PROCESSES, Process, Truth, draw, truths
from benchmarks.harness import Command, Flag, Layout, Row, where
from jleaks import json_lines
from jleaks.attacks.evaluate_bank import evaluate
from jleaks.attacks.references import assign
from jleaks.attacks.registry import ATTACKS as REGISTRY
from jleaks.attacks.registry import get_attacks
from jleaks.errors import InputError
from jleaks.files import replace_file
from jleaks.metrics.bank_metrics import BankMetrics
from jleaks.metrics.estimates import over_targets, tpr_over_records
from jleaks.metrics.intervals import Interval, clopper_pearson, paired_t_interval, t_interval
from jleaks.metrics.over_targets import mean_over_targets, paired_targets
from jleaks.report.figures import style
from jleaks.report.table import Table
from jleaks.training.execution import Execution
from jleaks.training.fleet import make_mesh
from launch.app import use_all_cores

COMMAND = Command(
    "benchmarks.checks.coverage",
    __doc__,
    ("num_banks", "num_models", "num_records", "truth_records", "truth_banks"),
    num_banks=Flag("Of each process.", 400, 2),
    num_models=Flag("Of every bank, even; all are targets.", 16, 6, even=True),
    num_records=Flag("Of every bank, even.", 4_000, 200, even=True),
    truth_records=Flag("Of the banks that truth is measured on, even.", 200_000, 1_000, even=True),
    truth_banks=Flag("Of those.", 5, 1),
    out=where("JSON lines to write."),
    figure=where("Figure to draw."),
)

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
) -> list[Row]:
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


_MEASURES = {
    "auc": "AUC",
    "balanced_accuracy": "Balanced accuracy",
    "precision": "Precision",
    "tpr_at_fpr_0.01": "TPR at 1% FPR",
    "tpr_at_fpr_0.001": "TPR at 0.1% FPR",
}
# What each of the quantities had before, what it has now, and how it is called.
_METHODS = {
    "mean over targets": ("t over targets", "records", "Mean over targets"),
    "difference": ("t over targets", "records", "Difference of attacks"),
    "one target": ("Clopper-Pearson at the realised threshold", "records, named FPR", "One target"),
}

_By = dict[tuple[str, str, str, str], dict[str, Row]]


def _title(attack: str) -> str:
    return " - ".join(REGISTRY[name].title for name in attack.split(" - "))


def _by_quantity(rows: Sequence[Row]) -> _By:
    """Returns rows by process, what, measure and attack, then by method, in the order of reports."""
    found: _By = {}
    for process in dict.fromkeys(r["process"] for r in rows):
        for what in _METHODS:
            for measure in _MEASURES:
                for r in rows:
                    if (r["process"], r["what"], r["measure"]) == (process, what, measure):
                        key = (process, what, measure, r["attack"])
                        found.setdefault(key, {})[r["method"]] = r
    return found


_LAYOUT = Layout(
    "How often 95% intervals cover the truth",
    "{banks} simulated banks of each process, {num_models} models and {num_records:,} records each, so "
    "that {others:,} non-members of a target allow so many at 1% and a tenth of that at 0.1%.  Truth and "
    "estimate: means over banks.  Before: t over targets, for one target Clopper-Pearson at the realised "
    "threshold.  Now: over records.  Width: median distance of the bounds.  A coverage of 0.95 has a "
    "standard error of {error:.3f}.",
    [
        ("Process", "{process}"),
        ("Of what", "{title}"),
        ("Measure", lambda line: _MEASURES[line["measure"]]),
        ("Attack", lambda line: _title(line["attack"])),
        ("Truth", "{new[truth]:.4f}"),
        ("Estimate", "{new[estimate]:.4f}"),
        ("Coverage\nbefore", "{old[coverage]:.3f}"),
        ("Width\nbefore", "{old[width]:.3f}"),
        ("Coverage\nnow", "{new[coverage]:.3f}"),
        ("Width\nnow", "{new[width]:.3f}"),
    ],
    num_text_columns=4,
    section="{process} {title}",
)  # fmt: skip


def coverage_table(rows: Sequence[Row]) -> Table:
    """Returns how often 95% intervals cover the truth, by the earlier method and by the one in use."""
    lines = []
    for (_, what, *_), by_method in _by_quantity(rows).items():
        old, new, title = _METHODS[what]
        lines.append(
            {**by_method[new], "title": title, "old": by_method[old], "new": by_method[new]}
        )
    first = rows[0]
    error = (0.95 * 0.05 / first["banks"]) ** 0.5
    return _LAYOUT.table(lines, others=first["num_records"] // 2, error=error)


def draw_coverage(rows: Sequence[Row]) -> Figure:
    """Draws the coverage of every quantity, before (hollow) and now (filled), a panel per process."""
    by = _by_quantity(rows)
    processes = list(dict.fromkeys(key[0] for key in by))
    lines = list(dict.fromkeys(key[1:3] for key in by))
    attacks = list(dict.fromkeys(key[3] for key in by))
    figure = style.new_figure(11.5, 1.9 + 0.42 * len(lines))
    panels = figure.subplots(1, len(processes), sharey=True, squeeze=False)[0]
    first = rows[0]
    noise = 2 * (0.95 * 0.05 / first["banks"]) ** 0.5
    for axes, process in zip(panels, processes, strict=True):
        axes.axvspan(0.95 - noise, min(1.0, 0.95 + noise), color="0.9", lw=0)
        axes.axvline(0.95, color="0.2", lw=1, ls=(0, (4, 3)))
        for (name, what, measure, attack), by_method in by.items():
            if name != process:
                continue
            # Attacks of one line stand close above each other.
            step = attacks.index(attack) % 3 - 1
            y = len(lines) - 1 - lines.index((what, measure)) - 0.2 * step
            colour = style.SERIES_COLOURS[attacks.index(attack) % len(style.SERIES_COLOURS)]
            old, new = (by_method[method]["coverage"] for method in _METHODS[what][:2])
            axes.plot([old, new], [y, y], color=colour, lw=0.8, alpha=0.5)
            axes.plot(old, y, "o", ms=5, mfc="white", mec=colour)
            axes.plot(new, y, "o", ms=5, color=colour)
        axes.set(xlim=(0, 1.02), xlabel="Share of intervals that cover the truth", title=process)
        axes.set_ylim(-0.6, len(lines) - 0.4)
        labels = [f"{_METHODS[what][2]}: {_MEASURES[measure]}" for what, measure in lines]
        axes.set_yticks(range(len(lines)), labels[::-1])
        axes.grid(True, axis="x", color="0.92", lw=0.8)
        style.clean_axes(axes)
    style.head_and_caption(
        figure,
        "How often 95% intervals cover the truth",
        f"{first['banks']} simulated banks of {first['num_models']} models and {first['num_records']:,} "
        "records.  Hollow: before (t over targets; for one target Clopper-Pearson at the realised "
        "threshold).  Filled: now (over records).  Dashed: 0.95; grey: two standard errors of so many "
        "banks.",
    )
    handles = [
        Line2D([], [], ls="none", marker="o", ms=6, label=_title(attack),
               color=style.SERIES_COLOURS[i % len(style.SERIES_COLOURS)])
        for i, attack in enumerate(attacks)
    ]  # fmt: skip
    style.legend_below_title(figure, handles)
    return figure


def main() -> int:
    models, records, large = COMMAND.num_models, COMMAND.num_records, COMMAND.truth_records
    if large < records:
        raise InputError(f"--truth_records is {large}, expected at least --num_records={records}")
    use_all_cores()
    mesh, before, tick = make_mesh(), harness.machine(), time.monotonic()
    rows: list[Row] = []
    for i, process in enumerate(PROCESSES):
        truth = truths(process, 1 + i, models, records, large, COMMAND.truth_banks)
        rows += measure(process, truth, COMMAND.num_banks, models, records, mesh, seed=i)
        print(f"{process.name}: {time.monotonic() - tick:.0f} s", flush=True)
    about = {"seconds": round(time.monotonic() - tick, 1), **COMMAND.about(before, Execution())}
    rows = [{**row, **about} for row in rows]
    if COMMAND.out:
        json_lines.write(COMMAND.out, rows)
    if COMMAND.figure:
        replace_file(Path(COMMAND.figure), style.png(draw_coverage(rows)))
        print(f"wrote {COMMAND.figure}")
    # Written as a whole already: rows of two runs are not one check.
    return COMMAND.finish([], coverage_table(rows))


if __name__ == "__main__":
    COMMAND.run(main)
