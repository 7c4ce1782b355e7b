"""Made-up rows of the paper's experiments; the numbers follow from names and seeds."""

import json
import zlib

import numpy as np

from jleaks.data.tasks import TASKS

KINDS = ("mlp", "logistic", "forest")
STATISTICS = ("maximum", "standard deviation", "entropy")


def make_row(experiment, task, seed, attack="adversary 1", shadow_task=None, **changes):
    """A row as plausible as a run's; `changes` replace its fields."""
    variant = changes.get("variant", {})
    identity = json.dumps([experiment, task, seed, attack, shadow_task, variant])
    rng = np.random.default_rng(zlib.crc32(identity.encode()))
    level = 0.55 + 0.3 * rng.random()
    shadow = {"adversary 2": shadow_task, "adversary 3": None}.get(attack, task)
    known = TASKS[task]
    row = {
        "experiment": experiment,
        "task": task,
        "shadow_task": shadow,
        "seed": seed,
        "source": "stand-in" if task.startswith("purchase") else "real",
        "adversary": None if attack == "shokri" else int(attack[-1]),
        "attack": {"adversary 3": "maximum", "shokri": attack}.get(attack, "attack model"),
        "variant": {},
        "precision": level,
        "recall": min(1.0, level + 0.1),
        "accuracy": level - 0.02,
        "auc": level + 0.04,
        "tpr_at_fpr_0.01": 0.03,
        "fpr_realised_0.01": 0.0098,
        "tpr_at_fpr_0.001": 0.002,
        "fpr_realised_0.001": 0.0009,
        "train_accuracy": 0.99,
        "test_accuracy": 0.99 - level + 0.5,
        "num_members": known.quarter,
        "num_nonmembers": known.quarter,
        "num_classes": known.num_classes,
        "model": known.model,
        "shadow_seconds": None if shadow is None else 10.0 * variant.get("num_shadows", 1),
        "scale": "paper",
        "fingerprint": "0123456789abcdef",
        "device": "cpu x86_64 x2",
        "versions": {"jax": "0.10.2", "numpy": "2.4.6"},
        "command": f"python -m launch.paper --experiment={experiment} --scale=paper",
    }
    row |= changes
    if "statistic" in row["variant"]:
        # Adversary 3 is told apart by what it decides by.
        row["variant"] = dict(row["variant"])
        row["attack"] = row["variant"].pop("statistic")
    return row


# What each experiment varies, per attack: (attack, shadow task, variant).
def _cells(experiment, tasks):
    one, three = "adversary 1", "adversary 3"
    defence = {"E16": "dropout", "E18": "stacking"}.get(experiment)
    return {
        "E1": [(a, None, {"attack_model": m}) for a in (one, "shokri") for m in KINDS],
        "E2": [(one, None, {})],
        "E3": [(one, None, {"epochs": n}) for n in (10, 20, 50)],
        "E4": [(one, None, {})],
        "E5": [(one, None, {"top": k}) for k in (1, 3, "all")],
        "E6": [(one, None, {"num_shadows": k}) for k in (1, 2, 10, 20)],
        "E7": [(one, None, {"access": a}) for a in ("direct", "http")],
        "E8": [
            (one, None, {"what": w, "shadow": s})
            for w in ("hidden", "epochs", "learning_rate", "batch_size", "all")
            for s in ("half", "same", "double")
        ],
        "E9": [(one, None, {"target": k, "shadow": s}) for k in KINDS for s in (k, "combined")],
        "E10": [("adversary 2", t, {}) for t in tasks],
        "E11": [("adversary 2", t, {}) for t in tasks],
        "E12": [
            ("adversary 2", t, {"access": a}) for t in tasks for a in ("direct", "http")
        ],
        "E13": [(three, None, {"statistic": s}) for s in STATISTICS],
        "E14": [
            (three, None, {"percentile": t, "statistic": "maximum"}) for t in (1.0, 10.0, 50.0)
        ],
        "E15": [(one, None, {}), (three, None, {"statistic": "maximum"})]
        + [("adversary 2", t, {}) for t in tasks],
        "E16": _defended(defence),
        "E17": [
            (one, None, {"input_ratio": i, "hidden_ratio": h, "attacker": a})
            for i in (0.0, 0.5)
            for h in (0.0, 0.25, 0.5)
            for a in ("naive", "aware")
        ],
        "E18": _defended(defence),
    }[experiment]  # fmt: skip


def _defended(defence):
    arms = (("none", "naive"), (defence, "naive"), (defence, "aware"))
    return [
        *(("adversary 1", None, {"defence": d, "attacker": a}) for d, a in arms),
        *(("adversary 3", None, {"defence": d, "attacker": "naive", "statistic": "maximum"})
          for d in ("none", defence)),
    ]  # fmt: skip


def make_rows(experiment, tasks=("location", "news", "purchase100"), num_seeds=3):
    """All rows of an experiment on some tasks."""
    if experiment == "E4" and tasks[0] == "location":
        tasks = ("purchase2", "purchase20", "purchase100")
    rows = []
    for task in tasks:
        for attack, shadow, variant in _cells(experiment, tasks):
            found = "adversary 1" if shadow == task else attack
            if shadow == task and experiment != "E10":
                continue
            rows += [
                make_row(experiment, task, seed, found, shadow, variant=variant)
                for seed in range(num_seeds)
            ]
    return rows


def write_arrays(experiment, folder, tasks=("location", "news", "purchase100"), num_points=30):
    """Writes what E11 and E14 leave beside their rows."""
    rng = np.random.default_rng(0)
    if experiment == "E11":
        two = np.array(tasks[:2])
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(
            folder / "points.npz",
            embedding=rng.normal(size=(4 * num_points, 2)).astype(np.float32),
            task=np.repeat(two, 2 * num_points),
            member=np.tile(np.repeat([True, False], num_points), 2),
            meta=np.array(json.dumps({"perplexity": 30})),
        )
    if experiment == "E14":
        folder.mkdir(parents=True, exist_ok=True)
        kinds = ("random", "member", "nonmember")
        arrays = {f"{t}/{k}": rng.random(num_points) for t in tasks for k in kinds}
        np.savez(folder / "densities.npz", **arrays)


# Student's t at 97.5% for 1 and 2 degrees of freedom.
T1, T2 = 12.7062047, 4.30265273


def cells(table, *names):
    """The texts of the row whose first cells are `names`, by head."""
    heads = [head.replace("\n", " ") for head in table.heads]
    (row,) = [
        row
        for row in table.rows
        if all(cell.text == name for cell, name in zip(row, names, strict=False))
    ]
    return dict(zip(heads, row, strict=True))


def with_values(experiment, metric, values, variant=None, task="location", attack="adversary 1"):
    """Rows of seeds 0, 1, ... that hold `values` of one metric."""
    return [
        make_row(experiment, task, seed, attack, variant=variant or {}, **{metric: value})
        for seed, value in enumerate(values)
    ]
