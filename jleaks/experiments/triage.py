"""Triage: does a score without references find the members that an attack with references finds?

An owner who trained one model wants to know which of its records are at risk without training shadows
(Pollock et al. 2024, arXiv 2411.05743; the authors' page).  At risk is a member that a strong attack calls
one at a threshold of a stated FPR.  The members are ordered by another score, and of the first few it is
counted how many are at risk: precision, and of those at risk how many are among them: recall.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from multiprocessing.pool import ThreadPool
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float

from jleaks.attacks.bank import Bank
from jleaks.attacks.evaluate_bank import scores
from jleaks.attacks.options import Options
from jleaks.attacks.references import References, assign
from jleaks.attacks.registry import get_attacks
from jleaks.experiments.bank_results import Row
from jleaks.metrics.agreement import Order, without_groups
from jleaks.metrics.intervals import Interval, jackknife

# Of the members, the first so many; FPRs of what is at risk.
SHARES = (0.01, 0.03, 0.05, 0.1)
FPRS = (0.01, 0.001)
# Of the records, the first so many, that two orders may share.
TOPS = (0.01, 0.05)
# Groups of records of the jackknife.
_GROUPS = 50
# Scores that an owner has without a shadow.
FINDERS = ("lt_iqr", "loss")


def at_risk(
    found: Float[np.ndarray, "records"], member: Bool[np.ndarray, "records"], fpr: float
) -> Bool[np.ndarray, "members"]:
    """Returns which members an attack scores above all but `fpr` of one target's non-members."""
    others = np.sort(found[~member])[::-1]
    return found[member] > others[int(fpr * len(others) + 1e-9)]


def first_of(order: Float[np.ndarray, "members"], share: float) -> np.ndarray:
    """Returns the positions of the members with the largest values, ties in their order; at least one."""
    return np.argsort(-order, kind="stable")[: _count(len(order), share)]


def _count(size: int, share: float) -> int:
    return max(1, int(share * size))


class Scored(NamedTuple):
    """Scores of finders and judges on the targets of one bank.

    Attributes:
      about: What every row says of the bank.
      judges: Names of attacks that say who is at risk.
      found: By name, [targets, records].
      audited: [targets, records] whether a target is attacked on the record.
      members: [targets, records] whether it trained on it.
    """

    about: Row
    judges: tuple[str, ...]
    found: Mapping[str, Float[np.ndarray, "targets records"]]
    audited: Bool[np.ndarray, "targets records"]
    members: Bool[np.ndarray, "targets records"]


def scored(
    bank: Bank,
    judges: Sequence[str],
    assigned: tuple[References, References | None] | None = None,
    options: Options | None = None,
    mesh: Mesh | None = None,
) -> Scored:
    """Returns what `triage` and `alike` compare.

    Args:
      bank: With the signals of all finders.
      judges: Names of attacks that say who is at risk.
      assigned: References of the targets and of their shadows, from `references.assign`; None for all that
        there are.
      options: Parameters of attacks.
      mesh: Devices to score on; None for JAX's first.

    Raises:
      InputError: an attack cannot be run on this bank.
    """
    references, shadows = assign(bank) if assigned is None else assigned
    found = scores(bank, get_attacks((*FINDERS, *judges)), references, shadows, options, mesh)
    sizes = {"num_models": bank.num_models, "num_references": references.models.shape[1]}
    members = bank.member[references.targets]
    about = {**bank.about, **sizes}
    return Scored(about, tuple(judges), found, references.audited(bank), members)


def triage(given: Scored) -> list[Row]:
    """Returns one row per judge, finder, FPR and share of the members.

    Fields: task, source, seed, num_models, num_references, attack (the judge), finder, fpr, share;
    precision and recall, means over targets, with precision_least and precision_largest of one target;
    chance, the share of all members that is at risk, which is what a random order finds; num_targets.
    """
    found, audited, members = given.found, given.audited, given.members
    rows: list[Row] = []
    # Of each target's members, those with the largest values.
    most = max(SHARES)
    firsts = {
        finder: [
            first_of(found[finder][t, mine & members[t]], most) for t, mine in enumerate(audited)
        ]
        for finder in FINDERS
    }
    for judge, fpr in itertools.product(given.judges, FPRS):
        risks = [
            at_risk(found[judge][t, mine], members[t, mine], fpr) for t, mine in enumerate(audited)
        ]
        for finder in FINDERS:
            for share in SHARES:
                pairs = []
                for risk, first in zip(risks, firsts[finder], strict=True):
                    hits = risk[first[: _count(len(risk), share)]]
                    # Where nobody is at risk all are found.
                    pairs.append((hits.mean(), hits.sum() / risk.sum() if risk.any() else 1.0))
                precision, recall = np.array(pairs).T
                rows.append(
                    {
                        **given.about,
                        "attack": judge,
                        "finder": finder,
                        "fpr": fpr,
                        "share": share,
                        "precision": round(float(precision.mean()), 6),
                        "precision_least": round(float(precision.min()), 6),
                        "precision_largest": round(float(precision.max()), 6),
                        "recall": round(float(recall.mean()), 6),
                        "chance": round(float(np.mean([risk.mean() for risk in risks])), 6),
                        "num_targets": len(risks),
                    }
                )
    return rows


def alike(given: Scored) -> list[Row]:
    """Returns one row per judge, finder and whose records: how far the two order the records alike.

    Fields: task, source, seed, num_models, num_references, attack (the judge), finder; over: the "members"
    of each target, means over targets, or "records", each by its mean over the targets that trained on it;
    spearman, the rank correlation, and for each of `TOPS` top_SHARE, how much of the first by the finder is
    among the first by the judge (in random order, that share): mean, low and high (95%, delete-a-group
    jackknife over records, given the models; null where one order is constant), n groups; num_targets.
    """
    members = given.audited & given.members
    groups = np.arange(members.shape[1]) % _GROUPS
    names = ("spearman", *(f"top_{share}" for share in TOPS))
    pairs = list(itertools.product(given.judges, FINDERS))
    chosen = {name: given.found[name] for name in (*FINDERS, *given.judges)}
    by_list = {
        "members": _of_members(chosen, members, pairs, groups),
        "records": _of_records(chosen, members, pairs, groups),
    }
    rows: list[Row] = []
    for i, (judge, finder) in enumerate(pairs):
        for over, found in by_list.items():
            whole, parts = (
                np.mean(values, axis=0) for values in zip(*(of[i] for of in found), strict=True)
            )
            rows.append(
                {
                    **given.about,
                    "attack": judge,
                    "finder": finder,
                    "over": over,
                    **{
                        name: _plain(jackknife(float(whole[i]), parts[:, i]))
                        for i, name in enumerate(names)
                    },
                    "num_targets": len(members),
                }
            )
    return rows


# By pair of attacks, what two orders share: of all records, and without each group of them.
Shared = list[tuple[np.ndarray, np.ndarray]]
Pairs = Sequence[tuple[str, str]]


def _of_members(
    found: Mapping[str, np.ndarray], members: np.ndarray, pairs: Pairs, groups: np.ndarray
) -> list[Shared]:
    """Of every target's members."""

    def one(target: int) -> Shared:
        mine = members[target]
        return _shared(
            {name: rows[target, mine] for name, rows in found.items()}, pairs, groups[mine]
        )

    # NumPy's sorts let other threads work.
    with ThreadPool() as pool:
        return pool.map(one, range(len(members)))


def _of_records(
    found: Mapping[str, np.ndarray], members: np.ndarray, pairs: Pairs, groups: np.ndarray
) -> list[Shared]:
    """Of all records that some target trained on, each by its mean over these targets."""
    count = members.sum(0)
    known = count > 0
    means = {
        name: np.where(members, rows, 0).sum(0)[known] / count[known]
        for name, rows in found.items()
    }
    return [_shared(means, pairs, groups[known])]


def _shared(values: Mapping[str, np.ndarray], pairs: Pairs, groups: np.ndarray) -> Shared:
    orders = {name: Order(of) for name, of in values.items()}
    return [
        without_groups(orders[one], orders[other], TOPS, groups, _GROUPS) for one, other in pairs
    ]


def _plain(interval: Interval) -> dict[str, Any]:
    found = {name: getattr(interval, name) for name in ("mean", "low", "high")}
    return {
        name: round(value, 6) if math.isfinite(value) else None for name, value in found.items()
    } | {"n": interval.n}
