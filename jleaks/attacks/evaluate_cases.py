"""The evaluator: any attacks, each with a list of records of its own, in ONE compiled call."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from jleaks.activity import doing
from jleaks.metrics.case_metrics import Metrics, OwnRows, metrics, own_rows
from jleaks.training import fleet, placement

# Rows that one call of `evaluate_scores` may hold, padding included.
_MOST_ROWS = 1 << 25


@functools.cache
def _scores_program(mesh: Mesh) -> Callable[..., Metrics]:
    def device(scores: Array, member: Array, counts: Array, cuts: tuple[Array, ...]) -> Metrics:
        def one(scores: Array, member: Array, count: Array, cuts: tuple[Array, ...]) -> Metrics:
            return metrics(scores, member, jnp.arange(scores.shape[0]) < count, *cuts)

        return fleet.over_models(one, 1, scores, member, counts, cuts)

    return fleet.spread("evaluate scores", device, mesh, ("models",) * 4)


@functools.cache
def _own_rows_program(mesh: Mesh) -> Callable[..., OwnRows]:
    def device(scores: Array, member: Array, counts: Array) -> OwnRows:
        def one(scores: Array, member: Array, count: Array) -> OwnRows:
            return own_rows(scores, member, jnp.arange(scores.shape[0]) < count)

        return fleet.over_models(one, 1, scores, member, counts)

    return fleet.spread("evaluate own rows", device, mesh, ("models",) * 3)


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
        spread, count = placement.put_models((rows, truth, counts, *more), mesh)
        parts.append(placement.fetch(program(*spread), count))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


@doing("evaluating all attacks")
def evaluate_scores(
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
      cuts: For each the shadow's cut (see `evaluate_own_rows`), NaN for one without; None if all are.

    Returns:
      Metrics, leaves [A, ...].
    """
    both = [thresholds] if cuts is None else [thresholds, cuts]
    levels = tuple(np.array(one, np.float32) for one in both)
    return _in_calls(_scores_program(mesh), scores, member, mesh, levels)


def evaluate_own_rows(
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
