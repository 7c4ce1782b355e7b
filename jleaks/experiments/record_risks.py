"""Which records an attack finds: every record's own ROC curve over the models of a bank.

An average says how much a model leaks; a few records may lose everything behind it (Aerni et al. 2024,
arXiv 2404.17399).  Here each record has rows of its own: of many models, how surely those that trained on
it are told from the others.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jleaks import json_lines
from jleaks.attacks.across_halves import AcrossHalves
from jleaks.attacks.attack import Attack
from jleaks.attacks.bank import Bank
from jleaks.attacks.options import Options
from jleaks.data.splits import halves
from jleaks.errors import InputError
from jleaks.experiments.bank_results import Row
from jleaks.metrics import agreement, record_risk
from jleaks.metrics.pooled_scores import PooledScores

FPRS = (0.1, 0.01, 0.001)
# Of the records: whose ranks are compared between attacks, and between halves of the models.
TOP = 0.01
# q-values below this are discoveries.
LEVEL = 0.05
# Records at either end whose own scores are kept for the figure.
_SHOWN = 3


@dataclasses.dataclass(frozen=True, eq=False)
class RecordRisks:
    """The risk of every audited record under some attacks.

    Attributes:
      rows: One per attack and record, the largest AUC first (then the largest separation).  record: its
        position in the bank; dataset_record: in the dataset, where the bank tells; records: of a bank with
        canaries, which of its groups the record is of; num_in, num_out:
        models that did and did not train on it; auc with auc_low and auc_high, the mean of the two
        halves auc_first and auc_second; p, q_bh, q_by: one-sided, that the record tells nothing, and
        adjusted over records; separation: distance of the two sides' mean scores in standard
        deviations, the mean of the halves' separation_first and separation_second; per FPR
        tpr_at_own_fpr with tpr_own_low and tpr_own_high.
      summary: One per attack: means and quantiles over records; pooled_raw and pooled_calibrated, AUC
        and TPR of all pairs of a record and a model at one threshold; records_found_bh and
        records_found_by, with q at most 0.05.
      agreement: One per pair of attacks, and one per attack for the halves of the models: rank
        correlation of separations, and the share of the top 1% that both name.
      scores: By attack and record, of those at either end: scores of the first half of the models, and
        which of them trained on it.
      notes: What so few models do not tell.
    """

    rows: list[Row]
    summary: list[Row]
    agreement: list[Row]
    scores: dict[str, dict[int, tuple[np.ndarray, np.ndarray]]]
    notes: list[str]


def record_risks(
    bank: Bank,
    attacks: Sequence[Attack],
    options: Options | None = None,
    fprs: Sequence[float] = FPRS,
    confidence: float = 0.95,
    records_per_block: int | None = None,
) -> RecordRisks:
    """Measures every audited record's risk under every attack.

    Args:
      bank: Its arrays may lie on the disk; memory does not grow with the number of records, but for
        the results.
      attacks: `jleaks.attacks.across_halves.refusal` must be None for each.
      options: Parameters of attacks.
      fprs: A record's own FPRs at which its TPR is wanted.
      confidence: Of every record's intervals.
      records_per_block: Records scored at a time; None for what fits.

    Raises:
      InputError: an argument is out of range, an attack cannot be run, or there are too few models.
    """
    if bad := [fpr for fpr in fprs if not 0 < fpr < 1]:
        raise InputError(f"FPR {bad[0]}; expected numbers strictly between 0 and 1")
    across = AcrossHalves(bank, attacks, options, records_per_block)
    columns: dict[str, list[dict[str, np.ndarray]]] = {attack.name: [] for attack in attacks}
    pooled = {attack.name: (PooledScores(), PooledScores()) for attack in attacks}
    seen = 0
    for block in across.blocks():
        for attack in attacks:
            raw, calibrated = _by_target(across, block.scores[attack.name], block.member)
            for pool, values in zip(pooled[attack.name], (raw, calibrated), strict=True):
                pool.add(seen, values, block.member)
            columns[attack.name].append(
                _columns(across, attack, raw, block.member, fprs, confidence)
            )
        seen += len(block.records)
    rows, summary, ends = [], [], {}
    whole: dict[str, dict[str, np.ndarray]] = {}
    about = _about(bank)
    names = _dataset_records(bank)
    for attack in attacks:
        parts = columns.pop(attack.name)
        mine = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        mine["q_bh"] = record_risk.adjusted(mine["p"])
        mine["q_by"] = record_risk.adjusted(mine["p"], any_dependence=True)
        whole[attack.name] = mine
        order = np.lexsort((-mine["separation"], -mine["auc"]))
        shown = {**about, "attack": attack.name}
        rows += list(_rows(shown, across, bank, names, mine, order))
        summary.append({**shown, **_summary(attack, bank, mine, pooled[attack.name], fprs)})
        told = order[~np.isnan(mine["auc"][order])]
        ends[attack.name] = across.candidates[[*told[:_SHOWN], *told[_SHOWN:][-_SHOWN:]]]
    notes = _notes(bank, across, fprs)
    return RecordRisks(rows, summary, _agreement(about, whole), _ends(across, ends), notes)


def _by_target(
    across: AcrossHalves, scores: np.ndarray, member: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns every model's score as a target, and the same calibrated, [M, n] each, in float64."""
    first = across.halves.first
    raw = np.empty(scores.shape[1:])
    calibrated = np.empty_like(raw)
    for own, pool in zip(scores.astype(np.float64), (first, ~first), strict=True):
        raw[~pool] = own[~pool]
        calibrated[~pool] = record_risk.calibrated(own[~pool], own[pool], member[pool])
    return raw, calibrated


def _columns(
    across: AcrossHalves,
    attack: Attack,
    raw: np.ndarray,
    member: np.ndarray,
    fprs: Sequence[float],
    confidence: float,
) -> dict[str, np.ndarray]:
    """One value per record of a block."""
    found = across.halves
    together = attack.references in ("in and out", "proxies and out")
    parts = [record_risk.Half(raw[half], member[half]) for half in (found.first, ~found.first)]
    ranks = [record_risk.rank_sum(part, found.twins) for part in parts]
    separations = [record_risk.sides(part).separation for part in parts]
    num_in = member.sum(0)
    auc = np.mean([rank.auc for rank in ranks], axis=0)
    low, high = record_risk.auc_interval(
        *(auc, num_in / 2, (len(member) - num_in) / 2), 1.0 if together else 0.5, confidence
    )
    columns = {
        "num_in": num_in,
        "num_out": len(member) - num_in,
        "auc": auc,
        "auc_low": low,
        "auc_high": high,
        "auc_first": ranks[0].auc,
        "auc_second": ranks[1].auc,
        "p": record_risk.p_value(ranks, together),
        "separation": np.mean(separations, axis=0),
        "separation_first": separations[0],
        "separation_second": separations[1],
    }
    for fpr in fprs:
        tpr = record_risk.tpr_at(parts, fpr, confidence)
        columns |= {
            f"tpr_at_own_fpr_{fpr:g}": tpr.tpr,
            f"tpr_own_low_{fpr:g}": tpr.low,
            f"tpr_own_high_{fpr:g}": tpr.high,
        }
    return columns


def _about(bank: Bank) -> dict[str, Any]:
    return {
        **bank.about,
        "num_models": bank.num_models,
    }


def _dataset_records(bank: Bank) -> np.ndarray | None:
    """Returns the audited records' positions in the dataset, where the bank says how they were drawn."""
    plan, total = bank.meta.get("plan", {}), bank.meta.get("num_records")
    sizes = [plan.get(name) for name in ("seed", "num_candidates", "num_population")]
    if total is None or None in sizes:
        return None
    seed, candidates, population = sizes
    # Which records are audited does not depend on the number of models.
    return halves(bank.meta["task"], seed, total, 2, candidates, population).candidates


def _rows(
    shown: dict[str, Any],
    across: AcrossHalves,
    bank: Bank,
    names: np.ndarray | None,
    mine: dict[str, np.ndarray],
    order: np.ndarray,
) -> Iterator[Row]:
    groups = bank.group_of()
    for place, i in enumerate(order):
        record = int(across.candidates[i])
        row: Row = {
            **shown,
            "rank": place + 1,
            "record": record,
            "dataset_record": None if names is None else int(names[record]),
            "label": int(bank.labels[record]),
            **({} if groups is None else {"records": groups[record]}),
        }
        for name, values in mine.items():
            value = values[i].item()
            row[name] = value if isinstance(value, int) else json_lines.number(value)
        yield row


def _spread(values: np.ndarray) -> dict[str, float | None] | None:
    """Mean and quantiles over records; None where no record has a value."""
    values = values[~np.isnan(values)]
    if not values.size:
        return None
    found = {"mean": values.mean()}
    for name, level in (("median", 0.5), ("q90", 0.9), ("q99", 0.99), ("max", 1.0)):
        found[name] = np.quantile(values, level)
    return {name: json_lines.number(float(value)) for name, value in found.items()}


def _summary(
    attack: Attack,
    bank: Bank,
    mine: dict[str, np.ndarray],
    pooled: tuple[PooledScores, PooledScores],
    fprs: Sequence[float],
) -> Row:
    row: Row = {
        "needs": attack.references,
        "num_references": bank.num_models // 2,
        "num_records": len(mine["auc"]),
        "records_found_bh": int((mine["q_bh"] <= LEVEL).sum()),
        "records_found_by": int((mine["q_by"] <= LEVEL).sum()),
        "record_auc": _spread(mine["auc"]),
    }
    for fpr in fprs:
        row[f"record_tpr_at_own_fpr_{fpr:g}"] = _spread(mine[f"tpr_at_own_fpr_{fpr:g}"])
    for name, pool in zip(("raw", "calibrated"), pooled, strict=True):
        for what, interval in zip(
            ("auc", *(f"tpr_at_fpr_{fpr:g}" for fpr in fprs)), pool.intervals(fprs), strict=True
        ):
            row[f"pooled_{name}_{what}"] = {
                end: json_lines.number(getattr(interval, end)) for end in ("mean", "low", "high")
            }
    return row


def _agreement(about: dict[str, Any], whole: dict[str, dict[str, np.ndarray]]) -> list[Row]:
    """Says how alike records are ranked by attacks, and by the two halves of the models."""
    found: list[Row] = []

    def add(names: tuple[str, str], between: str, values: tuple[np.ndarray, np.ndarray]) -> None:
        one, other = values
        found.append(
            {
                **about,
                "attack": names[0],
                "beside": names[1],
                "between": between,
                "num_records": len(one),
                "spearman": json_lines.number(agreement.spearman(one, other)),
                "top_share": TOP,
                "top_shared": json_lines.number(agreement.top_shared(one, other, TOP)),
            }
        )

    for name, mine in whole.items():
        add(
            (name, name),
            "halves of the models",
            (mine["separation_first"], mine["separation_second"]),
        )
    for one, other in itertools.combinations(whole, 2):
        add((one, other), "attacks", (whole[one]["separation"], whole[other]["separation"]))
    return found


def _ends(
    across: AcrossHalves, ends: dict[str, np.ndarray]
) -> dict[str, dict[int, tuple[np.ndarray, np.ndarray]]]:
    """Scores the records at either end once more, for what a figure shows of them."""
    wanted = np.unique(np.concatenate(list(ends.values())))
    found: dict[str, dict[int, tuple[np.ndarray, np.ndarray]]] = {name: {} for name in ends}
    first = across.halves.first
    for start in range(0, len(wanted), across.records_per_block):
        block = across.score(wanted[start : start + across.records_per_block])
        for name, mine in ends.items():
            # Those of the first half were scored with the second for references.
            scores, member = block.scores[name][1][first], block.member[first]
            for i, record in enumerate(block.records.tolist()):
                if record in mine:
                    found[name][record] = scores[:, i], member[:, i]
    return {name: {int(r): found[name][int(r)] for r in mine} for name, mine in ends.items()}


def _notes(bank: Bank, across: AcrossHalves, fprs: Sequence[float]) -> list[str]:
    """Returns a sentence per FPR that so few models do not tell."""
    member = bank.member[across.halves.order][:, across.candidates]
    first = across.halves.first
    most = min(int((~member[half]).sum(0).max()) for half in (first, ~first))
    return [
        f"TPR at a record's own FPR of {fpr:g} is not told by {bank.num_models} models, of whose halves "
        f"{most} did not train on it: it takes {4 * int(np.ceil(1 / fpr - 1)):,} models, and is left empty"
        for fpr in fprs
        if not record_risk.measurable(fpr, most)
    ]
