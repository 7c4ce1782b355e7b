"""The texts of tables: column heads, and the notes below."""

from collections.abc import Iterable

from jleaks.report.paper.groups import CONFIDENCE

COLUMNS: dict[str, str] = {
    "precision": "Precision",
    "recall": "Recall",
    "auc": "AUC",
    "accuracy": "Balanced\naccuracy",
    "tpr_at_fpr_0.01": "TPR at\n1% FPR",
    "tpr_at_fpr_0.001": "TPR at\n0.1% FPR",
    "precision_shadow_cut": "Precision,\nshadow's cut",
    "recall_shadow_cut": "Recall,\nshadow's cut",
    "accuracy_shadow_cut": "Balanced accuracy,\nshadow's cut",
    "target_train_accuracy": "Target\ntrain acc.",
    "target_test_accuracy": "Target\ntest acc.",
    "shadow_seconds": "Shadow training,\ndevice-seconds",
}
"""Fields of a row and the heads of their columns, in the order of reports."""

COSTS: dict[str, str] = {
    "shadow_wall_seconds": "Shadow training, wall seconds",
    "shadow_flops": "Shadow training, TFLOP",
    "attack_seconds": "Attack training, device-seconds",
}
"""Further costs, shown where the number of shadow models varies."""


def flat_title(metric: str) -> str:
    """Returns the head of a metric's column on one line."""
    return {**COLUMNS, **COSTS}[metric].replace("\n", " ")


def seeds_text(counts: Iterable[int]) -> str:
    """Returns the sentences that say what ± is, from the numbers of seeds behind the cells."""
    found = set(counts)
    # 0: no seed defines the value.
    if found <= {0, 1}:
        return "One seed: no intervals."
    note = f"Means over seeds ± half-width of the {CONFIDENCE:.0%} t interval."
    return f"{note} No ±: a single seed." if 1 in found else note


def range_text(values: Iterable[float], spec: str) -> str:
    """Returns "3" or "1 to 3": least and most of some numbers in one format."""
    low, high = min(found := list(values)), max(found)
    texts = [f"{low:{spec}}", f"{high:{spec}}"]
    return texts[0] if texts[0] == texts[1] else " to ".join(texts)
