"""Contenders that take turns, and what is said of repeated measurements."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np

Key = TypeVar("Key")
Found = TypeVar("Found")

# Within so much of a curve's best counts as the best.
KNEE_WITHIN = 0.05


def take_turns(
    count: int,
    contenders: Iterable[Key],
    turn_fn: Callable[[Key, int], Found],
    told: Callable[[Key, Found], str] | None = None,
) -> dict[Key, list[Found]]:
    """Lets contenders take turns (A B A B), so that what disturbs the machine disturbs all alike.

    Args:
      count: Turns of each.
      contenders: What takes turns.  One whose answer has "failed" is not tried again.
      turn_fn: Measures a contender in a turn, numbered from 0.
      told: Says what is printed of an answer; without it each turn is counted.
    """
    found: dict[Key, list[Found]] = {contender: [] for contender in contenders}
    for turn in range(count):
        for contender, answers in found.items():
            if answers and isinstance(answers[-1], dict) and "failed" in answers[-1]:
                continue
            answers.append(turn_fn(contender, turn))
            if told:
                print(f"turn {turn + 1}, {told(contender, answers[-1])}", flush=True)
        if not told:
            print(f"turn {turn + 1} of {count}", flush=True)
    return found


def spread(values: Sequence[float], digits: int = 4) -> dict[str, float]:
    """Returns median, least and largest of repeated measurements."""
    return {
        "median": round(float(np.median(values)), digits),
        "least": round(min(values), digits),
        "largest": round(max(values), digits),
    }


def knee(sizes: Sequence[int], rates: Sequence[float]) -> int:
    """Returns the smallest size whose rate is within `KNEE_WITHIN` of the best."""
    enough = (1 - KNEE_WITHIN) * max(rates)
    return min(size for size, rate in zip(sizes, rates, strict=True) if rate >= enough)
