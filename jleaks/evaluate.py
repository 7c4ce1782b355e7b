"""The evaluator: every adversary on every (shadow task, target task, seed) in ONE compiled call.

`judge` and `judge_own_rows` do the same for any lists of scores.
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
from jleaks.metrics import Metrics, OwnRows, metrics, own_rows
from jleaks.signals import STATISTICS
from jleaks.stack import Stack


class Evaluation(NamedTuple):
    """What the compiled call answers.

    Attributes:
      pairs: Metrics of adversaries 1 and 2, leaves [Q, ...].
      collapsed: [Q] whether the attack model of a pair has collapsed (see `metrics.OwnRows`).
      statistics: Metrics of adversary 3, leaves [T, S, 3, ...]; padding seeds hold no meaning.
      thresholds: [T, S, 3] adversary 3's thresholds.
    """

    pairs: Metrics
    collapsed: np.ndarray
    statistics: Metrics
    thresholds: np.ndarray


def _at(tree: Any, model: Any) -> Any:
    """Returns one model of a stacked tree."""
    return jax.tree.map(lambda leaf: leaf[model], tree)


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

        def margins(state: State, rows: Array) -> Array:
            # The logit difference ranks like the posterior of "member" but does not saturate;
            # zero is the 0.5 cut.
            logits = learner.logits(state, rows.reshape(2 * size, -1))
            return logits[:, 1] - logits[:, 0]

        def attack_model(state: State, shadow: Array, seed: Array) -> OwnRows:
            scores = margins(state, shared["shadow_top"][shadow, seed])
            return own_rows(scores, *_truth(counts[shadow], size))

        # Every device looks at all attack models, each once: pairs share them.
        learned = (
            fleet.over_models(attack_model, 1, shared["attack"], *shared["learned_from"])
            if pairs
            else None
        )

        def pair(target: Array, seed: Array, model: Array) -> tuple[Metrics, Array]:
            scores = margins(_at(shared["attack"], model), top[target, seed])
            own = _at(learned, model)
            found = metrics(scores, *_truth(counts[target], size), 0.0, own.cut)
            return found, own.collapsed

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
    _, first = np.unique(pairs.model, return_index=True)
    # Targets, role 0, are attacked; attack models have learned from shadows, role 1.
    shared = {
        "counts": stack.counts,
        "top": stack.top[:, :, 0],
        "shadow_top": stack.top[:, :, 1],
        "learned_from": (pairs.shadow[first], pairs.seed[first]),
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
    judged: Any = ()
    collapsed = np.zeros(0, bool)
    if attacks:
        judged, collapsed = fleet.fetch(found[0], num_pairs)
    return Evaluation(judged, collapsed, statistics, thresholds)


# Rows that one call of `judge` may hold, padding included.
_MOST_ROWS = 1 << 25


@functools.cache
def _judge_program(mesh: Mesh) -> Callable[..., Metrics]:
    def device(scores: Array, member: Array, counts: Array, cuts: tuple[Array, ...]) -> Metrics:
        def one(scores: Array, member: Array, count: Array, cuts: tuple[Array, ...]) -> Metrics:
            return metrics(scores, member, jnp.arange(scores.shape[0]) < count, *cuts)

        return fleet.over_models(one, 1, scores, member, counts, cuts)

    return fleet.spread("judge scores", device, mesh, ("models",) * 4)


@functools.cache
def _own_rows_program(mesh: Mesh) -> Callable[..., OwnRows]:
    def device(scores: Array, member: Array, counts: Array) -> OwnRows:
        def one(scores: Array, member: Array, count: Array) -> OwnRows:
            return own_rows(scores, member, jnp.arange(scores.shape[0]) < count)

        return fleet.over_models(one, 1, scores, member, counts)

    return fleet.spread("judge own rows", device, mesh, ("models",) * 3)


def _in_calls(
    program: Callable[..., Any],
    scores: Sequence[np.ndarray],
    member: Sequence[np.ndarray],
    mesh: Mesh,
    *others: Any,
) -> Any:
    """Calls a program with lists of unequal length: once if they fit, each padded to the longest."""
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
        more = jax.tree.map(lambda leaf, at=slice(start, chosen.stop): leaf[at], others)
        spread, count = fleet.put_models((rows, truth, counts, *more), mesh)
        parts.append(fleet.fetch(program(*spread), count))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def judge(
    scores: Sequence[np.ndarray],
    member: Sequence[np.ndarray],
    thresholds: Sequence[float],
    mesh: Mesh,
    cuts: Sequence[float] | None = None,
) -> Metrics:
    """Evaluates any attacks, in one compiled call if they fit: each has its own list of records.

    Args:
      scores: For each of A attacks [n_i]; larger means likelier a member.
      member: For each the truth, [n_i].
      thresholds: For each the score from which a record is called a member.
      mesh: Devices to spread the attacks over.
      cuts: For each the shadow's cut (see `judge_own_rows`), NaN for one without; None if all are.

    Returns:
      Metrics, leaves [A, ...].
    """
    both = [thresholds] if cuts is None else [thresholds, cuts]
    levels = tuple(np.array(one, np.float32) for one in both)
    return _in_calls(_judge_program(mesh), scores, member, mesh, levels)


def judge_own_rows(
    scores: Sequence[np.ndarray], member: Sequence[np.ndarray], mesh: Mesh
) -> OwnRows:
    """Looks at attack models' scores of the rows that they learned from, in one compiled call if they fit.

    Args:
      scores: For each of A attack models [n_i], zero being its 0.5 cut.
      member: For each the truth, [n_i].
      mesh: Devices to spread them over.

    Returns:
      The cuts that these rows choose and who has collapsed, leaves [A].
    """
    return _in_calls(_own_rows_program(mesh), scores, member, mesh)
