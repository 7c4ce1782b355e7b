"""Judging rows: one target's scores of all records, against the truth.

Who is a member is known before anything is scored.  So each target's members and others are listed once, on
the host (`roster`).  Then the scores of the non-members are sorted, one short sort of floats alone, where
one of all records would have to carry membership along; each member is looked up among them; and every
measure follows from how many non-members are above and beside each member.  The definitions are those
of `jleaks.metrics`, and so are the results.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jleaks import sorting
from jleaks.arrays import AnyArray
from jleaks.metrics import GAIN_ROUNDING

# Operating points in rows and tables.
FPRS = (0.01, 0.001, 0.0001)
# FPRs at which ROC curves are kept.
GRID = np.geomspace(1e-5, 1, 101)

# Behind the end of every row.
_NOBODY = np.iinfo(np.int32).max
# Lists are as long as a multiple of this.
_WIDTH = 64
# Ranks are summed as integers in blocks of so many, which keeps them exact.
_BLOCK = 128


class Verdicts(NamedTuple):
    """Every attack on every target: A attacks, T targets, counts of audited records.

    Attributes:
      auc: [A, T].
      positives: [A, T] members.
      negatives: [A, T] non-members.
      tp: [A, T, F] members found at the largest TPR with FPR at most `FPRS`.
      fp: [A, T, F] non-members called members there.
      threshold: [A, T] from the shadow; NaN where there is none.
      tp_called: [A, T] members at or above the threshold.
      fp_called: [A, T] non-members likewise.
      roc: [A, T, G] true positives at FPR at most `GRID`.
      variant: [A, T] the form that a shadow chose (see `attacks.registry.Variants`), NaN without any.
      non_finite: [A, T] scores of audited records that are not finite, the shadow's included.
      first_non_finite: [A, T] position of the first of them.
    """

    auc: AnyArray
    positives: AnyArray
    negatives: AnyArray
    tp: AnyArray
    fp: AnyArray
    threshold: AnyArray
    tp_called: AnyArray
    fp_called: AnyArray
    roc: AnyArray
    variant: AnyArray
    non_finite: AnyArray
    first_non_finite: AnyArray


class Roster(NamedTuple):
    """Positions of each target's audited members and others, filled up behind with `_NOBODY`.

    Attributes:
      inside: [T, p].
      outside: [T, n].
    """

    inside: Int[np.ndarray, "targets most_members"]
    outside: Int[np.ndarray, "targets most_others"]


def roster(
    member: Bool[np.ndarray, "targets records"], candidate: Bool[np.ndarray, "targets records"]
) -> Roster:
    """Lists members and others among the records that each target is audited on."""

    def listed(rows: np.ndarray) -> np.ndarray:
        counts = rows.sum(1)
        # Whole steps: memberships of about equal size share a compiled program.
        width = -(-int(counts.max()) // _WIDTH) * _WIDTH
        found = np.full((len(rows), width), _NOBODY, np.int32)
        found[np.arange(found.shape[1]) < counts[:, None]] = np.nonzero(rows)[1]
        return found

    return Roster(listed(member & candidate), listed(~member & candidate))


class Ranked(NamedTuple):
    """One row's members among its non-members.

    Attributes:
      scores: [p] of the members; what is behind the last is not one.
      is_member: [p] False behind the last.
      others: [n] scores of the non-members, negated and ascending; +inf behind the last.
      above: [p] non-members above each member.
      let_in: [p] non-members that a threshold at each member's score lets in.
      tp: [n + 1] members that let in so many or fewer.
      positives: Members.
      negatives: Non-members.
    """

    scores: Float[Array, "most_members"]
    is_member: Bool[Array, "most_members"]
    others: Float[Array, "most_others"]
    above: Int[Array, "most_members"]
    let_in: Int[Array, "most_members"]
    tp: Int[Array, "counts"]
    positives: Int[Array, ""]
    negatives: Int[Array, ""]


def rank(
    row: Float[Array, "records"],
    inside: Int[Array, "most_members"],
    outside: Int[Array, "most_others"],
) -> Ranked:
    """Ranks a target's members among its non-members (one row of a `Roster`)."""
    is_member = inside < len(row)
    scores = row.at[inside].get(mode="fill", fill_value=-jnp.inf)
    others = sorting.ascending(-row.at[outside].get(mode="fill", fill_value=-jnp.inf))
    above, let_in = (jnp.searchsorted(others, -scores, side=side) for side in ("left", "right"))
    counts = jnp.zeros(len(others) + 1, jnp.int32).at[let_in].add(is_member)
    positives, negatives = is_member.sum(), (outside < len(row)).sum()
    return Ranked(
        scores, is_member, others, above, let_in, jnp.cumsum(counts), positives, negatives
    )


def auc(ranked: Ranked) -> Float[Array, ""]:
    """Area under the ROC curve: Mann-Whitney, ties counted half."""
    # Twice the non-members below each member, those beside it counted half.
    below = jnp.where(ranked.is_member, 2 * ranked.negatives - ranked.above - ranked.let_in, 0)
    blocks = jnp.pad(below, (0, -len(below) % _BLOCK)).reshape(-1, _BLOCK).sum(1)
    pairs = 2.0 * ranked.positives * ranked.negatives
    return blocks.astype(jnp.float32).sum() / pairs


def operating_points(
    ranked: Ranked, fprs: Sequence[float] | np.ndarray
) -> tuple[Int[Array, "fprs"], Int[Array, "fprs"]]:
    """True and false positives at the largest TPR whose realised FPR is at most each of `fprs`.

    A threshold at the lowest member found lets in no more than allowed; the FPR is its own.
    """
    allowed = jnp.floor(jnp.asarray(fprs, jnp.float32) * ranked.negatives + 1e-4)
    found = ranked.is_member & (ranked.let_in <= allowed.astype(jnp.int32)[:, None])
    at = jnp.minimum(allowed.astype(jnp.int32), len(ranked.tp) - 1)
    return ranked.tp[at], jnp.where(found, ranked.let_in, 0).max(1)


def best_threshold(ranked: Ranked) -> Float[Array, ""]:
    """The score that maximises balanced accuracy with the rule "member if score >= threshold".

    Of equal maxima the highest.  It is some member's score: going down to a non-member's gains nothing.
    """
    gain = ranked.tp / ranked.positives - jnp.arange(len(ranked.tp)) / ranked.negatives
    gain = jnp.where(ranked.tp > 0, gain, -jnp.inf)
    fewest = jnp.argmax(gain >= gain.max() - GAIN_ROUNDING)
    called = ranked.is_member & (ranked.let_in <= fewest)
    return jnp.where(called, ranked.scores, jnp.inf).min()


def called(ranked: Ranked, threshold: Array) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """True and false positives of the rule "member if score >= threshold"."""
    tp = (ranked.is_member & (ranked.scores >= threshold)).sum()
    return tp, jnp.searchsorted(ranked.others, -threshold, side="right")
