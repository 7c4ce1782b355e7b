"""Attacks that look at a record's true label: is the answer right, and how surely.

Whether the prediction is right (the gap attack), confidence and loss (Yeom et al. 2018), modified entropy
and thresholds per class (Song & Mittal 2021).  The formulas are those of a bank's attacks
(`jleaks.attacks.registry`), of one model that nothing is compared with; a black box shows posteriors, whose
logarithms serve as logits.

A posterior of 0 for the true class, or of 1, makes phi and modified entropy infinite: such records are
kept beyond the finite ones (`jleaks.attacks.probabilities.bounds`), which ranks them as it should and
leaves those of one kind tied.

Thresholds come from a shadow, or are stated beforehand (one half for the gap attack), or there are none;
they never come from the target's membership.
"""

import functools
import types
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jleaks.attacks import probabilities
from jleaks.attacks.attack import Attack, Ending, Records, ShadowScores
from jleaks.attacks.bank_scores import threshold_of
from jleaks.attacks.options import Options
from jleaks.attacks.reference_statistics import ReferenceStatistics
from jleaks.attacks.registry import ATTACKS
from jleaks.attacks.score_answers import of_posteriors
from jleaks.blackbox.posteriors import Posteriors
from jleaks.metrics import roc

# Class thresholds come last: they need a shadow of the same task.
LABELLED = ("correctness", "confidence", "loss", "modified_entropy", "class_thresholds")


class Scored(NamedTuple):
    """One attack on one target.

    Attributes:
      adversary: 1, 2 or 3; None for attacks on labels.
      shadow: What was learned from, or gave the threshold; None for neither.
      attack: As in a row.
      scores: [n] of the target's records.
      threshold: In the row's terms; None if nothing gives one.
      cut: The score from which a record is called a member.
      shadow_cut: The same by an attack model's own rows; NaN for others.
      fields: Those of the row that this attack alone has.
    """

    adversary: int | None
    shadow: Posteriors | None
    attack: str
    scores: Float[np.ndarray, "records"]
    threshold: float | None
    cut: float
    shadow_cut: float = np.nan
    fields: Mapping[str, Any] = types.MappingProxyType({})


def attack_labels(
    target: Posteriors, shadow: Posteriors | None, is_same_task: bool
) -> list[Scored]:
    """Runs the attacks that look at labels.

    Args:
      target: With labels; membership is not looked at.
      shadow: For thresholds; one without labels gives none.
      is_same_task: Whether the shadow's classes are the target's; otherwise there are no thresholds per
        class.
    """
    assert target.label is not None
    usable = shadow if shadow is not None and shadow.label is not None else None
    answers = [_signals(one) for one in (target, usable) if one is not None]
    num_infinite = {name: int((~np.isfinite(array)).sum()) for name, array in answers[0].items()}
    for name in ("phi", "mentr"):
        # One scale for both: a threshold must be where the target's scores are.
        limits = probabilities.bounds(*(found[name] for found in answers))
        for one in answers:
            one[name] = probabilities.bounded(one[name], limits)
    comparable = usable is not None and is_same_task and usable.num_classes == target.num_classes
    attacks = []
    for attack in (ATTACKS[name] for name in LABELLED):
        if attack.relative is not None and not comparable:
            continue
        needs = attack.signals[0] if attack.signals else "phi"
        scores = _scores(attack, answers[0], target.label)
        threshold = None if callable(attack.threshold) else attack.threshold
        from_shadow = usable is not None and (attack.relative is not None or threshold is None)
        if from_shadow:
            assert usable is not None
            assert usable.label is not None
            theirs = _scores(attack, answers[1], usable.label)
            found, level = _beside_shadow(
                *(attack.ending, target.num_classes, scores, target.label),
                *(theirs, usable.label, usable.member),
            )
            scores, threshold = np.asarray(found), float(level)
        cut = np.inf if threshold is None else threshold
        fields = {"num_infinite": num_infinite[needs]}
        whose = usable if from_shadow else None
        attacks.append(Scored(None, whose, attack.name, scores, threshold, cut, fields=fields))
    return attacks


def _signals(answers: Posteriors) -> dict[str, np.ndarray]:
    """Phi, modified entropy and correctness [N]; the first two may be infinite."""
    assert answers.label is not None
    # No attack here looks at another temperature.
    found = of_posteriors(answers.posteriors.astype(np.float64), answers.label, 1.0)
    return {name: found[name] for name in ("phi", "mentr", "correct")}


def _scores(
    attack: Attack, found: dict[str, np.ndarray], labels: Int[np.ndarray, "records"]
) -> Float[np.ndarray, "records"]:
    """One attack's raw scores, as of a bank of one model without references."""
    everyone = np.ones(len(labels), bool)
    arrays: dict[str, Any] = {
        "phi": found["phi"][None, None],
        "mentr": found["mentr"][None],
        "correct": found["correct"][None, None],
        "labels": labels,
        "valid": everyone,
        "candidate": everyone,
    }
    alone = {"targets": np.zeros(1, np.int32)}
    statistics = ReferenceStatistics(
        jax.tree.map(jnp.asarray, arrays), jax.tree.map(jnp.asarray, alone)
    )
    return np.asarray(attack.score(statistics, Options()))[0]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _beside_shadow(
    ending: Ending,
    num_classes: int,
    scores: Float[Array, "records"],
    labels: Int[Array, "records"],
    theirs: Float[Array, "others"],
    their_labels: Int[Array, "others"],
    member: Bool[Array, "others"],
) -> tuple[Float[Array, "records"], Float[Array, ""]]:
    """A target's scores and their threshold, from the same attack's scores on its shadow."""

    def records(labels: Array) -> Records:
        everyone = jnp.ones(len(labels), bool)
        return Records(labels, everyone, everyone, num_classes)

    others = records(their_labels)
    shadow = ShadowScores(theirs, member, roc.rank(theirs, member, others.candidate), others)
    if ending.relative is not None:
        scores = ending.relative(scores, records(labels), shadow)
    return scores, threshold_of(ending, shadow)
