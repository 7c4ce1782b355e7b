"""Metrics of rows: one target's scores of all records, against the truth.

Who is a member is known before anything is scored.  So each target's members and others are listed once, on
the host (`membership_index`), and each row's non-members are sorted alone (see `jleaks.metrics.roc`).

What each record adds to the error of every measure (`influence`) follows from the same numbers, and is
summed over the targets, which share their records: intervals over records are made of these sums.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jleaks.alignment import empty
from jleaks.arrays import AnyArray
from jleaks.metrics.operating_points import Counts, counts
from jleaks.metrics.roc import NOBODY, Ranked, auc, called, operating_points

# Operating points in rows and tables.
FPRS = (0.01, 0.001, 0.0001)
# FPRs at which ROC curves are kept.
GRID = np.geomspace(1e-5, 1, 101)

# Measures whose influences are kept, in order.  A TPR's is that of the members found less the slope of the
# ROC curve times that of the non-members let in; the slope is known when all targets are evaluated.
INFLUENCES = (
    "auc",
    "balanced_accuracy",
    "precision",
    "recall",
    *(f"{kind}_at_fpr_{fpr}" for kind in ("members", "others") for fpr in FPRS),
)

# Lists are as long as a multiple of this.
_WIDTH = 64


class BankMetrics(NamedTuple):
    """Every attack on every target: A attacks, T targets, F = len(`FPRS`), counts of audited records.

    Attributes:
      auc: [A, T].
      positives: [A, T] members.
      negatives: [A, T] non-members.
      tp: [A, T, F] members found at the largest TPR with FPR at most `FPRS`.
      fp: [A, T, F] non-members called members there.
      tp_near: [A, T, F, len(Counts)] members found at the thresholds around each of `FPRS`; at `high`
        those beside the threshold as well.
      threshold: [A, T] from the shadow; NaN where there is none.
      tp_called: [A, T] members at or above the threshold.
      fp_called: [A, T] non-members likewise.
      roc: [A, T, G] true positives at FPR at most `GRID`.
      variant: [A, T] the form that a shadow chose (see `attacks.attack.Variants`), NaN without any.
      non_finite: [A, T] scores of audited records that are not finite, the shadow's included.
      first_non_finite: [A, T] position of the first of them.
      influence: [A, len(`INFLUENCES`), N] of every record, summed over targets; () of one row.
    """

    auc: AnyArray
    positives: AnyArray
    negatives: AnyArray
    tp: AnyArray
    fp: AnyArray
    tp_near: AnyArray
    threshold: AnyArray
    tp_called: AnyArray
    fp_called: AnyArray
    roc: AnyArray
    variant: Any = ()
    non_finite: Any = ()
    first_non_finite: Any = ()
    influence: Any = ()


class MembershipIndex(NamedTuple):
    """Positions of each target's audited members and others, filled up behind with `NOBODY`.

    Attributes:
      inside: [T, p].
      outside: [T, n].
    """

    inside: Int[np.ndarray, "targets most_members"]
    outside: Int[np.ndarray, "targets most_others"]


def membership_index(
    member: Bool[np.ndarray, "targets records"], candidate: Bool[np.ndarray, "targets records"]
) -> MembershipIndex:
    """Lists members and others among the records that each target is audited on."""

    def listed(rows: np.ndarray) -> np.ndarray:
        counts = rows.sum(1)
        # Whole steps: memberships of about equal size share a compiled program.
        width = -(-int(counts.max()) // _WIDTH) * _WIDTH
        found = empty((len(rows), width), np.dtype(np.int32))
        found.fill(NOBODY)
        # NumPy finds what is not zero five times as fast along one axis.
        found[np.arange(width) < counts[:, None]] = np.flatnonzero(rows) % rows.shape[1]
        return found

    return MembershipIndex(listed(member & candidate), listed(~member & candidate))


def near(
    member: Bool[np.ndarray, "targets records"], candidate: Bool[np.ndarray, "targets records"]
) -> Int[np.ndarray, "targets fprs counts"]:
    """Returns every target's thresholds around `FPRS`, as `jleaks.metrics.operating_points.Counts`."""
    others = (~member & candidate).sum(1)
    return np.array([[counts(fpr, int(n)) for fpr in FPRS] for n in others], np.int32)


class Lists(NamedTuple):
    """What rows are evaluated with, known before anything is scored.

    Attributes:
      indices: Each role's members and others.
      near: [T, F, len(Counts)] the targets' thresholds around `FPRS`.
    """

    indices: dict[str, MembershipIndex]
    near: Int[AnyArray, "targets fprs counts"]


def lists(members: dict[str, np.ndarray], audited: dict[str, np.ndarray]) -> Lists:
    """Lists members and others of every role's models, and the targets' thresholds.

    Args:
      members: By role, among them "target": who is a member of its models, [T, N].
      audited: By role, which records each of them is audited on, [T, N].
    """
    indices = {role: membership_index(rows, audited[role]) for role, rows in members.items()}
    return Lists(indices, near(members["target"], audited["target"]))


def found_near(ranked: Ranked, near: Int[Array, "fprs counts"]) -> Int[Array, "fprs counts"]:
    """Members found at the thresholds around each FPR (one target's of `near`)."""
    at = jnp.clip(near, 0, len(ranked.others))
    strict = jnp.where(near < 0, 0, ranked.up_to[2 * ranked.tie[at]])
    beside = ranked.up_to[ranked.tie[at] + ranked.tie_end[at]]
    beside = jnp.where(at < ranked.negatives, beside, ranked.positives)
    return jnp.where(
        jnp.arange(len(Counts._fields)) == Counts._fields.index("high"), beside, strict
    )


class Measured(NamedTuple):
    """What records' influences on a row's measures follow from.

    Attributes:
      ranked: The row.
      nearest: [F] `Counts.nearest` of the target's thresholds around each FPR.
      threshold: From which a record is called a member; NaN without one, whose influences are 0.
      auc: The row's.
    """

    ranked: Ranked
    nearest: Int[Array, "fprs"]
    threshold: Array
    auc: Array


def influence(row: Measured) -> Float[Array, "influences records"]:
    """What every record adds to the error of each of `INFLUENCES`, on one target; 0 if not audited.

    AUC (DeLong et al. 1988): v - AUC over the number of the record's own kind, where v is the share of
    non-members below a member, or of members above a non-member, ties half.  Rates: the record's answer
    less the rate, over the number of its kind.  Precision: the record's part in the linearised ratio.
    A TPR's two parts: members above, and non-members at or above, the threshold `Counts.nearest`.
    """
    ranked = row.ranked
    p, n = ranked.positives, ranked.negatives
    above, let_in = ranked.above, ranked.let_in
    for_member = 1 - (above + let_in) / (2 * n)
    members_above = ranked.up_to[2 * above] + ranked.up_to[above + let_in]
    placement = jnp.where(ranked.is_member, for_member, members_above / (2 * p)) - row.auc
    of_auc = jnp.where(
        ranked.is_member, placement / p, jnp.where(ranked.is_other, placement / n, 0)
    )
    named = ranked.scores >= row.threshold
    tp, fp = (named & ranked.is_member).sum(), (named & ranked.is_other).sum()
    recall, fallout = _of_rate(named, ranked.is_member, p), _of_rate(named, ranked.is_other, n)
    size = jnp.maximum(tp + fp, 1)
    audited = ranked.is_member | ranked.is_other
    precision = jnp.where(named & audited, (ranked.is_member - tp / size) / size, 0)
    at = row.nearest[:, None]
    return jnp.concatenate(
        [
            jnp.stack([of_auc, (recall - fallout) / 2, precision, recall]),
            _of_rate(let_in <= at, ranked.is_member, p),
            _of_rate(above <= at, ranked.is_other, n),
        ]
    )


# From sums of influences [attacks, influences, N], a row, the place of its attack among these, and its
# weight, to the sums with it.
AddInfluence = Callable[[Array, Measured, Array, Array], Array]


def add_influence(
    sums: Float[Array, "attacks influences records"],
    row: Measured,
    attack: Int[Array, ""],
    weight: Array,
) -> Float[Array, "attacks influences records"]:
    """Adds a row's influences to those of its attack, times its weight."""
    found = influence(row) * weight + sums[attack]
    return lax.dynamic_update_index_in_dim(sums, found, attack, 0)


def evaluate_row(
    ranked: Ranked, near: Int[Array, "fprs counts"], threshold: Array
) -> tuple[BankMetrics, Measured]:
    """Returns a row's metrics, and what influences follow from; nobody is called without a threshold."""
    tp, fp = operating_points(ranked, FPRS)
    roc, _ = operating_points(ranked, GRID)
    tp_called, fp_called = called(ranked, threshold)
    has_one = ~jnp.isnan(threshold)
    area = auc(ranked)
    metrics = BankMetrics(
        auc=area,
        positives=ranked.positives,
        negatives=ranked.negatives,
        tp=tp,
        fp=fp,
        tp_near=found_near(ranked, near),
        threshold=threshold,
        tp_called=tp_called * has_one,
        fp_called=fp_called * has_one,
        roc=roc,
    )
    return metrics, Measured(ranked, near[:, Counts._fields.index("nearest")], threshold, area)


def pad(rows: dict[str, Array], multiple: int) -> dict[str, Array]:
    """Repeats the last of some rows up to a multiple; the `weight` of what was repeated is 0."""
    surplus = -len(rows["at"]) % multiple

    def longer(a: Array, **mode: Any) -> Array:
        return jnp.pad(a, [(0, surplus)] + [(0, 0)] * (a.ndim - 1), **mode)

    repeated = {name: longer(a, mode="edge") for name, a in rows.items()}
    return repeated | {"weight": longer(rows["weight"])}


def in_turn(
    evaluate_fn: Callable[[dict[str, Array]], tuple[BankMetrics, Measured]],
    sums: Float[Array, "attacks influences records"],
    rows: dict[str, Array],
    together: int = 1,
    add_fn: AddInfluence = add_influence,
) -> tuple[BankMetrics, Float[Array, "attacks influences records"]]:
    """Evaluates rows, some after the others; all that is kept of their influences is added to sums.

    Args:
      evaluate_fn: From a row to what `evaluate_row` returns.
      sums: Of the influences so far.
      rows: Stacked: `target` scores [rows, N] (or what forms share [rows, C, N]), `attack`, the place of
        each one's attack, `weight`, 0 for a row that does not count, and what `evaluate_fn` takes.
      together: Rows that are evaluated at once, by `vmap`; the number of rows is a multiple of it.
      add_fn: `add_influence`, or a kernel that computes the same; of rows that are evaluated one by one.
    """

    def add_several(sums: Array, some: dict[str, Array]) -> tuple[Array, BankMetrics]:
        metrics, measured = jax.vmap(evaluate_fn)(some)
        mine = (jnp.arange(len(sums))[:, None] == some["attack"]) & (some["weight"] > 0)
        found = jax.vmap(influence)(measured)
        return sums + jnp.where(mine[:, :, None, None], found, 0).sum(1), metrics

    def add(sums: Array, row: dict[str, Array]) -> tuple[Array, BankMetrics]:
        metrics, measured = evaluate_fn(row)
        return add_fn(sums, measured, row["attack"], row["weight"]), metrics

    if together == 1:
        sums, metrics = lax.scan(add, sums, rows)
        return metrics, sums
    some = jax.tree.map(lambda a: a.reshape(-1, together, *a.shape[1:]), rows)
    sums, metrics = lax.scan(add_several, sums, some)
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), metrics), sums


def filled(
    finish_fn: Callable[[dict[str, Array]], tuple[Array, Any]],
    scores: Float[Array, "places records"],
    start: int,
    rows: dict[str, Array],
    together: int = 1,
) -> tuple[Float[Array, "places records"], Any]:
    """Finishes rows, some after the others, each into its place among all.

    Args:
      finish_fn: From a row to its finished scores [N] and what else comes of it.
      scores: Of all rows; those from `start` on are written over.
      start: The first row's place.
      rows: Stacked, as `in_turn` takes them.
      together: Rows that are finished at once; see `in_turn`.

    Returns:
      `scores`, and what else came of these rows, stacked.
    """
    count = len(rows["at"])

    def write(scores: Array, some: tuple[Array, dict[str, Array]]) -> tuple[Array, Any]:
        at, several = some
        if together == 1:
            found, rest = finish_fn(several)
            return lax.dynamic_update_index_in_dim(scores, found, at, 0), rest
        found, rest = jax.vmap(finish_fn)(several)
        return lax.dynamic_update_slice_in_dim(scores, found, at, 0), rest

    if together > 1:
        rows = jax.tree.map(lambda a: a.reshape(-1, together, *a.shape[1:]), rows)
    places = start + jnp.arange(0, count, together)
    scores, rest = lax.scan(write, scores, (places, rows))
    if together > 1:
        rest = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), rest)
    return scores, rest


def _of_rate(answers: Array, kind: Array, size: Array) -> Array:
    """Influence of records of one kind on the rate of a yes, [..., N]."""
    rate = (answers & kind).sum(-1, keepdims=True) / size
    return jnp.where(kind, answers - rate, 0) / size
