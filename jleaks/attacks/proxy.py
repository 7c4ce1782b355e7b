"""PMIA: for an attacker who may not train on the record, other records stand for it (arXiv 2511.04716).

LiRA's likelihood ratio needs models that trained on the record.  Where the attacker's data are disjoint
from the target's there is none: what trained models answer about *proxies*, records of the attacker's own,
takes the place of IN; OUT is the record's own.  The paper could not be read here: this is its score as its
abstract and public summaries have it, with all records, or those of the record's class, for proxies (its
third choice, the nearest in feature space, needs features that a bank does not have).  Where references
also trained on the record itself, their answers about it are left out; in protocol `disjoint` none did.
"""

import jax.numpy as jnp
from jaxtyping import Array

from jleaks.attacks.attack import Attack, Needs, Score
from jleaks.attacks.lira import fit, log_normal
from jleaks.attacks.reference_statistics import VARIANCE_FLOOR, ReferenceStatistics
from jleaks.attacks.sums import Moments


def _of_others(sums: tuple[Array, ...], own: Moments) -> tuple[Array, Array, Array]:
    """Returns number, mean and variance of proxies' answers: those of all less the record's own.

    Args:
      sums: Number, sum and sum of squares of the IN answers about every proxy, the record among them.
      own: About the record itself.
    """
    size = jnp.maximum(sums[0] - own.size, 0)
    at_least_one = jnp.maximum(size, 1)
    mean = (sums[1] - own.size * own.mean) / at_least_one
    squares = sums[2] - own.deviations - own.size * own.mean**2
    return size, mean, jnp.maximum(squares / at_least_one - mean**2, VARIANCE_FLOOR)


def proxied(statistics: ReferenceStatistics, same_class: bool) -> Array:
    """Log N(phi; IN of proxies) - log N(phi; OUT of the record).

    Args:
      statistics: Of all targets and records.
      same_class: Whether proxies are of the record's class; where there is none, all records are.
    """
    phi, inside = statistics.own("phi", 0), statistics.phi(0, "in")
    values = (
        inside.size,
        inside.size * inside.mean,
        inside.deviations + inside.size * inside.mean**2,
    )
    _, mean, variance = _of_others(statistics.sums("proxies", values), inside)
    if same_class:
        of_class = _of_others(statistics.sums_of_class("proxies by class", values), inside)
        mean = jnp.where(of_class[0] > 1, of_class[1], mean)
        variance = jnp.where(of_class[0] > 1, of_class[2], variance)
    outside = log_normal(phi, *fit(statistics, 0, "out", "record"))
    return log_normal(phi, mean, variance) - outside


def _score(same_class: bool) -> Score:
    return lambda statistics, _: proxied(statistics, same_class)


_SOURCE = "PMIA, NDSS 2026"

_PROXIES: Needs = "proxies and out"

ENTRIES = (
    Attack("pmia_all", "PMIA, all proxies", _SOURCE, _score(same_class=False), _PROXIES),
    Attack("pmia_class", "PMIA, proxies of the class", _SOURCE, _score(same_class=True), _PROXIES),
)
