"""Attacks on black boxes: from files of posteriors, or whatever gave them, to rows.

Adversary 1 learns from a shadow's answers who was a member of it (Salem et al. 2019, section IV); with a
shadow of another task it is adversary 2 (section V).  Adversary 3 needs no shadow: a statistic of the
posterior ranks the records, and answers to random points give its threshold (section VI).  Where the true
labels are known, the attacks of `jleaks.blackbox.labelled` are run, too.

The attack models are a fleet like any other: same trainer, same training function, and the same
models as the main job's when the posteriors are the same.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jleaks.attacks.attack_models import AttackDataset, fit_networks
from jleaks.attacks.evaluate_cases import evaluate_own_rows, evaluate_scores
from jleaks.attacks.signals import STATISTICS
from jleaks.attacks.threshold import random_point_threshold
from jleaks.blackbox.case import Case, check_attack, check_case, statistics, top_posteriors
from jleaks.blackbox.labelled import attack_labels
from jleaks.blackbox.posteriors import Posteriors
from jleaks.fingerprint import stated
from jleaks.keys import Role, identity_key
from jleaks.metrics.case_metrics import FPRS, Metrics, number, row_fields
from jleaks.metrics.operating_points import tpr_of_scores
from jleaks.rows import ATTACK_MODEL
from jleaks.training.execution import Execution
from jleaks.training.fleet import make_mesh, stack_key_data
from jleaks.training.learner import State
from jleaks.training.preemption import StopSignal
from jleaks.training.recipe import ATTACK_RECIPE, Recipe
from jleaks.training.reporter import Reporter, collapse_line, provenance
from jleaks.training.trainer import FleetSpec, Trainer

Row = dict[str, Any]


def audit(
    cases: Sequence[Case],
    attack: Recipe = ATTACK_RECIPE,
    top: int = 3,
    percentile: float = 10.0,
    execution: Execution | None = None,
    reporter: Reporter | None = None,
    stop: StopSignal | None = None,
) -> list[Row]:
    """Attacks every target: all attack models in one fleet, all attacks in one compiled call.

    A shadow that several cases share is learned from once for each seed; a target that several cases
    share (the same object) has adversary 3's rows once.

    Args:
      cases: The targets and what their attackers have.
      attack: Recipe of the attack models.
      top: Largest posteriors an attack model sees (two where either side is binary).
      percentile: t: adversary 3's threshold is exceeded by the top t percent of random points.
      execution: How fast.
      reporter: Where to tell what is going on.
      stop: Looked at while the attack models are trained.

    Returns:
      Rows of adversaries 1 and 2, one per case with a shadow, then of adversary 3, three per target, then
      of the attacks that look at labels, four or five per target (and shadow) with labels.
      They have the fields of `jleaks.rows.Row` that posteriors can give, null where one is
      undefined (so is the adversary of attacks on labels, which the paper does not have); also

      target, shadow: names; the shadow is what was learned from or what gave the threshold.
      num_posteriors: how many an attack model saw.
      num_random_points: behind adversary 3's threshold.
      constant: all records have the same score: an AUC of one half is by construction, no evidence.
      one_hot: the target answered labels alone.
      renormalised: the target's posteriors were divided by their sums.
      num_infinite: records whose score would be infinite, kept beyond the finite ones.
      tpr_low_*, tpr_high_*: cover each TPR at the named FPR with 95%, over records that are independent
        given the model.

      What `about` adds (`source`, `model`, `epochs`, `num_records`) makes adversaries' rows complete.

    Raises:
      InputError: something about the cases, before any long work.
      Preempted: a stop signal arrived.
      DivergedError: an attack model's loss was not finite.
    """
    check_attack(attack, top, percentile)
    for case in cases:
        check_case(case, attack)
    if not cases:
        return []
    execution, reporter = (execution or Execution()).validate(), reporter or Reporter()
    mesh = make_mesh(execution.num_devices)
    tick = time.monotonic()
    attacks = _learned(cases, attack, top, execution, reporter, stop or StopSignal())
    seconds = {"attack models": round(time.monotonic() - tick, 3)}
    tick = time.monotonic()
    attacks += _thresholded(cases, percentile) + _labelled(cases)
    found = evaluate_scores(
        [one.scores for one in attacks],
        [np.asarray(one.case.target.member) for one in attacks],
        [one.cut for one in attacks],
        mesh,
        [one.shadow_cut for one in attacks],
    )
    seconds["evaluation"] = round(time.monotonic() - tick, 3)

    choices = {"attack": stated(attack), "top": top, "percentile": percentile}
    about = {"seconds": seconds, **provenance(_fingerprint(cases, choices), execution)}
    return [
        _row(one, jax.tree.map(lambda leaf, at=i: leaf[at], found), about)
        for i, one in enumerate(attacks)
    ]


class _Attack(NamedTuple):
    """One row in the making.

    Attributes:
      case: Who is attacked.
      adversary: 1, 2 or 3; None for attacks on labels.
      shadow: What was learned from, or gave the threshold; None for adversary 3.
      statistic: As in a row; of attacks on labels their name in the registry.
      scores: [n] of the target's records.
      cut: The score from which a record is called a member.
      shadow_cut: The same by the attack model's own rows; NaN for adversary 3.
      collapsed: Whether the attack model has (see `jleaks.metrics.case_metrics.OwnRows`); None for
        adversary 3.
      threshold: `cut` in the row's terms; None if there is no way to know one.
      num_posteriors: How many an attack model saw; None for adversary 3.
      num_random_points: Behind the threshold; None but for adversary 3.
      num_infinite: Records whose score would be infinite; None where no score can be.
    """

    case: Case
    adversary: int | None
    shadow: Posteriors | None
    statistic: str
    scores: Float[np.ndarray, "records"]
    cut: float
    shadow_cut: float
    collapsed: bool | None
    threshold: float | None
    num_posteriors: int | None = None
    num_random_points: int | None = None
    num_infinite: int | None = None


def _learned(
    cases: Sequence[Case],
    attack: Recipe,
    top: int,
    execution: Execution,
    reporter: Reporter,
    stop: StopSignal,
) -> list[_Attack]:
    """Trains the attack models of adversaries 1 and 2 and asks them about their targets."""
    datasets: dict[tuple[int, str, int, int], AttackDataset] = {}
    blocks: dict[tuple[int, int], np.ndarray] = {}
    asked: list[tuple[Case, Posteriors, int, int]] = []

    def largest(answers: Posteriors, width: int) -> np.ndarray:
        """Returns the largest posteriors; the same array for the same answers."""
        if (id(answers), width) not in blocks:
            blocks[id(answers), width] = top_posteriors(answers.posteriors, width)
        return blocks[id(answers), width]

    for case in cases:
        if (shadow := case.shadow) is None:
            continue
        task = case.shadow_task or case.task
        width = min(top, shadow.num_classes, case.target.num_classes)
        where = (id(shadow), task, case.seed, width)
        if where not in datasets:
            member = np.asarray(shadow.member)
            # Members first: the order of the main job's rows.
            order = np.argsort(~member, kind="stable")
            datasets[where] = AttackDataset(
                name=f"attack model of {shadow.name}, seed {case.seed}, top {width}",
                fingerprint="",
                key_data=stack_key_data([identity_key(case.seed, task, Role.ATTACK, width)])[0],
                features=largest(shadow, width)[order],
                member=member[order],
                num_inputs=top,
            )
        queries = datasets[where].queries
        asked.append((case, shadow, list(datasets).index(where), len(queries)))
        queries.append(largest(case.target, width))
    if not datasets:
        return []

    def train(spec: FleetSpec, _: Sequence[str]) -> tuple[Trainer, State]:
        trainer = Trainer(spec, execution, reporter.progress, stop)
        return trainer, trainer.run()

    learned = list(datasets.values())
    scores = fit_networks(attack, train, learned)
    mesh = make_mesh(execution.num_devices)
    own = evaluate_own_rows([one for one, _ in scores], [one.member for one in learned], mesh)
    if own.collapsed.any():
        names = [learned[i].name for i in np.flatnonzero(own.collapsed)]
        reporter.line(collapse_line(names, len(learned)))
    return [
        _Attack(
            case=case,
            adversary=1 if case.is_same_task else 2,
            shadow=shadow,
            statistic=ATTACK_MODEL,
            scores=scores[model][1][query],
            cut=0.0,
            shadow_cut=float(own.cut[model]),
            collapsed=bool(own.collapsed[model]),
            threshold=0.5,
            num_posteriors=learned[model].features.shape[1],
        )
        for case, shadow, model, query in asked
    ]


def _thresholded(cases: Sequence[Case], percentile: float) -> list[_Attack]:
    """Scores every target by adversary 3's statistics.

    The threshold is from the target's first case with random points.
    """
    chosen: dict[int, Case] = {}
    for case in cases:
        found = chosen.setdefault(id(case.target), case)
        if found.random is None and case.random is not None:
            chosen[id(case.target)] = case
    attacks = []
    for case in chosen.values():
        own, random = statistics(case.target.posteriors), None
        if case.random is not None:
            random = statistics(case.random.posteriors)
        for i, statistic in enumerate(STATISTICS):
            threshold = None
            if random is not None:
                threshold = float(random_point_threshold(jnp.asarray(random[:, i]), percentile))
            attacks.append(
                _Attack(
                    case=case,
                    adversary=3,
                    shadow=None,
                    statistic=statistic,
                    scores=own[:, i],
                    cut=np.inf if threshold is None else threshold,
                    shadow_cut=np.nan,
                    collapsed=None,
                    threshold=threshold,
                    num_random_points=0 if random is None else len(random),
                )
            )
    return attacks


def _labelled(cases: Sequence[Case]) -> list[_Attack]:
    """Scores every target with labels by them, once for each shadow that can give thresholds."""
    attacks, seen = [], set()
    for case in cases:
        shadow = case.shadow if case.shadow is not None and case.shadow.label is not None else None
        where = (id(case.target), id(shadow))
        if case.target.label is None or where in seen:
            continue
        seen.add(where)
        attacks += [
            _Attack(
                case=case,
                adversary=None,
                shadow=shadow if one.from_shadow else None,
                statistic=one.attack.name,
                scores=one.scores,
                cut=np.inf if one.threshold is None else one.threshold,
                shadow_cut=np.nan,
                collapsed=None,
                threshold=one.threshold,
                num_infinite=one.num_infinite,
            )
            for one in attack_labels(case.target, shadow, case.is_same_task)
        ]
    return attacks


def _row(attack: _Attack, values: Metrics, about: dict[str, Any]) -> Row:
    case, shadow = attack.case, attack.shadow
    target, task = case.target, case.shadow_task or case.task
    num_members = int(np.asarray(target.member).sum())
    row: Row = {
        "task": case.task,
        "shadow_task": None if shadow is None else task,
        "adversary": attack.adversary,
        "attack": attack.statistic,
        "seed": case.seed,
        "target": target.name,
        "shadow": None if shadow is None else shadow.name,
        **row_fields(values),
        "collapsed": attack.collapsed,
    }
    if attack.threshold is None:
        row |= dict.fromkeys(("precision", "recall", "accuracy"))
    for rate in FPRS:
        interval = tpr_of_scores(attack.scores, np.asarray(target.member), rate)
        row |= {
            f"tpr_low_{rate}": number(interval.low),
            f"tpr_high_{rate}": number(interval.high),
        }
    return {
        **row,
        "train_accuracy": target.accuracy(member=True),
        "test_accuracy": target.accuracy(member=False),
        "shadow_train_accuracy": None if shadow is None else shadow.accuracy(member=True),
        "shadow_test_accuracy": None if shadow is None else shadow.accuracy(member=False),
        "num_members": num_members,
        "num_nonmembers": target.num_records - num_members,
        "threshold": attack.threshold,
        "num_classes": target.num_classes,
        "num_posteriors": attack.num_posteriors,
        "num_random_points": attack.num_random_points,
        "num_infinite": attack.num_infinite,
        "constant": bool((attack.scores == attack.scores[0]).all()),
        "one_hot": target.is_one_hot,
        "renormalised": target.renormalised,
        **about,
        **case.about,
    }


def _fingerprint(cases: Sequence[Case], choices: dict[str, Any]) -> str:
    """Returns 16 hex digits over everything that defines the numbers."""
    digest = hashlib.sha256(json.dumps(choices, sort_keys=True).encode())
    for case in cases:
        digest.update(json.dumps([case.task, case.shadow_task, case.seed]).encode())
        for answers in (case.target, case.shadow, case.random):
            if answers is not None:
                digest.update(f"{answers.posteriors.shape}".encode())
                digest.update(np.ascontiguousarray(answers.posteriors).data)
                if answers.member is not None:
                    digest.update(answers.member.tobytes())
                if answers.label is not None:
                    digest.update(answers.label.tobytes())
    return digest.hexdigest()[:16]
