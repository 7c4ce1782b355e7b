"""The table of an attack by imitators: IMIA beside attacks with as many plain shadows, and with many."""

from collections.abc import Mapping, Sequence
from typing import Any

from jleaks.attacks.registry import ATTACKS
from jleaks.report.columns import COLUMNS
from jleaks.report.numbers import UNDEFINED, few_mark, notes
from jleaks.report.table import Table

_METRICS = ("auc", "tpr_at_fpr_0.01", "tpr_at_fpr_0.001")


def imitation_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Returns means over targets of every attack, and how far IMIA is ahead of it at the lowest FPR."""
    first = rows[0]
    body = [_line(row) for row in rows]
    where = (
        "who trains shadows and imitators on halves of the audited records"
        if first["setting"] == "adaptive"
        else "who has other records than the audited ones"
    )
    null = "Members drawn afresh: all must fail.  " if first["null"] == "shuffled" else ""
    signs = notes([text for row in body for text in row[2:]])
    return Table.of(
        title=f"{first['task']}: IMIA beside plain shadows, {first['setting']}",
        caption=f"{null}Means over {first['num_targets']} targets [95% over records].  Of an attacker "
        f"{where}.  "
        "Models: trained to attack one target; of IMIA the starts of imitators, the imitators, and as many "
        "that tell what members look like.  IMIA's lead: its TPR at 0.1% FPR less the attack's, and on how "
        "many targets it is above zero.  Device seconds: of training all of these; shared: by "
        f"all targets.  {signs}",
        heads=(
            *(
                "Attack",
                "Models",
                *(COLUMNS[name].head or COLUMNS[name].title for name in _METRICS),
            ),
            *("IMIA's lead", "Device\nseconds", "Shared"),
        ),
        num_text_columns=1,
        rows=body,
    )


def _line(row: Mapping[str, Any]) -> list[str]:
    name = "IMIA" if row["attack"] == "imia" else ATTACKS[row["attack"]].title
    cells = [name, str(row["num_shadows"])]
    for metric in _METRICS:
        value, mark = row[metric], few_mark(metric, row["num_nonmembers"])
        cells.append(f"{value['mean']:.3f}{mark} [{value['low']:.3f}, {value['high']:.3f}]")
    if row["ahead"] is None:
        cells.append(UNDEFINED)
    else:
        lead = row["ahead"][_METRICS[-1]]
        cells.append(
            f"{lead['mean']:+.3f} [{lead['low']:+.3f}, {lead['high']:+.3f}] ({lead['ahead']}/{lead['n']})"
        )
    return [*cells, f"{row['device_seconds']:.1f}", f"{row['device_seconds_shared']:.1f}"]
