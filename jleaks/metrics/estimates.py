"""Means over the targets of a bank, from their metrics and the records' influences on these."""

import numpy as np
from jaxtyping import Float

from jleaks.metrics.bank_metrics import FPRS, INFLUENCES, BankMetrics
from jleaks.metrics.intervals import Interval
from jleaks.metrics.operating_points import Counts, counts, interpolated, tpr_interval
from jleaks.metrics.over_targets import OverTargets, mean_over_targets

# What is averaged over targets, as rows name it.
MEASURES = (
    "auc",
    "balanced_accuracy",
    "precision",
    "recall",
    *(f"tpr_at_fpr_{fpr}" for fpr in FPRS),
)


def found_at(metrics: BankMetrics, attack: int, name: str) -> Float[np.ndarray, "targets fprs"]:
    """Returns the members that an attack finds at one of `Counts` around each of `FPRS`."""
    tp = np.asarray(metrics.tp_near)[attack, :, :, Counts._fields.index(name)]
    return tp.astype(np.float64)


def over_targets(metrics: BankMetrics, attack: int) -> dict[str, OverTargets]:
    """Returns each of `MEASURES` of one attack on every target, NaN where it is not defined.

    The TPR at an FPR that allows few non-members is biased upwards; its `lower` is interpolated between
    the thresholds whose expected FPR is next to the named one.  The influence on a TPR is that on the
    share of members above such a threshold, less that on its FPR times the slope of the ROC curve there
    (Hsieh & Turnbull 1996), which is estimated from thresholds on both sides, over all targets.

    Args:
      metrics: Of every attack on every target.
      attack: Place of the attack in them.
    """
    p, n, tp, fp = (
        np.asarray(part)[attack].astype(np.float64)
        for part in (metrics.positives, metrics.negatives, metrics.tp_called, metrics.fp_called)
    )
    sums = dict(zip(INFLUENCES, np.asarray(metrics.influence[attack], np.float64), strict=True))
    targets = len(p)
    named = ~np.isnan(np.asarray(metrics.threshold)[attack])
    somebody = named & (tp + fp > 0)
    recall = np.where(named, tp / p, np.nan)
    values = {
        "auc": np.asarray(metrics.auc, np.float64)[attack],
        "balanced_accuracy": (recall + 1 - fp / n) / 2,
        "precision": np.where(somebody, tp / np.maximum(tp + fp, 1), np.nan),
        "recall": recall,
    }
    smallest = min(p.min(), n.min())
    records = {"auc": smallest, "balanced_accuracy": smallest, "recall": p.min()}
    records["precision"] = (tp + fp)[somebody].min() if somebody.any() else 0
    found = {
        name: OverTargets(row, sums[name] / max(1, int((~np.isnan(row)).sum())), int(records[name]))
        for name, row in values.items()
    }
    near = {name: found_at(metrics, attack, name) for name in Counts._fields}
    for f, fpr in enumerate(FPRS):
        at = [counts(fpr, int(size)) for size in n]
        span = np.array([one.right - one.left for one in at]) / (n + 1)
        slope = ((near["right"] - near["left"])[:, f] / p / span).mean()
        lower = interpolated(near["below"][:, f], near["above"][:, f], fpr, n) / p
        influence = sums[f"members_at_fpr_{fpr}"] - slope * sums[f"others_at_fpr_{fpr}"]
        found[f"tpr_at_fpr_{fpr}"] = OverTargets(
            np.asarray(metrics.tp)[attack, :, f] / p,
            influence / targets,
            int(p.min()),
            float(lower.mean()),
        )
    return found


def tpr_over_records(metrics: BankMetrics, attack: int, target: int, f: int) -> Interval:
    """Returns the TPR of one attack on one target at `FPRS[f]` with its interval over records."""
    low, high = (found_at(metrics, attack, name)[target, f] for name in ("low", "high"))
    return tpr_interval(
        int(np.asarray(metrics.tp)[attack, target, f]),
        int(low),
        int(high),
        int(np.asarray(metrics.positives)[attack, target]),
    )


def means(metrics: BankMetrics, attack: int) -> dict[str, Interval]:
    """Returns the mean of each of `MEASURES` over targets, with its interval over records.

    With a single target, a TPR's is the exact one of its records.
    """
    found = {name: mean_over_targets(one) for name, one in over_targets(metrics, attack).items()}
    if np.asarray(metrics.positives).shape[1] == 1:
        for f, fpr in enumerate(FPRS):
            found[f"tpr_at_fpr_{fpr}"] = tpr_over_records(metrics, attack, 0, f)
    return found
