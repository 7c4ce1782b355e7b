"""One target's records ranked: ROC curve, area, operating points; exact under ties, jit-friendly.

The scores of the non-members are sorted, one short sort of floats alone, where one of all records would
have to carry membership along; each record is looked up among them; and every measure follows from how many
non-members are above and beside each record.

Conventions: a score is larger for likelier members; records of equal score move together (one step of
the empirical ROC); TPR at FPR f is the largest TPR among thresholds whose realised FPR is at most f.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Num

from jleaks.arrays import AnyArray
from jleaks.metrics import sorting

# Gains in balanced accuracy that differ by no more are equal: that is float32's rounding.
GAIN_ROUNDING = 2.5e-7

# A position that no record has: behind the end of every row.
NOBODY = np.iinfo(np.int32).max

# Ranks are summed as integers in blocks of so many, which keeps them exact.
_BLOCK = 128


class Ranked(NamedTuple):
    """One row's records among its non-members.

    Attributes:
      scores: [N].
      is_member: [N] audited members.
      is_other: [N] audited non-members.
      others: [n] scores of the non-members, negated and ascending; +inf behind the last.
      above: [N] non-members above each record.
      let_in: [N] non-members that a threshold at each record's score lets in.
      up_to: [2n + 1] members whose `above` + `let_in` is at most the index.
      tie: [n + 1] `above` of the non-member in each place of `others`; n behind the last.
      tie_end: [n + 1] its `let_in`.
      positives: Members.
      negatives: Non-members.
    """

    scores: Float[Array, "records"]
    is_member: Bool[Array, "records"]
    is_other: Bool[Array, "records"]
    others: Float[Array, "most_others"]
    above: Int[Array, "records"]
    let_in: Int[Array, "records"]
    up_to: Int[Array, "twice_counts"]
    tie: Int[Array, "counts"]
    tie_end: Int[Array, "counts"]
    positives: Int[Array, ""]
    negatives: Int[Array, ""]

    @property
    def tp(self) -> Int[Array, "counts"]:
        """[n + 1] members that let in so many or fewer."""
        return self.up_to[2 * self.tie]


Ranks = Callable[[Array, Array, Array], tuple[Array, ...]]
Standing = Callable[[Array, Array, Array], tuple[Array, Array]]


def standing(
    values: Float[Array, "n"], among: Bool[Array, "n"], queries: Float[Array, "q"]
) -> tuple[Int[Array, "q"], Int[Array, "q"]]:
    """Returns how many of the values that count are below each query, and how many are not above it.

    Args:
      values: Finite where they count.
      among: Which of them count.
      queries: Finite.
    """
    ordered, count = sorting.ascending(jnp.where(among, values, jnp.inf)), among.sum()
    below, up_to = (
        jnp.minimum(jnp.searchsorted(ordered, queries, side=side), count)
        for side in ("left", "right")
    )
    return below, up_to


def places(
    row: Float[Array, "records"], outside: Int[Array, "most_others"]
) -> tuple[Float[Array, "most_others"], Int[Array, "records"], Int[Array, "records"]]:
    """Returns `others`, `above` and `let_in` of `Ranked`, by a sort of the others and a binary search.

    How many are beside a record follows from where ties end.

    Args:
      row: Scores.
      outside: Positions of the others, filled up with `NOBODY`.
    """
    others = sorting.ascending(-row.at[outside].get(mode="fill", fill_value=-jnp.inf))
    _, tie_end = _ties(others)
    above = jnp.searchsorted(others, -row, side="left")
    beside = others[jnp.minimum(above, len(others) - 1)] == -row
    return others, above, jnp.where(beside, tie_end[above], above)


def _ties(others: Array) -> tuple[Array, Array]:
    """Returns `tie` and `tie_end` of `Ranked`."""
    n = len(others)
    place = jnp.arange(n + 1, dtype=jnp.int32)
    new = jnp.concatenate([jnp.ones(1, bool), others[1:] != others[:-1], jnp.ones(1, bool)])
    starts = jnp.where(new, place, n)
    tie_end = lax.cummin(jnp.concatenate([starts[1:], starts[-1:]]), reverse=True)
    return lax.cummax(jnp.where(new, place, 0)), tie_end


def ranks(
    row: Float[Array, "records"],
    inside: Int[Array, "most_members"],
    outside: Int[Array, "most_others"],
) -> tuple[Array, ...]:
    """Returns `others`, `above`, `let_in`, `up_to`, `tie` and `tie_end` of `Ranked`.

    Args:
      row: Scores.
      inside: Positions of the members, filled up with `NOBODY`.
      outside: Of the others, likewise.
    """
    others, above, let_in = places(row, outside)
    n = len(others)
    at = (above + let_in).at[inside].get(mode="fill", fill_value=2 * n + 1)
    up_to = jnp.cumsum(jnp.zeros(2 * n + 1, jnp.int32).at[at].add(1, mode="drop"))
    return others, above, let_in, up_to, *_ties(others)


def rank(
    row: Float[AnyArray, "records"],
    member: Bool[AnyArray, "records"],
    candidate: Bool[AnyArray, "records"],
    inside: Int[AnyArray, "most_members"] | None = None,
    outside: Int[AnyArray, "most_others"] | None = None,
    ranks_fn: Ranks = ranks,
) -> Ranked:
    """Ranks a target's records among its non-members.

    A member between two places lies at twice its place in `up_to`, one beside
    non-members halfway through them, so that one cumulated histogram tells members above a tie from
    those in it and those below.

    Args:
      row: Scores, larger for likelier members; those of candidates must be finite.
      member: The truth.
      candidate: Records that count; the others are padding, or not audited.
      inside: Positions of the members that count, filled up behind with `NOBODY`; None to find them here,
        at the price of a longer sort.
      outside: Of the non-members, likewise.
      ranks_fn: `ranks`, or a kernel that computes the same.
    """
    row, member, candidate = jnp.asarray(row), jnp.asarray(member), jnp.asarray(candidate)
    is_member, is_other = member & candidate, ~member & candidate
    if inside is None or outside is None:
        everybody = jnp.arange(len(row), dtype=jnp.int32)
        inside = jnp.where(is_member, everybody, NOBODY)
        outside = jnp.where(is_other, everybody, NOBODY)
    others, above, let_in, up_to, tie, tie_end = ranks_fn(
        row, jnp.asarray(inside), jnp.asarray(outside)
    )
    return Ranked(
        *(row, is_member, is_other, others, above, let_in, up_to, tie, tie_end),
        *(is_member.sum(), is_other.sum()),
    )


def auc(ranked: Ranked) -> Float[Array, ""]:
    """Area under the ROC curve: Mann-Whitney, ties counted half (Fawcett 2006, algorithm 3)."""
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
    at = jnp.minimum(allowed.astype(jnp.int32), len(ranked.others))
    return ranked.up_to[2 * ranked.tie[at]], jnp.where(found, ranked.let_in, 0).max(1)


def best_threshold(ranked: Ranked) -> Float[Array, ""]:
    """The score that maximises balanced accuracy with the rule "member if score >= threshold".

    Of equal maxima the highest (Song & Mittal 2021 try values in that order).  It is some member's score:
    going down to a non-member's gains nothing.
    """
    tp = ranked.tp
    gain = tp / ranked.positives - jnp.arange(len(tp)) / ranked.negatives
    gain = jnp.where(tp > 0, gain, -jnp.inf)
    fewest = jnp.argmax(gain >= gain.max() - GAIN_ROUNDING)
    called = ranked.is_member & (ranked.let_in <= fewest)
    return jnp.where(called, ranked.scores, jnp.inf).min()


def called(
    ranked: Ranked, threshold: Num[AnyArray, ""] | np.floating | float
) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """True and false positives of the rule "member if score >= threshold"; nobody for NaN."""
    level = jnp.asarray(threshold, jnp.float32)
    tp = (ranked.is_member & (ranked.scores >= level)).sum()
    fp = jnp.minimum(jnp.searchsorted(ranked.others, -level, side="right"), ranked.negatives)
    return tp, jnp.where(jnp.isnan(level), 0, fp)
