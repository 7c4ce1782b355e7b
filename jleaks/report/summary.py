"""From rows to figures over seeds: one `Summary` per attack, shadow task and target task."""

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from jleaks.errors import InputError
from jleaks.metrics.intervals import Interval, t_interval
from jleaks.report.titles import order_statistics, order_tasks
from jleaks.rows import ATTACK_MODEL, RATES, Row

METRICS: tuple[str, ...] = (
    *(name for name in RATES if not name.startswith("shadow_")),
    "overfitting_gap",
)
"""What is summarised over seeds: fields of a row and `overfitting_gap`, the target's training
accuracy minus its test accuracy (a fraction)."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """One attack on the targets of one task, over seeds.

    Attributes:
      adversary: 1, 2 or 3.
      task: Task of the targets.
      shadow_tasks: Tasks of the shadow models: none for adversary 3; several if the values are
        averages over them (see `average_over_shadow_tasks`).
      statistic: What the attack decides by.
      seeds: The seeds, ascending.
      num_members: Fewest and most members among the targets.
      num_nonmembers: Fewest and most non-members.
      metrics: For each of `METRICS`, mean and t interval over the seeds that define it, within what
        it can be.
      num_rows: Attacks behind each value: seeds, times shadow tasks where these are averaged.
      num_defined: For each of `METRICS`, how many of the rows define it.
    """

    adversary: int
    task: str
    shadow_tasks: tuple[str, ...]
    statistic: str
    seeds: tuple[int, ...]
    num_members: tuple[int, int]
    num_nonmembers: tuple[int, int]
    metrics: Mapping[str, Interval]
    num_rows: int
    num_defined: Mapping[str, int]


Cell = tuple[int, str, str | None, str]
"""What identifies a summary: adversary, task, shadow task, statistic."""


def _by_cell(rows: Sequence[Row]) -> dict[Cell, dict[int, Row]]:
    """Returns the rows of every cell by seed, cells and seeds in the order of reports.

    Raises:
      InputError: there are no rows, or two rows of a cell share a seed.
    """
    if not rows:
        raise InputError("no result rows to report on; expected at least one")
    cells: dict[Cell, dict[int, Row]] = {}
    for row in rows:
        cell = (row["adversary"], row["task"], row["shadow_task"], row["statistic"])
        seeds = cells.setdefault(cell, {})
        if row["seed"] in seeds:
            shadow = f", shadow task {row['shadow_task']!r}" if row["adversary"] == 2 else ""
            raise InputError(
                f"two rows for adversary {row['adversary']}, task {row['task']!r}{shadow}, "
                f"{row['statistic']!r}, seed {row['seed']}; a report summarises one run, in which "
                f"a seed occurs once"
            )
        seeds[row["seed"]] = row
    tasks = order_tasks(task for _, task, shadow, _ in cells for task in (task, shadow or task))
    names = order_statistics(statistic for *_, statistic in cells)

    def rank(cell: Cell) -> tuple[int, ...]:
        adversary, task, shadow, statistic = cell
        shadow_rank = -1 if shadow is None else tasks.index(shadow)
        return adversary, tasks.index(task), shadow_rank, names.index(statistic)

    return {cell: dict(sorted(cells[cell].items())) for cell in sorted(cells, key=rank)}


def _value(row: Row, metric: str) -> float | None:
    if metric == "overfitting_gap":
        train, test = row["train_accuracy"], row["test_accuracy"]
        return None if train is None or test is None else train - test
    return cast("float | None", cast("Mapping[str, object]", row).get(metric))


def _range(counts: Iterable[int]) -> tuple[int, int]:
    values = list(counts)
    return min(values), max(values)


def _summary(
    cell: Cell, shadow_tasks: tuple[str, ...], rows: Mapping[int, Sequence[Row]], confidence: float
) -> Summary:
    """Summarises the rows of each seed: averages within the seed, then intervals over seeds."""

    def seed_value(group: Sequence[Row], metric: str) -> float | None:
        values = [value for row in group if (value := _value(row, metric)) is not None]
        return statistics.fmean(values) if values else None

    adversary, task, _, statistic = cell
    every = [row for group in rows.values() for row in group]
    return Summary(
        adversary=adversary,
        task=task,
        shadow_tasks=shadow_tasks,
        statistic=statistic,
        seeds=tuple(rows),
        num_members=_range(row["num_members"] for row in every),
        num_nonmembers=_range(row["num_nonmembers"] for row in every),
        metrics={
            metric: t_interval(
                [seed_value(group, metric) for group in rows.values()], confidence
            ).within(-1.0 if metric == "overfitting_gap" else 0.0, 1.0)
            for metric in METRICS
        },
        num_rows=len(every),
        num_defined={
            metric: sum(_value(row, metric) is not None for row in every) for metric in METRICS
        },
    )


def summarise(rows: Sequence[Row], confidence: float = 0.95) -> list[Summary]:
    """Returns mean and t interval over seeds for every attack, shadow task and target task.

    Args:
      rows: The rows of a run.  Tasks may have different numbers of seeds.
      confidence: Coverage of the intervals.

    Returns:
      Summaries by adversary, then task, shadow task and statistic, in the order of reports.

    Raises:
      InputError: there are no rows, or two of them are of the same attack, tasks and seed.
    """
    return [
        _summary(cell, () if cell[2] is None else (cell[2],), {s: [r] for s, r in seeds.items()},
                 confidence)
        for cell, seeds in _by_cell(rows).items()
    ]  # fmt: skip


def average_over_shadow_tasks(rows: Sequence[Row], confidence: float = 0.95) -> list[Summary]:
    """Returns adversary 2's summaries per target task, averaged over its shadow tasks.

    Within each seed the values of all shadow tasks are averaged (an undefined precision is left
    out); the interval is over seeds.  Only seeds that every shadow task of the target has are
    used, so that no seed is an average over fewer.

    Args:
      rows: The rows of a run.
      confidence: Coverage of the intervals.

    Returns:
      One summary per target task and statistic; none if there are no rows of adversary 2 or a
      target's shadow tasks have no seed in common.

    Raises:
      InputError: as for `summarise`.
    """
    groups: dict[tuple[str, str], dict[str, dict[int, Row]]] = {}
    for (adversary, task, shadow, statistic), seeds in _by_cell(rows).items():
        if adversary == 2 and shadow is not None:
            groups.setdefault((task, statistic), {})[shadow] = seeds
    summaries = []
    for (task, statistic), by_shadow in groups.items():
        shared = set.intersection(*(set(seeds) for seeds in by_shadow.values()))
        if shared:
            by_seed = {
                seed: [seeds[seed] for seeds in by_shadow.values()] for seed in sorted(shared)
            }
            summaries.append(
                _summary((2, task, None, statistic), tuple(by_shadow), by_seed, confidence)
            )
    return summaries


def transfers(rows: Sequence[Row], confidence: float = 0.95) -> dict[tuple[str, str], Summary]:
    """Returns the attack model's summaries by (shadow task, target task).

    The diagonal, where both are the same task, is adversary 1; the rest is adversary 2.  Pairs
    that were not run are absent.

    Args:
      rows: The rows of a run.
      confidence: Coverage of the intervals.

    Raises:
      InputError: as for `summarise`.
    """
    return {
        (summary.shadow_tasks[0], summary.task): summary
        for summary in summarise(rows, confidence)
        if summary.shadow_tasks and summary.statistic == ATTACK_MODEL
    }


def transfer_matrix(
    rows: Sequence[Row], metric: str, confidence: float = 0.95
) -> dict[tuple[str, str], Interval]:
    """Returns one metric of `transfers`, over seeds.

    Args:
      rows: The rows of a run.
      metric: One of `METRICS`.
      confidence: Coverage of the intervals.

    Raises:
      InputError: as for `summarise`.
    """
    found = transfers(rows, confidence)
    return {pair: summary.metrics[metric] for pair, summary in found.items()}
