"""How much does one finite pool overstate the risk of single records, and does the correction mend it?

python -m benchmarks.checks.pool_bias --out=results/records/pool_bias.jsonl

Draws audited records and trains three banks of models about them, all as one fleet: on random halves of one
pool that holds them, as every bank is made; the first of these once more with other keys; and on halves of
the audited records filled up with records that no other model sees, as many as one likes from the synthetic
generator.  Compares the records' areas under their own curves: of the pool, corrected
(`jleaks.metrics.finite_pool`), and of fresh records, the truth.  Repeated with other records; intervals are
over repetitions.  Coverage: how often a record's interval, Newcombe's shifted by the correction, holds the
truth, allowing for the truth's own error.
"""

import time

import numpy as np

from benchmarks import harness
from benchmarks.harness import OUT, Command, Flag, Layout, Row
from jleaks.api.fleets import train_fleet
from jleaks.attacks.signals import bank_signal_fn
from jleaks.data.origin import records
from jleaks.data.perturbations import perturbation
from jleaks.data.tasks import get_task
from jleaks.metrics.finite_pool import fresh_auc, spread
from jleaks.metrics.intervals import t_interval
from jleaks.metrics.record_risk import Half, rank_sum
from jleaks.training.execution import Execution
from jleaks.training.recipe import Recipe
from launch.app import use_all_cores

COMMAND = Command(
    "benchmarks.checks.pool_bias",
    __doc__,
    ("task", "models", "members", "audited", "epochs", "share"),
    task=Flag("Task of the synthetic records.", "location"),
    models=Flag("Of each bank, even.", 256, 8, even=True),
    members=Flag("Records that a model trains on.", 400, 50, even=True),
    audited=Flag(
        "Records audited, even; few beside --members: models share them.", 40, 2, even=True
    ),
    epochs=Flag("Of training.", 8, 1),
    draws=Flag("Repetitions with other records.", 10, 2),
    share=Flag("Share of the pool that a model trains on.", 0.5, kind=float),
    out=OUT,
)

_Z = 1.96
_STATED = ("task", "models", "members", "audited", "epochs", "share")
LAYOUT = Layout(
    "{task}: {models} models of {members} records, out of one pool and out of fresh ones",
    "{audited} audited records, {draws} repetitions; ±: 95% over repetitions.  {cores} cores of {cpu}, "
    "commit {commit}.",
    [
        ("Epochs", "{epochs}"),
        ("Pool", "{pool}"),
        ("AUC,\none pool", "{auc_pool:.4f}"),
        ("corrected", "{auc_corrected:.4f}"),
        ("fresh\nrecords", "{auc_fresh:.4f}"),
        ("Bias", "{bias:+.4f} ±{bias_half:.4f}"),
        ("corrected ", "{bias_corrected:+.4f} ±{bias_corrected_half:.4f}"),
        ("Covered", "{covered:.1%}"),
        ("corrected  ", "{covered_corrected:.1%}"),
    ],
)


def membership(
    rng: np.random.Generator, models: int, members: int, audited: int, share: float
) -> tuple[np.ndarray, int]:
    """Returns who trains on what, [3 M, N], and the size of the pool.

    The audited records come first, the rest of the pool next, then what no two models share.  Models 0..M-1
    are the pool's, in twins where the share is a half; the next M are the same again; the last M fill up.
    """
    pool = round(members / share)
    own = members - audited // 2
    found = np.zeros((3 * models, pool + models * own), bool)
    for i in range(models):
        if share == 0.5 and i % 2:
            found[i, :pool] = ~found[i - 1, :pool]
        else:
            found[i, rng.permutation(pool)[:members]] = True
        if i % 2:
            found[2 * models + i, :audited] = ~found[2 * models + i - 1, :audited]
        else:
            found[2 * models + i, rng.permutation(audited)[: audited // 2]] = True
        start = pool + i * own
        found[2 * models + i, start : start + own] = True
    found[models : 2 * models] = found[:models]
    return found, pool


def _areas(scores: np.ndarray, member: np.ndarray) -> np.ndarray:
    return rank_sum(Half(scores, member), twins=False).auc


def _deviation(auc: np.ndarray, models: int) -> np.ndarray:
    """Standard error of an area over models, half of them on either side (Hanley & McNeil 1982)."""
    a = np.clip(auc, 0.5 / models, 1 - 0.5 / models)
    half = models / 2
    q1, q2 = a / (2 - a), 2 * a**2 / (1 + a)
    variance = a * (1 - a) + (half - 1) * (q1 - a**2 + q2 - a**2)
    return np.sqrt(variance) / half


def measure(draw: int) -> dict[str, float]:
    """Returns the mean areas of one draw's records, and the shares of intervals that cover."""
    models, audited, share = COMMAND.models, COMMAND.audited, COMMAND.share
    rng = np.random.default_rng(draw)
    member, pool = membership(rng, models, COMMAND.members, audited, share)
    task = get_task(COMMAND.task)
    data = records(COMMAND.task, "synthetic", None, member.shape[1])
    # Other records take the first places in every draw.
    order = rng.permutation(member.shape[1])
    features, labels = data.features[order], data.labels[order]
    fleet = train_fleet(
        features,
        labels,
        member,
        recipe=Recipe(model=task.model, epochs=COMMAND.epochs, batch_size=50),
        encoding=task.encoding,
        num_classes=task.num_classes,
        seed=draw,
    )
    rows = np.broadcast_to(np.arange(audited, dtype=np.int32), (len(member), audited))
    keep = bank_signal_fn(1.0, perturbation(task, 1, 1.0))
    phi = fleet.trainer.query(fleet.state, rows, keep)["phi"][:, :, 0].astype(np.float64)
    pooled, again, fresh = phi[:models], phi[models : 2 * models], phi[2 * models :]
    in_pool, in_fresh = member[:models, :audited], member[2 * models :, :audited]
    auc, truth = _areas(pooled, in_pool), _areas(fresh, in_fresh)
    corrected = fresh_auc(auc, spread(pooled, in_pool, again), share)
    error = np.hypot(_deviation(auc, models), _deviation(truth, models))
    return {
        "auc_pool": float(auc.mean()),
        "auc_corrected": float(corrected.mean()),
        "auc_fresh": float(truth.mean()),
        "covered": float((abs(auc - truth) <= _Z * error).mean()),
        "covered_corrected": float((abs(corrected - truth) <= _Z * error).mean()),
        "pool": pool,
    }


def summary(found: list[dict[str, float]]) -> Row:
    """Returns the row of all draws."""
    means = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
    row: Row = {**means, "pool": int(means["pool"]), "draws": len(found)}
    for name, of in (("bias", "auc_pool"), ("bias_corrected", "auc_corrected")):
        interval = t_interval(np.array([one[of] - one["auc_fresh"] for one in found]))
        row |= {name: interval.mean, f"{name}_half": interval.high - interval.mean}
    return row


def main() -> int:
    use_all_cores()
    about = COMMAND.about(harness.machine(), Execution())
    tick = time.monotonic()
    found = [measure(draw) for draw in range(COMMAND.draws)]
    seconds = time.monotonic() - tick
    stated = {name: getattr(COMMAND, name) for name in _STATED}
    row = {**stated, **summary(found), "seconds": seconds, **about}
    return COMMAND.finish([row], LAYOUT.table([row]))


if __name__ == "__main__":
    COMMAND.run(main)
