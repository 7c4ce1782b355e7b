"""One target, what its attacker has, and what adversaries look at: numbers made of posteriors."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float

from jleaks.blackbox.posteriors import Posteriors
from jleaks.errors import InputError
from jleaks.keys import seed_problem
from jleaks.models.registry import NETWORKS, for_any_records
from jleaks.training.recipe import ATTACK_RECIPE, Recipe

# As few make no percentile.
MIN_RANDOM_POINTS = 10


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """One target, and what its attacker has.

    Attributes:
      task: Of the target: a task of the registry, or any name.
      target: What it answered; membership is only looked at to score the attacks.
      shadow: What a shadow model answered, with its membership; None for adversary 3 alone.
      shadow_task: Of the shadow; None for the target's own.
      seed: Identifies the attack model, and the row.
      random: What the target answered to random points, for adversary 3's threshold; without them its
        rows have an AUC and TPRs but no precision and recall.
      about: Further fields of this case's rows, such as `source`, `model` and `epochs`.
    """

    task: str
    target: Posteriors
    shadow: Posteriors | None = None
    shadow_task: str | None = None
    seed: int = 0
    random: Posteriors | None = None
    about: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def is_same_task(self) -> bool:
        """Whether the shadow's task is the target's."""
        return self.shadow_task is None or self.shadow_task == self.task


def check_shadow(shadow: Posteriors, attack: Recipe = ATTACK_RECIPE) -> None:
    """Raises InputError unless an attack model can learn from a shadow's answers."""
    _check_both(shadow, "an attack model learns")
    if shadow.num_records < attack.batch_size:
        raise InputError(
            f"{shadow.name}: the attack's batch_size is {attack.batch_size} but it has only "
            f"{shadow.num_records} rows to learn from"
        )


def _check_both(answers: Posteriors, why: str) -> None:
    if answers.member is None:
        raise InputError(f"{answers.name} has no member, from which {why}")
    if answers.member.all() or not answers.member.any():
        lacking = "non-members" if answers.member.all() else "members"
        raise InputError(f"{answers.name} has no {lacking}, from which {why}")


def check_random(random: Posteriors) -> None:
    """Raises InputError unless a threshold can be taken from answers to random points."""
    if random.num_records < MIN_RANDOM_POINTS:
        raise InputError(
            f"{random.name} has {random.num_records} random points, expected at least "
            f"{MIN_RANDOM_POINTS}"
        )


def check_attack(attack: Recipe, top: int, percentile: float) -> None:
    """Raises InputError unless attacks can be run like this; names every problem at once."""
    problems = attack.problems("attack")
    if not problems and NETWORKS[attack.model].images:
        problems.append(f"attack model is {attack.model}, expected {for_any_records()}")
    if top < 1:
        problems.append(f"top is {top}, expected at least 1")
    if not 0 < percentile < 100:
        problems.append(f"percentile is {percentile}, expected a number in (0, 100)")
    if problems:
        raise InputError("; ".join(problems))


def check_case(case: Case, attack: Recipe) -> None:
    """Raises InputError unless the target can be attacked with what its attacker has."""
    if problem := seed_problem(case.seed):
        raise InputError(f"{case.target.name}: {problem}")
    _check_both(case.target, "attacks are scored")
    if case.shadow is not None:
        check_shadow(case.shadow, attack)
    if case.random is not None:
        check_random(case.random)
        if case.random.num_classes != case.target.num_classes:
            raise InputError(
                f"{case.random.name} has {case.random.num_classes} posteriors for each random point, "
                f"{case.target.name} has {case.target.num_classes} for each record"
            )


def top_posteriors(
    posteriors: Float[np.ndarray, "records k"], top: int
) -> Float[np.ndarray, "records top"]:
    """The `top` largest posteriors in descending order, zeros beyond the number of classes."""
    found = np.sort(posteriors, axis=1)[:, ::-1][:, :top]
    return np.pad(found, ((0, 0), (0, top - found.shape[1])))


def statistics(posteriors: Float[np.ndarray, "records k"]) -> Float[np.ndarray, "records 3"]:
    """Adversary 3's, in the order of `signals.STATISTICS`, larger for likelier members (float32).

    `signals.confidence_statistics` takes logits; a black box does not show them.
    """
    # Sorted, so that the same posteriors give the same floats whichever classes they are of.
    p = np.sort(posteriors.astype(np.float64), axis=1)
    # p log p -> 0 as p -> 0.
    terms = p * np.log(np.where(p > 0, p, 1.0))
    return np.stack([p.max(1), p.std(1), terms.sum(1)], axis=1).astype(np.float32)
