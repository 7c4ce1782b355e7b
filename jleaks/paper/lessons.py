"""Attack models: what each learns from, and all of a kind trained as one fleet.

Salem et al. 2019, sections IV and V: query the shadow model on its own training part (label 1) and on
records it has not seen (label 0); the largest posteriors in descending order are the features.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jleaks.attacks.classifiers import forest_scores
from jleaks.forest import ForestRecipe
from jleaks.learner import Learner, Members
from jleaks.paper.library import Library
from jleaks.plan import Recipe
from jleaks.signals import membership_margin
from jleaks.trainer import Crew

# Lessons of one fleet are padded to the longest; where that would make it this many times as much work,
# longer ones are a fleet of their own.
_MOST_PADDING = 4


@dataclasses.dataclass(eq=False)
class Lesson:
    """What one attack model learns from, and what it is asked about.

    Attributes:
      name: For messages.
      fingerprint: Of everything that defines its weights.
      words: Its key.
      features: [n, d] the shadows' posteriors.
      member: [n] the truth about them.
      num_inputs: Of a network: it sees d posteriors and zeros in place of others, whose weights would
        otherwise still be their random start.
      queries: Each [m, d], posteriors of targets.
    """

    name: str
    fingerprint: str
    words: np.ndarray
    features: np.ndarray
    member: np.ndarray
    num_inputs: int
    queries: list[np.ndarray] = dataclasses.field(default_factory=list)


# An attack model's scores of its own lesson, and of each of its queries: of a network the logit of "member"
# less that of "non-member".
Scores = tuple[np.ndarray, list[np.ndarray]]


def train_and_ask(
    library: Library, lessons: Sequence[tuple[Recipe | ForestRecipe, Lesson]]
) -> list[Scores]:
    """Trains attack models, and asks them.

    Args:
      library: Where networks are kept; forests are grown anew.
      lessons: Each with the recipe of its attack model.  Networks of equal recipe and inputs are a fleet.

    Returns:
      The scores of each, in order.
    """
    found: list[Scores | None] = [None] * len(lessons)
    groups: dict[tuple[Recipe, int], list[int]] = {}
    for i, (recipe, lesson) in enumerate(lessons):
        if isinstance(recipe, Recipe):
            groups.setdefault((recipe, lesson.num_inputs), []).append(i)
            continue
        grown = forest_scores(recipe, lesson.features, lesson.member, lesson.words, lesson.queries)
        found[i] = grown.own, grown.queries
    for (recipe, _), at in groups.items():
        scores = attack_fleet(recipe, library, [lessons[i][1] for i in at])
        for i, one in zip(at, scores, strict=True):
            found[i] = one
    return [one for one in found if one is not None]


def attack_fleet(recipe: Recipe, library: Library, lessons: Sequence[Lesson]) -> list[Scores]:
    """Trains attack networks of equally many inputs as one fleet (see `_MOST_PADDING`), and asks them."""
    found: list[Scores | None] = [None] * len(lessons)
    for at in _about_equal([len(lesson.member) for lesson in lessons]):
        scores = _fleet(recipe, library, [lessons[i] for i in at])
        for i, one in zip(at, scores, strict=True):
            found[i] = one
    return [one for one in found if one is not None]


def _about_equal(sizes: Sequence[int]) -> list[list[int]]:
    """Returns positions in groups, each in order, whose sizes may be padded to the group's largest."""
    groups: list[list[int]] = [[]]
    for i in np.argsort(sizes, kind="stable").tolist():
        longer = [*groups[-1], i]
        if len(longer) * sizes[i] > _MOST_PADDING * sum(sizes[j] for j in longer):
            groups.append([i])
        else:
            groups[-1].append(i)
    return [sorted(group) for group in groups if group]


def _fleet(recipe: Recipe, library: Library, lessons: Sequence[Lesson]) -> list[Scores]:
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
        name="attack models",
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
