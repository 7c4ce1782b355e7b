"""Tables of attacks on banks of models, of what references cost, and of audits."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from jleaks.attacks.registry import ATTACKS
from jleaks.experiments.bank_results import COMPARED, OVER
from jleaks.metrics.bank_metrics import FPRS
from jleaks.metrics.intervals import Interval
from jleaks.report.columns import COLUMNS
from jleaks.report.numbers import (
    FEW_NOTE,
    UNDEFINED,
    collapsed_note,
    estimate,
    few_mark,
    interval_text,
    notes,
)
from jleaks.report.owner_tables import alike_table, triage_table, usage_table
from jleaks.report.table import Cell, Table

Rows = Sequence[Mapping[str, Any]]

_GROUPS = {
    "none": "no reference model",
    "out": "references that did not train on the record",
    "proxies and out": "references that did not, and what others say of proxies",
    "in and out": "references that did and did not",
}
_METRICS = (
    *("auc", "balanced_accuracy", "precision", "recall"),
    *("tpr_at_fpr_0.01", "tpr_at_fpr_0.001", "tpr_at_fpr_0.0001"),
)
_COST_METRICS = ("auc", "tpr_at_fpr_0.001")

_AUDITED = ("precision", "recall", "accuracy", "auc", "tpr_at_fpr_0.01", "tpr_at_fpr_0.001")

# The knee: the fewest references that reach this share of what the most references reach.
KNEE_SHARE = 0.95
KNEE_NOTE = (
    f"the knee, the fewest from which on the mean stays at {KNEE_SHARE:.0%} of its final value"
)

# What an interval over a bank's targets is.
RECORDS_NOTE = (
    "± is the 95% interval over records, which all targets share; models, references among them, are "
    "taken as they are."
)

# The largest of these are marked in each group.
_MARKED = tuple(m for m in _METRICS if m not in ("precision", "recall"))


def _interval(value: dict[str, Any], is_over_records: bool) -> Interval:
    """A metric of a summary as an interval, without bounds where these are not over records."""
    found = estimate(value, OVER)
    return found if is_over_records else dataclasses.replace(found, low=math.nan, high=math.nan)


def number(row: Mapping[str, Any], metric: str) -> str:
    """Returns a metric of a summary's row: "0.864±.002", "0.138†±.017", "-" where nothing is defined.

    Bounds that earlier versions took over targets, several times too narrow, are not shown.
    """
    value, mark = row[metric], few_mark(metric, row["num_nonmembers"])
    of = value["n"], row["num_targets"]
    return interval_text(_interval(value, row.get("intervals") == OVER), of, mark=mark)


def interval_note(rows: Rows) -> str:
    """Returns the sentence that says what ± is in a table of summaries."""
    if all(row.get("intervals") == OVER for row in rows):
        return RECORDS_NOTE
    return "No ±: evaluated before intervals were over records, by the attacks of then."


def _cell(row: Mapping[str, Any], metric: str, best: float | None) -> Cell:
    return Cell(number(row, metric), best is not None and row[metric]["mean"] == best)


def _heads(columns: Sequence[str]) -> list[str]:
    return [COLUMNS[name].head or COLUMNS[name].title for name in columns]


def _largest(summary: Rows, group: str, metric: str) -> float | None:
    values = [row[metric]["mean"] for row in summary if row["needs"] == group]
    return max((value for value in values if value is not None), default=None)


def _signs(rows: Sequence[Sequence[Cell]], num_names: int) -> str:
    """Returns the sentences on the signs in a table's numbers, with what an interval is at a marked TPR."""
    found = notes([cell.text for row in rows for cell in row[num_names:]])
    if FEW_NOTE in found:
        found += " Its interval reaches down to an estimate without that bias."
    return f"{found}  " if found else ""


def bank_title(first: Mapping[str, Any]) -> str:
    """Returns the task of a bank with the source of its records, from any of its rows."""
    source = {"real": "", "scores": ", from a score file"}.get(
        first["source"], f" ({first['source']})"
    )
    return f"{first['task']}{source}"


def bank_table(summary: Rows) -> Table:
    """Returns the table of one bank's summary (see `jleaks.experiments.bank_results.summarise`).

    The largest mean AUC, balanced accuracy and TPRs of each group are marked.
    """
    best = {(g, m): _largest(summary, g, m) for g in _GROUPS for m in _MARKED}
    needs = [row["needs"] for row in summary]
    body = [
        (
            Cell(ATTACKS[row["attack"]].title),
            Cell(str(row["num_references"]) if row["num_references"] else "-"),
            Cell("yes" if row["labels"] else "no"),
            Cell(row["queries"]),
            *(_cell(row, m, best.get((row["needs"], m))) for m in _METRICS),
        )
        for row in summary
    ]
    first = summary[0]
    # Proxies are told of where an attack asks for them: rows of earlier versions do not.
    there = {"none", "out", "in and out", *needs}
    groups = [text for name, text in _GROUPS.items() if name in there]
    realised = ", ".join(
        f"{max(r[f'fpr_realised_{fpr}']['mean'] or 0 for r in summary):.5f} at {fpr * 100:g}%"
        for fpr in FPRS
    )
    caption = (
        f"Means over {first['num_targets']} targets of this one bank of {first['num_models']} models; "
        f"{first['num_members']:,.0f} members and {first['num_nonmembers']:,.0f} non-members each.  "
        f"{interval_note(summary)}  {_signs(body, 4)}Precision, recall and balanced accuracy at the "
        "threshold chosen on a shadow model.  Largest realised FPR (mean over targets): "
        f"{realised}.  Rules separate what the attacker has: {'; '.join(groups)}.  Marked: "
        "the largest of each group."
    )
    return Table.of(
        title=f"{bank_title(first)}: every attack on every model",
        caption=caption,
        heads=("Attack", "Refs", "Labels", "Queries", *_heads(_METRICS)),
        num_text_columns=4,
        rows=body,
        section_ends=(i for i, (a, b) in enumerate(itertools.pairwise(needs)) if a != b),
    )


def bank_tables(
    summary: Rows,
    comparisons: Rows = (),
    audits: Rows = (),
    usage: Rows = (),
    risks: Rows = (),
    orders: Rows = (),
) -> list[Table]:
    """Returns all tables of what launch.attack finds of a bank, those without rows left out."""
    found = [bank_table(summary)]
    found += [comparison_table(comparisons)] if comparisons else []
    found += [epsilon_table(audits)] if audits else []
    # Rows of earlier commits have no intervals.
    found += [records_table(audits)] if audits and audits[0].get("auc") else []
    found += [usage_table(usage)] if usage else []
    found += [triage_table(risks)] if risks else []
    found += [alike_table(orders)] if orders else []
    return found


def comparison_table(rows: Rows) -> Table:
    """Returns pairs of attacks compared on the same targets (see `bank_results.compare`)."""
    heads, body = ["First", "Second"], []
    for metric in COMPARED:
        heads += [f"{COLUMNS[metric].title}\nfirst - second", "First\nahead"]
    for row in rows:
        cells = [Cell(ATTACKS[row[name]].title) for name in ("attack", "minus")]
        for metric in COMPARED:
            value, mark = row[metric], few_mark(metric, row["num_nonmembers"])
            interval, n = estimate(value, OVER), value["n"]
            text = interval_text(interval, (n, n), sign="+", digits=4, mark=mark)
            # Marked where the interval leaves out zero.
            apart = interval.low > 0 or interval.high < 0
            cells += [Cell(text, apart), Cell(f"{value['ahead']}/{n}")]
        body.append(tuple(cells))
    return Table.of(
        title=f"{rows[0]['task']}: attacks compared on the same targets",
        caption=f"Mean difference over targets.  {RECORDS_NOTE}  {_signs(body, 2)}Marked where it leaves "
        "out zero; and on how many targets the first is ahead.",
        heads=heads,
        num_text_columns=2,
        rows=body,
    )


def epsilon_table(rows: Rows) -> Table:
    """Returns the bounds on epsilon (see `jleaks.experiments.bank_audits.audit`), spread over targets."""
    body = []
    for attack in dict.fromkeys(r["attack"] for r in rows):
        mine = [r for r in rows if r["attack"] == attack]
        for title, field in (
            ("over thresholds", "epsilon_thresholds"),
            ("one run", "epsilon_one_run"),
            ("mu over thresholds", "mu_thresholds"),
            ("mu, one run", "mu_one_run"),
        ):
            if field not in mine[0]:
                # Rows of earlier versions have no bounds on mu.
                continue
            body.append((ATTACKS[attack].title, title, *_bounds(mine, field)))
    first = rows[0]
    mu = (
        "Mu: of Gaussian differential privacy, likewise (one run: Mahloujifar et al. 2025).  "
        if "mu_one_run" in first
        else ""
    )
    return Table.of(
        title=f"{first['task']}: lower bounds on epsilon at delta {first['delta']:g}",
        caption=f"Each target's bound holds with {first['confidence']:.0%} confidence; the largest of many "
        "does not.  Over thresholds: Clopper-Pearson with Bonferroni's correction; takes every record's "
        "answer for an independent trial, which after one training run is a model of the data, not a "
        "theorem.  One run: Steinke et al. 2023, members and non-members matched in pairs; takes for "
        "granted only that members were drawn at random and that scores depend on who is one through "
        f"the target alone.  {mu}Neighbours replace one record.  Marked: at the ceiling, the largest bound "
        "that so many records could give, whatever the attack; the true epsilon may be any larger.",
        heads=(
            *("Attack", "Bound", "Least target", "Median target", "Largest target", "Above 0"),
            *("Ceiling", "At the\nceiling"),
        ),
        num_text_columns=2,
        rows=body,
    )


def _bounds(rows: Rows, field: str) -> list[Cell | str]:
    """Returns least, median and largest bound, how many are above 0, the ceiling, how many are at it."""
    mine = sorted(rows, key=lambda r: r[field])
    values = np.array([r[field] for r in mine])
    # Rows of earlier commits know no ceiling.
    ceilings = np.array([r.get(f"{field}_ceiling", np.inf) for r in mine])
    at_it = values >= ceilings
    middle = [(len(mine) - 1) // 2, len(mine) // 2]
    places = ([0], middle, [-1])
    cells = [Cell(f"{np.mean(values[at]):.3f}", bool(at_it[at].all())) for at in places]
    counts = [f"{int(found.sum())}/{len(mine)}" for found in (values > 0, at_it)]
    ends = sorted({f"{ceilings.min():.3f}", f"{ceilings.max():.3f}"})
    known = bool(np.isfinite(ceilings).all())
    told = (" to ".join(ends), counts[1]) if known else (UNDEFINED, UNDEFINED)
    return [*cells, counts[0], *told]


def records_table(rows: Rows) -> Table:
    """Returns the AUC of single targets with its interval over records."""
    body = []
    for attack in dict.fromkeys(r["attack"] for r in rows):
        mine = sorted((r for r in rows if r["attack"] == attack), key=lambda r: r["auc"]["mean"])
        for title, r in (
            ("least", mine[0]),
            ("median", mine[(len(mine) - 1) // 2]),
            ("largest", mine[-1]),
        ):
            cells = [f"{r['auc'][name]:.4f}" for name in ("mean", "low", "high")]
            body.append((ATTACKS[attack].title, title, str(r["target"]), *cells))
    first = rows[0]
    return Table.of(
        title=f"{first['task']}: AUC of single targets",
        caption=f"{first['confidence']:.0%} over the records of each target{_by_resampling(first)}, "
        "given the target and its references.",
        heads=("Attack", "AUC of all targets", "Target", "AUC", "Low", "High"),
        num_text_columns=2,
        rows=body,
    )


def _by_resampling(row: Mapping[str, Any]) -> str:
    """Returns how rows of earlier versions came to their intervals."""
    count = row.get("num_resamples")
    return (
        f" by a percentile bootstrap, {count} resamples, members and non-members apart"
        if count
        else ""
    )


def knee(curve: Sequence[tuple[int, float]]) -> int:
    """Returns the fewest references from which on an attack keeps 95% of its final value.

    Args:
      curve: (references, value) in rising order of references.
    """
    enough = KNEE_SHARE * curve[-1][1]
    found = curve[-1][0]
    for count, value in reversed(curve):
        if value < enough:
            break
        found = count
    return found


def curve(rows: Rows, attack: str, metric: str) -> list[tuple[int, float]]:
    """Returns one attack's (references, mean) pairs in rising order."""
    mine = [r for r in rows if r["attack"] == attack]
    return sorted((r["num_references"], r[metric]["mean"]) for r in mine)


def cost_table(rows: Rows) -> Table:
    """Returns AUC and TPR at 0.1% FPR per attack and number of references, knees marked."""
    attacks = list(dict.fromkeys(r["attack"] for r in rows))
    counts = sorted({r["num_references"] for r in rows})
    by = {(r["attack"], r["num_references"]): r for r in rows}
    body: list[tuple[Cell, ...]] = []
    for metric in _COST_METRICS:
        for attack in attacks:
            at = knee(curve(rows, attack, metric))
            cells = [Cell(number(by[attack, n], metric), n == at) for n in counts]
            body.append((Cell(COLUMNS[metric].title), Cell(attack), *cells))
    first = {r["num_references"]: r for r in rows}
    cost = [Cell(f"{first[n]['device_seconds']:.1f}") for n in counts]
    body.append((Cell("Device seconds"), Cell("all references"), *cost))
    if first[counts[0]]["flops"] is not None:
        cost = [Cell(f"{first[n]['flops'] / 1e12:.3g}") for n in counts]
        body.append((Cell("TFLOP"), Cell("all references"), *cost))
    signs = notes([cell.text for row in body for cell in row[2:]])
    return Table.of(
        title=f"{rows[0]['task']}: attacks against the number of references",
        caption=f"Means over {rows[0]['num_targets']} targets; nested subsets of one bank.  "
        f"{interval_note(rows)}  {signs + '  ' if signs else ''}Marked: {KNEE_NOTE}.",
        heads=("Metric", "Attack", *(str(n) for n in counts)),
        num_text_columns=2,
        rows=body,
        section_ends=(len(attacks) - 1, 2 * len(attacks) - 1),
        compact=True,
    )


def audit_table(rows: Rows, remarks: Sequence[str] = ()) -> Table:
    """Returns the table of what `jleaks.auditing.adversaries.attack_answers` found.

    Args:
      rows: Of any targets.
      remarks: Sentences to put below it.
    """
    body = []
    for row in rows:
        by = row["attack"]
        if row["adversary"] is None:
            by = f"{ATTACKS[by].title.lower()}, {ATTACKS[by].source}"
        if row["shadow"] is not None:
            by = f"{by}, shadow {row['shadow_task']}"
        if row["constant"]:
            by = f"{by} (constant)"
        number = "labels" if row["adversary"] is None else str(row["adversary"])
        cells = [Cell(row["task"]), Cell(number), Cell(by)]
        for metric in _AUDITED:
            mark = few_mark(metric, row["num_nonmembers"])
            cells.append(Cell(UNDEFINED if row[metric] is None else f"{row[metric]:.3f}{mark}"))
        body.append(tuple(cells))
    signs = notes([cell.text for row in body for cell in row[3:]])
    counts = {(row["num_members"], row["num_nonmembers"]) for row in rows}
    sizes = ", ".join(f"{p:,} members and {n:,} non-members" for p, n in sorted(counts))
    realised = ", ".join(
        f"{max(row[f'fpr_realised_{rate}'] for row in rows):.5f} at {rate * 100:g}%"
        for rate in FPRS[:2]
    )
    caption = (
        f"{sizes}.  Adversary 1 (2 with another task's shadow) calls a record a member from 0.5; "
        "adversary 3 from the threshold that random points gave; attacks that look at true labels from the "
        "shadow's threshold, correctness from one half.  Without a threshold there is no precision and "
        f"recall.  Largest realised FPR: {realised}.{'  ' + signs if signs else ''}  "
        f"{collapsed_note(pd.DataFrame(rows))}"
    ).rstrip()
    if remarks:
        caption += "  " + ".  ".join(remarks) + "."
    return Table.of(
        title="Membership from posteriors alone",
        caption=caption,
        heads=("Target", "Adversary", "By", *_heads(_AUDITED)),
        num_text_columns=3,
        rows=body,
    )
