"""How far two measures order records alike: rank correlation, and how much of the top they share.

What is left of them without a group of the records, of which a delete-a-group jackknife makes its interval,
is had without ranking anew: of the correlation to first order, by every record's influence on it, its part
in the ranks of the others included; of the top exactly.
"""

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from jleaks.errors import InputError

Values = Float[np.ndarray, "records"]


def spearman(first: Values, second: Values) -> float:
    """Rank correlation of two measures of the records that have both; NaN where one is constant."""
    known = ~(np.isnan(first) | np.isnan(second))
    return _correlation(Order(first[known]), Order(second[known]))


def top_shared(first: Values, second: Values, share: float) -> float:
    """Share of the top records by one measure that are among the top by the other.

    Args:
      first: Of the records.
      second: Of the same.
      share: How many are the top, at least one.

    Raises:
      InputError: `share` is not in (0, 1].
    """
    nobody = np.full(len(first), -1)
    return float(_shared_tops(Order(first), Order(second), share, nobody, np.zeros(1, int))[0])


class Order:
    """Records in falling order of one measure, ties in their own.

    Attributes:
      order: [n] positions of the records.
      size: n.
    """

    def __init__(self, values: Values):
        """Sorts them, NaN last."""
        self.size = len(values)
        self.order: Int[np.ndarray, records] = np.argsort(-values)
        ordered = values[self.order]
        new = np.append(True, ordered[1:] != ordered[:-1])[: self.size]
        if not new.all():
            # The faster sort leaves ties in any order.
            self.order = np.argsort(-values, kind="stable")
        self._first, self._tie = np.flatnonzero(new), np.cumsum(new) - 1

    @functools.cached_property
    def place(self) -> Int[np.ndarray, "records"]:
        """Every record's number in the order."""
        return self._of_records(np.arange(self.size))

    @functools.cached_property
    def rank(self) -> Values:
        """Every record's rank, from 1/2 for the largest to -1/2, ties their mean."""
        sizes = np.diff(np.append(self._first, self.size))
        middle = self._first + (sizes - 1) / 2
        return self._of_records(((self.size - 1) / 2 - middle[self._tie]) / max(self.size, 1))

    def above(self, weights: Values) -> Values:
        """Returns the mean over all records of the weights of those above each one, ties half."""
        of_ties = np.add.reduceat(weights[self.order], self._first)
        above = np.cumsum(of_ties) - of_ties / 2
        return self._of_records(above[self._tie] / self.size)

    def _of_records(self, ordered: np.ndarray) -> np.ndarray:
        found = np.empty_like(ordered)
        found[self.order] = ordered
        return found


def without_groups(
    first: Order,
    second: Order,
    shares: Sequence[float],
    groups: Int[np.ndarray, "records"],
    num_groups: int,
) -> tuple[Float[np.ndarray, "measures"], Float[np.ndarray, "groups measures"]]:
    """Returns the rank correlation and the shares of the top: of all records, and without each group.

    Args:
      first: Of the records, without NaN.
      second: Of the same.
      shares: As of `top_shared`.
      groups: Every record's.
      num_groups: How many groups there are.
    """
    sizes = np.bincount(groups, minlength=num_groups)
    rho = _correlation(first, second)
    influence = np.full(first.size, np.nan) if np.isnan(rho) else _influence(first, second, rho)
    left = np.maximum(first.size - sizes, 1)
    # Without nobody first.
    counts = np.append(0, sizes)
    columns = [
        np.append(rho, rho - np.bincount(groups, influence, num_groups) / left),
        *(_shared_tops(first, second, share, groups, counts) for share in shares),
    ]
    found = np.stack(columns, axis=1)
    return found[0], found[1:]


def _shared_tops(
    first: Order, second: Order, share: float, groups: np.ndarray, sizes: np.ndarray
) -> Float[np.ndarray, "cases"]:
    """Returns `top_shared` of all records, then without each group; the sizes of nobody and the groups."""
    if not 0 < share <= 1:
        raise InputError(f"share is {share}; expected a number in (0, 1]")
    counts = np.maximum(1, np.round(share * (first.size - sizes)).astype(int))
    # Enough, whichever of them are taken out.
    near = min(int((counts + sizes).max()), first.size)
    gone = np.arange(-1, len(sizes) - 1)[:, None]

    def kept(order: Order) -> np.ndarray:
        there: np.ndarray = groups[order.order[:near]] != np.where(gone < 0, len(sizes), gone)
        return there & (np.cumsum(there, axis=1) <= counts[:, None])

    # The number of the last of the second's top.
    lowest = near - 1 - np.argmax(kept(second)[:, ::-1], axis=1)
    also = second.place[first.order[:near]] <= lowest[:, None]
    return (kept(first) & also).sum(1) / counts


def _correlation(first: Order, second: Order) -> float:
    a, b = first.rank, second.rank
    if not a.size or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def _influence(first: Order, second: Order, rho: float) -> Values:
    """Every record's influence on the correlation."""
    a, b = first.rank, second.rank
    spread_a, spread_b = a @ a, b @ b
    together = a * b + first.above(b) + second.above(a)
    of_a, of_b = a * a + 2 * first.above(a), b * b + 2 * second.above(b)
    parts = (
        (together - together.mean()) / np.sqrt(spread_a * spread_b),
        -rho / 2 * (of_a - of_a.mean()) / spread_a,
        -rho / 2 * (of_b - of_b.mean()) / spread_b,
    )
    return first.size * np.sum(parts, axis=0)
