"""The evaluator: every adversary on every (shadow task, target task, seed) in ONE compiled call.

`judge` does the same for any list of scores.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from jleaks import fleet
from jleaks.attacks.shadow import Pairs
from jleaks.attacks.threshold import random_point_threshold
from jleaks.learner import Learner, State
from jleaks.metrics import Metrics, metrics
from jleaks.signals import STATISTICS
from jleaks.stack import Stack


class Evaluation(NamedTuple):
    """What the compiled call answers.

    Attributes:
      pairs: Metrics of adversaries 1 and 2, leaves [Q, ...].
      statistics: Metrics of adversary 3, leaves [T, S, 3, ...]; padding seeds hold no meaning.
      thresholds: [T, S, 3] adversary 3's thresholds.
    """

    pairs: Metrics
    statistics: Metrics
    thresholds: np.ndarray


def _truth(count: Array, size: int) -> tuple[Array, Array]:
    """Membership and validity of the rows [member | non-member] of one target, each [2n]."""
    member = jnp.arange(2 * size) < size
    valid = jnp.tile(jnp.arange(size) < count, 2)
    return member, valid


@functools.cache
def _program(learner: Learner, mesh: Mesh, percentile: float) -> Callable[..., Any]:
    def evaluate(
        shared: dict[str, Any], pairs: tuple[Array, ...], cells: tuple[Array, ...]
    ) -> tuple[Any, Any]:
        counts, top = shared["counts"], shared["top"]
        size = top.shape[-2]

        def pair(target: Array, seed: Array, model: Array) -> Metrics:
            state = jax.tree.map(lambda leaf: leaf[model], shared["attack"])
            rows = top[target, seed].reshape(2 * size, -1)
            logits = learner.logits(state, rows)
            # The logit difference ranks like the posterior of "member" but does not saturate;
            # zero is the 0.5 cut.
            return metrics(logits[:, 1] - logits[:, 0], *_truth(counts[target], size), 0.0)

        def cell(target: Array, seed: Array, statistic: Array) -> tuple[Metrics, Array]:
            values = shared["statistics"][target, seed, :, :, statistic].reshape(-1)
            random = shared["random"][target, seed, :, statistic]
            threshold = random_point_threshold(random, percentile)
            return metrics(values, *_truth(counts[target], size), threshold), threshold

        return (
            fleet.over_models(pair, 1, *pairs) if pairs else (),
            fleet.over_models(cell, 1, *cells) if cells else (),
        )

    return fleet.spread("evaluate", evaluate, mesh, ("shared", "models", "models"))


def evaluate(
    stack: Stack,
    pairs: Pairs,
    learner: Learner,
    attack: State | None,
    percentile: float,
    mesh: Mesh,
) -> Evaluation:
    """Evaluates all adversaries on all tasks and seeds.

    Args:
      stack: Signals of all tasks and seeds.
      pairs: Attacks of adversaries 1 and 2.
      learner: Of the attack models.
      attack: Their trained state, leaves [A, ...]; None without adversaries 1 and 2.
      percentile: t of adversary 3.
      mesh: Devices to spread the attacks over.
    """
    # Only targets are attacked: role 0.
    shared = {
        "counts": stack.counts,
        "top": stack.top[:, :, 0],
        "statistics": stack.statistics[:, :, 0],
        "random": stack.random,
        "attack": attack,
    }
    shape = (*stack.top.shape[:2], len(STATISTICS))
    cells = tuple(c.reshape(-1).astype(np.int32) for c in np.indices(shape))
    attacks = (pairs.target, pairs.seed, pairs.model) if attack is not None else ()
    spread_cells, num_cells = fleet.put_models(cells, mesh)
    spread_pairs, num_pairs = fleet.put_models(attacks, mesh) if attacks else ((), 0)
    found = _program(learner, mesh, percentile)(
        fleet.put_shared(shared, mesh), spread_pairs, spread_cells
    )
    statistics, thresholds = jax.tree.map(
        lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), fleet.fetch(found[1], num_cells)
    )
    return Evaluation(fleet.fetch(found[0], num_pairs), statistics, thresholds)


@functools.cache
def _judge_program(mesh: Mesh) -> Callable[..., Metrics]:
    def device(scores: Array, member: Array, counts: Array, thresholds: Array) -> Metrics:
        def one(scores: Array, member: Array, count: Array, threshold: Array) -> Metrics:
            return metrics(scores, member, jnp.arange(scores.shape[0]) < count, threshold)

        return fleet.over_models(one, 1, scores, member, counts, thresholds)

    return fleet.spread("judge scores", device, mesh, ("models",) * 4)


# Rows that one call of `judge` may hold, padding included.
_MOST_ROWS = 1 << 25


def judge(
    scores: Sequence[np.ndarray],
    member: Sequence[np.ndarray],
    thresholds: Sequence[float],
    mesh: Mesh,
) -> Metrics:
    """Evaluates any attacks, in one compiled call if they fit: each has its own list of records.

    Args:
      scores: For each of A attacks [n_i]; larger means likelier a member.
      member: For each the truth, [n_i].
      thresholds: For each the score from which a record is called a member.
      mesh: Devices to spread the attacks over.

    Returns:
      Metrics, leaves [A, ...].
    """
    longest = max(len(row) for row in scores)
    # A power of two: lists of about equal length share a compiled program.
    width = 1 << (longest - 1).bit_length()
    per_call = max(1, _MOST_ROWS // width)
    parts = []
    for start in range(0, len(scores), per_call):
        chosen = range(start, min(start + per_call, len(scores)))
        rows = np.zeros((len(chosen), width), np.float32)
        truth = np.zeros((len(chosen), width), bool)
        for at, i in enumerate(chosen):
            rows[at, : len(scores[i])] = scores[i]
            truth[at, : len(scores[i])] = member[i]
        counts = np.array([len(scores[i]) for i in chosen], np.int32)
        cuts = np.array([thresholds[i] for i in chosen], np.float32)
        spread, count = fleet.put_models((rows, truth, counts, cuts), mesh)
        parts.append(fleet.fetch(_judge_program(mesh)(*spread), count))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
