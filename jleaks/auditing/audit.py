"""One call: shadows of the owner's own kind, every attack that they allow, and what it all means."""

import dataclasses
import functools
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jleaks import locks
from jleaks.attacks.attack import Attack
from jleaks.attacks.registry import get_attacks
from jleaks.auditing import files, sequential
from jleaks.auditing.answers import asked, is_asked, make_bank
from jleaks.auditing.attacks import Attacked, attack, attack_from_outside
from jleaks.auditing.code import code_digest
from jleaks.auditing.cost import cost_curve
from jleaks.auditing.judgement import judged
from jleaks.auditing.models import Answered, Models, network_recipe
from jleaks.auditing.policy import DEFAULT, Policy, as_policy
from jleaks.auditing.records import Records, join, length, num_equal, pairs, read_records
from jleaks.auditing.result import Audit
from jleaks.auditing.shadows import FitFn, PredictFn, Shadows, memberships
from jleaks.errors import InputError, refuse
from jleaks.fields import MOST_REPETITIONS
from jleaks.fingerprint import fingerprint
from jleaks.metrics.epsilon import DELTA
from jleaks.training.execution import Execution
from jleaks.training.recipe import Recipe
from jleaks.training.reporter import provenance

# Fewer shadows leave records without a reference on either side.
MIN_SHADOWS = 4
ATTACKERS = {
    "none": "has no models of his own",
    "inside": "has models that trained on some of the audited records",
    "outside": "has models of other records alone: none of them saw an audited one",
}


def audit(
    data: Any = None,
    labels: Any = None,
    member: Any = None,
    *,
    fit: FitFn | None = None,
    predict: PredictFn | None = None,
    network: Any = None,
    recipe: Recipe | None = None,
    target: Any = None,
    answers: Any = None,
    shadow_answers: Sequence[tuple[Any, Any]] = (),
    shadow_data: Any = None,
    shadow_labels: Any = None,
    num_shadows: int = 64,
    shadow_budget: int | None = None,
    policy: Policy | Mapping[str, Any] | str | os.PathLike[str] = DEFAULT,
    ids: Any = None,
    groups: Any = None,
    attacks: Sequence[str] = ("all",),
    seed: int = 0,
    delta: float = DELTA,
    num_processes: int | None = None,
    workdir: str | os.PathLike[str] | None = None,
    execution: Execution | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Audit:
    """Audits a model: trains shadows as its owner would, attacks it with them, and judges.

    How models of this kind are trained and asked, `fit` and `predict` say, or it is a flax `network`, whose
    shadows train side by side as a fleet; or `answers` (and perhaps `shadow_answers`) are what models have
    answered already.

    Args:
      data: N records: arrays, data frames, lists, anything with a length and positions; what `fit` and
        `predict` take; without `labels` its items are (record, label).  Or the path of a file or folder
        (`jleaks.auditing.files`); `labels`, `member` (unless it is an array) and `ids` then are names of
        its columns, `groups` a list of them, None for the usual ones.
      labels: [N] true classes: whole numbers, names, or one-hot rows.
      member: [N] booleans, or positions: which records the audited model was trained on.
      fit: (records, labels) -> model; called with `seed` or `random_state` too if it takes one.
      predict: (model, records) -> posteriors [N, K], those of the second of two classes [N], or labels [N].
      network: A flax module's class, linen or nnx, as "nets.py:Net" or by its registered name.
      recipe: How networks are trained; their `model` is `network`.
      target: The audited model, as `fit` returns it; None to have `fit` train it on the members.
      answers: What the audited model answered about all records, in place of `target`; with `shadow_data`
        perhaps about these, too, behind the others.  Or what is asked about the audited ones: a function of
        the records, or a black box such as `jleaks.endpoint(url)`.
      shadow_answers: For each shadow that is there already, (what it answered, [N] what it trained on).
      shadow_data: N' other records of the same kind, or a path as of `data`.  Shadows then are trained on
        these alone, as an attacker from outside trains his.
      shadow_labels: [N'] their classes.  Without `shadow_data`, `shadow_answers` are about N + N' records.
      num_shadows: How many shadows `fit` trains, at least 4; 0 for none.
      shadow_budget: How many shadows are trained at most, in batches, until the verdict of `policy` is
        certain (`jleaks.auditing.sequential`); in place of `num_shadows`.
      policy: What a budget is spent for: the gate's limits, such as {"auc": 0.6}, or its TOML file.
      ids: [N] what a reader calls each record; positions by default.
      groups: By name, [N] the group of each record, for risk per group.
      attacks: Names of attacks to try; all by default.
      seed: Of the audit: who is trained on what.
      delta: Of the (epsilon, delta) whose epsilon is bounded.
      num_processes: How many shadows train at once; None for one a core.
      execution: How fast networks train.
      workdir: Where the shadows' answers, or networks, are kept, so that a stopped audit goes on; None for
        nowhere.
      tell: Receives lines of progress.

    Raises:
      InputError: names everything that cannot be used, before any training; or another process works
        in `workdir`.
    """
    notes: list[str] = []
    if isinstance(shadow_data, (str, os.PathLike)):
        columns = files.Columns(labels if isinstance(data, (str, os.PathLike)) else None)
        theirs = files.read(shadow_data, columns, is_audited=False)
        shadow_data, shadow_labels = theirs.data, theirs.labels
    if isinstance(data, (str, os.PathLike)):
        is_named = member is None or isinstance(member, (str, os.PathLike))
        columns = files.Columns(labels, member if is_named else None, ids, tuple(groups or ()))
        found = files.read(data, columns, is_audited=is_named)
        data, labels, ids, groups = found.data, found.labels, found.ids, found.groups
        member = found.member if is_named else member
        notes += found.lines
    elif labels is None and data is not None and not hasattr(data, "shape"):
        data, labels = pairs(data)
        if shadow_data is not None and shadow_labels is None:
            shadow_data, shadow_labels = pairs(shadow_data)
    if labels is None or member is None:
        raise InputError("labels and member are needed: true classes, and who was trained on")
    is_unknown = is_asked(answers)

    def read(answers: Any, notes: list[str]) -> tuple[Records, Records]:
        width = () if answers is None or is_asked(answers) else np.shape(answers)[1:]
        num_classes = width[0] if width and width[0] > 2 else None
        audited = read_records(data, labels, member, ids, groups, num_classes)
        records = _with_others(audited, labels, shadow_data, shadow_labels, num_classes, notes)
        own = records.labels[: audited.num_records]
        return dataclasses.replace(audited, labels=own, classes=records.classes), records

    audited, records = read(answers, [] if is_unknown else notes)
    others = records.num_records - audited.num_records
    tell(
        f"{audited.num_records:,} records of {audited.num_classes} classes, {audited.member.sum():,} of "
        f"them members{f'; {others:,} others that shadows are trained on' if others else ''}"
    )
    chosen = get_attacks(list(attacks))
    models = Models(
        records=records,
        num_audited=audited.num_records,
        fit=fit,
        predict=predict,
        recipe=None if network is None else network_recipe(network, recipe),
        target=target,
        answers=answers,
        shadow_answers=shadow_answers,
        seed=seed,
        num_processes=num_processes,
        execution=execution,
        tell=tell,
    )
    _check(models, num_shadows if shadow_budget is None else shadow_budget, shadow_data is not None)
    looks = [num_shadows] if shadow_budget is None else sequential.looks(shadow_budget)
    limits = as_policy(policy)
    if shadow_budget is not None:
        sequential.check(limits, models.can_train and not shadow_answers)
    if is_unknown:
        # Only now that everything else is checked: answers may cost money.
        answers, told = asked(answers, data)
        audited, records = read(answers, notes)
        notes += told
        models = dataclasses.replace(models, records=records, answers=answers)
    error = sequential.ERROR / len(looks)
    among = None
    if shadow_labels is not None:
        among = np.arange(records.num_records) >= audited.num_records
    whole = memberships(records.member, looks[-1] if models.can_train else 0, seed, among)
    former: Audit | None = None
    with (
        tempfile.TemporaryDirectory() as scratch,
        locks.alone(Path(workdir or scratch) / locks.FILE),
    ):
        for at, count in enumerate(looks):
            answered = models.answered(whole[:count], Path(workdir or scratch))
            result = _judge(models, audited, answered, chosen, delta, error, notes, tell)
            if shadow_budget is None:
                break
            look = sequential.look(limits, result, former, at, looks)
            tell(look.said)
            if former is not None:
                result.about["num_trained"] += former.about["num_trained"]
            former = result
            if look.is_last:
                result = dataclasses.replace(result, notes=(look.summary, *result.notes))
                result.about["budget"] = look.about
                break
    return result


def _judge(
    models: Models,
    audited: Records,
    answered: Answered,
    chosen: list[Attack],
    delta: float,
    error: float,
    notes: list[str],
    tell: Callable[[str], None],
) -> Audit:
    """Attacks the audited model with the shadows that there are, and judges."""
    own, shadows = answered.own, answered.shadows
    n, tick = audited.num_records, time.monotonic()
    attacker, attack_on = _attacker(models, shadows)
    bank = make_bank(own, shadows.signals, shadows.member, models.records)
    tell(f"{len(chosen)} attacks with {len(shadows.signals)} shadow models")
    attacked = attack_on(bank, chosen)
    found = judged(audited, attacked, bank.member[1:, :n], delta, error)
    cost = cost_curve(bank, attack_on, attacked, shadows.seconds) if shadows.signals else []
    correct = own["correct"][:n]
    said = [
        "the attacker is one from outside, whose models trained on other records: shadows that trained on "
        "some of the audited ones allow stronger attacks"
    ]
    return Audit(
        records=audited,
        attacked=attacked,
        **found,
        cost=cost,
        num_shadows=len(shadows.signals),
        train_accuracy=float(correct[audited.member].mean()),
        test_accuracy=float(correct[~audited.member].mean()),
        seconds={
            "target": answered.seconds,
            "shadows": shadows.seconds,
            "attacks": time.monotonic() - tick,
        },
        about={
            "attacker": ATTACKERS[attacker],
            "seed": models.seed,
            "delta": delta,
            "num_trained": shadows.num_trained,
            **provenance(
                fingerprint(
                    "audit",
                    models.records.digest(),
                    models.records.member,
                    models.seed,
                    code_digest(models.fit, models.predict),
                ),
                Execution(),
            ),
        },
        notes=(
            *notes,
            *answered.notes,
            *(said if attacker == "outside" else []),
            *_unlike(models, shadows),
            *attacked.notes,
        ),
    )


def _attacker(models: Models, shadows: Shadows) -> tuple[str, Callable[..., Attacked]]:
    """Returns who attacks (a key of `ATTACKERS`), and how.

    Raises:
      InputError: some shadows trained on audited records, and some on none.
    """
    n = models.num_audited
    if not shadows.signals:
        return "none", attack
    saw = shadows.member[:, :n].any(1)
    idle = ~shadows.member.any(1)
    if n < models.records.num_records and idle.any():
        raise InputError(
            f"shadow {int(np.argmax(idle))} trained on none of the records that shadow_labels are of"
        )
    if saw.all() and n == models.records.num_records:
        return "inside", attack
    if saw.any():
        raise InputError(
            f"shadow {int(np.argmax(saw))} trained on some of the audited records, shadow "
            f"{int(np.argmin(saw))} on none of them: give shadows of one kind"
            if not saw.all()
            else "shadows trained on audited records although shadow_labels are of records that they "
            "trained on: give shadow_answers that did not, or leave shadow_labels out"
        )
    return "outside", functools.partial(
        attack_from_outside, num_audited=n, knows_others=models.knows_others
    )


def _unlike(models: Models, shadows: Shadows) -> list[str]:
    """Says where shadows trained on another number of records than the audited model."""
    sizes, own = shadows.member.sum(1), int(models.records.member.sum())
    # Of shadows that have answered elsewhere, nothing is known of the records they trained on.
    if not len(sizes) or not sizes.all() or 0.9 <= sizes.mean() / own <= 1.1:
        return []
    return [
        f"shadows trained on {sizes.mean():,.0f} records, the audited model on {own:,}: their answers may "
        "not be like its own, and thresholds may let in another share than they say"
    ]


def _with_others(
    audited: Records,
    labels: Any,
    shadow_data: Any,
    shadow_labels: Any,
    num_classes: int | None,
    notes: list[str],
) -> Records:
    """Returns the audited records and behind them those that shadows are trained on, if there are any."""
    if shadow_labels is None:
        if shadow_data is not None:
            raise InputError("shadow_data is given without shadow_labels, their classes")
        return audited
    labels, shadow_labels = np.asarray(labels), np.asarray(shadow_labels)
    kinds = ["text" if one.dtype.kind in "US" else "numbers" for one in (labels, shadow_labels)]
    if labels.dtype.kind != "O" and shadow_labels.dtype.kind != "O" and kinds[0] != kinds[1]:
        raise InputError(f"shadow_labels are {kinds[1]}, labels are {kinds[0]}: expected one kind")
    count = len(shadow_labels)
    if shadow_data is not None and length(shadow_data) != count:
        raise InputError(f"shadow_data has {length(shadow_data)} records but shadow_labels {count}")
    if (shadow_data is None) != (audited.data is None):
        given, lacking = ("data", "shadow_data")[:: 1 if shadow_data is None else -1]
        raise InputError(f"{given} is given without {lacking}: expected both, or answers alone")
    data = None if shadow_data is None else join(audited.data, shadow_data, "shadow_data")
    if data is not None and (equal := num_equal(data, audited.num_records)):
        if 2 * equal > audited.num_records:
            raise InputError(
                f"{equal} of {audited.num_records} audited records are in shadow_data, too; expected other "
                "records of the same kind"
            )
        notes.append(
            f"{equal} audited records have an equal one in shadow_data: shadows may have seen it"
        )
    others = np.zeros(count, bool)
    return read_records(
        data,
        join(labels, shadow_labels, "shadow_labels"),
        np.concatenate([audited.member, others]),
        num_classes=num_classes,
    )


def _check(models: Models, num_shadows: int, has_others: bool) -> None:
    """Refuses combinations that say nothing, or two things."""
    found = []
    fit, predict, network = models.fit, models.predict, models.recipe
    target, answers, shadow_answers = models.target, models.answers, models.shadow_answers
    if (fit is None) != (predict is None) and target is None:
        found.append("fit and predict are given together, or neither")
    if answers is not None and target is not None:
        found.append("target and answers are given, expected one of them")
    if answers is None and predict is None and network is None:
        found.append("nothing answers: give fit and predict, a network, or answers")
    if network is not None and (fit is not None or predict is not None):
        found.append("a network and fit or predict are given, expected one of them")
    if network is not None and target is not None:
        found.append("the audited network is known by what it answered: give answers, not target")
    trains = fit is not None or network is not None
    if trains and models.records.data is None:
        found.append(f"{'fit' if network is None else 'a network'} needs data")
    most = MOST_REPETITIONS
    if trains and not shadow_answers and num_shadows and not MIN_SHADOWS <= num_shadows <= most:
        found.append(f"num_shadows is {num_shadows}, expected 0 or from {MIN_SHADOWS} to {most}")
    if shadow_answers and len(shadow_answers) < MIN_SHADOWS:
        found.append(
            f"{len(shadow_answers)} shadows have answered, expected at least {MIN_SHADOWS}"
        )
    if has_others and not models.can_train:
        found.append(
            "shadow_data is given, but nothing trains shadows: give fit and predict, or a network"
        )
    refuse(found)
