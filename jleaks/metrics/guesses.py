"""Guesses about the coins of one training run, on which one-run bounds stand (Steinke et al. 2023).

Scores may depend on the coins through the target model alone.  Equal scores are ranked at random, since
their order in a file may give membership away.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool

from jleaks.errors import InputError
from jleaks.metrics.intervals import Values
from jleaks.metrics.over_targets import by_membership

Design = Literal["pairs", "coins"]
Sides = Literal["both", "members"]

# Shares of the coins guessed.
GUESS_SHARES = (0.01, 0.03, 0.1, 0.3, 1.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Guesses:
    """Coins in the order in which they are guessed.

    Attributes:
      num_coins: m: records (design "coins") or pairs of records ("pairs").
      design: How the coins were thrown.
      sides: Of design "coins": see `guesses`.
      right: Of "pairs", [m] whether each guess is right, the surest first; of "coins", [m] whether each
        record is a member, the highest score first.
      num_members: Members among the records.
    """

    num_coins: int
    design: Design
    sides: Sides
    right: Bool[np.ndarray, "coins"]
    num_members: int

    def numbers(self, asked: int | Sequence[int] | None) -> list[int]:
        """Returns the numbers of guesses to try, ascending; `GUESS_SHARES` of the coins for None.

        Raises:
          InputError: one is not in 1..m.
        """
        m = self.num_coins
        if asked is None:
            asked = [max(1, round(share * m)) for share in GUESS_SHARES]
        tried = np.unique(np.asarray(asked))
        if tried.dtype.kind not in "iu" or not tried.size or tried[0] < 1 or tried[-1] > m:
            raise InputError(f"{asked} guesses about {m} coins; expected whole numbers in 1..{m}")
        return [int(r) for r in tried]

    def correct(self, r: int) -> tuple[int, int]:
        """Returns how many of the r surest guesses are right, and how many could be at most."""
        if self.design == "pairs":
            return int(self.right[:r].sum()), r
        ins = r if self.sides == "members" else (r + 1) // 2
        m, others = self.num_coins, self.num_coins - self.num_members
        v = int(self.right[:ins].sum()) + int((~self.right[m - (r - ins) :]).sum())
        return v, min(ins, self.num_members) + min(r - ins, others)


def guesses(
    scores: Values,
    member: np.ndarray,
    design: Design = "pairs",
    sides: Sides = "both",
    seed: int = 0,
) -> Guesses:
    """Guesses who is a member from scores.

    Design "coins": one coin per record, as the theorem has it; neighbours add or remove a record.  The
    highest scores are guessed members and the lowest non-members.  Not valid for halves of fixed size,
    whose memberships depend on each other.

    Design "pairs": valid for both.  Members and non-members are matched at random.  Given the pairs and
    that one of each is a member, every choice of it was equally likely: a fair coin per pair,
    m = min(members, non-members).  Flipping one replaces a record, which is what neighbours are here.
    The one of higher score is guessed, in the pairs whose scores differ most.

    Args:
      scores: [records], finite, larger means likelier a member.
      member: [records] of booleans: the truth.
      design: How the coins were thrown.
      sides: Of design "coins".  "both": half of the guesses, rounded up, are "member", the others
        "non-member"; "members": all are "member".
      seed: Of the matching and of ranks within ties.

    Raises:
      InputError: scores or membership are not as `by_membership` takes them, or another argument is out
        of range.
    """
    if design not in ("pairs", "coins"):
        raise InputError(f"design {design!r}; expected 'pairs' or 'coins'")
    if sides not in ("both", "members"):
        raise InputError(f"sides {sides!r}; expected 'both' or 'members'")
    inside, outside = by_membership(scores, member)
    rng = np.random.default_rng(seed)
    if design == "pairs":
        m = min(inside.size, outside.size)
        gap = rng.permutation(inside)[:m] - rng.permutation(outside)[:m]
        right = (gap > 0) | ((gap == 0) & (rng.random(m) < 0.5))
        right = right[_falling(abs(gap), rng.random(m))]
    else:
        m = inside.size + outside.size
        right = _falling(np.concatenate([inside, outside]), rng.random(m)) < inside.size
    return Guesses(m, design, sides, right, inside.size)


def _falling(values: np.ndarray, lots: np.ndarray) -> np.ndarray:
    """Returns positions in falling order of the values, ties in the order of lots."""
    order = np.argsort(-values)
    ordered = values[order]
    # A sort by both takes ten times as long.
    return np.lexsort((lots, -values)) if (ordered[1:] == ordered[:-1]).any() else order
