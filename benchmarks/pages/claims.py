"""What papers of 2024 to 2026 claim of their attacks, beside what committed rows say.

A part of docs/attacks.md (see `benchmarks.pages.attacks`).  For each task there is a folder beside the
banks' results with what launch.attack wrote of one bank that has a loss trace (comparisons, triage, alike,
usage) and of one of protocol `disjoint` (its comparisons as comparisons_disjoint.jsonl), and what
launch.cascade wrote, its rows as cascade_SIDES.jsonl, and launch.imitate, as imitation_SETTING.jsonl.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jleaks.attacks.registry import ATTACKS
from jleaks.report.cascade_table import cascade_table
from jleaks.report.imitation_table import imitation_table
from jleaks.report.owner_tables import alike_table, triage_table, usage_table
from jleaks.report.table import Table
from jleaks.rows import read_rows

Rows = Sequence[Mapping[str, Any]]

_TPR = "tpr_at_fpr_0.001"
# Online attacks of which one is said to be best with few references, and how few those are.
_ONLINE = ("bavaria", "lira_online", "rmia_online")
_FEW = (2, 4, 8)
# Precision at 1% that the authors of LT-IQR report, the least of five models.
_LEAST_PRECISION = 0.79
# Of the cost of many shadows, what IMIA's authors say theirs takes.
_TWENTIETH = 0.05
# Differences that are none: sums in float32.
_NONE = 2e-3


class Claim(NamedTuple):
    """One line: what is claimed, by whom, what is found, whether that is so, and why."""

    claim: str
    source: str
    ours: str
    met: str
    why: str


def tables(folder: Path, banks: Path) -> list[Table]:
    """Returns a table of claims for each task, and of what they rest on.

    Args:
      folder: Results of the claims, a folder for each task.
      banks: Results of the banks, whose cost.jsonl tells of few references.
    """
    found = []
    for task in sorted(path for path in folder.glob("*") if (path / "comparisons.jsonl").exists()):
        lines = claims(task, banks / task.name / "cost.jsonl")
        found.append(
            Table.of(
                title=f"{task.name}: claims of 2024 to 2026",
                caption="Met: the 95% interval over records of the difference lies above zero, or, where "
                "another measure is named, it is reached; open: the interval holds zero, or targets "
                "disagree.  "
                "Of this data set and these models; the papers' have images and wide networks.",
                heads=("Claim", "Source", "Ours", "Met", "Why"),
                num_text_columns=5,
                rows=lines,
            )
        )
        found.append(triage_table(_rows(task / "triage.jsonl")))
        if (orders := task / "alike.jsonl").exists():
            found.append(alike_table(_rows(orders)))
        found.append(usage_table(_rows(task / "usage.jsonl")))
        found += [cascade_table(_rows(path)) for path in sorted(task.glob("cascade_*.jsonl"))]
        found += [imitation_table(_rows(path)) for path in sorted(task.glob("imitation_*.jsonl"))]
    return found


def _rows(path: Path) -> Rows:
    return read_rows(path, ())


def claims(task: Path, cost: Path) -> list[Claim]:
    """Returns every claim on which there are rows."""
    pairs = _pairs(task / "comparisons.jsonl")
    found = [
        *_of_triage(_rows(task / "triage.jsonl")),
        *_of_orders(task / "alike.jsonl"),
        _ahead(
            pairs, "rapid", ("calibrated",), "RAPID is ahead of calibration alone",
            "He et al., CCS 2024",
            "what an easy record's own loss tells is kept, and for hard ones what the references tell",
        ),
        _ahead(
            pairs, "pmia_class", ("lira_offline", "rmia_offline"),
            "PMIA is ahead of LiRA and RMIA where no reference trained on the record",
            "Du et al., NDSS 2026",
            "proxies tell what members look like, which LiRA offline does not ask; RMIA hardly needs it",
        ),
        *_of_two_parts(task / "comparisons_disjoint.jsonl"),
        _ahead(
            pairs, "informia_online", ("rmia_online",), "InfoRMIA dominates RMIA",
            "arXiv 2510.05582",
            "for one target both are monotone in the same ratio; RMIA's shares tie where it is largest",
        ),
        _same(pairs),
    ]  # fmt: skip
    if cost.exists():
        found.append(_few(_rows(cost)))
    found.append(_share(_rows(task / "usage.jsonl")))
    cascades = [_rows(path) for path in sorted(task.glob("cascade_*.jsonl"))]
    found += map(_cascade, cascades)
    for path in sorted(task.glob("imitation_*.jsonl")):
        found += _imitation(_rows(path), cascades)
    return found


def _pairs(path: Path) -> dict[tuple[str, str], Any]:
    return {(r["attack"], r["minus"]): r for r in _rows(path)}


def _of_two_parts(path: Path) -> list[Claim]:
    if not path.exists():
        return []
    return [
        _ahead(
            _pairs(path), "pmia_class", ("lira_offline", "rmia_offline"),
            "The same in its own setting, targets and references on disjoint parts",
            "Du et al., NDSS 2026",
            "0.1% of a thousand non-members is one: intervals are wide; RMIA needs no members' answers",
        )
    ]  # fmt: skip


def _of_triage(rows: Rows) -> list[Claim]:
    by = {
        (r["finder"], r["fpr"]): r
        for r in rows
        if r["attack"] == "lira_online" and r["share"] == 0.01
    }
    trace, loss = by["lt_iqr", 0.001], by["loss", 0.001]
    source = "Pollock et al. 2024"
    ours = (
        f"{trace['precision']:.2f} ({trace['precision_least']:.2f} to {trace['precision_largest']:.2f} "
        f"of one target); {trace['chance']:.2f} in random order"
    )
    return [
        Claim(
            "79 to 97% of the first 1% of members by LT-IQR are at risk (LiRA, FPR 0.1%)",
            source,
            ours,
            "yes" if trace["precision"] >= _LEAST_PRECISION else "no",
            "a record that is learned late was hard without it, which is what LiRA's references say",
        ),
        Claim(
            "The least final loss finds hardly any (21%)",
            source,
            f"{loss['precision']:.2f}",
            "yes" if loss["precision"] < trace["precision"] else "no",
            "records of the least loss are easy for models that never saw them, too",
        ),
    ]


def _of_orders(path: Path) -> list[Claim]:
    if not path.exists():
        return []
    by = {(r["finder"], r["over"]): r for r in _rows(path) if r["attack"] == "lira_online"}
    trace, records = by["lt_iqr", "members"], by["lt_iqr", "records"]
    loss = by["loss", "members"]

    def told(row: Mapping[str, Any], name: str) -> str:
        value = row[name]
        return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"

    tops = [(float(name[4:]), name) for name in trace if name.startswith("top_")]
    most = all(trace[name]["low"] > 0.5 for _, name in tops)
    some = trace["spearman"]["low"] > 0 and all(trace[name]["low"] > top for top, name in tops)
    first = ", ".join(f"{told(trace, name)} of the first {top:.0%}" for top, name in tops)
    whole = ", ".join(f"{records[name]['mean']:.3f}" for _, name in tops)
    return [
        Claim(
            "LT-IQR finds the records that LiRA finds",
            "Pollock et al. 2024",
            f"of a target's members rank correlation {told(trace, 'spearman')}, {first} shared; of "
            f"records, each by its mean over {records['num_targets']} targets, "
            f"{records['spearman']['mean']:.3f}, {whole}; by the final loss "
            f"{loss['spearman']['mean']:+.3f} of members",
            "yes" if most else "in part" if some else "no",
            "the order is alike, its very top less so: a trace says how hard a record was, LiRA also how "
            "far the target's answer is from its references'",
        )
    ]


def _text(value: Mapping[str, Any]) -> str:
    return f"{value['mean']:+.4f} [{value['low']:+.4f}, {value['high']:+.4f}]"


def _difference(pairs: Mapping[tuple[str, str], Any], first: str, second: str) -> dict[str, Any]:
    """Returns TPR at 0.1% FPR of the first less the second's, whichever way round it was written."""
    if (first, second) in pairs:
        return dict(pairs[first, second][_TPR])
    value = pairs[second, first][_TPR]
    return {"mean": -value["mean"], "low": -value["high"], "high": -value["low"]}


def _verdict(values: Sequence[Mapping[str, Any]]) -> str:
    if all(value["low"] > 0 for value in values):
        return "yes"
    return "no" if any(value["high"] < 0 for value in values) else "open"


def _ahead(
    pairs: Mapping[tuple[str, str], Any],
    first: str,
    others: Sequence[str],
    claim: str,
    source: str,
    why: str,
) -> Claim:
    values = [_difference(pairs, first, other) for other in others]
    ours = "TPR at 0.1% FPR: " + "; ".join(map(_text, values))
    return Claim(claim, source, ours, _verdict(values), why)


def _same(pairs: Mapping[tuple[str, str], Any]) -> Claim:
    row = pairs["informia_online", "base_online_tempered"]
    apart = max(abs(row[name]["mean"]) for name in ("auc", "tpr_at_fpr_0.01", _TPR))
    return Claim(
        "InfoRMIA ranks the records of one target as BASE at its temperature does",
        "a formula, `jleaks/attacks/informia.py`",
        f"largest difference of AUC and TPRs {apart:.1g}",
        "yes" if apart < _NONE else "no",
        "the mean over the population is one number for a target",
    )


def _few(rows: Rows) -> Claim:
    parts, best = [], True
    for count in _FEW:
        by = {r["attack"]: r[_TPR]["mean"] for r in rows if r["num_references"] == count}
        found = {name: by[name] for name in _ONLINE if name in by}
        best &= max(found, key=lambda name: found[name]) == "bavaria"
        parts.append(f"{count}: " + ", ".join(f"{value:.3f}" for value in found.values()))
    return Claim(
        "BaVarIA is best with few references",
        "arXiv 2603.11799",
        f"TPR at 0.1% FPR of BaVarIA, LiRA and RMIA online with {'; with '.join(parts)}",
        "yes" if best else "no",
        "RMIA estimates no variance, which two references do not give; our prior is not the paper's",
    )


def _share(rows: Rows) -> Claim:
    mine = [r for r in rows if r["attack"] == "lira_online"]
    by = {used: [r for r in mine if r["used"] == used] for used in {r["used"] for r in mine}}
    bias = max(abs(np.mean([r["share"] for r in own]) - used) for used, own in by.items())
    error = float(np.sqrt(np.mean([(r["share"] - r["used"]) ** 2 for r in mine])))
    holds = float(np.mean([r["share_low"] <= r["used"] <= r["share_high"] for r in mine]))
    return Claim(
        "Any attack's rates on references tell which share of a data set was used, without bias",
        "Tong et al., ICLR 2025",
        f"LiRA online: largest bias {bias:.3f}, error {error:.3f}; intervals of 95% cover {holds:.3f}",
        "yes" if bias < 0.01 else "no",
        "models of one recipe have nearly the same rates",
    )


def _cascade(rows: Rows) -> Claim:
    last, size = max(r["round"] for r in rows), min(r["num_shadows"] for r in rows)

    def of(number: int, conditioned: bool, metric: str = _TPR) -> np.ndarray:
        mine = [r for r in rows if r["round"] == number and r["conditioned"] == conditioned]
        return np.array([r[metric] for r in sorted(mine, key=lambda r: r["target"])])

    found, plain, few = of(last, True), of(last, False), of(1, False)
    higher = of(last, True, "tpr_at_fpr_0.01") - of(last, False, "tpr_at_fpr_0.01")
    most = max(r["num_shadows"] for r in rows)
    gain, over_few = found - plain, found - few
    ahead = int((gain > 0).sum())
    met = "open" if 0 < ahead < len(gain) else "yes" if ahead else "no"
    sides = "anchors of both sides" if rows[0]["anchor_sides"] == "both" else "authors' anchors"
    right = [r["anchors_right"] for r in rows if r["round"] == last and r["anchors_right"]]
    return Claim(
        f"CMIA is ahead of its attack with as many shadows ({sides}, {last} rounds)",
        "Du et al., NDSS 2026",
        f"TPR at 0.1% FPR: {gain.mean():+.4f} over {most} plain shadows (ahead on {ahead}/{len(gain)} "
        f"targets), {over_few.mean():+.4f} over {size}; at 1%: {higher.mean():+.4f} over {most} "
        f"({int((higher > 0).sum())}/{len(higher)}); {np.mean(right):.3f} of the anchors right",
        met,
        "most of what the rounds gain is more shadows, which plain ones are, too"
        if gain.mean() <= over_few.mean() / 2
        else "what is assumed of other records narrows what shadows answer",
    )


def _imitation(rows: Rows, cascades: Sequence[Rows]) -> list[Claim]:
    imia, *others = rows
    setting, most = imia["setting"], max(r["num_shadows"] for r in others)
    many = [r for r in others if r["num_shadows"] == most]
    leads = [r["ahead"][_TPR] for r in many]
    told = [
        f"{ATTACKS[r['attack']].title} {_text(lead)}" for r, lead in zip(many, leads, strict=True)
    ]
    if setting == "adaptive":
        told += [
            f"beside CMIA's {_last(found):.3f}" for found in cascades if _same_targets(found, imia)
        ]
    behind = any(lead["high"] < 0 for lead in leads)
    cost = imia["device_seconds"] / many[0]["device_seconds"]
    source = "zealscott/IMIA, 2025"
    return [
        Claim(
            f"IMIA is as good as attacks with hundreds of shadows ({setting})",
            source,
            f"TPR at 0.1% FPR {imia[_TPR]['mean']:.3f}; its lead over {most} plain shadows: "
            + "; ".join(told),
            "no" if behind else "open",
            "five models tell each of its means, and it asks no variance"
            if behind
            else "none is ahead, but 0.1% of so few non-members is one: intervals are wide",
        ),
        Claim(
            f"For less than a twentieth of the cost ({setting})",
            source,
            f"{imia['device_seconds']:.0f} device seconds of {many[0]['device_seconds']:.0f}, {cost:.0%}; "
            f"{imia['device_seconds'] - imia['device_seconds_shared']:.0f} not shared by targets",
            "yes" if cost < _TWENTIETH else "no",
            f"starts, imitators and what tells of members are {imia['num_shadows']} trainings, most of "
            "them cut short",
        ),
    ]


def _last(rows: Rows) -> float:
    """The mean TPR over targets of a cascade's last round."""
    last = max(r["round"] for r in rows)
    return float(np.mean([r[_TPR] for r in rows if r["round"] == last and r["conditioned"]]))


def _same_targets(rows: Rows, imia: Mapping[str, Any]) -> bool:
    """Whether a cascade is of the same models: those of one seed, on as many records."""
    first = rows[0]
    return all(
        first[name] == imia[name] for name in ("seed", "num_members", "num_nonmembers")
    ) and (len({r["target"] for r in rows}) == imia["num_targets"])
