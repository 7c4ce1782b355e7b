"""Contrasts: two groups that differ in one thing, compared on the same seeds."""

import dataclasses
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from jleaks.experiments.claims import ATTACKS, Value, value_rank, value_title
from jleaks.metrics.intervals import Interval, paired_t_interval, t_interval
from jleaks.report.paper.groups import CONFIDENCE, Group, average_over_shadow_tasks
from jleaks.report.paper.rows import is_cost
from jleaks.report.titles import plain_title


@dataclasses.dataclass(frozen=True)
class Contrast:
    """One group minus another.

    Attributes:
      task: Task of both.
      about: What else both share, in words; "" where the experiment has nothing else.
      arm: What the first is in what is compared: "10", "dropout, aware attacker".
      reference: The same of the second.
      first: The group of `arm`.
      second: The group of `reference`.
    """

    task: str
    about: str
    arm: str
    reference: str
    first: Group
    second: Group

    @property
    def seeds(self) -> list[int]:
        """The seeds that both groups have."""
        return [seed for seed in self.first.rows if seed in self.second.rows]

    def interval(self, metric: str) -> Interval:
        """Returns the mean difference with a paired t interval over seeds, within what it can be."""
        found = paired_t_interval(
            [self.first.value(seed, metric) for seed in self.seeds],
            [self.second.value(seed, metric) for seed in self.seeds],
            CONFIDENCE,
        )
        most = math.inf if is_cost(metric) else 1.0
        return found.within(-most, most)


@dataclasses.dataclass(frozen=True)
class _Design:
    """How an experiment is compared.

    Attributes:
      arm_fn: The arm of a group, None if it takes no part.
      entries: Entries of the variant that make the arm, or "attack"; groups that are alike in all
        others are compared.
      reference: The arm that the others are compared with; None for the first in rank.
      heading: What the arms are, in a table's title.
    """

    arm_fn: Callable[[Group], Value]
    entries: tuple[str, ...]
    reference: Value
    heading: str


def _entry(name: str) -> Callable[[Group], Value]:
    return lambda group: group.get(name)


def _attack_and_model(group: Group) -> Value:
    return f"{ATTACKS[group.attack]}, {value_title(group.get('attack_model', 'mlp'))}"


def _adversary(group: Group) -> Value:
    # Adversary 3 is represented by the statistic the paper settles on.
    return ATTACKS[group.attack] if group.get("statistic", "maximum") == "maximum" else None


def _hyperparameters(group: Group) -> Value:
    if group.get("shadow") == "same":
        return "same"
    return f"{value_title(group.get('shadow'))}, {value_title(group.get('what', 'all'))}"


def _kinds(group: Group) -> Value:
    shadow = group.get("shadow")
    return "known" if shadow == group.get("target") else shadow


def defence_arm(group: Group) -> str:
    """Returns "none", or the defence and whether the attacker trains shadows with it.

    Adversary 3 trains none.
    """
    defence, attacker = group.get("defence", "none"), group.get("attacker")
    if defence == "none" or attacker is None or group.attack == "adversary 3":
        return value_title(defence)
    return f"{value_title(defence)}, {value_title(attacker)} attacker"


def _ratios(group: Group) -> Value:
    return f"{value_title(group.get('input_ratio'))}, {value_title(group.get('hidden_ratio'))}"


_DESIGNS: dict[str, _Design] = {
    "E1": _Design(
        _attack_and_model,
        ("attack", "attack_model"),
        "Shokri et al., MLP",
        "attack and attack model",
    ),
    "E3": _Design(_entry("epochs"), ("epochs",), None, "epochs of the target"),
    "E5": _Design(_entry("top"), ("top",), 3, "number of posteriors"),
    "E6": _Design(_entry("num_shadows"), ("num_shadows",), 1, "number of shadow models"),
    "E7": _Design(_entry("access"), ("access",), "direct", "access"),
    "E8": _Design(_hyperparameters, ("shadow", "what"), "same", "shadow's hyper-parameters"),
    "E9": _Design(_kinds, ("shadow",), "known", "kind of the shadow"),
    "E12": _Design(_entry("access"), ("access",), "direct", "access"),
    "E13": _Design(_entry("statistic"), ("statistic",), "maximum", "statistic"),
    "E14": _Design(_entry("percentile"), ("percentile",), 10, "percentile t"),
    "E15": _Design(_adversary, ("attack", "statistic"), "Adversary 1", "adversary"),
    "E16": _Design(defence_arm, ("defence", "attacker"), "none", "defence"),
    "E17": _Design(
        _ratios, ("input_ratio", "hidden_ratio"), "0, 0", "dropout of input, hidden layer"
    ),
    "E18": _Design(defence_arm, ("defence", "attacker"), "none", "defence"),
}


def arm_rank(name: str, group: Group) -> list[tuple[Any, ...]]:
    """Returns the sort key of a group's arm among those of its experiment."""
    attack = list(ATTACKS).index(group.attack)
    return [(attack,), *(value_rank(group.get(entry)) for entry in _DESIGNS[name].entries)]


def compared(name: str) -> str | None:
    """Returns what an experiment's contrasts compare, in words; None if it has none."""
    return _DESIGNS[name].heading if name in _DESIGNS else None


def about(group: Group, without: Sequence[str]) -> str:
    """Returns attack and variant of a group in words, but for the entries in `without`."""
    parts = [] if "attack" in without else [ATTACKS[group.attack]]
    if group.attack == "adversary 2" and "attack" not in without:
        parts.append(f"from {', '.join(plain_title(task) for task in group.shadow_tasks)}")
    parts += [value_title(value) for entry, value in group.variant if entry not in without]
    return ", ".join(parts)


def contrasts(name: str, groups: Sequence[Group]) -> list[Contrast]:
    """Returns every group of an experiment minus its reference, in the order of `groups`.

    E15 averages adversary 2 over its shadow tasks.

    Args:
      name: The experiment.
      groups: All its groups (see `group_rows`).

    Returns:
      Empty for experiments that compare nothing (E2, E4, E10, E11) and where a reference is missing.
    """
    if name not in _DESIGNS:
        return []
    design = _DESIGNS[name]
    if name == "E15":
        groups = average_over_shadow_tasks(groups)
    blocks: dict[Hashable, dict[Value, Group]] = {}
    for group in groups:
        arm = design.arm_fn(group)
        if arm is None:
            continue
        shared = tuple(item for item in group.variant if item[0] not in design.entries)
        block: Hashable = (group.task, shared)
        if "attack" not in design.entries:
            # Only adversary 2 has a choice of shadow tasks.
            shadows = group.shadow_tasks if group.attack == "adversary 2" else ()
            block = (group.task, shared, group.attack, shadows)
        # An undefended target is the same whoever attacks it: the first is as good as any.
        blocks.setdefault(block, {}).setdefault(arm, group)
    found = []
    for arms in blocks.values():
        ordered = sorted(arms, key=lambda arm: arm_rank(name, arms[arm]))
        reference = ordered[0] if design.reference is None else design.reference
        if reference in arms:
            found += [
                Contrast(
                    task=arms[arm].task,
                    about=about(arms[arm], design.entries),
                    arm=value_title(arm),
                    reference=value_title(reference),
                    first=arms[arm],
                    second=arms[reference],
                )
                for arm in ordered
                if arm != reference
            ]
    return found


def over_tasks(found: Sequence[Contrast], metric: str) -> Interval:
    """Returns the mean over tasks of the mean differences, with a t interval over tasks.

    The interval takes tasks for independent; tasks cut from one data set are not.
    """
    means = [contrast.interval(metric).mean for contrast in found]
    most = math.inf if is_cost(metric) else 1.0
    return t_interval(means, CONFIDENCE).within(-most, most)


def leaves_out_zero(interval: Interval) -> bool:
    """Whether an interval exists and says that a difference is not zero."""
    return interval.is_bounded and interval.low * interval.high > 0
