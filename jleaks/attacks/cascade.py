"""CMIA's anchors: records whose membership an attack is sure of, which later shadows take for granted.

Du et al., NDSS 2026 (arXiv 2511.04716); as the authors' code has it, `CMIA/anchor.py` and
`CMIA/utils/cmia_utils.py`.  Members of a target tell of each other: who knows some of them trains shadows
that have these, too, and lack the known non-members.  The sure ones are beyond thresholds at which
reference models, whose members the attacker knows, hardly err.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float


class Rule(NamedTuple):
    """Which records become anchors in one round.

    Attributes:
      false_others: Members of a reference model that may be beyond the threshold for non-members.
      false_members: Non-members of one that may be beyond the threshold for members.
      most: Share of the records without an anchor that may become one of non-members.
      fewest_others: Anchors of non-members below which there are none.
      fewest_members: Likewise of members.
      both: Whether anchors of members are taken beside those of non-members; the authors take them only
        in a round that has none of these.
    """

    false_others: int = 1
    false_members: int = 1
    most: float = 0.05
    fewest_others: int = 20
    fewest_members: int = 5
    both: bool = False


# The defaults of the authors' code.
AUTHORS = Rule()


def threshold(
    scores: Float[np.ndarray, "records"], wrong: Bool[np.ndarray, "records"], allowed: int
) -> float | None:
    """Returns the lowest score down to which `allowed` wrong records are, or None for none.

    Args:
      scores: Larger is surer.
      wrong: Which of the records are not what is looked for.
      allowed: How many of these may be among them.
    """
    order = np.argsort(-scores, kind="stable")
    errors = np.cumsum(wrong[order])
    # The code looks at no fewer records than errors are allowed, and never at all of them.
    count = int((errors[:-1] <= allowed).sum())
    return float(scores[order[count - 1]]) if count >= max(allowed, 1) else None


def anchors(
    target: Float[np.ndarray, "records"],
    references: Float[np.ndarray, "references records"],
    member: Bool[np.ndarray, "references records"],
    free: Bool[np.ndarray, "records"],
    rule: Rule = AUTHORS,
) -> tuple[Bool[np.ndarray, "records"], Bool[np.ndarray, "records"]]:
    """Returns which free records are taken for members of the target from now on, and which for others.

    Args:
      target: [N] its scores.
      references: [R, N] scores by the same attack of models whose members are known.
      member: [R, N] who these are.
      free: [N] records without an anchor.
      rule: Which become one.
    """
    levels: dict[bool, list[float]] = {True: [], False: []}
    for scores, inside in zip(references, member, strict=True):
        for side, sign, wrong, allowed in (
            (False, -1, inside, rule.false_others),
            (True, 1, ~inside, rule.false_members),
        ):
            found = threshold(sign * scores[free], wrong[free], allowed)
            if found is not None:
                levels[side].append(sign * found)
    others = inside = np.zeros(len(target), bool)
    if levels[False]:
        others = free & (target <= np.mean(levels[False]))
        most = int(free.sum() * rule.most)
        if others.sum() > most:
            lowest = np.flatnonzero(others)[np.argsort(target[others], kind="stable")[:most]]
            others = np.isin(np.arange(len(target)), lowest)
        if others.sum() < rule.fewest_others:
            others = np.zeros(len(target), bool)
    if levels[True] and (rule.both or not others.any()):
        inside = free & ~others & (target >= np.mean(levels[True]))
        if inside.sum() < rule.fewest_members:
            inside = np.zeros(len(target), bool)
    return inside, others
