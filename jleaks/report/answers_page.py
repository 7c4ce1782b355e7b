"""The HTML page of an audit of a model that only answered: attacks on its posteriors."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jleaks.attacks.registry import ATTACKS
from jleaks.report import statements
from jleaks.report.bank_tables import audit_table
from jleaks.report.html import RunPage, Section
from jleaks.rows import read_rows


def answers_page(folder: Path, command: str = "", remarks: Sequence[str] = ()) -> RunPage:
    """Returns the page of what launch.audit wrote of a target's posteriors.

    Args:
      folder: With rows.jsonl.
      command: What made the rows.
      remarks: Sentences on the target and on what would allow stronger attacks.

    Raises:
      InputError: rows are missing or not as they must be.
    """
    rows: list[Mapping[str, Any]] = [*read_rows(folder / "rows.jsonl", ())]
    telling = [row for row in rows if not row["constant"]] or rows
    best = max(telling, key=lambda row: (row["tpr_at_fpr_0.01"], row["auc"]))
    tpr, members = best["tpr_at_fpr_0.01"], round(best["num_members"])
    told = (
        f"{statements.percent(best['tpr_low_0.01'])} to {statements.percent(best['tpr_high_0.01'])}"
    )
    return RunPage(
        heading=f"Membership inference from answers alone: {best['target']}",
        lead=(
            f"Of {members:,} records in the training data, {_title(best)} recognises "
            f"{round(tpr * members):,} ({statements.percent(tpr)}, 95% interval {told}) while accusing one "
            f"outsider in a hundred, if the attacker knew where to draw the line; "
            f"{statements.pointing(best['auc'])}."
        ),
        first=[statements.CHOSEN],
        cards=[
            ("Strongest attack", _title(best), "of those that the answers allowed"),
            ("AUC", f"{best['auc']:.3f}", "0.5 is guessing"),
            ("TPR at 1% FPR", statements.percent(tpr), f"95% interval over records {told}"),
        ],
        sections=[Section("Every attack", tables=[audit_table(rows)])],
        untested=[
            "Attackers with more than what was given here: shadow models that are compared record by "
            "record (jleaks audit --data, or --shadow with four and more) are several times as strong.",
            "One audited model and the records that were given; others may be more exposed.",
            statements.OTHER_LEAKS,
        ],
        method=[
            "Every attack sees the target's posteriors alone, those that need a shadow also a shadow's; a "
            "threshold comes from the shadow or from random points, never from the target's membership.",
            "TPRs at a named FPR are read off the target's own records; their intervals hold although the "
            "threshold is chosen on them, for records that are independent given the model.",
        ],
        provenance=statements.provenance(rows, folder, command),
        where=statements.WHERE,
        notes=list(remarks),
    )


def _title(row: Mapping[str, Any]) -> str:
    if row["adversary"] is None:
        return ATTACKS[row["attack"]].title
    return f"adversary {row['adversary']} ({row['attack']})"
