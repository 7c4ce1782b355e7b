"""Attacks on what a model answered, by an attacker who has at most one shadow's answers to other records.

Adversary 1 learns from a shadow's answers who was a member of it (Salem et al. 2019, section IV); with a
shadow of another task it is adversary 2 (section V).  Adversary 3 needs no shadow: a statistic of the
posterior ranks the records, and answers to random points give its threshold (section VI).  Where the true
labels are known, the attacks of `jleaks.auditing.labelled` are run, too.

The attack model is a fleet of one: same trainer, same training function, and the same model as the main
job's when the posteriors are the same.  (Shadows that answered about the target's own records allow more:
`jleaks.auditing.audit`.)
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jleaks.attacks.attack_models import AttackDataset, fit_networks
from jleaks.attacks.evaluate_cases import evaluate_own_rows, evaluate_scores
from jleaks.attacks.signals import STATISTICS
from jleaks.attacks.threshold import random_point_threshold
from jleaks.auditing.labelled import Scored, attack_labels
from jleaks.blackbox.posteriors import Posteriors
from jleaks.errors import InputError, refuse
from jleaks.fingerprint import stated
from jleaks.keys import Role, identity_key, seed_problem
from jleaks.metrics.case_metrics import FPRS, Metrics, number, row_fields
from jleaks.metrics.operating_points import tpr_of_scores
from jleaks.models.registry import NETWORKS, for_any_records
from jleaks.rows import ATTACK_MODEL
from jleaks.training.execution import Execution
from jleaks.training.fleet import make_mesh, stack_key_data
from jleaks.training.learner import State
from jleaks.training.preemption import StopSignal
from jleaks.training.recipe import ATTACK_RECIPE, Recipe
from jleaks.training.reporter import Reporter, collapse_line, provenance
from jleaks.training.trainer import FleetSpec, Trainer

Row = dict[str, Any]
# As few make no percentile.
# No task of the paper has more classes.
_MOST_TOP = 100
MIN_RANDOM_POINTS = 10


class Attacker(NamedTuple):
    """What an attacker has, and how it attacks.

    Attributes:
      shadow: What a shadow answered, with its membership; None for adversary 3 alone.
      random: What the target answered to random points, for adversary 3's threshold; without them its rows
        have an AUC and TPRs but no precision and recall.
      task: Of the target: a task of the registry, or any name.
      shadow_task: Of the shadow; None for the target's own.
      seed: Identifies the attack model, and the rows.
      recipe: Of the attack model.
      top: Largest posteriors the attack model sees (two where either side is binary).
      percentile: t: adversary 3's threshold is exceeded by the top t percent of random points.
    """

    shadow: Posteriors | None = None
    random: Posteriors | None = None
    task: str = "target"
    shadow_task: str | None = None
    seed: int = 0
    recipe: Recipe = ATTACK_RECIPE
    top: int = 3
    percentile: float = 10.0

    @property
    def is_same_task(self) -> bool:
        """Whether the shadow's task is the target's."""
        return self.shadow_task is None or self.shadow_task == self.task

    def check(self) -> None:
        """Raises InputError unless attacks can be run like this, before any target is asked."""
        problems = self.recipe.problems("attack")
        if not problems and NETWORKS[self.recipe.model].images:
            problems.append(f"attack model is {self.recipe.model}, expected {for_any_records()}")
        if self.top < 1:
            problems.append(f"top is {self.top}, expected at least 1")
        if not 0 < self.percentile < 100:
            problems.append(f"percentile is {self.percentile}, expected a number in (0, 100)")
        if problem := seed_problem(self.seed):
            problems.append(problem)
        refuse(problems)
        if self.shadow is not None:
            _check_both(self.shadow, "an attack model learns")
            # An attack model has an input for each, whether or not there is a posterior for it.
            if self.top > (most := max(self.shadow.num_classes, _MOST_TOP)):
                raise InputError(f"top is {self.top}, expected at least 1 and at most {most}")
            if self.shadow.num_records < self.recipe.batch_size:
                raise InputError(
                    f"{self.shadow.name}: the attack's batch_size is {self.recipe.batch_size} but it has "
                    f"only {self.shadow.num_records} rows to learn from"
                )
        if self.random is not None and self.random.num_records < MIN_RANDOM_POINTS:
            raise InputError(
                f"{self.random.name} has {self.random.num_records} random points, expected at least "
                f"{MIN_RANDOM_POINTS}"
            )


def attack_answers(
    target: Posteriors,
    attacker: Attacker,
    execution: Execution | None = None,
    reporter: Reporter | None = None,
    stop: StopSignal | None = None,
    about: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Attacks a target with all that its answers, and the attacker's, allow, in one compiled call.

    Args:
      target: What it answered; membership is only looked at to score the attacks.
      attacker: What is known beside it.
      execution: How fast.
      reporter: Where to tell what is going on.
      stop: Looked at while the attack model is trained.
      about: Further fields of the rows, such as `source`, `model`, `epochs` and `num_records`, which make
        those of adversaries complete.

    Returns:
      Rows of adversary 1 or 2 if there is a shadow, then of adversary 3, three, then of the attacks that
      look at labels, four or five of a target with labels.  They have the fields of `jleaks.rows.Row`
      that posteriors can give, null where one is undefined (so is the adversary of attacks on labels, which
      the paper does not have); also

      target, shadow: names; the shadow is what was learned from or what gave the threshold.
      num_posteriors: how many an attack model saw.
      num_random_points: behind adversary 3's threshold.
      constant: all records have the same score: an AUC of one half is by construction, no evidence.
      one_hot: the target answered labels alone.
      renormalised: the target's posteriors were divided by their sums.
      num_infinite: records whose score would be infinite, kept beyond the finite ones.
      tpr_low_*, tpr_high_*: cover each TPR at the named FPR with 95%, over records that are independent
        given the model.

    Raises:
      InputError: something about the answers, before any long work.
      Preempted: a stop signal arrived.
      DivergedError: the attack model's loss was not finite.
    """
    attacker.check()
    _check_both(target, "attacks are scored")
    random = attacker.random
    if random is not None and random.num_classes != target.num_classes:
        raise InputError(
            f"{random.name} has {random.num_classes} posteriors for each random point, {target.name} "
            f"has {target.num_classes} for each record"
        )
    execution, reporter = (execution or Execution()).validate(), reporter or Reporter()
    tick = time.monotonic()
    attacks = _learned(target, attacker, execution, reporter, stop or StopSignal())
    seconds = {"attack models": round(time.monotonic() - tick, 3)}
    tick = time.monotonic()
    attacks += _thresholded(target, attacker)
    if target.label is not None:
        attacks += attack_labels(target, attacker.shadow, attacker.is_same_task)
    member = np.asarray(target.member)
    found = evaluate_scores(
        [one.scores for one in attacks],
        [member] * len(attacks),
        [one.cut for one in attacks],
        make_mesh(execution.num_devices),
        [one.shadow_cut for one in attacks],
    )
    seconds["evaluation"] = round(time.monotonic() - tick, 3)
    whole = {
        "seconds": seconds,
        **provenance(_fingerprint(target, attacker), execution),
        **(about or {}),
    }
    return [
        _row(target, attacker, one, jax.tree.map(lambda leaf, at=i: leaf[at], found)) | whole
        for i, one in enumerate(attacks)
    ]


def _check_both(answers: Posteriors, why: str) -> None:
    if answers.member is None:
        raise InputError(f"{answers.name} has no member, from which {why}")
    if answers.member.all() or not answers.member.any():
        lacking = "non-members" if answers.member.all() else "members"
        raise InputError(f"{answers.name} has no {lacking}, from which {why}")


def _learned(
    target: Posteriors,
    attacker: Attacker,
    execution: Execution,
    reporter: Reporter,
    stop: StopSignal,
) -> list[Scored]:
    """Trains the attack model of adversary 1 or 2 and asks it about the target."""
    if (shadow := attacker.shadow) is None:
        return []
    width = min(attacker.top, shadow.num_classes, target.num_classes)
    task, member = attacker.shadow_task or attacker.task, np.asarray(shadow.member)
    # Members first: the order of the main job's rows.
    order = np.argsort(~member, kind="stable")
    dataset = AttackDataset(
        name=f"attack model of {shadow.name}, seed {attacker.seed}, top {width}",
        fingerprint="",
        key_data=stack_key_data([identity_key(attacker.seed, task, Role.ATTACK, width)])[0],
        features=_largest(shadow.posteriors, width)[order],
        member=member[order],
        num_inputs=attacker.top,
    )
    dataset.queries.append(_largest(target.posteriors, width))

    def train(spec: FleetSpec, _: Sequence[str]) -> tuple[Trainer, State]:
        trainer = Trainer(spec, execution, reporter.progress, stop)
        return trainer, trainer.run()

    ((own_scores, (scores,)),) = fit_networks(attacker.recipe, train, [dataset])
    own = evaluate_own_rows([own_scores], [dataset.member], make_mesh(execution.num_devices))
    if own.collapsed.any():
        reporter.line(collapse_line([dataset.name], 1))
    fields = {"collapsed": bool(own.collapsed[0]), "num_posteriors": width}
    adversary, cut = 1 if attacker.is_same_task else 2, float(own.cut[0])
    return [Scored(adversary, shadow, ATTACK_MODEL, scores, 0.5, 0.0, cut, fields)]


def _largest(
    posteriors: Float[np.ndarray, "records k"], top: int
) -> Float[np.ndarray, "records top"]:
    """The `top` largest posteriors in descending order."""
    return np.sort(posteriors, axis=1)[:, ::-1][:, :top]


def _thresholded(target: Posteriors, attacker: Attacker) -> list[Scored]:
    """Scores the target by adversary 3's statistics."""
    own, random = statistics(target.posteriors), None
    if attacker.random is not None:
        random = statistics(attacker.random.posteriors)
    attacks = []
    for i, name in enumerate(STATISTICS):
        threshold = None
        if random is not None:
            threshold = float(
                random_point_threshold(jnp.asarray(random[:, i]), attacker.percentile)
            )
        cut = np.inf if threshold is None else threshold
        fields = {"num_random_points": 0 if random is None else len(random)}
        attacks.append(Scored(3, None, name, own[:, i], threshold, cut, fields=fields))
    return attacks


def statistics(posteriors: Float[np.ndarray, "records k"]) -> Float[np.ndarray, "records 3"]:
    """Adversary 3's, in the order of `signals.STATISTICS`, larger for likelier members (float32).

    `signals.confidence_statistics` takes logits; a black box does not show them.
    """
    # Sorted, so that the same posteriors give the same floats whichever classes they are of.
    p = np.sort(posteriors.astype(np.float64), axis=1)
    # p log p -> 0 as p -> 0.
    terms = p * np.log(np.where(p > 0, p, 1.0))
    return np.stack([p.max(1), p.std(1), terms.sum(1)], axis=1).astype(np.float32)


def _row(target: Posteriors, attacker: Attacker, attack: Scored, values: Metrics) -> Row:
    shadow, member = attack.shadow, np.asarray(target.member)
    task = attacker.shadow_task or attacker.task
    row: Row = {
        "task": attacker.task,
        "shadow_task": None if shadow is None else task,
        "adversary": attack.adversary,
        "attack": attack.attack,
        "seed": attacker.seed,
        "target": target.name,
        "shadow": None if shadow is None else shadow.name,
        **row_fields(values),
        "collapsed": None,
    }
    if attack.threshold is None:
        row |= dict.fromkeys(("precision", "recall", "accuracy"))
    for rate in FPRS:
        interval = tpr_of_scores(attack.scores, member, rate)
        row[f"tpr_low_{rate}"] = number(interval.low)
        row[f"tpr_high_{rate}"] = number(interval.high)
    return {
        **row,
        "train_accuracy": target.accuracy(member=True),
        "test_accuracy": target.accuracy(member=False),
        "shadow_train_accuracy": None if shadow is None else shadow.accuracy(member=True),
        "shadow_test_accuracy": None if shadow is None else shadow.accuracy(member=False),
        "num_members": int(member.sum()),
        "num_nonmembers": int((~member).sum()),
        "threshold": attack.threshold,
        "num_classes": target.num_classes,
        **dict.fromkeys(("num_posteriors", "num_random_points", "num_infinite")),
        "constant": bool((attack.scores == attack.scores[0]).all()),
        "one_hot": target.is_one_hot,
        "renormalised": target.renormalised,
        **attack.fields,
    }


def _fingerprint(target: Posteriors, attacker: Attacker) -> str:
    """Returns 16 hex digits over everything that defines the numbers."""
    choices = {
        "attack": stated(attacker.recipe),
        "top": attacker.top,
        "percentile": attacker.percentile,
    }
    digest = hashlib.sha256(json.dumps(choices, sort_keys=True).encode())
    digest.update(json.dumps([attacker.task, attacker.shadow_task, attacker.seed]).encode())
    for answers in (target, attacker.shadow, attacker.random):
        if answers is not None:
            digest.update(f"{answers.posteriors.shape}".encode())
            digest.update(np.ascontiguousarray(answers.posteriors).data)
            for truth in (answers.member, answers.label):
                if truth is not None:
                    digest.update(truth.tobytes())
    return digest.hexdigest()[:16]
