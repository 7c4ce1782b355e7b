"""Tables of the risk of single records."""

from collections.abc import Mapping, Sequence
from typing import Any

from jleaks.report.numbers import UNDEFINED
from jleaks.report.table import Table
from jleaks.report.titles import attack_title


def fprs_of(row: Mapping[str, Any]) -> list[str]:
    """Returns the FPRs of a row or summary as its fields have them, the largest first."""
    marks = ("record_tpr_at_own_fpr_", "tpr_at_own_fpr_")
    found = [name.removeprefix(mark) for mark in marks for name in row if name.startswith(mark)]
    return sorted(dict.fromkeys(found), key=lambda fpr: -float(fpr))


def _number(value: float | None, digits: int = 3) -> str:
    return UNDEFINED if value is None else f"{value:.{digits}f}"


def _half_width(value: Mapping[str, Any]) -> str:
    if value["mean"] is None or value["high"] is None:
        return _number(value["mean"])
    width = (value["high"] - value["low"]) / 2
    return f"{value['mean']:.3f}±{f'{width:.3f}'.removeprefix('0')}"


def risk_table(summary: Sequence[Mapping[str, Any]]) -> Table:
    """Returns a row per attack: how its records' own ROC curves spread, and how many records it finds."""
    first = summary[0]
    fprs = fprs_of(first)
    heads = ["Attack", "Found\nBH", "Found\nBY", "AUC\nmean", "AUC\nmedian", "AUC\n99%"]
    heads += [f"TPR at own\n{float(fpr):.4g} FPR" for fpr in fprs]
    rows = []
    for row in summary:
        cells = [
            attack_title(row["attack"]),
            f"{row['records_found_bh']:,}",
            f"{row['records_found_by']:,}",
            *(_number(row["record_auc"][name]) for name in ("mean", "median", "q99")),
        ]
        for fpr in fprs:
            found = row[f"record_tpr_at_own_fpr_{fpr}"]
            cells.append(UNDEFINED if found is None else _number(found["mean"]))
        rows.append(cells)
    return Table.of(
        f"{first['task']}: {first['num_records']:,} records over {first['num_models']:,} models",
        "Each record's own ROC curve, over the models that did and did not train on it; models of "
        "one half are attacked with the other half as references.  Found: records that tell more than "
        "nothing at a false-discovery rate of 5%, by Benjamini-Hochberg and, valid however records "
        f"depend on each other, Benjamini-Yekutieli.  {UNDEFINED}: too few models to tell.",
        heads,
        1,
        rows,
    )


def pooled_table(summary: Sequence[Mapping[str, Any]]) -> Table:
    """Returns a row per attack: one threshold for all records, on raw and on calibrated scores."""
    fprs = fprs_of(summary[0])
    measures = ["auc", *(f"tpr_at_fpr_{fpr}" for fpr in fprs)]
    titles = ["AUC", *(f"TPR at\n{float(fpr):.4g} FPR" for fpr in fprs)]
    heads = ["Attack"]
    for kind in ("raw", "calibrated"):
        heads += [f"{kind.capitalize()}:\n{title}" for title in titles]
    rows = [
        (
            attack_title(row["attack"]),
            *(_half_width(row[f"pooled_raw_{name}"]) for name in measures),
            *(_half_width(row[f"pooled_calibrated_{name}"]) for name in measures),
        )
        for row in summary
    ]
    return Table.of(
        f"{summary[0]['task']}: all pairs of a record and a model, at one threshold",
        "Calibrated: in standard deviations above the mean of the record's own OUT references' scores.  "
        "±: 95%, jackknife over records, given the models.",
        heads,
        1,
        rows,
    )


def agreement_table(agreement: Sequence[Mapping[str, Any]]) -> Table:
    """Returns a row per pair of rankings: halves of the models, and attacks."""
    rows = []
    for row in agreement:
        between = row["between"] if row["attack"] == row["beside"] else attack_title(row["beside"])
        shared = _number(row["top_shared"], 2)
        rows.append((attack_title(row["attack"]), between, _number(row["spearman"]), shared))
    return Table.of(
        f"{agreement[0]['task']}: are the same records found?",
        "Rank correlation of the records' separations, and the share of the top "
        f"{agreement[0]['top_share']:.0%} that both name.",
        ("Attack", "Beside", "Spearman", "Top shared"),
        2,
        rows,
    )


def strongest_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Returns the ten most vulnerable records of the first attack among the rows."""
    mine = [row for row in rows if row["attack"] == rows[0]["attack"]][:10]
    fprs = fprs_of(rows[0])
    heads = ["Record", "In the dataset", "Class", "AUC", "95%", "Separation", "q (BH)"]
    heads += [f"TPR at own\n{float(fpr):.4g} FPR" for fpr in fprs]
    cells = [
        (
            str(row["record"]),
            UNDEFINED if row["dataset_record"] is None else str(row["dataset_record"]),
            str(row["label"]),
            _number(row["auc"]),
            f"[{_number(row['auc_low'])}, {_number(row['auc_high'])}]",
            _number(row["separation"], 2),
            f"{row['q_bh']:.1e}",
            *(_number(row[f"tpr_at_own_fpr_{fpr}"]) for fpr in fprs),
        )
        for row in mine
    ]
    return Table.of(
        f"{rows[0]['task']}: the most vulnerable records under {attack_title(rows[0]['attack'])}",
        "Chosen for being the largest of many, these are likely to be somewhat smaller in another bank.",
        heads,
        1,
        cells,
    )


def groups_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Returns a row per attack and group of a bank's records: plain candidates, each kind of canary."""
    first = rows[0]
    groups = list(dict.fromkeys(row["records"] for row in rows))
    cells = []
    for row in rows:
        bounds = [
            f"{row[f'epsilon_{name}']:.2f} of {row[f'epsilon_{name}_ceiling']:.2f}"
            if f"epsilon_{name}" in row
            else ""
            for name in ("thresholds", "one_run")
        ]
        measures = (row[name] for name in ("auc", "tpr_at_fpr_0.01", "tpr_at_fpr_0.001"))
        texts = (attack_title(row["attack"]), row["records"], *map(_half_width, measures), *bounds)
        cells.append(texts)
    accounted = first.get("epsilon")
    return Table.of(
        f"{first['task']}: canaries among the records of {first['num_targets']:,} models",
        "All pairs of a model and a record at one threshold, ± half of the jackknife's 95% interval over "
        "records.  Epsilon: lower bounds, each with 95%, of the largest that so many pairs could show: "
        "over thresholds, where pairs count as independent trials, and by one run, the largest of all.  "
        "Neighbours replace a record, of which training guarantees at most twice the accounted epsilon"
        f"{'' if accounted is None else f' of {accounted:.3g}'}.",
        (
            *("Attack", "Records", "AUC", "TPR at\n1% FPR", "TPR at\n0.1% FPR"),
            *("Epsilon over\nthresholds", "Epsilon by\none run"),
        ),
        2,
        cells,
        range(len(groups) - 1, len(cells), len(groups)),
    )
