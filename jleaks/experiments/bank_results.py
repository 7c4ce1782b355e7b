"""What an evaluated bank leaves behind: a row per attack and target, and a summary per attack.

`rows.jsonl` has one object per attack and target, `summary.jsonl` one per attack with means over targets
and their intervals, `comparisons.jsonl` one per pair of attacks that are compared.  `roc.npz` keeps the ROC
curves.  Everything shown is computed from these.
"""

import collections
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jleaks import json_lines
from jleaks.attacks.bank import Bank
from jleaks.attacks.references import References
from jleaks.attacks.registry import Attack
from jleaks.files import replacing
from jleaks.metrics.bank_metrics import FPRS, GRID, BankMetrics
from jleaks.metrics.estimates import MEASURES, means, over_targets, tpr_over_records
from jleaks.metrics.intervals import Interval
from jleaks.metrics.over_targets import paired_targets

# Metrics of a row that are averaged over targets.
METRICS = (*MEASURES, *(f"fpr_realised_{fpr}" for fpr in FPRS))

# What intervals of a summary or a comparison are over; rows from before have no such field, and t
# intervals over targets, which are too narrow to be shown.
OVER = "records"

# Measures on which attacks are compared in pairs.
COMPARED = ("auc", *(f"tpr_at_fpr_{fpr}" for fpr in FPRS[:2]))

Row = dict[str, Any]


def attack_rows(
    bank: Bank, attacks: Sequence[Attack], metrics: BankMetrics, references: References
) -> list[Row]:
    """Returns one row per attack and target.

    Fields: task, source, seed, attack, target, num_references, num_models; num_in and num_out, how many
    references a record has on either side (mean); variant, the form that a shadow chose (null where an
    attack has one form); auc; threshold and, at it,
    precision, recall, balanced_accuracy (null without a shadow); per FPR tpr_at_fpr, fpr_realised,
    tp_at_fpr (k of n = num_members) and tpr_low, tpr_high, which cover the TPR at that FPR with 95%,
    over records that are independent given the model (see `jleaks.metrics.operating_points.tpr_interval`);
    num_members, num_nonmembers.
    """
    rows = []
    sides = [round(size, 3) for size in references.sides(bank)]
    for a, attack in enumerate(attacks):
        uses = attack.references != "none"
        for target in range(metrics.auc.shape[1]):
            p, n = int(metrics.positives[a, target]), int(metrics.negatives[a, target])
            row: Row = {
                **bank.about,
                "attack": attack.name,
                "target": int(references.targets[target]),
                "num_models": bank.num_models,
                "num_references": references.models.shape[1] if uses else 0,
                "num_in": sides[0] if attack.references not in ("none", "out") else 0.0,
                "num_out": sides[1] if uses else 0.0,
                "variant": _variant(attack, float(metrics.variant[a, target])),
                "num_members": p,
                "num_nonmembers": n,
                "auc": float(metrics.auc[a, target]),
                **_at_threshold(metrics, a, target, p, n),
            }
            for f, fpr in enumerate(FPRS):
                k = int(metrics.tp[a, target, f])
                interval = tpr_over_records(metrics, a, target, f)
                row |= {
                    f"tpr_at_fpr_{fpr}": k / p,
                    f"fpr_realised_{fpr}": int(metrics.fp[a, target, f]) / n,
                    f"tp_at_fpr_{fpr}": k,
                    f"tpr_low_{fpr}": interval.low,
                    f"tpr_high_{fpr}": interval.high,
                }
            rows.append(row)
    return rows


def _variant(attack: Attack, value: float) -> str | float | None:
    return None if attack.variants is None or np.isnan(value) else attack.variants.name(value)


def _at_threshold(metrics: BankMetrics, a: int, target: int, p: int, n: int) -> dict[str, Any]:
    threshold = float(metrics.threshold[a, target])
    names = ("precision", "recall", "balanced_accuracy", "threshold")
    if np.isnan(threshold):
        return dict.fromkeys(names)
    tp, fp = int(metrics.tp_called[a, target]), int(metrics.fp_called[a, target])
    precision = tp / (tp + fp) if tp + fp else None
    return dict(zip(names, (precision, tp / p, (tp / p + 1 - fp / n) / 2, threshold), strict=True))


def summarise(
    rows: Sequence[Row],
    attacks: Sequence[Attack],
    metrics: BankMetrics,
    about: dict[str, Any] | None = None,
) -> list[Row]:
    """Returns one row per attack: means over targets with 95% intervals over records.

    Each of `METRICS` is an object: mean; low and high (see `jleaks.metrics.over_targets.mean_over_targets`;
    null for the realised FPR, which is what these records happen to give); n, of how many targets: those
    for which it is defined.  `intervals` says what they are over.

    Args:
      rows: Of one bank.
      attacks: Those that were run, in order.
      metrics: What the rows were made from.
      about: Added to every row.
    """
    found = []
    for a, attack in enumerate(attacks):
        mine = [row for row in rows if row["attack"] == attack.name]
        first = mine[0]
        summary: Row = {
            key: first[key]
            for key in (
                *("task", "source", "seed", "attack", "num_models", "num_references"),
                *("num_in", "num_out"),
            )
        }
        chosen = collections.Counter(row["variant"] for row in mine if row["variant"] is not None)
        summary |= {
            "needs": attack.references,
            "labels": attack.labels,
            "queries": attack.queries,
            "variants": {str(name): count for name, count in sorted(chosen.items())} or None,
            "num_targets": len(mine),
            "num_members": round(float(np.mean([row["num_members"] for row in mine])), 1),
            "num_nonmembers": round(float(np.mean([row["num_nonmembers"] for row in mine])), 1),
            "intervals": OVER,
        }
        intervals = means(metrics, a)
        for metric in METRICS:
            if metric in intervals:
                summary[metric] = _plain(intervals[metric])
            else:
                mean = float(np.mean([row[metric] for row in mine]))
                summary[metric] = {
                    "mean": json_lines.number(mean),
                    "low": None,
                    "high": None,
                    "n": len(mine),
                }
        found.append({**summary, **(about or {})})
    return found


def compare(
    rows: Sequence[Row],
    attacks: Sequence[Attack],
    metrics: BankMetrics,
    names: Sequence[str],
) -> list[Row]:
    """Returns one row per pair of attacks: how far the first is ahead on the same targets.

    Each of `COMPARED` is an object: mean, low and high of first - second over records (see
    `jleaks.metrics.over_targets.paired_targets`); n targets; ahead, behind: on how many of them the first
    is.

    Args:
      rows: Of one bank.
      attacks: Those that were run, in order.
      metrics: What the rows were made from.
      names: Of the attacks to compare, two or more.
    """
    place = {attack.name: a for a, attack in enumerate(attacks)}
    estimates = {name: over_targets(metrics, place[name]) for name in names}
    first = rows[0]
    shared: dict[str, Any] = {key: first[key] for key in ("task", "source", "seed", "num_models")}
    shared["num_nonmembers"] = round(float(np.mean(metrics.negatives)), 1)
    found = []
    for one, other in itertools.combinations(names, 2):
        row = {**shared, "attack": one, "minus": other, "intervals": OVER}
        for metric in COMPARED:
            pair = paired_targets(estimates[one][metric], estimates[other][metric])
            counts = {"ahead": pair.ahead, "behind": pair.behind}
            row[metric] = {**_plain(pair.difference), **counts}
        found.append(row)
    return found


def _plain(interval: Interval) -> dict[str, Any]:
    numbers = {name: json_lines.number(getattr(interval, name)) for name in ("mean", "low", "high")}
    return {**numbers, "n": interval.n}


def recipe(bank: Bank) -> dict[str, Any] | None:
    """Returns how a bank's models were trained, in short; None for a bank from elsewhere."""
    whole = bank.meta.get("plan", {}).get("recipe")
    kept = ("model", "hidden", "activation", "epochs", "optimizer", "augmentation")
    return whole and {name: whole[name] for name in kept if name in whole}


def write_roc(
    path: str | os.PathLike[str], attacks: Sequence[Attack], metrics: BankMetrics
) -> Path:
    """Writes every target's ROC curve: attacks [A], fpr [G], tpr [A, T, G]."""
    tpr = (metrics.roc / metrics.positives[..., None]).astype(np.float32)
    names = np.array([attack.name for attack in attacks])
    with replacing(path) as file:
        np.savez_compressed(file, attacks=names, fpr=GRID, tpr=tpr)
    return Path(path)
