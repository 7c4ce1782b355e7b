"""Attack models: what each learns from, and all of a kind fitted as one fleet.

Salem et al. 2019, sections IV and V: query the shadow model on its own training part (label 1) and on
records it has not seen (label 0); the largest posteriors in descending order are the features.  The attack
model of a shadow is the same whichever target it then attacks.

A binary task has only two posteriors.  Where shadow or target is binary, the attack model is one that was
trained on the two largest alone: the weight of a posterior that was always zero in training would still be
its random start.

A forest learns from the same rows.  Its trees end in pure leaves unless the recipe says otherwise, so that
nearly all scores are multiples of 1 / num_trees and many records tie.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt32

from jleaks.attacks.signals import membership_margin
from jleaks.errors import InputError
from jleaks.models import kernels
from jleaks.models.forest import ForestRecipe, grow
from jleaks.training.learner import Learner, Members, State
from jleaks.training.recipe import Recipe
from jleaks.training.trainer import FleetSpec, Trainer

# Trains the networks of a fleet that have these fingerprints; returns who asks them, and their state.
TrainFn = Callable[[FleetSpec, Sequence[str]], tuple[Trainer, State]]

# Data sets of one fleet are padded to the longest; where that would make it this many times as much work,
# longer ones are a fleet of their own.
_MOST_PADDING = 4


@dataclasses.dataclass(eq=False)
class AttackDataset:
    """What one attack model learns from, and what it is asked about.

    Attributes:
      name: For messages.
      fingerprint: Of everything that defines its weights.
      key_data: Its PRNG key, as two words.
      features: [n, d] the shadows' posteriors.
      member: [n] the truth about them.
      num_inputs: Of a network: it sees d posteriors and zeros in place of others, whose weights would
        otherwise still be their random start.
      queries: Each [m, d], posteriors of targets.
    """

    name: str
    fingerprint: str
    key_data: np.ndarray
    features: np.ndarray
    member: np.ndarray
    num_inputs: int
    queries: list[np.ndarray] = dataclasses.field(default_factory=list)


# An attack model's scores of its own rows, and of each of its queries: of a network the logit of "member"
# less that of "non-member".
Scores = tuple[np.ndarray, list[np.ndarray]]


def fit_attack_models(
    train_fn: TrainFn, datasets: Sequence[tuple[Recipe | ForestRecipe, AttackDataset]]
) -> list[Scores]:
    """Fits attack models, and asks them.

    Args:
      train_fn: Trains networks; forests are grown anew.
      datasets: Each with the recipe of its attack model.  Networks of equal recipe and inputs are a fleet.

    Returns:
      The scores of each, in order.
    """
    found: list[Scores | None] = [None] * len(datasets)
    groups: dict[tuple[Recipe, int], list[int]] = {}
    for i, (recipe, one) in enumerate(datasets):
        if isinstance(recipe, Recipe):
            groups.setdefault((recipe, one.num_inputs), []).append(i)
            continue
        grown = forest_scores(recipe, one.features, one.member, one.key_data, one.queries)
        found[i] = grown.own, grown.queries
    for (recipe, _), at in groups.items():
        scores = fit_networks(recipe, train_fn, [datasets[i][1] for i in at])
        for i, own in zip(at, scores, strict=True):
            found[i] = own
    return [own for own in found if own is not None]


def fit_networks(
    recipe: Recipe, train_fn: TrainFn, datasets: Sequence[AttackDataset]
) -> list[Scores]:
    """Trains attack networks of equally many inputs as one fleet (see `_MOST_PADDING`), and asks them."""
    found: list[Scores | None] = [None] * len(datasets)
    for at in _about_equal([len(one.member) for one in datasets]):
        scores = _fleet(recipe, train_fn, [datasets[i] for i in at])
        for i, own in zip(at, scores, strict=True):
            found[i] = own
    return [own for own in found if own is not None]


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


def _fleet(recipe: Recipe, train_fn: TrainFn, datasets: Sequence[AttackDataset]) -> list[Scores]:
    blocks: list[np.ndarray] = []
    place: dict[int, np.ndarray] = {}
    total, num_inputs = 0, datasets[0].num_inputs

    def put(block: np.ndarray) -> np.ndarray:
        nonlocal total
        if id(block) not in place:
            place[id(block)] = np.arange(total, total + len(block), dtype=np.int32)
            blocks.append(np.pad(block, ((0, 0), (0, num_inputs - block.shape[1]))))
            total += len(block)
        return place[id(block)]

    own = [put(one.features) for one in datasets]
    asked = [[put(query) for query in one.queries] for one in datasets]
    labels = np.zeros(total, np.int32)
    for rows, one in zip(own, datasets, strict=True):
        labels[rows] = one.member
    size = np.array([len(rows) for rows in own], np.int32)
    indices = np.zeros((len(datasets), size.max()), np.int32)
    for i, rows in enumerate(own):
        indices[i, : len(rows)] = rows
    spec = FleetSpec(
        name="attack models",
        names=[one.name for one in datasets],
        learner=Learner(recipe, "posteriors", 2, kernels=kernels.choose(None)),
        features=np.concatenate(blocks).astype(np.float32),
        labels=labels,
        members=Members(indices, size),
        key_data=np.stack([one.key_data for one in datasets]),
        masks=np.stack([np.arange(num_inputs) < one.features.shape[1] for one in datasets]).astype(
            np.float32
        ),
    )
    trainer, state = train_fn(spec, [one.fingerprint for one in datasets])
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


class ForestScores(NamedTuple):
    """Scores of one attack forest: the posterior of "member" minus 0.5.

    Larger means likelier a member; at 0 or above the forest calls a record one.

    Attributes:
      own: [n] float32 scores of the rows that the forest learned from, each by the trees that did
        not see it.  All trees together have memorised these rows: a threshold chosen on what they
        say would fit nobody else.
      queries: For each target [m] float32.
    """

    own: Float[np.ndarray, "rows"]
    queries: list[np.ndarray]


def forest_scores(
    recipe: ForestRecipe,
    features: Float[np.ndarray, "rows top"],
    member: Bool[np.ndarray, "rows"],
    key_data: UInt32[np.ndarray, "2"],
    queries: Sequence[Float[np.ndarray, "_ top"]],
) -> ForestScores:
    """Trains one attack forest on shadow rows and scores the answers of any number of targets.

    Where shadow or target is binary, pass the two largest posteriors of both sides alone, as
    networks do: a third that was always zero in training says nothing.

    Args:
      recipe: Of the forest.
      features: [n, top] what the shadow models answered.  For the combining attack the rows of
        shadows of all kinds, one below the other.
      member: [n] whether the shadow trained on the record.
      key_data: Key data of the attack model.
      queries: For each target [m, top] what it answered.

    Raises:
      InputError: members or non-members are lacking, a value is not finite, queries have another
        width than the rows; or as `jleaks.models.forest.grow`.
    """
    if not 0 < member.sum() < len(member):
        raise InputError(
            f"an attack model was to learn from {member.sum()} members and {(~member).sum()} "
            "non-members, expected at least one of each"
        )
    for name, rows in [("shadow", features), *((f"query {i}", q) for i, q in enumerate(queries))]:
        if rows.shape[1:] != features.shape[1:]:
            raise InputError(
                f"{name} rows have {rows.shape[1:]} posteriors, the shadow's {features.shape[1:]}"
            )
        if not np.isfinite(rows).all():
            raise InputError(f"{name} rows are not all finite")
    trees = grow(recipe, features, member.astype(np.int32), 2, key_data)
    half = np.float32(0.5)
    return ForestScores(
        trees.out_of_bag(features)[:, 1] - half,
        [trees.posteriors(rows)[:, 1] - half for rows in queries],
    )
