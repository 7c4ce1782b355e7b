"""What fewer shadow models would have found: the strongest attack again, with nested sets of shadows."""

from collections.abc import Callable
from typing import NamedTuple

from jleaks.attacks.bank import Bank
from jleaks.attacks.registry import get_attacks
from jleaks.auditing.attacks import Attacked
from jleaks.errors import InputError
from jleaks.metrics.intervals import Interval
from jleaks.metrics.operating_points import tpr_of_scores

# As few as there are IN and OUT references of most records for.
_FEWEST = 4


class CostPoint(NamedTuple):
    """What an attacker finds with so many shadows.

    Attributes:
      num_shadows: How many.
      tpr: At a false-positive rate of 1%, with its 95% interval over records.
      seconds: That training them took, on one process.
    """

    num_shadows: int
    tpr: Interval
    seconds: float


def cost_curve(
    bank: Bank, attack_on: Callable[..., Attacked], attacked: Attacked, seconds: float
) -> list[CostPoint]:
    """Returns what the strongest attack finds with 4, 8, 16, ... and all shadows.

    Args:
      bank: The audited model first, then S shadows.
      attack_on: `attack`, or what attacks from outside.
      attacked: What it found with all of them.
      seconds: That training all shadows took.
    """
    total, found = bank.num_models - 1, []
    strongest = get_attacks([attacked.strongest])
    counts, count = [], _FEWEST
    while count < total:
        counts.append(count)
        count *= 2
    for count in [*counts, total] if total >= _FEWEST else []:
        few = attacked
        if count < total:
            try:
                few = attack_on(bank.take(slice(0, count + 1)), strongest, shadows_too=False)
            except InputError:
                # So few references are not enough for this attack.
                continue
        at, scores = few.audited, few.scores[attacked.strongest].target
        tpr = tpr_of_scores(scores[at], bank.member[0][: len(at)][at], 0.01)
        found.append(CostPoint(count, tpr, seconds * count / total))
    return found
