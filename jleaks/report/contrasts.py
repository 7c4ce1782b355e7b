"""Contrasts: two groups that differ in one thing, compared on the same seeds; as numbers and in words.

"No significant difference" is said only where an interval exists and contains zero.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from jleaks.experiments.claims import ATTACKS, Value, value_rank, value_title
from jleaks.experiments.designs import Design
from jleaks.metrics.intervals import Interval, paired_t_interval, t_interval
from jleaks.report.columns import COLUMNS, MAIN
from jleaks.report.groups import CONFIDENCE, Group, Results
from jleaks.report.numbers import interval_text
from jleaks.report.titles import plain_title

NOTHING = "The rows lack what would answer the question."


@dataclasses.dataclass(frozen=True, eq=False)
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

    @functools.cached_property
    def seeds(self) -> list[int]:
        """The seeds that both groups have."""
        return list(self.first.seeds.index.intersection(self.second.seeds.index))

    def interval(self, column: str) -> Interval:
        """Returns the mean difference with a paired t interval over seeds, within what it can be."""
        groups = self.first, self.second
        first, second = (group.seeds[column].loc[self.seeds].to_numpy() for group in groups)
        most = COLUMNS[column].most
        return paired_t_interval(first, second, CONFIDENCE).within(-most, most)


def arm_rank(design: Design, group: Group) -> list[tuple[Any, ...]]:
    """Returns the sort key of a group's arm among those of its experiment."""
    attack = list(ATTACKS).index(group.attack)
    return [(attack,), *(value_rank(group.get(entry)) for entry in design.entries)]


def about(group: Group, without: Sequence[str]) -> str:
    """Returns attack and variant of a group in words, but for the entries in `without`."""
    parts = [] if "attack" in without else [ATTACKS[group.attack]]
    if group.attack == "adversary 2" and "attack" not in without:
        parts.append(f"from {', '.join(plain_title(task) for task in group.shadow_tasks)}")
    parts += [value_title(value) for entry, value in group.variant if entry not in without]
    return ", ".join(parts)


def contrasts(results: Results) -> list[Contrast]:
    """Returns every group of an experiment minus its reference, in the order of its groups.

    Empty where nothing is compared, and where a reference is missing.
    """
    design = results.design
    if not design.entries:
        return []
    blocks: dict[Hashable, dict[Value, Group]] = {}
    for group in results.compared:
        if (arm := design.arm(group)) is None:
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
        ordered = sorted(arms, key=lambda arm: arm_rank(design, arms[arm]))
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


def over_tasks(found: Sequence[Contrast], column: str) -> Interval:
    """Returns the mean over tasks of the mean differences, with a t interval over tasks.

    The interval takes tasks for independent; tasks cut from one data set are not.
    """
    most = COLUMNS[column].most
    means = [contrast.interval(column).mean for contrast in found]
    return t_interval(means, CONFIDENCE).within(-most, most)


def leaves_out_zero(interval: Interval) -> bool:
    """Whether an interval exists and says that a difference is not zero."""
    return interval.is_bounded and interval.low * interval.high > 0


def by_arms(results: Results) -> dict[tuple[str, str], list[Contrast]]:
    """Returns the contrasts by what they are about and by arm, in order."""
    found: dict[tuple[str, str], list[Contrast]] = {}
    for contrast in contrasts(results):
        found.setdefault((contrast.about, contrast.arm), []).append(contrast)
    return found


def name(column: str) -> str:
    """Returns what a sentence calls a column."""
    title = COLUMNS[column].title
    return title if title.isupper() else title[0].lower() + title[1:]


def listed(parts: Sequence[str]) -> str:
    """Returns "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _signed(interval: Interval, num_expected: int) -> str:
    return interval_text(interval, (interval.n, num_expected), sign="+")


def differences(found: Sequence[Contrast], columns: Sequence[str]) -> str:
    """Returns the mean differences of contrasts, one per task, with what ± is over."""
    single = found[0] if len(found) == 1 else None
    expected = len(single.seeds) if single else len(found)
    parts = []
    for column in columns:
        interval = single.interval(column) if single else over_tasks(found, column)
        if not math.isnan(interval.mean):
            parts.append(f"{name(column)} {_signed(interval, expected)}")
    if not parts:
        return "not defined"
    where = f"mean over {expected} tasks, ± over tasks"
    if single:
        where = f"{plain_title(single.task)}, {expected} seed{'' if expected == 1 else 's'}"
    return f"{', '.join(parts)} ({where})"


def _verdict(found: Sequence[Contrast], column: str) -> str:
    """Returns on which tasks a difference is significant, by its interval over seeds."""
    intervals = {plain_title(contrast.task): contrast.interval(column) for contrast in found}
    bounded = {task: interval for task, interval in intervals.items() if interval.is_bounded}
    if not bounded:
        return f"No task has the two seeds that an interval of the {name(column)} needs."
    apart = [
        f"{task} ({_signed(interval, interval.n)})"
        for task, interval in bounded.items()
        if leaves_out_zero(interval)
    ]
    same, all_tasks = len(bounded) - len(apart), len(bounded)
    text = f"{COLUMNS[column].title}: no significant difference on {same} of {all_tasks} tasks with an "
    text += "interval over seeds"
    return f"{text}; different on {listed(apart)}." if apart else f"{text}."


def verdicts(found: Sequence[Contrast]) -> str:
    """Returns on which tasks precision, recall and AUC differ significantly."""
    if not any(contrast.interval(column).is_bounded for contrast in found for column in MAIN):
        return "No task has the two seeds that an interval needs."
    return " ".join(_verdict(found, column) for column in MAIN)


def every_arm(
    columns: Sequence[str], keep_fn: Callable[[str], bool] = lambda _: True
) -> Callable[[Results], str]:
    """Returns a finding that names the mean difference of every arm that is kept.

    Args:
      columns: What is compared.
      keep_fn: Whether an arm is named.
    """

    def finding(results: Results) -> str:
        sentences = [
            f"{about + ', ' if about else ''}{arm}{results.design.unit} minus {found[0].reference}: "
            f"{differences(found, columns)}."
            for (about, arm), found in by_arms(results).items()
            if keep_fn(arm)
        ]
        return " ".join(sentences) or NOTHING

    return finding
