"""Adversaries 1 and 2: attack models trained on a shadow model's answers.

Salem et al. 2019, sections IV and V: query the shadow model on its own training part (label 1) and on
records it has not seen (label 0); the largest posteriors in descending order are the features.  The
attack model of a shadow task is the same whichever task it then attacks, so adversary 1 is the diagonal
of adversary 2's matrix.
"""

import dataclasses
import itertools

import numpy as np

from jleaks.fleet import key_words
from jleaks.keys import Role, identity_key
from jleaks.learner import Learner, Members
from jleaks.plan import Recipe
from jleaks.stack import Stack
from jleaks.trainer import Crew


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """Which attack model attacks which target: Q attacks.

    Attributes:
      shadow: [Q] position of the shadow task in the stack.
      target: [Q] position of the target task.
      seed: [Q] the seed, the same for both sides.
      model: [Q] position of the attack model in its fleet.
    """

    shadow: np.ndarray
    target: np.ndarray
    seed: np.ndarray
    model: np.ndarray


def attack_models(stack: Stack, recipe: Recipe, adversaries: tuple[int, ...]) -> tuple[Crew, Pairs]:
    """Lays out the attack models of all tasks and seeds as one fleet.

    A binary task has only two posteriors.  Where shadow or target task is binary, the attack model is
    one that was trained on the two largest alone: the weight of a posterior that was always zero
    in training would still be its random start.

    Args:
      stack: The signals of all tasks and seeds.
      recipe: Of the attack models.
      adversaries: 1 keeps the pairs of equal tasks, 2 those of different ones.

    Returns:
      The attack models to train, and the pairs to evaluate with them.
    """
    names: list[str] = []
    members: list[np.ndarray] = []
    words: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    position: dict[tuple[int, int, int], int] = {}
    pairs: list[tuple[int, int, int, int]] = []
    top = stack.top.shape[-1]
    # Roles on axis 2: target, shadow.  Membership on axis 3: member, non-member.
    rows = np.arange(stack.top[..., 0].size).reshape(stack.top.shape[:-1])
    widths = [min(top, k) for k in stack.num_classes]

    def model(shadow: int, seed: int, width: int) -> int:
        where = (shadow, seed, width)
        if where not in position:
            position[where] = len(names)
            task = stack.tasks[shadow]
            names.append(f"attack model of {task}, seed {seed}, top {width}")
            members.append(rows[shadow, seed, 1, :, : stack.counts[shadow]].reshape(-1))
            words.append(key_words([identity_key(seed, task, Role.ATTACK, width)])[0])
            masks.append((np.arange(top) < width).astype(np.float32))
        return position[where]

    for shadow, target in itertools.product(range(len(stack.tasks)), repeat=2):
        if (1 if shadow == target else 2) not in adversaries:
            continue
        width = min(widths[shadow], widths[target])
        both = range(min(stack.seeds[shadow], stack.seeds[target]))
        pairs += [(shadow, target, seed, model(shadow, seed, width)) for seed in both]

    counts = np.array([len(m) for m in members], np.int32)
    indices = np.zeros((len(members), counts.max(initial=0)), np.int32)
    for i, m in enumerate(members):
        indices[i, : len(m)] = m
    labels = np.zeros(stack.top.shape[:-1], np.int32)
    labels[..., 0, :] = 1
    crew = Crew(
        name="attack models",
        names=names,
        learner=Learner(recipe, "posteriors", 2),
        features=stack.top.reshape(-1, top),
        labels=labels.reshape(-1),
        members=Members(indices, counts),
        words=np.stack(words) if words else np.zeros((0, 2), np.uint32),
        masks=np.stack(masks) if masks else np.zeros((0, top), np.float32),
    )
    table = np.array(pairs, np.int32).reshape(-1, 4)
    return crew, Pairs(*table.T)
