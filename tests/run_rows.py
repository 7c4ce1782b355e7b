"""Made-up rows of the main job; the numbers follow from names and seeds."""

import math

import numpy as np

from jleaks.data.tasks import TASKS
from jleaks.rows import ATTACK_MODEL

STATISTICS = (ATTACK_MODEL, "maximum", "standard deviation", "entropy")


def make_row(task, seed, adversary=1, shadow_task=None, statistic="attack model", **changes):
    """A row whose figures follow from task and seed, as plausible as a run's."""
    identity = [list(TASKS).index(task), seed, adversary, STATISTICS.index(statistic)]
    rng = np.random.default_rng(identity)
    gaps = (0.02, 0.42, 0.71, 0.38, 0.36, 0.015, 0.27, 0.04, 0.12, 0.19, 0.28, 0.37)
    gap = gaps[identity[0]] + rng.normal(0, 0.008)
    strength = 0.5 + 0.62 * abs(gap) ** 0.9 * (1.0 if adversary == 1 else 0.9)
    if adversary == 2:
        strength -= 0.05 * abs(math.sin(list(TASKS).index(shadow_task) + 2))
    train = min(1.0, 0.99 - 0.05 * rng.random())
    row = {
        "task": task,
        "shadow_task": {1: task, 2: shadow_task, 3: None}[adversary],
        "adversary": adversary,
        "attack": statistic,
        "seed": seed,
        "source": "stand-in" if task.startswith("purchase") else "real",
        "precision": float(np.clip(strength + rng.normal(0, 0.01), 0, 1)),
        "recall": float(np.clip(strength + 0.08 * math.cos(3 * gap) + rng.normal(0, 0.02), 0, 1)),
        "accuracy": float(np.clip(strength - 0.01, 0, 1)),
        "auc": float(np.clip(strength + 0.03 + rng.normal(0, 0.008), 0, 1)),
        "tpr_at_fpr_0.01": 0.01 + 0.2 * gap,
        "fpr_realised_0.01": 0.0098,
        "tpr_at_fpr_0.001": 0.001 + 0.05 * gap,
        "fpr_realised_0.001": 0.0009,
        "train_accuracy": train,
        "test_accuracy": train - gap,
        "shadow_train_accuracy": None if adversary == 3 else train,
        "shadow_test_accuracy": None if adversary == 3 else train - gap,
        "num_members": TASKS[task].quarter,
        "num_nonmembers": TASKS[task].quarter,
        "threshold": 0.5,
        "num_records": TASKS[task].num_records,
        "num_classes": TASKS[task].num_classes,
        "epochs": 50,
        "model": TASKS[task].model,
        "fingerprint": "0123456789abcdef",
        "device": "cpu",
        "versions": {"jax": "0.10.2", "numpy": "2.4.6"},
        "seconds": {"train": 12.5, "attack": 0.75},
    }
    return row | changes


def make_run(tasks=tuple(TASKS), seeds=(0, 1, 2), adversaries=(1, 2, 3), **changes):
    rows = []
    for seed in seeds:
        for task in tasks:
            if 1 in adversaries:
                rows.append(make_row(task, seed, **changes))
            if 2 in adversaries:
                rows += [make_row(task, seed, 2, s, **changes) for s in tasks if s != task]
            if 3 in adversaries:
                rows += [
                    make_row(task, seed, 3, statistic=statistic, **changes)
                    for statistic in ("maximum", "standard deviation", "entropy")
                ]
    return rows


def cut(rows, **changes):
    """Rows as they are since attack models are judged at two cuts."""
    for row in rows:
        learned = row["adversary"] != 3
        row["collapsed"] = False if learned else None
        row["train_loss"] = row["shadow_train_loss"] = 0.01
        for name in ("precision", "recall", "accuracy"):
            row[f"{name}_shadow_cut"] = round(0.7 + row["seed"] / 100, 3) if learned else None
        row.update(changes)
    return rows
