"""Groups: the rows of one attack in one variant on the targets of one task, over seeds."""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jleaks import npz
from jleaks.errors import InputError
from jleaks.experiments.claims import ATTACKS, Value, value_rank, variant_rank
from jleaks.experiments.designs import Design, design_of
from jleaks.metrics.intervals import Interval, t_interval
from jleaks.report.columns import COLUMNS, GAP
from jleaks.report.titles import Sources, order_tasks, task_sources
from jleaks.rows import OF_EXPERIMENT, check_rows

CONFIDENCE = 0.95
"""Of all intervals over seeds or tasks."""

# What is alike in all rows of a group.
_KEYS = ["attack", "task", "shadow_task", "variant"]


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """One attack in one variant on the targets of one task.

    Attributes:
      attack: One of `ATTACKS`.
      task: Task of the targets.
      shadow_tasks: Tasks of the shadow models; none where there are none, several if values are averages
        over them.
      variant: What is varied, in the order of reports.
      rows: Its rows; several of a seed are averaged.
    """

    attack: str
    task: str
    shadow_tasks: tuple[str, ...]
    variant: tuple[tuple[str, Value], ...]
    rows: pd.DataFrame

    def get(self, name: str, default: Value = None) -> Value:
        """Returns what the variant holds under `name`."""
        return dict(self.variant).get(name, default)

    @functools.cached_property
    def seeds(self) -> pd.DataFrame:
        """Every column's mean in every seed, seeds ascending; NaN where it is not defined."""
        return self.rows.groupby("seed")[list(COLUMNS)].mean()

    def interval(self, column: str) -> Interval:
        """Returns mean and t interval over the seeds that define a column, within what it can be."""
        about = COLUMNS[column]
        return t_interval(self.seeds[column].to_numpy(), CONFIDENCE).within(about.least, about.most)

    def defined(self, column: str) -> tuple[int, int]:
        """Returns how many of its rows define a column, and how many there are."""
        return int(self.rows[column].count()), len(self.rows)

    def first(self, field: str) -> Any:
        """Returns a field of a row, for what all of them share."""
        return self.rows[field].iloc[0]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The targets' task and the shadows'."""
        return (self.task, *self.shadow_tasks)


@dataclasses.dataclass(frozen=True, eq=False)
class Results:
    """What tables, figures and findings are made from.

    Attributes:
      name: The experiment, for example "E6"; "" for the main job.
      design: How its rows are looked at.
      rows: Its rows, with every column of `COLUMNS`.
      groups: The same, grouped over seeds, in the order of reports.
      sources: Where the records of each task come from.
      folder: Where its arrays lie and its report goes.
    """

    name: str
    design: Design
    rows: pd.DataFrame
    groups: Sequence[Group]
    sources: Sources
    folder: Path = Path()

    @property
    def tasks(self) -> list[str]:
        """Every target and shadow task, in the order of reports."""
        return list(dict.fromkeys(task for group in self.groups for task in group.tasks))

    @property
    def compared(self) -> Sequence[Group]:
        """Its groups, adversary 2's averaged over shadow tasks where the design says so."""
        return average_over_shadow_tasks(self.groups) if self.design.averaged else self.groups

    def arrays(self, file: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Returns the arrays of an npz file in `folder`, and its description (empty if it has none).

        Raises:
          InputError: it cannot be read.
        """
        return npz.load(self.folder / file, f"run {self.name} again")


def collect(name: str, rows: Sequence[Any], folder: Path) -> Results:
    """Returns the results of one experiment.

    Args:
      name: The experiment, for example "E6".
      rows: Its rows, at least one unless its design expects none.
      folder: Where its arrays lie and its report goes.

    Raises:
      InputError: the experiment is unknown, there are no rows, or they are not as they must be.
    """
    design, allowed = design_of(name), ", ".join(ATTACKS)
    if not rows and design.rows_expected:
        raise InputError(f"no result rows of {name}; expected at least one")
    checked = check_rows(rows, OF_EXPERIMENT, may_be_empty=True)
    for i, row in enumerate(checked, start=1):
        if row["experiment"] != name:
            raise InputError(f"row {i}: a row of {row['experiment']!r:.60}; expected {name}")
        if _attack(row) not in ATTACKS:
            raise InputError(f"row {i}: attack is {row['attack']!r:.60}; allowed: {allowed}")
    return _results(name, design, checked, folder)


def collect_run(rows: Sequence[Any]) -> Results:
    """Returns the results of the main job.

    Raises:
      InputError: there are no rows, or they are not of one run.
    """
    if not rows:
        raise InputError("no result rows to report on; expected at least one")
    return _results("", Design(tables=("transfer",)), rows, Path())


def _results(name: str, design: Design, rows: Sequence[Any], folder: Path) -> Results:
    frame = to_frame(rows)
    return Results(name, design, frame, group_rows(frame), task_sources(rows), folder)


def to_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Returns rows as a table: a column for each field and for each of `COLUMNS`, NaN where not defined.

    Of what a row has estimated over several targets, the mean.
    """
    rows = [grouped(row) for row in rows]
    others = dict.fromkeys(field for row in rows for field in row if field not in COLUMNS)
    fields = {field: pd.Series([row.get(field) for row in rows], dtype=object) for field in others}
    numbers = {
        name: pd.Series([mean_of(row.get(name)) for row in rows], dtype=float) for name in COLUMNS
    }
    numbers[GAP] = numbers["train_accuracy"] - numbers["test_accuracy"]
    return pd.DataFrame(fields | numbers)


def mean_of(value: Any) -> Any:
    """Returns a field's number: of what a row has estimated over several targets, the mean."""
    return value["mean"] if isinstance(value, Mapping) else value


def grouped(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a row with its attack as one of `ATTACKS`, and adversary 3's statistic among what varies."""
    variant = dict(row.get("variant", {}))
    if row["adversary"] == 3:
        variant["statistic"] = row["attack"]
    items = sorted(variant.items(), key=lambda item: variant_rank(item[0]))
    return {**row, "attack": _attack(row), "variant": tuple(items)}


def _attack(row: Mapping[str, Any]) -> str:
    """Returns which of `ATTACKS` a row is of."""
    number = row["adversary"]
    return row["attack"] if number is None else f"adversary {number}"


def group_rows(rows: pd.DataFrame) -> list[Group]:
    """Returns the groups of rows by task, attack, shadow task and variant.

    Raises:
      InputError: two rows of a group share a seed.
    """
    if rows.empty:
        return []
    twice = rows.duplicated([*_KEYS, "seed"])
    if twice.any():
        row = rows[twice].iloc[0]
        shadow = f", shadow task {row['shadow_task']!r}" if row["shadow_task"] else ""
        variant = "".join(f", {name} {value!r}" for name, value in row["variant"])
        raise InputError(
            f"two rows for {row['attack']}, task {row['task']!r}{shadow}{variant}, seed {row['seed']}; "
            "a report summarises one run, in which a seed occurs once"
        )
    groups = [
        Group(attack, task, (shadow,) if isinstance(shadow, str) else (), variant, mine)
        for (attack, task, shadow, variant), mine in rows.groupby(_KEYS, dropna=False, sort=False)
    ]
    tasks = order_tasks(name for group in groups for name in group.tasks)
    attacks = list(ATTACKS)

    def rank(group: Group) -> tuple[Any, ...]:
        return (
            tasks.index(group.task),
            attacks.index(group.attack) if group.attack in ATTACKS else len(attacks),
            [tasks.index(name) for name in group.shadow_tasks],
            [(name, value_rank(value)) for name, value in group.variant],
        )

    return sorted(groups, key=rank)


def average_over_shadow_tasks(groups: Sequence[Group]) -> list[Group]:
    """Returns `groups` with those that differ only in their shadow task averaged within each seed.

    Only seeds that all of them have are used, so that no seed is an average over fewer; where there is
    none, the average is left out.
    """
    found: dict[Any, list[Group]] = {}
    for group in groups:
        found.setdefault((group.attack, group.task, group.variant), []).append(group)
    averaged = []
    for same in found.values():
        shared = functools.reduce(pd.Index.intersection, (group.seeds.index for group in same))
        if len(shared):
            rows = pd.concat([group.rows[group.rows["seed"].isin(shared)] for group in same])
            shadows = tuple(task for group in same for task in group.shadow_tasks)
            averaged.append(dataclasses.replace(same[0], shadow_tasks=shadows, rows=rows))
    return averaged


def transfers(groups: Sequence[Group]) -> dict[tuple[str, str], Group]:
    """Returns the groups of attack models by (shadow task, target task); adversary 1's are the diagonal."""
    return {
        (group.shadow_tasks[0] if group.shadow_tasks else group.task, group.task): group
        for group in groups
        if group.attack in ("adversary 1", "adversary 2")
    }


def families(groups: Sequence[Group]) -> list[list[Group]]:
    """Returns adversary 1's groups by data set, each by rising number of classes.

    Purchase-2 to Purchase-100 are one data set; CIFAR-10 and CIFAR-100 are treated as one.
    """
    found: dict[str, list[Group]] = {}
    for group in groups:
        if group.attack == "adversary 1":
            found.setdefault(re.sub(r"\d+$", "", group.task), []).append(group)
    return [sorted(mine, key=lambda group: group.first("num_classes")) for mine in found.values()]
