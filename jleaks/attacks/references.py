"""Which models of a bank are compared with which: every model is a target, the others its references.

A reference's answer to a record says something about the record; how *many* references trained on it must
say nothing about the target.  Where each record is in a fixed number of models, as in the code of LiRA's
authors, one model fewer is left on the target's own side, and any score in which counts matter tells
members from others even for a target that remembers nothing.  So:

- models that trained on (nearly) the same records as the target, or on those that it did not, are found
  wherever they stand and are never its references;
- if the number of references that trained on a record still depends on whether the target did, each record
  gets the same number of references on either side, drawn by the key; records that have fewer are not
  audited on that target.

In protocol `disjoint` the models of the targets' part are compared with those of the other part alone.
"""

import dataclasses
import functools

import numpy as np
import scipy.stats
from jaxtyping import Bool, Float, Int

from jleaks.attacks.bank import Bank
from jleaks.errors import InputError
from jleaks.keys import Role, identity_generator

# Two models whose memberships correlate more than this, either way, tell each other's.
RELATED = 0.9
# Counts are taken to depend on the target's membership where chance would say so this rarely.
_CHANCE = 1e-3
# A record may have fewer references than the others on the same target: of a hundred, so many.
_FEW = 0.01


@dataclasses.dataclass(frozen=True)
class Draw:
    """The same number of references on either side of every record.

    Attributes:
      inside: References that trained on the record.
      outside: References that did not.
      rank: [M, N] place of each model among those of its side of the record, drawn at random: a target
        takes the first so many that are its references.
      comparable: [T, N] records that have so many on either side.
    """

    inside: int
    outside: int
    rank: Int[np.ndarray, "models records"]
    comparable: Bool[np.ndarray, "targets records"]


@dataclasses.dataclass(frozen=True, eq=False)
class References:
    """Which models each of T targets is compared with; on the host.

    Attributes:
      targets: [T] the models attacked.
      models: [T, R] their references.
      num_models: M.
      draw: Which of them a record takes; None if it takes all.
      judged: [N] records that targets may be judged on; None for all but the population.
    """

    targets: Int[np.ndarray, "targets"]
    models: Int[np.ndarray, "targets references"]
    num_models: int
    draw: Draw | None = None
    judged: Bool[np.ndarray, "records"] | None = None

    @functools.cached_property
    def use(self) -> Float[np.ndarray, "targets models"]:
        """1 where a model is a reference of the target."""
        use = np.zeros((len(self.targets), self.num_models), np.float32)
        np.put_along_axis(use, self.models.astype(np.int64), 1, axis=1)
        return use

    @functools.cached_property
    def left_out(self) -> Int[np.ndarray, "targets others"]:
        """The models that are not references of the target, itself among them."""
        return np.nonzero(self.use == 0)[1].reshape(len(self.targets), -1).astype(np.int32)

    def audited(self, bank: Bank) -> Bool[np.ndarray, "targets records"]:
        """Returns the records that each target is audited on."""
        candidate = self._candidate(bank)
        candidate = np.broadcast_to(candidate, (len(self.targets), len(candidate)))
        return candidate if self.draw is None else candidate & self.draw.comparable

    def sides(self, bank: Bank) -> tuple[float, float]:
        """Returns how many references a record has on either side, the mean over targets and records."""
        if self.draw is not None:
            return float(self.draw.inside), float(self.draw.outside)
        if not self.models.size:
            return 0.0, 0.0
        candidate = self._candidate(bank)
        # A reference counts once for each of its records: no product over all records is needed.
        counts = [np.count_nonzero(row & candidate) for row in bank.member]
        trained = self.use.sum(0, dtype=np.float64) @ np.array(counts)
        inside = float(trained / (len(self.targets) * max(int(candidate.sum()), 1)))
        return inside, self.models.shape[1] - inside

    def _candidate(self, bank: Bank) -> Bool[np.ndarray, "records"]:
        return ~bank.population if self.judged is None else ~bank.population & self.judged

    def _counts(self, bank: Bank) -> Float[np.ndarray, "targets records"]:
        """How many references trained on each record."""
        return self.use @ bank.member.astype(np.float32)

    def describe(self, bank: Bank) -> str | None:
        """Returns one sentence about what a draw does, or None without one."""
        if self.draw is None:
            return None
        candidates = len(self.targets) * int((~bank.population).sum())
        dropped = 1 - self.audited(bank).sum() / candidates
        return (
            "the number of references that trained on a record would tell whether the target did: "
            f"of {self.models.shape[1]} references each record takes {self.draw.inside} that did and "
            f"{self.draw.outside} that did not; {dropped:.1%} of the records have fewer and are left out"
        )


def relations(bank: Bank) -> Float[np.ndarray, "models models"]:
    """Returns the correlation of every two models' memberships over the audited records."""
    return _correlations(bank.member[:, ~bank.population])


def _correlations(member: Bool[np.ndarray, "models records"]) -> Float[np.ndarray, "models models"]:
    """Correlations of memberships; 0 with a model that trained on all of the records or none."""
    centered = member.astype(np.float32)
    centered -= centered.mean(1, keepdims=True)
    length = np.sqrt((centered**2).sum(1, keepdims=True))
    centered /= np.where(length == 0, 1, length)
    return centered @ centered.T


def twins(related: Float[np.ndarray, "models models"]) -> Int[np.ndarray, "models"] | None:
    """Returns each model's twin, the one that trained on what it did not, if every model has just one."""
    opposite = related < -RELATED
    if not (opposite.sum(1) == 1).all():
        return None
    return opposite.argmax(1)


def _circle(related: np.ndarray) -> Int[np.ndarray, "models"]:
    """Returns all models, pairs of twins together where they are twins."""
    twin = twins(related)
    if twin is None:
        return np.arange(len(related))
    firsts = [i for i in range(len(related)) if i < twin[i]]
    return np.array([j for i in firsts for j in (i, twin[i])])


def _orders(related: np.ndarray, num_targets: int) -> list[np.ndarray]:
    """Returns for each target the models that may be its references, in a circle that starts behind it.

    Where models are twins, a pair stands together, so that of an even number of references exactly half
    trained on any record.
    """
    m = len(related)
    twin, circle = twins(related), _circle(related)
    place = np.empty(m, int)
    place[circle] = np.arange(m)
    alike = np.abs(related) > RELATED
    found = []
    for target in range(num_targets):
        start = place[target] // 2 * 2 + 2 if twin is not None else place[target] + 1
        around = np.roll(circle, -start)
        found.append(around[~alike[target, around] & (around != target)])
    return found


def most_references(bank: Bank) -> int:
    """Returns how many references every target can have."""
    if bank.target_part is not None:
        return bank.num_models - len(bank.targets)
    return min(len(order) for order in _orders(relations(bank), bank.num_models))


def assign(bank: Bank, num_references: int | None = None) -> tuple[References, References | None]:
    """Gives every model its references, and a shadow from which thresholds are taken.

    A target's references are the models that follow it, in a circle, but for those whose membership
    tells the target's; subsets are nested.  The shadow is the first of the references; it is attacked
    with the others, less those whose membership tells its own.

    Args:
      bank: The bank.
      num_references: R of each target; None for all.

    Returns:
      References of the targets, and of their shadows: none where too few are left; None instead of
      shadows where a target has no reference itself.

    Raises:
      InputError: there are not so many models.
    """
    targets, judged, theirs = bank.targets, bank.target_part, None
    if judged is None:
        related = relations(bank)
        orders = _orders(related, bank.num_models)
    else:
        theirs = ~judged & ~bank.population
        related = _correlations(bank.member[:, theirs])
        pool = np.setdiff1d(np.arange(bank.num_models), targets)
        circle = pool[_circle(related[np.ix_(pool, pool)])]
        # Every target begins with another pair, for a shadow of its own.
        orders = [np.roll(circle, -2 * i) for i in range(len(targets))]
    most = min(len(order) for order in orders)
    count = most if num_references is None else num_references
    if not (1 <= count <= most or count == most):
        raise InputError(
            f"{count} references were asked for; a bank of {bank.num_models} models has up to "
            f"{most} for each target"
        )
    m = bank.num_models
    models = np.stack([order[:count] for order in orders]).astype(np.int32)
    of_targets = _drawn(bank, References(targets.astype(np.int32), models, m, judged=judged))
    if not count:
        return of_targets, None
    shadows = models[:, 0]
    alike = np.abs(related) > RELATED
    rest = [row[1:][~alike[row[0], row[1:]]] for row in models]
    fewest = min(len(row) for row in rest)
    others = np.stack([row[:fewest] for row in rest])
    return of_targets, _drawn(bank, References(shadows, others, m, judged=theirs))


def _drawn(bank: Bank, references: References) -> References:
    """Adds a draw where the numbers of references would tell the targets' membership."""
    if not references.models.size:
        return references
    audited = references._candidate(bank)
    counts = references._counts(bank)
    member = bank.member[references.targets][:, audited]
    if not counts_tell(counts[:, audited], member):
        return references
    inside = counts[:, audited]
    outside = references.models.shape[1] - inside
    # What members and non-members of the target have alike.
    sizes = [min(_usual(values[member]), _usual(values[~member])) for values in (inside, outside)]
    outside_all = references.models.shape[1] - counts
    comparable = (counts >= sizes[0]) & (outside_all >= sizes[1])
    return dataclasses.replace(
        references, draw=Draw(sizes[0], sizes[1], _rank(bank.member), comparable)
    )


def _usual(counts: np.ndarray) -> int:
    """The number of references that nearly all records have; at least one if most have one."""
    usual = int(np.quantile(counts, _FEW, method="lower"))
    return usual or int(np.median(counts) >= 1)


def _rank(member: np.ndarray) -> np.ndarray:
    """Places of models among those of their side of each record, drawn at random."""
    generator = identity_generator(0, "references", Role.REFERENCES)
    # Those that trained on the record come first, each side in random order.
    order = np.argsort(generator.random(member.shape, np.float32) + ~member, axis=0)
    place = np.empty(member.shape, np.int32)
    np.put_along_axis(place, order, np.arange(len(member), dtype=np.int32)[:, None], axis=0)
    return np.where(member, place, place - member.sum(0, dtype=np.int32))


def counts_tell(
    counts: Float[np.ndarray, "targets records"], member: Bool[np.ndarray, "targets records"]
) -> bool:
    """Says whether the number of references that trained on a record depends on the target's membership.

    Two tests at a level that chance seldom reaches: the covariance of number and membership, summed over
    the targets and clustered by record; and for each target Pearson's chi-square of the table of numbers
    by membership, Bonferroni over targets.
    """
    centered = counts - counts.mean(1, keepdims=True)
    by_record = (centered * (member - member.mean(1, keepdims=True))).sum(0, dtype=np.float64)
    spread = np.sqrt((by_record**2).sum())
    if spread > 0:
        z = abs(by_record.sum()) / spread
        # All records alike have no spread around their mean: then z is the root of their number.
        if z > scipy.stats.norm.isf(_CHANCE / 2):
            return True
    for row, truth in zip(counts, member, strict=True):
        if _chi_square(row.astype(int), truth) < _CHANCE / len(counts):
            return True
    return False


def _chi_square(counts: np.ndarray, member: np.ndarray) -> float:
    """P-value of the independence of counts and membership; rare counts are put together."""
    levels = counts.max() + 1
    table = np.stack([np.bincount(counts[member == side], minlength=levels) for side in (0, 1)])
    total = table.sum(0)
    frequent = total >= 20
    kept = [table[:, frequent]]
    if total[~frequent].sum() >= 20:
        kept.append(table[:, ~frequent].sum(1, keepdims=True))
    whole = np.concatenate(kept, axis=1)
    if whole.shape[1] < 2 or (whole.sum(1) == 0).any():
        return 1.0
    return float(scipy.stats.chi2_contingency(whole, correction=False).pvalue)
