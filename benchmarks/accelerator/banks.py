"""Whole banks on one device: trained, evaluated, and moved to the host and to disk."""

import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jleaks.attacks.bank import Bank
from jleaks.attacks.evaluate_bank import evaluate
from jleaks.attacks.references import assign
from jleaks.attacks.registry import get_attacks
from jleaks.experiments.bank_plan import BankPlan
from jleaks.metrics.bank_metrics import BankMetrics
from jleaks.training.execution import Execution
from jleaks.training.fleet import make_mesh
from jleaks.training.placement import fetch, put_models


def synthetic_bank(num_models: int, num_records: int) -> Bank:
    """Returns made-up answers of twins, the same on every call; members' are a little larger."""
    rng = np.random.default_rng(0)
    half = np.argsort(rng.random((num_models // 2, num_records)), 1) < num_records // 2
    member = np.stack([half, ~half], 1).reshape(num_models, num_records)
    phi = (rng.normal(size=member.shape) + member).astype(np.float32)[None]
    return Bank(
        phi=phi,
        member=member,
        labels=rng.integers(0, 100, num_records).astype(np.int32),
        num_classes=100,
        population=np.zeros(num_records, bool),
        correct=phi > 0,
        phi_t=phi[0] / 2,
        twins=True,
    )


def evaluated(num_models: int, num_records: int, names: Sequence[str]) -> dict[str, Any]:
    """Times the evaluator on made-up answers, compiled first and again."""
    bank = synthetic_bank(num_models, num_records)
    return {"evaluation_seconds": _evaluations(bank, names)[0]}


def evaluation(bank: Bank, names: Sequence[str]) -> Callable[[], BankMetrics]:
    """Returns an evaluation of all models, compiled at its first call."""
    references, shadows = assign(bank)
    return lambda: evaluate(bank, get_attacks(list(names)), references, shadows, make_mesh())


def traffic(size: int) -> dict[str, Any]:
    """Times what checkpoints and packs wait for: so many bytes up, down, and into a file."""
    pack = np.zeros((4, size // 16), np.float32)
    ticks = [time.perf_counter()]
    there, count = put_models(pack, make_mesh(1))
    jax.block_until_ready(there)
    ticks.append(time.perf_counter())
    back = fetch(there, count)
    ticks.append(time.perf_counter())
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "pack.npy", back)
    ticks.append(time.perf_counter())
    seconds = [round(b - a, 4) for a, b in itertools.pairwise(ticks)]
    return {"seconds": dict(zip(("put", "fetch", "save"), seconds, strict=True))}


def _evaluations(bank: Bank, names: Sequence[str]) -> tuple[dict[str, float], BankMetrics]:
    """Returns the seconds of the first evaluation and of the second, and its metrics."""
    evaluate_fn, seconds = evaluation(bank, names), []
    for _ in range(2):
        tick = time.perf_counter()
        metrics = evaluate_fn()
        seconds.append(round(time.perf_counter() - tick, 3))
    return dict(zip(("first", "second"), seconds, strict=True)), metrics


def whole_bank(plan: BankPlan, names: Sequence[str]) -> dict[str, Any]:
    """Trains a bank as launch.bank does, and attacks all its models with the named attacks."""
    # Keeps checkpoints, which needs orbax; nothing else here does.
    from jleaks.experiments import bank as bank_engine

    tick = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        bank = bank_engine.train_bank(plan, Execution(), folder)
    trained = time.perf_counter() - tick
    evaluations, metrics = _evaluations(bank, names)
    members, others = bank.accuracy()
    return {
        "num_models": plan.num_models,
        "num_records": plan.num_candidates + plan.num_population,
        "epochs": plan.recipe.epochs,
        "seconds": {**bank.meta["seconds"], "all": round(trained, 2)},
        "packing": bank.meta["packing"],
        "evaluation_seconds": evaluations,
        "accuracy": {"members": round(members, 4), "others": round(others, 4)},
        "auc": {
            name: round(float(np.mean(row)), 4)
            for name, row in zip(names, np.asarray(metrics.auc), strict=True)
        },
    }
