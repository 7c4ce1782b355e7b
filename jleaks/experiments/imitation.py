"""IMIA: targets are attacked with models that imitate each of them, beside plain shadows that all share.

The authors' code (zealscott/IMIA, December 2025); formulas: `jleaks.attacks.imitation`.  K models are
trained for a while on halves of the attacker's records, whoever the target is (*warm-up*: of these all
targets share one set).  From each of them one imitator goes on for each target, on the same half: half of
its loss is cross-entropy, half the distance of its log posteriors from the target's.  All imitators are one
fleet.  What members look like is told, where the attacker has the audited records ("adaptive"), by K plain
shadows, which are the warm-ups trained to the end; where not ("disjoint"), by models that go on from the
warm-ups on pivots, for each target.

Otherwise than there: the optimiser starts afresh after the warm-up, and so does a schedule of its rate; no
epoch is chosen by accuracy, and no model trained again for the lack of it, as in every training here; the
target's answers are log posteriors in the place of logits, and are asked once.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jleaks.attacks.bank import Bank
from jleaks.attacks.evaluate_bank import scores
from jleaks.attacks.imitation import class_medians, log_posteriors, margins, means_of, pivots, score
from jleaks.attacks.options import published
from jleaks.attacks.references import References
from jleaks.attacks.registry import get_attacks
from jleaks.data.dataset import Dataset
from jleaks.data.splits import Halves, halves
from jleaks.data.tasks import get_task
from jleaks.errors import InputError
from jleaks.experiments.bank import subjects
from jleaks.experiments.imitation_plan import ImitationPlan
from jleaks.experiments.per_target import Asked, Row, ask, joined, rows_of
from jleaks.experiments.per_target_plan import NUM_REFERENCES
from jleaks.experiments.querier import Querier
from jleaks.experiments.subjects import Subject
from jleaks.fingerprint import fingerprint
from jleaks.keys import Role, identity_key
from jleaks.metrics import bank_metrics, roc
from jleaks.metrics.bank_metrics import FPRS, BankMetrics
from jleaks.metrics.estimates import means, over_targets
from jleaks.metrics.over_targets import paired_targets
from jleaks.training.execution import Execution
from jleaks.training.fleet import SignalFn, stack_key_data
from jleaks.training.recipe import Recipe
from jleaks.training.reporter import Reporter

# Whom a target is compared with by the same attacker otherwise.
RIVALS = {
    "adaptive": ("lira_online", "rmia_online"),
    "disjoint": ("lira_offline", "rmia_offline", "pmia_class"),
}
MEASURES = ("auc", *(f"tpr_at_fpr_{fpr}" for fpr in FPRS[:2]))
_LOSS = "imitation"
# Bytes of posteriors that imitators learn at a time.
_MOST_BYTES = 1 << 30


def imitate(
    plan: ImitationPlan,
    execution: Execution,
    workdir: str,
    data_dir: str | None = None,
    models_dir: str | None = None,
    command: str = "",
    reporter: Reporter | None = None,
) -> list[Row]:
    """Attacks by imitators, or continues from the models that are kept, or reads what has finished.

    Args:
      plan: What defines the numbers.
      execution: How fast.
      workdir: Directory of this plan's results, `rows.jsonl`.
      data_dir: Where prepared datasets are; needed unless the plan is synthetic.
      models_dir: Where trained models are kept, `workdir` by default.
      command: Recorded in every row.
      reporter: Where to tell what is going on.

    Returns:
      A row for IMIA, then one for every other attack with as many shadows as IMIA trains models, 2K, and
      with all S.  Fields: task, source, seed, setting, null, attack; num_shadows, trained to attack one
      target, imitators and their starts included; num_targets, num_members, num_nonmembers; each of
      `MEASURES`, an object: mean over targets, low and high (95% over records), n; ahead (null for IMIA),
      by measure how far IMIA is ahead, the same with the numbers of targets on which it is ahead and
      behind; device_seconds of training for one target, and device_seconds_shared, those of models that
      all targets share.

    Raises:
      InputError: anything about the input, before any long work.
      Preempted: a stop signal arrived; the same call continues.
      DivergedError: a model's loss was not finite.
    """

    def attacked(querier: Querier, data: Dataset, split: Halves, _: Reporter) -> list[Row]:
        return _attacked(plan, querier, split, data.labels[split.candidates], data.num_records)

    about = {"setting": plan.setting, "null": plan.null}
    return rows_of(
        plan, attacked, about, execution, workdir, data_dir, models_dir, command, reporter
    )


def _attacked(
    plan: ImitationPlan, querier: Querier, split: Halves, labels: np.ndarray, total: int
) -> list[Row]:
    """Attacks all targets in every way; see `imitate` for the rows."""
    bank, count = plan.bank(), plan.num_targets
    models = subjects(bank, split, range(bank.num_models))
    plain = ask(querier, models, split, bank.temperature)
    shadows = plain.take(slice(count + NUM_REFERENCES, None))
    own = models[count + NUM_REFERENCES :][: plan.num_imitators]
    found, seconds = _imia(plan, querier, split, models[:count], own, labels)
    if plan.setting == "adaptive":
        seconds["shared"] += shadows.take(slice(plan.num_imitators)).seconds
    # How many models that is: warm-ups, imitators, and plain shadows or those on pivots.
    ways = {("imia", 3 * plan.num_imitators): (found, {**seconds})}
    for size in dict.fromkeys((2 * plan.num_imitators, plan.num_shadows)):
        some = shadows.take(slice(size))
        rivals = _rivals(plan, plain.take(slice(count + NUM_REFERENCES)), some, split, labels)
        cost = {"own": 0.0, "shared": some.seconds}
        ways |= {(name, size): (rows, cost) for name, rows in rivals.items()}
    member = plain.member[:count]
    if plan.null == "shuffled":
        sizes = bank.num_models, bank.num_candidates, bank.num_population
        member = halves(
            plan.task, plan.seed, total, *sizes, role=Role.NULL, num_targets=bank.num_targets
        ).member[:count]
    audited = np.ones_like(member) if split.target_part is None else split.target_part & True
    metrics = measured(
        [rows for rows, _ in ways.values()], member, np.broadcast_to(audited, member.shape)
    )
    return list(_rows(plan, ways, metrics))


def _imia(
    plan: ImitationPlan,
    querier: Querier,
    split: Halves,
    targets: Sequence[Subject],
    shadows: Sequence[Subject],
    labels: np.ndarray,
) -> tuple[Float[np.ndarray, "targets records"], dict[str, float]]:
    """Returns IMIA's scores, and the device seconds of one target's models: its own, and shared ones."""
    epochs, records = plan.epochs, split.candidates
    starts = [_stage(s, f"start of an imitator, {s.name}", epochs["warm_up"]) for s in shadows]
    _, begun = querier.train(starts, sound=True)
    adaptive = plan.setting == "adaptive"
    inside_of = querier.signals(shadows, records, margins)["margin"] if adaptive else None
    saw = np.stack([np.isin(records, model.members) for model in shadows])
    num_classes = get_task(plan.task).num_classes
    taught, spent, found = np.flatnonzero(saw.any(0)), 0.0, []
    size = len(shadows) * len(shadows[0].members) * num_classes * 4
    at_once = max(1, _MOST_BYTES // size)
    for first in range(0, len(targets), at_once):
        some = range(first, min(first + at_once, len(targets)))
        answers = querier.signals([targets[t] for t in some], records, log_posteriors)
        imitators = [
            _stage(
                s,
                f"imitator {i} of {targets[t].name}",
                epochs["imitation"],
                (plan, t, i),
                "imitation",
            )
            for t in some
            for i, s in enumerate(shadows)
        ]
        logs = [answers["logs"][i][row] for i in range(len(some)) for row in saw]
        of = [targets[t] for t in some for _ in shadows]
        outside, cost = _continued(querier, imitators, starts, begun, of, records, margins, logs)
        outside, spent = outside.reshape(len(some), len(shadows), -1), spent + cost
        if inside_of is not None:
            found += [
                score(phi, means_of(inside_of, saw), means_of(out, ~saw))
                for phi, out in zip(answers["margin"], outside, strict=True)
            ]
            continue
        chosen = []
        for own in answers["logs"]:
            losses = -own[taught, labels[taught]]
            chosen.append(taught[_enough_pivots(plan, losses, labels[taught], num_classes)])
        trained = [
            _stage(
                dataclasses.replace(s, members=records[chosen[t - first]]),
                f"model {i} on pivots of {targets[t].name}",
                epochs["pivots"],
                (plan, t, len(shadows) + i),
            )
            for t in some
            for i, s in enumerate(shadows)
        ]
        on_pivots, cost = _continued(querier, trained, starts, begun, of, records, margins)
        spent += cost
        for phi, out, at, told in zip(
            answers["margin"], outside, chosen,
            on_pivots.reshape(len(some), len(shadows), -1), strict=True,
        ):  # fmt: skip
            inside = class_medians(told[:, at], labels[at], num_classes)[labels]
            found.append(score(phi, inside, np.median(out, axis=0)))
    shared = querier.cost(starts).device_seconds
    return np.stack(found), {"own": spent / len(targets), "shared": shared}


def _enough_pivots(
    plan: ImitationPlan, losses: np.ndarray, labels: np.ndarray, num_classes: int
) -> Int[np.ndarray, "pivots"]:
    """Returns the pivots' positions (`jleaks.attacks.imitation.pivots`), if there is a batch of them."""
    found = pivots(losses, labels, num_classes, plan.pivots)
    if len(found) < plan.recipe.batch_size:
        raise InputError(
            f"{plan.task}: batch_size is {plan.recipe.batch_size}, but there are only {len(found)} pivots; "
            "lower --batch_size or raise --pivots"
        )
    return found


def _stage(
    like: Subject,
    name: str,
    epochs: int,
    own: tuple[ImitationPlan, int, int] | None = None,
    loss: str = "cross entropy",
) -> Subject:
    """Returns a model of one stage of training on the records of another.

    Args:
      like: The other.
      name: For messages.
      epochs: Of the stage.
      own: Of a model of one target alone the plan, the target and its number; None for the other's key.
      loss: What is minimised.
    """
    key = like.key_data
    if own is not None:
        plan, target, number = own
        place = f"{plan.task}, target {target}"
        key = stack_key_data([identity_key(plan.seed, place, Role.IMITATOR, number)])[0]
    assert isinstance(like.recipe, Recipe)
    changes: Any = {"epochs": epochs, "loss": loss}
    recipe = dataclasses.replace(like.recipe, **changes)
    return dataclasses.replace(like, name=name, recipe=recipe, key_data=key)


def _continued(
    querier: Querier,
    models: Sequence[Subject],
    starts: Sequence[Subject],
    begun: Any,
    targets: Sequence[Subject],
    records: Int[np.ndarray, "records"],
    keep: SignalFn,
    logs: Sequence[Float[np.ndarray, "members k"]] | None = None,
) -> tuple[Float[np.ndarray, "models records"], float]:
    """Trains models that go on from others, if they are not kept; asks them.

    Args:
      querier: Of the run.
      models: T K of them, those of one target behind each other.
      starts: K models that each target's go on from.
      begun: Their state.
      targets: Of each model the target that it is for.
      records: Which they are asked about.
      keep: What is kept of the answers: a margin.
      logs: Of each model the log posteriors that it learns of its members; None for classes alone.

    Returns:
      Their margins, and the device seconds of training them.
    """
    spec = querier.fleet_spec(models)
    source = [querier.name(start) for start in starts]
    repeated = np.tile(np.arange(len(starts)), len(models) // len(starts))
    names = [
        fingerprint(querier.name(model), querier.name(target), source[k], digits=24)
        for model, target, k in zip(models, targets, repeated, strict=True)
    ]
    if logs is not None:
        soft = np.zeros((*spec.members.indices.shape, logs[0].shape[-1]), np.float32)
        for row, own in zip(soft, logs, strict=True):
            row[: len(own)] = own
        spec = dataclasses.replace(spec, members=spec.members._replace(soft_labels=soft))
    spec = dataclasses.replace(spec, begun=jax.tree.map(lambda leaf: leaf[repeated], begun))
    trainer, state = querier.library.train(spec, names, sound=True)
    asked = np.broadcast_to(records, (len(models), len(records)))
    seconds = sum(querier.library.cost(name).device_seconds for name in names)
    return trainer.query(state, asked, keep)["margin"], seconds


def _rivals(
    plan: ImitationPlan, known: Asked, shadows: Asked, split: Halves, labels: np.ndarray
) -> dict[str, Float[np.ndarray, "targets records"]]:
    """Returns the scores of the other attacks.

    Args:
      plan: Of the run.
      known: Targets, then references.
      shadows: What these are compared with.
      split: The records.
      labels: Their classes.
    """
    models, count = joined([known, shadows]), len(known.phi)
    total, part = len(models.phi), split.target_part
    bank = Bank(
        models.phi[None], models.member, labels, get_task(plan.task).num_classes,
        np.zeros(len(labels), bool), phi_t=models.phi_t, target_part=part, meta={"task": plan.task},
    )  # fmt: skip
    others = np.tile(np.arange(count, total, dtype=np.int32), (plan.num_targets, 1))
    numbers = np.arange(plan.num_targets, dtype=np.int32)
    targets = References(numbers, others, total, judged=part)
    first = np.full_like(numbers, plan.num_targets)
    stand_ins = References(first, others, total, judged=None if part is None else ~part)
    attacks = get_attacks(RIVALS[plan.setting])
    return scores(bank, attacks, targets, stand_ins, published(plan.task))


def measured(
    found: Sequence[Float[np.ndarray, "targets records"]],
    member: Bool[np.ndarray, "targets records"],
    audited: Bool[np.ndarray, "targets records"],
) -> BankMetrics:
    """Returns the metrics of scores by several attacks, without thresholds."""
    near = bank_metrics.near(member, audited)

    @jax.jit
    def evaluated(row: Any, truth: Any, candidate: Any, at: Any) -> Any:
        ranked = roc.rank(row, truth, candidate)
        metrics, measured = bank_metrics.evaluate_row(ranked, at, jnp.float32(jnp.nan))
        return metrics, bank_metrics.influence(measured)

    parts, sums = [], []
    for rows in found:
        each = [
            evaluated(row.astype(np.float32), *of)
            for row, *of in zip(rows, member, audited, near, strict=True)
        ]
        parts.append(jax.tree.map(lambda *leaves: np.stack(leaves), *(one for one, _ in each)))
        sums.append(np.sum([np.asarray(one, np.float64) for _, one in each], axis=0))
    metrics = jax.tree.map(lambda *leaves: np.stack(leaves), *parts)
    return metrics._replace(influence=np.stack(sums))


def _rows(
    plan: ImitationPlan, ways: Mapping[tuple[str, int], Any], metrics: BankMetrics
) -> Iterator[Row]:
    mine = over_targets(metrics, 0)
    for a, ((name, size), (_, seconds)) in enumerate(ways.items()):
        intervals, theirs = means(metrics, a), over_targets(metrics, a)
        ahead: dict[str, Any] = {}
        for measure in MEASURES if a else ():
            pair = paired_targets(mine[measure], theirs[measure])
            ahead[measure] = {**_plain(pair.difference), "ahead": pair.ahead, "behind": pair.behind}
        yield {
            "attack": name,
            "num_shadows": size,
            "num_targets": plan.num_targets,
            "num_members": int(metrics.positives[a, 0]),
            "num_nonmembers": int(metrics.negatives[a, 0]),
            **{measure: _plain(intervals[measure]) for measure in MEASURES},
            "ahead": ahead or None,
            "device_seconds": round(seconds["own"] + seconds["shared"], 3),
            "device_seconds_shared": round(seconds["shared"], 3),
        }


def _plain(interval: Any) -> dict[str, Any]:
    return {name: float(f"{getattr(interval, name):.6g}") for name in ("mean", "low", "high")} | {
        "n": interval.n
    }
