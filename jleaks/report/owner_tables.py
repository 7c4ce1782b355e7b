"""Tables of what an owner asks of a bank: which members are at risk, how much of a data set was used."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jleaks.attacks.registry import ATTACKS
from jleaks.report.numbers import UNDEFINED
from jleaks.report.table import Table

Rows = Sequence[Mapping[str, Any]]


def triage_table(rows: Rows) -> Table:
    """Returns which members scores without references find (see `jleaks.experiments.triage.triage`)."""
    body, ends = [], set()
    shares = list(dict.fromkeys(row["share"] for row in rows))
    for judge, fpr in dict.fromkeys((row["attack"], row["fpr"]) for row in rows):
        mine = [row for row in rows if (row["attack"], row["fpr"]) == (judge, fpr)]
        for finder in dict.fromkeys(row["finder"] for row in mine):
            found = [row for row in mine if row["finder"] == finder]
            cells = [ATTACKS[judge].title, f"{fpr * 100:g}%", ATTACKS[finder].title]
            cells.append(f"{found[0]['chance']:.3f}")
            for row in found:
                cells += [f"{row['precision']:.3f}", f"{row['recall']:.3f}"]
            body.append(cells)
        ends.add(len(body) - 1)
    heads = [f"{what}\nof {share * 100:g}%" for share in shares for what in ("Precision", "Recall")]
    first = rows[0]
    return Table.of(
        title=f"{first['task']}: are the members at risk found without references?",
        caption="At risk: a member whom the attack, with references, calls one at a threshold of that FPR "
        "among the target's own non-members.  Its members are ordered by a score without references: the "
        "share of the first so many that are at risk, and the share of those at risk that are among them.  "
        f"In random order: what precision is then.  Means over {first['num_targets']} targets.",
        heads=("At risk by", "At FPR", "Ordered by", "In random\norder", *heads),
        num_text_columns=3,
        rows=body,
        section_ends=ends,
    )


def alike_table(rows: Rows) -> Table:
    """Returns whether the records are ordered alike (see `jleaks.experiments.triage.alike`)."""
    names = [name for name in rows[0] if name == "spearman" or name.startswith("top_")]
    body = []
    for row in rows:
        cells = [ATTACKS[row["finder"]].title, ATTACKS[row["attack"]].title]
        cells.append("members of a target" if row["over"] == "members" else "records over targets")
        for name in names:
            mean, low, high = (row[name][part] for part in ("mean", "low", "high"))
            cells.append(
                UNDEFINED if mean is None else f"{mean:.3f}"
                if low is None else f"{mean:.3f} [{low:.3f}, {high:.3f}]"
            )  # fmt: skip
        body.append(cells)
    tops = [f"Of the first {float(name[4:]) * 100:g}%" for name in names[1:]]
    first = rows[0]
    return Table.of(
        title=f"{first['task']}: does a score without references order the members as an attack does?",
        caption="Rank correlation, and how much of the first so many by the one is among the first by the "
        "other (in random order: that share).  Of the members of each of "
        f"{first['num_targets']} targets, and of records, each by its mean over the targets that trained "
        "on it.  [low, high]: 95%, jackknife over records, given the models.",
        heads=("Ordered by", "And by", "Of", "Spearman", *tops),
        num_text_columns=3,
        rows=body,
    )


def usage_table(rows: Rows) -> Table:
    """Returns how well attacks tell a share (see `jleaks.experiments.data_usage.data_usage`)."""
    body, ends = [], set()
    for attack in dict.fromkeys(row["attack"] for row in rows):
        of_attack = [row for row in rows if row["attack"] == attack]
        for used in dict.fromkeys(row["used"] for row in of_attack):
            mine = [row for row in of_attack if row["used"] == used]
            told = np.array([np.nan if r["share"] is None else r["share"] for r in mine])
            low, high = (np.array([r[f"share_{end}"] for r in mine]) for end in ("low", "high"))
            holds = ((low <= used) & (used <= high)).mean()
            cells = [f"{used:g}", UNDEFINED, UNDEFINED]
            if not np.isnan(told).any():
                error = np.sqrt(((told - used) ** 2).mean())
                cells = [f"{used:g}", f"{told.mean():.3f}", f"{error:.3f}"]
            cells += [f"{(high - low).mean():.3f}", f"{holds:.3f}"]
            body.append([ATTACKS[attack].title, *cells])
        ends.add(len(body) - 1)
    first = rows[0]
    return Table.of(
        title=f"{first['task']}: which share of a data set was used?",
        caption=f"Data sets of {first['num_records']:,} records, of which a target was trained on the "
        "share used.  The share is (called - FPR) / (TPR - FPR), both rates of "
        f"{first['num_references']} other models; its error is the root of the mean square over "
        f"{first['num_models']} targets.  The interval, of {first['confidence']:.0%}, is cut to [0, 1]; "
        "covers: the share of targets whose interval holds the truth.",
        heads=("Attack", "Used", "Estimate", "Error", "Interval's\nwidth", "Covers"),
        num_text_columns=1,
        rows=body,
        section_ends=ends,
    )
