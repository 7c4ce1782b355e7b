"""Attack models: what each learns from, and all of a kind trained as one fleet."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from jleaks.attacks.classifiers import forest_scores
from jleaks.forest import ForestRecipe
from jleaks.learner import Learner, Members
from jleaks.paper.library import Library
from jleaks.plan import Recipe
from jleaks.signals import membership_margin
from jleaks.trainer import Crew

AttackModel = Literal["mlp", "logistic", "forest"]


@dataclasses.dataclass(eq=False)
class Lesson:
    """What one attack model learns from, and what it is asked about.

    Attributes:
      name: For messages.
      fingerprint: Of everything that defines its weights.
      words: Its key.
      features: [n, d] the shadows' posteriors.
      member: [n] the truth about them.
      num_inputs: Of a network: it sees d posteriors and zeros in place of others, as the main job's does.
      queries: Each [m, d], posteriors of targets.
    """

    name: str
    fingerprint: str
    words: np.ndarray
    features: np.ndarray
    member: np.ndarray
    num_inputs: int
    queries: list[np.ndarray] = dataclasses.field(default_factory=list)


# For each attack model its scores of its own lesson, and of each of its queries.
Scores = dict[Any, tuple[np.ndarray, list[np.ndarray]]]


def train_and_ask(
    recipe: Recipe, num_trees: int, library: Library, lessons: dict[Any, Lesson]
) -> Scores:
    """Trains attack models, those of equal kind, inputs and number of rows as one fleet.

    Args:
      recipe: Of the networks.
      num_trees: Of the forests.
      library: Where networks are kept.
      lessons: By a key that starts with the kind of attack model.
    """
    groups: dict[Any, list[Any]] = {}
    for key, lesson in lessons.items():
        shape = len(lesson.features), lesson.num_inputs
        groups.setdefault((key[0], *shape), []).append(key)
    found: Scores = {}
    for (model, *_), keys in groups.items():
        chosen = [lessons[key] for key in keys]
        if model == "forest":
            for key, lesson in zip(keys, chosen, strict=True):
                grown = forest_scores(
                    ForestRecipe(num_trees),
                    lesson.features,
                    lesson.member,
                    lesson.words,
                    lesson.queries,
                )
                found[key] = grown.own, grown.queries
        else:
            scores = attack_fleet(dataclasses.replace(recipe, model=model), library, chosen)
            found |= dict(zip(keys, scores, strict=True))
    return found


def attack_fleet(
    recipe: Recipe, library: Library, lessons: Sequence[Lesson]
) -> list[tuple[np.ndarray, list[np.ndarray]]]:
    """Trains attack networks on their lessons and asks them.

    Returns:
      For each lesson the scores of its own rows and of each of its queries: the logit of "member"
      less that of "non-member".
    """
    blocks: list[np.ndarray] = []
    place: dict[int, np.ndarray] = {}
    total, num_inputs = 0, lessons[0].num_inputs

    def put(block: np.ndarray) -> np.ndarray:
        nonlocal total
        if id(block) not in place:
            place[id(block)] = np.arange(total, total + len(block), dtype=np.int32)
            blocks.append(np.pad(block, ((0, 0), (0, num_inputs - block.shape[1]))))
            total += len(block)
        return place[id(block)]

    own = [put(lesson.features) for lesson in lessons]
    asked = [[put(query) for query in lesson.queries] for lesson in lessons]
    labels = np.zeros(total, np.int32)
    for rows, lesson in zip(own, lessons, strict=True):
        labels[rows] = lesson.member
    size = np.array([len(rows) for rows in own], np.int32)
    indices = np.zeros((len(lessons), size.max()), np.int32)
    for i, rows in enumerate(own):
        indices[i, : len(rows)] = rows
    crew = Crew(
        name=f"{len(lessons)} attack models",
        names=[lesson.name for lesson in lessons],
        learner=Learner(recipe, "posteriors", 2),
        features=np.concatenate(blocks).astype(np.float32),
        labels=labels,
        members=Members(indices, size),
        words=np.stack([lesson.words for lesson in lessons]),
        masks=np.stack([np.arange(num_inputs) < x.features.shape[1] for x in lessons]).astype(
            np.float32
        ),
    )
    trainer, state = library.train(crew, [x.fingerprint for x in lessons])
    wanted = [np.concatenate([mine, *others]) for mine, others in zip(own, asked, strict=True)]
    longest = max(len(row) for row in wanted)
    padded = np.stack([np.pad(row, (0, longest - len(row)), mode="edge") for row in wanted])
    margin = trainer.query(state, padded, membership_margin)["margin"]
    found = []
    for row, mine, others in zip(margin, own, asked, strict=True):
        ends = np.cumsum([len(mine), *(len(o) for o in others)])
        parts = np.split(row[: ends[-1]], ends[:-1])
        found.append((parts[0], parts[1:]))
    return found
