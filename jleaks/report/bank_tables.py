"""The table of a bank: one row per attack, grouped by what the attacker must have."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from jleaks.attacks.registry import ATTACKS
from jleaks.bank.evaluate import FPRS
from jleaks.report.table import Cell, Table
from jleaks.statistics import paired_t_interval

_GROUPS = {
    "none": "no reference model",
    "out": "references that did not train on the record",
    "in and out": "references that did and did not",
}
_HEADS = (
    "Attack",
    "Refs",
    "Labels",
    "Queries",
    "AUC",
    "Balanced\naccuracy",
    "Precision",
    "Recall",
    "TPR at\n1% FPR",
    "TPR at\n0.1% FPR",
    "TPR at\n0.01% FPR",
)
_METRICS = (
    "auc",
    "balanced_accuracy",
    "precision",
    "recall",
    "tpr_at_fpr_0.01",
    "tpr_at_fpr_0.001",
    "tpr_at_fpr_0.0001",
)


# The largest of these are marked in each group.
_MARKED = tuple(m for m in _METRICS if m not in ("precision", "recall"))


def _cell(value: dict[str, Any], best: float | None) -> Cell:
    return Cell(number(value), best is not None and value["mean"] == best)


def number(value: dict[str, Any]) -> str:
    """Returns "0.864±.002", or "-" where nothing is defined."""
    if value["mean"] is None:
        return "-"
    text = f"{value['mean']:.3f}"
    if value["low"] is None:
        return text
    return text + f"±{(value['high'] - value['low']) / 2:.3f}".replace("±0.", "±.")


def _largest(summary: Sequence[dict[str, Any]], group: str, metric: str) -> float | None:
    values = [record[metric]["mean"] for record in summary if record["needs"] == group]
    return max((value for value in values if value is not None), default=None)


def bank_title(first: dict[str, Any]) -> str:
    """Returns the task of a bank with the source of its records, from any of its rows."""
    source = {"real": "", "scores": ", from a score file"}.get(
        first["source"], f" ({first['source']})"
    )
    return f"{first['task']}{source}"


def bank_table(summary: Sequence[dict[str, Any]]) -> Table:
    """Returns the table of one bank's summary (see `jleaks.bank.results.summarise`).

    The largest mean AUC, balanced accuracy and TPRs of each group are marked.
    """
    best = {(g, m): _largest(summary, g, m) for g in _GROUPS for m in _MARKED}
    rows: list[tuple[Cell, ...]] = []
    ends: set[int] = set()
    previous = summary[0]["needs"]
    for record in summary:
        if record["needs"] != previous:
            ends.add(len(rows) - 1)
        previous = record["needs"]
        rows.append(
            (
                Cell(ATTACKS[record["attack"]].title),
                Cell(str(record["num_references"]) if record["num_references"] else "-"),
                Cell("yes" if record["labels"] else "no"),
                Cell(record["queries"]),
                *(_cell(record[m], best.get((previous, m))) for m in _METRICS),
            )
        )
    first = summary[0]
    realised = ", ".join(
        f"{max(r[f'fpr_realised_{fpr}']['mean'] or 0 for r in summary):.5f} at {fpr * 100:g}%"
        for fpr in FPRS
    )
    caption = (
        f"Means over {first['num_targets']} targets ± half-width of the 95% t interval over targets "
        f"of this one bank of {first['num_models']} models; {first['num_members']:,.0f} members and "
        f"{first['num_nonmembers']:,.0f} non-members each.  Precision, recall and balanced accuracy "
        "at the threshold chosen on a shadow model.  Largest realised FPR (mean over targets): "
        f"{realised}.  Rules separate what the attacker has: {'; '.join(_GROUPS.values())}.  Marked: "
        "the largest of each group."
    )
    return Table(
        title=f"{bank_title(first)}: every attack on every model",
        caption=caption,
        heads=_HEADS,
        num_text_columns=4,
        rows=tuple(rows),
        section_ends=frozenset(ends),
    )


def comparison_table(rows: Sequence[dict[str, Any]], attacks: Sequence[str]) -> Table:
    """Returns every pair of `attacks` compared on the same targets.

    Args:
      rows: Of one bank (see `jleaks.bank.results.attack_rows`).
      attacks: Names of at least two attacks.
    """
    heads, body = ["First", "Second"], []
    metrics = {"auc": "AUC"} | {f"tpr_at_fpr_{f}": f"TPR at {f * 100:g}% FPR" for f in FPRS[:2]}
    for title in metrics.values():
        heads += [f"{title}\nfirst - second", "First\nahead"]
    by_attack = {name: [row for row in rows if row["attack"] == name] for name in attacks}
    for first, second in itertools.combinations(attacks, 2):
        cells = [Cell(ATTACKS[first].title), Cell(ATTACKS[second].title)]
        for metric in metrics:
            a, b = ([row[metric] for row in by_attack[name]] for name in (first, second))
            interval = paired_t_interval(a, b)
            text = f"{interval.mean:+.4f}"
            if interval.is_bounded:
                text += f"±{interval.half_width:.4f}".replace("±0.", "±.")
            ahead = sum(x > y for x, y in zip(a, b, strict=True))
            # Marked where the interval leaves out zero.
            marked = interval.is_bounded and interval.low * interval.high > 0
            cells += [Cell(text, marked), Cell(f"{ahead}/{len(a)}")]
        body.append(tuple(cells))
    return Table(
        title=f"{rows[0]['task']}: attacks compared on the same targets",
        caption="Mean difference ± half-width of the paired 95% t interval over targets, marked where "
        "it leaves out zero; and on how many targets the first is ahead.",
        heads=tuple(heads),
        num_text_columns=2,
        rows=tuple(body),
    )


def audit_table(records: Sequence[dict[str, Any]]) -> Table:
    """Returns the bounds on epsilon (see `jleaks.bank.audits.audit`), spread over targets."""
    body = []
    for attack in dict.fromkeys(r["attack"] for r in records):
        mine = [r for r in records if r["attack"] == attack]
        for title, field in (
            ("over thresholds", "epsilon_thresholds"),
            ("one run", "epsilon_one_run"),
        ):
            values = np.array([r[field] for r in mine])
            cells = [f"{v:.3f}" for v in (values.min(), np.median(values), values.max())]
            above = f"{int((values > 0).sum())}/{len(values)}"
            body.append(tuple(map(Cell, (ATTACKS[attack].title, title, *cells, above))))
    first = records[0]
    return Table(
        title=f"{first['task']}: lower bounds on epsilon at delta {first['delta']:g}",
        caption=f"Each target's bound holds with {first['confidence']:.0%} confidence; the largest of many "
        "does not.  Over thresholds: Clopper-Pearson with Bonferroni's correction; takes every record's "
        "answer for an independent trial, which after one training run is a model of the data, not a "
        "theorem.  One run: Steinke et al. 2023, members and non-members matched in pairs; takes for "
        "granted only that members were drawn at random and that scores depend on who is one through "
        "the target alone.  Neighbours replace one record.",
        heads=("Attack", "Bound", "Least target", "Median target", "Largest target", "Above 0"),
        num_text_columns=2,
        rows=tuple(body),
    )


def records_table(records: Sequence[dict[str, Any]]) -> Table:
    """Returns the AUC of single targets with its interval over records, from bootstrapped audits."""
    body = []
    for attack in dict.fromkeys(r["attack"] for r in records):
        mine = sorted((r for r in records if r["attack"] == attack), key=lambda r: r["auc"]["mean"])
        for title, r in (
            ("least", mine[0]),
            ("median", mine[(len(mine) - 1) // 2]),
            ("largest", mine[-1]),
        ):
            cells = [f"{r['auc'][name]:.4f}" for name in ("mean", "low", "high")]
            body.append(tuple(map(Cell, (ATTACKS[attack].title, title, str(r["target"]), *cells))))
    first = records[0]
    return Table(
        title=f"{first['task']}: AUC of single targets",
        caption=f"{first['confidence']:.0%} percentile bootstrap over the records of each target, "
        f"{first['num_resamples']} resamples, members and non-members apart; given the target and its "
        "references.",
        heads=("Attack", "AUC of all targets", "Target", "AUC", "Low", "High"),
        num_text_columns=2,
        rows=tuple(body),
    )
