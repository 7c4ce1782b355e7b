"""The table of an audit: one row per attack."""

from collections.abc import Sequence
from typing import Any

from jleaks.attacks.registry import ATTACKS
from jleaks.metrics.case_metrics import FPRS
from jleaks.report.numbers import UNDEFINED, few_mark, notes
from jleaks.report.table import Cell, Table
from jleaks.rows import collapsed_note

_HEADS = (
    "Target",
    "Adversary",
    "By",
    "Precision",
    "Recall",
    "Accuracy",
    "AUC",
    *(f"TPR at\n{rate * 100:g}% FPR" for rate in FPRS),
)
_METRICS = ("precision", "recall", "accuracy", "auc", *(f"tpr_at_fpr_{rate}" for rate in FPRS))


def audit_table(rows: Sequence[dict[str, Any]], remarks: Sequence[str] = ()) -> Table:
    """Returns the table of what `jleaks.blackbox.audit.audit` found.

    Args:
      rows: Of any targets.
      remarks: Sentences to put below it.
    """
    body = []
    for row in rows:
        by = row["statistic"]
        if row["adversary"] is None:
            by = f"{ATTACKS[by].title.lower()}, {ATTACKS[by].source}"
        if row["shadow"] is not None:
            by = f"{by}, shadow {row['shadow_task']}"
        if row["constant"]:
            by = f"{by} (constant)"
        number = "labels" if row["adversary"] is None else str(row["adversary"])
        cells = [Cell(row["task"]), Cell(number), Cell(by)]
        for metric in _METRICS:
            mark = few_mark(metric, row["num_nonmembers"])
            cells.append(Cell(UNDEFINED if row[metric] is None else f"{row[metric]:.3f}{mark}"))
        body.append(tuple(cells))
    signs = notes([cell.text for row in body for cell in row[3:]])
    counts = {(row["num_members"], row["num_nonmembers"]) for row in rows}
    sizes = ", ".join(f"{p:,} members and {n:,} non-members" for p, n in sorted(counts))
    realised = ", ".join(
        f"{max(row[f'fpr_realised_{rate}'] for row in rows):.5f} at {rate * 100:g}%"
        for rate in FPRS
    )
    caption = (
        f"{sizes}.  Adversary 1 (2 with another task's shadow) calls a record a member from 0.5; "
        "adversary 3 from the threshold that random points gave; attacks that look at true labels from the "
        "shadow's threshold, correctness from one half.  Without a threshold there is no precision and "
        f"recall.  Largest realised FPR: {realised}.{'  ' + signs if signs else ''}  {collapsed_note(rows)}"
    ).rstrip()
    if remarks:
        caption += "  " + ".  ".join(remarks) + "."
    return Table(
        title="Membership from posteriors alone",
        caption=caption,
        heads=_HEADS,
        num_text_columns=3,
        rows=tuple(body),
    )
