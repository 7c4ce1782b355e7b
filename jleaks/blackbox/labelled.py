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

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jleaks.attacks import baseline, probabilities
from jleaks.attacks.options import Options
from jleaks.attacks.reference_statistics import ReferenceStatistics
from jleaks.attacks.registry import ATTACKS, Attack
from jleaks.attacks.score_answers import of_posteriors
from jleaks.blackbox.posteriors import Posteriors

# Class thresholds come last: they need a shadow of the same task.
LABELLED = ("correctness", "confidence", "loss", "modified_entropy", "class_thresholds")


class Labelled(NamedTuple):
    """One attack on one target.

    Attributes:
      attack: Which, of the registry.
      scores: [N] of the target's records.
      threshold: The score from which a record is called a member; None if nothing gives one.
      from_shadow: Whether the shadow gave it.
      num_infinite: Records whose score would be infinite.
    """

    attack: Attack
    scores: Float[np.ndarray, "records"]
    threshold: float | None
    from_shadow: bool
    num_infinite: int


def attack_labels(
    target: Posteriors, shadow: Posteriors | None, is_same_task: bool
) -> list[Labelled]:
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
    attacks = []
    for attack in (ATTACKS[name] for name in LABELLED):
        needs = attack.signals[0] if attack.signals else "phi"
        scores = _scores(attack, answers[0], target.label)
        threshold, from_shadow = (0.5 if attack.threshold == "one half" else None), False
        per_class = attack.finish == "class thresholds"
        if usable is None:
            if per_class:
                continue
        else:
            assert usable.label is not None
            assert usable.member is not None
            if per_class and not (is_same_task and usable.num_classes == target.num_classes):
                continue
            theirs = _scores(attack, answers[1], usable.label)
            if per_class:
                cuts = _thresholds(theirs, usable.label, usable.member, target.num_classes)
                scores, threshold, from_shadow = scores - cuts[target.label], 0.0, True
            elif attack.threshold == "mean member loss":
                threshold, from_shadow = float(theirs[usable.member].mean(dtype=np.float64)), True
            elif threshold is None:
                nobody = np.zeros_like(usable.label)
                threshold = float(_thresholds(theirs, nobody, usable.member, 1)[0])
                from_shadow = True
        attacks.append(Labelled(attack, scores, threshold, from_shadow, num_infinite[needs]))
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


def _thresholds(
    scores: Float[np.ndarray, "records"],
    labels: Int[np.ndarray, "records"],
    member: Bool[np.ndarray, "records"],
    num_classes: int,
) -> Float[np.ndarray, "classes"]:
    """The shadow's best thresholds, one per class; classes it lacks get that of all together."""
    everyone = jnp.ones(len(labels), bool)
    shadow = (jnp.asarray(array) for array in (scores, labels, member))
    return np.asarray(_CLASS_THRESHOLDS(*shadow, everyone, num_classes))


_CLASS_THRESHOLDS = jax.jit(baseline.class_thresholds, static_argnums=4)
