"""The table of a cascade: rounds beside as many plain shadows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jleaks.attacks.registry import ATTACKS
from jleaks.report.columns import COLUMNS
from jleaks.report.numbers import UNDEFINED, few_mark, notes
from jleaks.report.table import Table

_METRICS = ("auc", "tpr_at_fpr_0.01", "tpr_at_fpr_0.001")


def cascade_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Returns means over targets of each round, and how much its shadows gain over as many plain ones."""
    body, ends = [], set()
    for number in dict.fromkeys(row["round"] for row in rows):
        mine = [row for row in rows if row["round"] == number]
        by = {
            kind: sorted((r for r in mine if r["conditioned"] == kind), key=lambda r: r["target"])
            for kind in (False, True)
        }
        # In the first round nothing is assumed.
        kinds = (False, True) if number > 1 else (False,)
        body += [_line(number, by, conditioned=kind) for kind in kinds]
        ends.add(len(body) - 1)
    first = rows[0]
    signs = notes([text for row in body for text in row[5:]])
    heads = [
        *(COLUMNS[name].head or COLUMNS[name].title for name in _METRICS),
        *(f"{COLUMNS[name].title}:\nmore than plain" for name in _METRICS),
    ]
    sides = "of either side" if first["anchor_sides"] == "both" else "as the authors choose them"
    return Table.of(
        title=f"{first['task']}: {ATTACKS[first['attack']].title} in rounds",
        caption=f"Means over {len({row['target'] for row in rows})} targets.  Plain: shadows on random "
        "halves, which all targets share.  Conditioned (CMIA): each round's trained anew for each target, "
        f"with what the rounds before were sure of, {sides}.  More than plain: mean difference to as many "
        "plain shadows, and on how many targets it is above zero; targets share records and the first "
        "shadows, and are few.  Device seconds: of training one target's shadows, those shared included.  "
        f"{signs}",
        heads=(
            *("Round", "Shadows", "How many", "Anchors\nin, out", "Right", *heads),
            "Device\nseconds",
        ),
        num_text_columns=2,
        rows=body,
        section_ends=ends,
    )


def _line(
    number: int, by: Mapping[bool, Sequence[Mapping[str, Any]]], conditioned: bool
) -> list[str]:
    mine = by[conditioned]

    def mean(name: str) -> float:
        return float(np.mean([row[name] for row in mine]))

    cells = [str(number), "conditioned" if conditioned else "plain", f"{mean('num_shadows'):.0f}"]
    if conditioned:
        right = [row["anchors_right"] for row in mine if row["anchors_right"] is not None]
        cells.append(f"{mean('anchors_in'):.0f}, {mean('anchors_out'):.0f}")
        cells.append(f"{np.mean(right):.3f}" if right else UNDEFINED)
    else:
        cells += [UNDEFINED, UNDEFINED]
    for name in _METRICS:
        cells.append(f"{mean(name):.3f}{few_mark(name, mine[0]['num_nonmembers'])}")
    for name in _METRICS:
        if not conditioned:
            cells.append(UNDEFINED)
            continue
        gain = np.array(
            [row[name] - plain[name] for row, plain in zip(mine, by[False], strict=True)]
        )
        cells.append(f"{gain.mean():+.4f} ({(gain > 0).sum()}/{len(gain)})")
    return [*cells, f"{mean('device_seconds'):.1f}"]
