"""CMIA: rounds of an attack whose shadows assume what the rounds before were sure of.

Du et al., NDSS 2026 (arXiv 2511.04716); the authors' code (`CMIA/`).  In the first round a target is
attacked with S shadows on random halves, as ever.  The records that the attack is sure of become anchors
(`jleaks.attacks.cascade`).  Every later round trains S shadows anew, for each target, that have its anchors
for members, lack those for non-members and share the other records between them at random; the attack
then compares with the shadows of all rounds.  It ends where a round finds no anchor.

Of a target's cost most is training, which no other target can share: here the shadows of all targets of a
round are one fleet.  Beside it stands the same attack with as many plain shadows, which all targets share.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float

from jleaks.attacks.attack import Attack
from jleaks.attacks.bank import Bank
from jleaks.attacks.cascade import Rule, anchors
from jleaks.attacks.evaluate_bank import scores
from jleaks.attacks.options import published
from jleaks.attacks.references import References
from jleaks.attacks.registry import ATTACKS
from jleaks.data.dataset import Dataset
from jleaks.data.splits import Halves
from jleaks.data.tasks import get_task
from jleaks.experiments.bank import subjects
from jleaks.experiments.cascade_plan import CascadePlan
from jleaks.experiments.per_target import Asked, Row, ask, joined, rows_of
from jleaks.experiments.per_target_plan import NUM_REFERENCES
from jleaks.experiments.querier import Querier
from jleaks.experiments.subjects import Subject
from jleaks.keys import Role, identity_generator, identity_key
from jleaks.metrics import roc
from jleaks.metrics.bank_metrics import FPRS
from jleaks.training.execution import Execution
from jleaks.training.fleet import stack_key_data
from jleaks.training.reporter import Reporter


def cascade(
    plan: CascadePlan,
    execution: Execution,
    workdir: str,
    data_dir: str | None = None,
    models_dir: str | None = None,
    command: str = "",
    reporter: Reporter | None = None,
) -> list[Row]:
    """Runs a cascade, or continues it from the models that are kept, or reads it if it has finished.

    Args:
      plan: What defines the numbers.
      execution: How fast.
      workdir: Directory of this plan's results, `rows.jsonl`.
      data_dir: Where prepared datasets are; needed unless the plan is synthetic.
      models_dir: Where trained models are kept, `workdir` by default.
      command: Recorded in every row.
      reporter: Where to tell what is going on.

    Returns:
      One row per target and round, twice: conditioned true (CMIA) and false (as many plain shadows).
      Fields: task, source, seed, attack, target, round, conditioned, num_shadows; anchors_in and
      anchors_out, assumed in this round's shadows, and anchors_right, the share of them that is true
      (null without any); auc; tpr_at_fpr_0.01 and so on; device_seconds of training the shadows, and
      device_seconds_shared, of those that all targets share.

    Raises:
      InputError: anything about the input, before any long work.
      Preempted: a stop signal arrived; the same call continues.
      DivergedError: a model's loss was not finite.
    """

    def attacked(querier: Querier, data: Dataset, split: Halves, reporter: Reporter) -> list[Row]:
        bank = plan.bank()
        plain = ask(querier, subjects(bank, split, range(bank.num_models)), split, bank.temperature)
        return _rounds(plan, querier, split, plain, data.labels[split.candidates], reporter)

    about = {"anchor_sides": plan.anchor_sides}
    return rows_of(
        plan, attacked, about, execution, workdir, data_dir, models_dir, command, reporter
    )


def _conditioned(
    plan: CascadePlan,
    split: Halves,
    place: str,
    inside: Bool[np.ndarray, "records"],
    others: Bool[np.ndarray, "records"],
) -> list[Subject]:
    """Lays out one target's references and shadows of one round, twins in what is not anchored.

    Args:
      plan: Of the cascade.
      split: The records.
      place: Which target and round, in keys and messages.
      inside: Anchors that all of them have.
      others: Anchors that none of them has.
    """
    count = NUM_REFERENCES + plan.num_shadows
    free = np.flatnonzero(~inside & ~others)
    (first,) = subjects(plan.bank(), split, [0])
    found = []
    for pair in range(count // 2):
        drawn = identity_generator(plan.seed, place, Role.CASCADE, pair).permutation(free)
        for side, half in enumerate((drawn[: len(free) // 2], drawn[len(free) // 2 :])):
            member = inside.copy()
            member[half] = True
            key = identity_key(plan.seed, place, Role.CASCADE, 2 * pair + side)
            found.append(
                dataclasses.replace(
                    first,
                    name=f"shadow {2 * pair + side} of {place}, seed {plan.seed}",
                    members=split.candidates[member],
                    others=split.candidates[~member],
                    key_data=stack_key_data([key])[0],
                )
            )
    return found


def _attacked(
    attack: Attack, task: str, models: Asked, labels: np.ndarray, num_classes: int
) -> Float[np.ndarray, "attacked records"]:
    """Attacks the first models, a target and the references, with all others as references.

    The form of the attack, if it has several, is chosen on a reference.
    """
    count, nobody = 1 + NUM_REFERENCES, np.zeros(len(labels), bool)
    total = len(models.phi)
    bank = Bank(
        models.phi[None], models.member, labels, num_classes, nobody, phi_t=models.phi_t,
        meta={"task": task},
    )  # fmt: skip
    others = np.tile(np.arange(count, total, dtype=np.int32), (count, 1))
    rows = References(np.arange(count, dtype=np.int32), others, total)
    shadows = References(np.array([1, 2, 1], np.int32), others, total)
    return scores(bank, [attack], rows, shadows, published(task))[attack.name]


def _metrics(row: np.ndarray, member: np.ndarray) -> Row:
    ranked = roc.rank(row.astype(np.float32), member, np.ones_like(member))
    found, _ = roc.operating_points(ranked, FPRS)
    tpr = np.asarray(found) / int(member.sum())
    return {
        "auc": float(roc.auc(ranked)),
        **{f"tpr_at_fpr_{fpr}": float(value) for fpr, value in zip(FPRS, tpr, strict=True)},
    }


def _rounds(
    plan: CascadePlan,
    querier: Querier,
    split: Halves,
    plain: Asked,
    labels: np.ndarray,
    reporter: Reporter,
) -> list[Row]:
    """Attacks all targets round by round; see `cascade` for the rows."""
    count, size, task = plan.num_targets, plan.num_shadows, get_task(plan.task)
    attack, temperature = ATTACKS[plan.attack], plan.bank().temperature
    targets, first = plain.take(slice(count)), plain.take(slice(count, count + NUM_REFERENCES))
    pool = plain.take(slice(count + NUM_REFERENCES, None))
    rule = Rule(
        plan.false_others, plan.false_members, plan.most_anchored, both=plan.anchor_sides == "both"
    )
    anchored = np.zeros((2, count, len(labels)), bool)
    shadows = [[pool.take(slice(size))] for _ in range(count)]
    references, live = [first] * count, set(range(count))
    rows: list[Row] = []
    for number in range(1, plan.num_rounds + 1):
        new = np.zeros_like(anchored)
        for t in range(count):
            target = targets.take(slice(t, t + 1))
            compared = {True: shadows[t], False: [pool.take(slice(size * number))]}
            for conditioned, others in compared.items():
                known = references[t] if conditioned else first
                models = joined([target, known, *others])
                found = _attacked(attack, plan.task, models, labels, task.num_classes)
                if conditioned and t in live and number < plan.num_rounds:
                    free = ~(anchored[0, t] | anchored[1, t])
                    new[:, t] = anchors(found[0], found[1:], known.member, free, rule)
                own = others[1:] if conditioned else []
                rows.append(
                    {
                        "attack": attack.name,
                        "target": t,
                        "round": number,
                        "conditioned": conditioned,
                        "num_shadows": len(models.phi) - 1 - NUM_REFERENCES,
                        **_told(
                            anchored[:, t] if conditioned else np.zeros_like(new[:, t]), target
                        ),
                        "num_members": int(target.member.sum()),
                        "num_nonmembers": int((~target.member).sum()),
                        **_metrics(found[0], target.member[0]),
                        "device_seconds": round(sum(part.seconds for part in others), 3),
                        "device_seconds_shared": round(
                            sum(p.seconds for p in others) - sum(p.seconds for p in own), 3
                        ),
                    }
                )
        anchored |= new
        live = {t for t in live if new[:, t].any()}
        reporter.line(
            f"{plan.task}: round {number} of {plan.num_rounds}: {int(new[0].sum()):,} anchors of members, "
            f"{int(new[1].sum()):,} of others, of {len(live)} targets"
        )
        if not live or number == plan.num_rounds:
            continue
        order = sorted(live)
        places = [f"{plan.task}, target {t}, round {number + 1}" for t in order]
        trained = [
            model
            for t, place in zip(order, places, strict=True)
            for model in _conditioned(plan, split, place, *anchored[:, t])
        ]
        answers = ask(querier, trained, split, temperature)
        each = NUM_REFERENCES + size
        for i, t in enumerate(order):
            mine = answers.take(slice(i * each, (i + 1) * each))
            references[t] = mine.take(slice(NUM_REFERENCES))
            shadows[t] = [*shadows[t], mine.take(slice(NUM_REFERENCES, None))]
    return rows


def _told(anchored: Bool[np.ndarray, "2 records"], target: Asked) -> Row:
    """How many anchors one target has on either side, and how many are right."""
    inside, others = anchored
    right = (inside & target.member[0]).sum() + (others & ~target.member[0]).sum()
    return {
        "anchors_in": int(inside.sum()),
        "anchors_out": int(others.sum()),
        "anchors_right": float(right / anchored.sum()) if anchored.any() else None,
    }
