"""Shadows in batches: an audit that stops once the verdict of a policy is certain.

Looks are taken at 8, 16, 32, ... shadows, K of them, the last at the whole budget.  The error of 5% is
spent in equal parts: every interval of a look holds with probability 1 - 5% / K, so that all intervals of
all looks hold together with 95%, and the one that is reported is a 95% interval although it was stopped
by what it said (alpha spending; Bonferroni over looks, which depend on each other).

A limit on a number is

- *failed* at a look if the number's lower bound is above it: a stronger attacker only finds more;
- *passed* at the last look if the upper bound is not above it, and before if the upper bound is not above
  it even after each doubling that is left has added as much again as the last doubling may have added: the
  upper bound of the difference between this look and the former, paired by record.  This takes one
  assumption: what a doubling of shadows adds does not grow with their number;
- a level, a bound on epsilon, and the worst class or group can fail at any look, but pass at the last
  alone: nothing bounds them from above.

The audit stops at a look where some limit failed, or all have passed.
"""

import dataclasses
import math
from typing import Any, NamedTuple

from jleaks.auditing.paired import auc_difference, share_difference
from jleaks.auditing.policy import Check, Policy, apply, outcome, value_of
from jleaks.auditing.result import Audit
from jleaks.errors import InputError
from jleaks.metrics.intervals import Interval

# What the verdict may be wrong with, over all looks.
ERROR = 0.05
FEWEST = 8


class Look(NamedTuple):
    """What one look came to.

    Attributes:
      is_last: Whether the audit stops.
      said: One line about it.
      summary: One sentence about the whole, where it stops.
      about: Likewise, for the audit's file.
    """

    is_last: bool
    said: str
    summary: str
    about: dict[str, Any]


def looks(budget: int) -> list[int]:
    """Returns the numbers of shadows that are looked at.

    >>> looks(50)
    [8, 16, 32, 50]

    Raises:
      InputError: the budget has no room for two looks.
    """
    if budget < 2 * FEWEST:
        raise InputError(f"budget is {budget} shadows, expected at least {2 * FEWEST}")
    found = [FEWEST]
    while 2 * found[-1] < budget:
        found.append(2 * found[-1])
    return [*found, budget]


def check(policy: Policy, can_train: bool) -> None:
    """Refuses what no budget can be spent for.

    Raises:
      InputError: nothing trains shadows, or the policy has no limits of this audit alone.
    """
    if not can_train:
        raise InputError(
            "a budget of shadows needs a way to train them: fit and predict, or a network"
        )
    if not policy.limits:
        raise InputError("a budget is spent for [limits], of which the policy has none")


def look(policy: Policy, now: Audit, former: Audit | None, at: int, numbers: list[int]) -> Look:
    """Decides whether an audit stops.

    Args:
      policy: Whose limits.
      now: The audit with the shadows of this look, with intervals at its share of the error.
      former: That of the look before.
      at: Number of the look, from 0.
      numbers: Of shadows, of all looks.
    """
    ended = at == len(numbers) - 1
    doublings = math.log2(numbers[-1] / numbers[at])
    checks = apply(Policy(policy.limits), now.numbers())
    if not ended:
        # What has passed so far must do so with more shadows, too.
        checks = [
            dataclasses.replace(check, outcome="inconclusive")
            if check.outcome == "pass" and not _stays(check, policy, now, former, doublings)
            else check
            for check in checks
        ]
    whole = outcome(checks)
    is_last = ended or whole != "inconclusive"
    said = f"{numbers[at]} of {numbers[-1]} shadows: {whole}"
    summary = (
        f"stopped after {numbers[at]} of {numbers[-1]} shadows, when the policy's verdict was {whole}; "
        f"intervals hold for all {len(numbers)} looks together, with {1 - ERROR:.0%}"
    )
    return Look(
        is_last,
        said,
        summary,
        {"shadows": numbers[-1], "trained": numbers[at], "looks": len(numbers), "verdict": whole},
    )


def _stays(
    check: Check, policy: Policy, now: Audit, former: Audit | None, doublings: float
) -> bool:
    """Whether a limit that is kept will be kept, by what the last doubling of shadows added at most."""
    gain = None if former is None else difference(check.name, now, former)
    if gain is None:
        return False
    high = value_of(check.name, now.numbers())["high"] + doublings * max(gain.high, 0.0)
    return high <= float(policy.limits[check.name])


def difference(name: str, now: Audit, former: Audit) -> Interval | None:
    """Returns what a number is above a former audit's of the same records; None for one of no difference.

    Args:
      name: Of the limit.
      now: An audit.
      former: Another, of the same model with fewer shadows.
    """
    member = now.records.member
    at = now.audited & former.audited
    if name == "auc":
        ours, theirs = (one.scores[at].astype(float) for one in (now, former))
        return auc_difference(ours, theirs, member[at], 1 - now.error)
    for fpr in now.called:
        if name == f"tpr_at_fpr_{fpr}" and fpr in former.called:
            inside = at & member
            ours, theirs = (one.scores[inside] > one.called[fpr].threshold for one in (now, former))
            return share_difference(ours, theirs, 1 - now.error)
    return None
