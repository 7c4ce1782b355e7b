"""The level of risk by a stated rule: which of three statements about the model hold beyond doubt."""

import dataclasses
import enum

from jleaks.auditing.risk import FPRS

# From which multiple of the false-positive rate, and from which epsilon, a level is reached.
RATIOS = (1.0, 10.0, 100.0)
EPSILONS = (0.0, 1.0, 5.0)


class Level(enum.IntEnum):
    """Levels of risk, rising."""

    NONE_SEEN = 0
    WEAK = 1
    CLEAR = 2
    SEVERE = 3

    def __str__(self) -> str:
        return self.name.lower().replace("_", " ")


# By what they are called.
LEVELS = {str(level): level for level in Level}

RULE = (
    "A level is reached if one of three statements holds, with 95% confidence for all three together: "
    "with a threshold that lets in 0.1%, or 1%, of other models' non-members, the strongest attack calls "
    "more than 1 (weak), 10 (clear) or 100 times (severe) as large a share of the members as of the "
    "non-members; or the lower bound on epsilon is above 0 (weak), 1 (clear) or 5 (severe)."
)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What an audit comes to.

    Attributes:
      level: By `RULE`.
      reasons: Which statements made it so; for none seen, what would have been seen.
    """

    level: Level
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.level}: {'; '.join(self.reasons)}"


# Of the rule: one for each false-positive rate, one of epsilon.  They share the error that is allowed.
NUM_STATEMENTS = len(FPRS) + 1


def judge(lifts: dict[float, float], epsilon_low: float, visible: dict[float, float]) -> Verdict:
    """Applies the rule.

    Args:
      lifts: By false-positive rate, a lower bound of how many times as large a share of the members is
        called as of the non-members; each wrong with at most its share of the error.
      epsilon_low: A lower bound on epsilon, wrong as rarely.
      visible: By false-positive rate, the smallest TPR that would have been seen there; 1 for none.
    """
    level, reasons = Level.NONE_SEEN, []
    for fpr, lift in lifts.items():
        reached = Level(sum(lift > ratio for ratio in RATIOS))
        if reached:
            reasons.append(
                f"at a threshold for {fpr:.1%} FPR at least {lift:.3g} times as large a share of the "
                "members is called"
            )
        level = max(level, reached)
    reached = Level(sum(epsilon_low > least for least in EPSILONS))
    if reached:
        reasons.append(f"epsilon is at least {epsilon_low:.2f}")
    level = max(level, reached)
    if level == Level.NONE_SEEN:
        reasons = [
            f"a TPR of {least:.2g} would have been seen at {fpr:.1%} FPR"
            if least < 1
            else f"there are too few records to see anything at {fpr:.1%} FPR"
            for fpr, least in visible.items()
        ]
    return Verdict(level, tuple(reasons))
