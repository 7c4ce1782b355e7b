"""Groups: the rows of one attack in one variant on the targets of one task, over seeds."""

import dataclasses
import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from jleaks.errors import InputError
from jleaks.experiments.claims import ATTACKS, VARIANTS, Value, value_rank
from jleaks.metrics.intervals import Interval, t_interval
from jleaks.report.paper.rows import PaperRow, is_cost, number
from jleaks.report.titles import order_tasks

CONFIDENCE = 0.95
"""Of all intervals over seeds or tasks."""

GAP = "gap"
"""A metric besides the fields of a row: the target's training minus its test accuracy."""


@dataclasses.dataclass(frozen=True)
class Group:
    """One attack in one variant on the targets of one task.

    Attributes:
      attack: One of `ATTACKS`.
      task: Task of the targets.
      shadow_tasks: Tasks of the shadow models; none where there are none, several if values are
        averages over them.
      variant: What the experiment varies, in the order of reports.
      rows: The rows of each seed, seeds ascending; several in a seed are averaged.
    """

    attack: str
    task: str
    shadow_tasks: tuple[str, ...]
    variant: tuple[tuple[str, Value], ...]
    rows: Mapping[int, tuple[PaperRow, ...]]

    def get(self, name: str, default: Value = None) -> Value:
        """Returns what the variant holds under `name`."""
        return dict(self.variant).get(name, default)

    def value(self, seed: int, metric: str) -> float | None:
        """Returns a metric in one seed, None where it is not defined."""
        values = [v for row in self.rows[seed] if (v := _metric(row, metric)) is not None]
        return statistics.fmean(values) if values else None

    def interval(self, metric: str) -> Interval:
        """Returns mean and t interval over the seeds that define the metric, within what it can be."""
        found = t_interval([self.value(seed, metric) for seed in self.rows], CONFIDENCE)
        return found.within(-1.0 if metric == GAP else 0.0, math.inf if is_cost(metric) else 1.0)

    def defined(self, metric: str) -> tuple[int, int]:
        """Returns how many of its rows define a metric, and how many there are."""
        rows = [row for group in self.rows.values() for row in group]
        return sum(_metric(row, metric) is not None for row in rows), len(rows)

    @property
    def any_row(self) -> PaperRow:
        """A row, for what all of them share."""
        return next(iter(self.rows.values()))[0]


def _metric(row: PaperRow, metric: str) -> float | None:
    if metric == GAP:
        train, test = (number(row, f"target_{part}_accuracy") for part in ("train", "test"))
        return None if train is None or test is None else train - test
    return number(row, metric)


def group_rows(rows: Sequence[PaperRow]) -> list[Group]:
    """Returns the groups of one experiment's rows, by task, attack, shadow task and variant.

    Raises:
      InputError: two rows of a group share a seed.
    """
    found: dict[
        tuple[str, str, str | None, tuple[tuple[str, Value], ...]], dict[int, PaperRow]
    ] = {}
    names = list(VARIANTS)
    for row in rows:
        variant = sorted(
            row["variant"].items(),
            key=lambda item: (names.index(item[0]) if item[0] in names else len(names), item[0]),
        )
        key = (row["attack"], row["task"], row["shadow_task"], tuple(variant))
        seeds = found.setdefault(key, {})
        if row["seed"] in seeds:
            raise InputError(
                f"two rows of {row['experiment']} for {row['attack']}, task {row['task']!r}, shadow task "
                f"{row['shadow_task']!r}, {dict(variant)}, seed {row['seed']}; expected one"
            )
        seeds[row["seed"]] = row
    groups = [
        Group(
            attack,
            task,
            () if shadow is None else (shadow,),
            variant,
            {seed: (row,) for seed, row in sorted(seeds.items())},
        )
        for (attack, task, shadow, variant), seeds in found.items()
    ]
    tasks = order_tasks(name for group in groups for name in (group.task, *group.shadow_tasks))
    attacks = list(ATTACKS)

    def rank(group: Group) -> tuple[Any, ...]:
        return (
            tasks.index(group.task),
            attacks.index(group.attack),
            [tasks.index(name) for name in group.shadow_tasks],
            [(name, value_rank(value)) for name, value in group.variant],
        )

    return sorted(groups, key=rank)


def average_over_shadow_tasks(groups: Sequence[Group]) -> list[Group]:
    """Returns `groups` with those that differ only in their shadow task averaged within each seed.

    Only seeds that all of them have are used, so that no seed is an average over fewer; where
    there is none, the average is left out.
    """
    found: dict[Hashable, list[Group]] = {}
    for group in groups:
        found.setdefault((group.attack, group.task, group.variant), []).append(group)
    averaged = []
    for same in found.values():
        seeds = sorted(set.intersection(*(set(group.rows) for group in same)))
        if seeds:
            averaged.append(
                dataclasses.replace(
                    same[0],
                    shadow_tasks=tuple(task for group in same for task in group.shadow_tasks),
                    rows={s: tuple(row for group in same for row in group.rows[s]) for s in seeds},
                )
            )
    return averaged
