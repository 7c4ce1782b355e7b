"""Tables of the main job and of the paper's experiments: means over seeds with 95% t intervals."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

from jleaks.experiments.claims import (
    ATTACKS,
    value_rank,
    value_title,
    variant_rank,
    variant_title,
)
from jleaks.metrics.intervals import Interval
from jleaks.report.columns import COLUMNS, CUT, OF_EXPERIMENTS, OF_RUNS
from jleaks.report.contrasts import (
    Contrast,
    about,
    arm_rank,
    contrasts,
    leaves_out_zero,
    over_tasks,
)
from jleaks.report.figures.points import points_table
from jleaks.report.findings import gap_correlation
from jleaks.report.groups import (
    CONFIDENCE,
    Group,
    Results,
    average_over_shadow_tasks,
    transfers,
)
from jleaks.report.numbers import (
    UNDEFINED,
    collapsed_note,
    diverged_note,
    few_mark,
    interval_text,
    notes,
)
from jleaks.report.table import Cell, Table
from jleaks.report.titles import (
    ADVERSARIES,
    flagged_title,
    order_tasks,
    plain_title,
    short_title,
    source_note,
    source_suffix,
)

_AVERAGED = "Adversary 2: averages over its shadow tasks within each seed."


def _joined(*sentences: str) -> str:
    return " ".join(sentence for sentence in sentences if sentence)


def seeds_text(counts: Iterable[int]) -> str:
    """Returns the sentences that say what ± is, from the numbers of seeds behind the cells."""
    found = set(counts)
    # 0: no seed defines the value.
    if found <= {0, 1}:
        return "One seed: no intervals."
    note = f"Means over seeds ± half-width of the {CONFIDENCE:.0%} t interval."
    return f"{note} No ±: a single seed." if 1 in found else note


def range_text(values: Iterable[float], spec: str) -> str:
    """Returns "3" or "1 to 3": least and most of some numbers in one format."""
    low, high = min(found := list(values)), max(found)
    return " to ".join(dict.fromkeys((f"{low:{spec}}", f"{high:{spec}}")))


def number(group: Group, name: str) -> str:
    """Returns a group's column as a table has it: "0.864±.012", "0.53†±.02", "-"."""
    column, interval = COLUMNS[name], group.interval(name)
    if column.digits is None:
        mean = interval.mean / column.scale
        return UNDEFINED if math.isnan(mean) else f"{mean:.3g}"
    mark = few_mark(name, group.rows["num_nonmembers"].min())
    return interval_text(interval, group.defined(name), digits=column.digits, mark=mark)


def _defined(groups: Sequence[Group], columns: Sequence[str]) -> list[str]:
    return [name for name in columns if any(group.rows[name].count() for group in groups)]


def _caption(results: Results, groups: Sequence[Group], texts: list[str]) -> list[str]:
    """Returns the sentences that explain the numbers of a table, whose cells hold `texts`."""
    attacks = {group.attack for group in groups}
    return [
        seeds_text(len(group.seeds) for group in groups),
        notes(texts),
        *(
            note(results.rows[results.rows["attack"].isin(attacks)])
            for note in (collapsed_note, diverged_note)
        ),
        source_note({task for group in groups for task in group.tasks}, results.sources),
    ]


def _fpr_note(groups: Sequence[Group]) -> str:
    parts = []
    for rate, title in (("0.01", "1%"), ("0.001", "0.1%")):
        values = [group.interval(f"fpr_realised_{rate}").mean for group in groups]
        if values := [value for value in values if not math.isnan(value)]:
            parts.append(f"{range_text(values, '.4f')} at {title}")
    return f"FPR realised: {', '.join(parts)}." if parts else ""


# What names a group, in the order of columns; the texts of a group from results.
_TextFn = Callable[[Results, Group], str]


def _shadow(results: Results, group: Group) -> str:
    if group.attack != "adversary 2":
        return UNDEFINED
    names = group.shadow_tasks
    return flagged_title(names[0], results.sources) if len(names) == 1 else f"{len(names)} tasks"


def _entry(name: str) -> _TextFn:
    return lambda _, group: value_title(group.get(name))


def metric_table(
    results: Results, groups: Sequence[Group], title: str, columns: Sequence[str], note: str = ""
) -> Table:
    """Returns one row per group with every one of some columns that is defined.

    Args:
      results: Of the groups.
      groups: What has rows, in order.
      title: Without the source of the data.
      columns: Names of `COLUMNS`.
      note: Begins the caption.
    """
    names: dict[str, _TextFn] = {}
    if results.name:
        names["Attack"] = lambda _, group: ATTACKS[group.attack]
    if any(group.attack == "adversary 2" for group in groups):
        names["Shadow task"] = _shadow
    varied = {name for group in groups for name, value in group.variant if value is not None}
    for entry in sorted(varied, key=variant_rank):
        names[variant_title(entry)] = _entry(entry)
    balanced = all(
        (group.rows["num_members"] == group.rows["num_nonmembers"]).all() for group in groups
    )
    sizes = {"num_members": "Members"} if balanced else {
        "num_members": "Members", "num_nonmembers": "Non-members"
    }  # fmt: skip
    columns = _defined(groups, columns)
    rows: list[list[str]] = []
    ends, texts = set(), []
    for i, group in enumerate(groups):
        new_task = i == 0 or group.task != groups[i - 1].task
        if new_task and i:
            ends.add(i - 1)
        cells = [flagged_title(group.task, results.sources) if new_task else ""]
        cells += [text_fn(results, group) for text_fn in names.values()]
        cells.append(str(len(group.seeds)))
        cells += [range_text(group.rows[size], ",") for size in sizes]
        numbers = [number(group, name) for name in columns]
        texts += numbers
        rows.append([*cells, *numbers])
    tasks = [task for group in groups for task in group.tasks]
    sentences = [
        note,
        *_caption(results, groups, texts),
        "As many non-members as members." if balanced else "",
        "Shadow's cut: the cut that separates the attack model's own rows best, instead of its 0.5."
        if set(CUT) & set(columns)
        else "",
        _fpr_note(groups),
    ]
    heads = (
        *names,
        "Seeds",
        *sizes.values(),
        *(c.head or c.title for c in map(COLUMNS.get, columns) if c),
    )
    return Table.of(
        title=f"{title}{source_suffix(tasks, results.sources)}",
        caption=_joined(*sentences),
        heads=("Task", *heads),
        num_text_columns=1 + len(names),
        rows=rows,
        # Rules part tasks of several rows.
        section_ends=ends if any(not row[0] for row in rows) else (),
    )


def series_table(results: Results, entry: str) -> Table:
    """Returns a table with the values of an entry across, columns, tasks and attacks down."""
    values = sorted({group.get(entry) for group in results.groups}, key=value_rank)
    lines: dict[tuple[str, str], dict[object, Group]] = {}
    for group in results.groups:
        key = (group.task, about(group, [entry]))
        lines.setdefault(key, {})[group.get(entry)] = group
    rows, ends = [], set()
    texts: list[str] = []
    for name in _defined(results.groups, results.design.series_metrics):
        for (task, text), found in lines.items():
            cells = [COLUMNS[name].flat_head, flagged_title(task, results.sources), text]
            cells.append(range_text((len(group.seeds) for group in found.values()), "d"))
            numbers = [number(found[v], name) if v in found else "" for v in values]
            texts += numbers
            rows.append([*cells, *numbers])
        ends.add(len(rows) - 1)
    return Table.of(
        title=f"{results.name}: against {variant_title(entry).lower()}"
        + source_suffix(results.tasks, results.sources),
        caption=_joined(*_caption(results, results.groups, texts), _fpr_note(results.groups)),
        heads=("Metric", "Task", "Attack", "Seeds", *map(value_title, values)),
        num_text_columns=3,
        rows=rows,
        section_ends=ends,
    )


def correlation_table(results: Results) -> Table:
    """Returns the correlation over tasks of the overfitting gap with adversary 1's metrics."""
    rows = []
    for name in ("precision", "recall", "auc", "accuracy"):
        r = gap_correlation(results, name)
        bounds = f"[{r.low:.3f}, {r.high:.3f}]" if r.is_bounded else UNDEFINED
        value = UNDEFINED if math.isnan(r.mean) else f"{r.mean:.3f}"
        rows.append((COLUMNS[name].flat_head, str(r.n), value, bounds))
    return Table.of(
        title=f"{results.name}: train minus test accuracy against adversary 1"
        + source_suffix(results.tasks, results.sources),
        caption=f"Pearson's correlation over tasks of the means over seeds, Fisher's {CONFIDENCE:.0%} "
        "interval, which takes tasks for independent (tasks cut from one data set are not).  "
        + source_note(results.tasks, results.sources),
        heads=("Metric", "Tasks", "Pearson r", f"{CONFIDENCE:.0%} interval"),
        num_text_columns=1,
        rows=rows,
    )


def transfer_table(results: Results, name: str, with_bounds: bool = True) -> Table:
    """Returns the matrix of one column: shadow tasks down, target tasks across.

    Args:
      results: With rows of adversary 2.
      name: Of `COLUMNS`.
      with_bounds: Whether cells have intervals, which widen the table.
    """
    matrix = transfers(results.groups)
    shadows, targets = (order_tasks(pair[side] for pair in matrix) for side in (0, 1))

    def cell(shadow: str, target: str) -> Cell:
        if (group := matrix.get((shadow, target))) is None:
            return Cell("")
        interval = group.interval(name)
        if not with_bounds:
            interval = dataclasses.replace(interval, low=math.nan, high=math.nan)
        return Cell(interval_text(interval, group.defined(name), digits=2), shadow == target)

    rows = [
        (Cell(flagged_title(shadow, results.sources)), *(cell(shadow, t) for t in targets))
        for shadow in shadows
    ]
    texts = [cell.text for row in rows for cell in row[1:]]
    long = [task for task in targets if short_title(task) != plain_title(task)]
    key = ", ".join(f"{short_title(task)} = {plain_title(task)}" for task in long)
    tasks = {*shadows, *targets}
    seeds, *others = _caption(results, list(matrix.values()), texts)
    whose = results.name or "Transfer of the attack model"
    return Table.of(
        title=f"{whose}: {COLUMNS[name].title}, shadow task (row) to target task (column)"
        + source_suffix(tasks, results.sources),
        caption=_joined(
            seeds if with_bounds or seeds.startswith("One") else "Means over seeds.",
            "Marked diagonal: adversary 1.",
            f"{UNDEFINED}: no seed defines the value." if UNDEFINED in texts else "",
            f"{key}." if key else "",
            *others,
        ),
        heads=("Shadow task", *map(short_title, targets)),
        num_text_columns=1,
        rows=rows,
        compact=True,
    )


def _difference(interval: Interval, num_expected: int) -> Cell:
    text = interval_text(interval, (interval.n, num_expected), sign="+")
    return Cell(text, leaves_out_zero(interval))


def contrast_table(results: Results) -> Table | None:
    """Returns every arm minus its reference, or None where nothing is compared."""
    found, design = contrasts(results), results.design
    if not found:
        return None
    ranks = {contrast.arm: arm_rank(design, contrast.first) for contrast in found}
    arms = sorted(ranks, key=lambda arm: ranks[arm])[-1 if design.only_last else 0 :]
    lines: dict[str, dict[str, dict[str, Contrast]]] = {}
    for contrast in found:
        by_task = lines.setdefault(contrast.about, {})
        by_task.setdefault(contrast.task, {})[contrast.arm] = contrast
    rows: list[tuple[Cell, ...]] = []
    ends = set()
    for name in design.contrasted:
        if not any(_moves(contrast, name) for contrast in found):
            continue
        title = Cell(COLUMNS[name].flat_head)
        for text, by_task in lines.items():
            for task, by_arm in by_task.items():
                seeds = range_text((len(c.seeds) for c in by_arm.values()), "d")
                cells = [
                    _difference(by_arm[arm].interval(name), len(by_arm[arm].seeds))
                    if arm in by_arm
                    else Cell("")
                    for arm in arms
                ]
                where = Cell(flagged_title(task, results.sources))
                rows.append((title, where, Cell(text), Cell(seeds), *cells))
            if len(by_task) > 1:
                cells = []
                for arm in arms:
                    mine = [by_arm[arm] for by_arm in by_task.values() if arm in by_arm]
                    cells.append(
                        _difference(over_tasks(mine, name), len(mine)) if mine else Cell("")
                    )
                where = Cell(f"mean over {len(by_task)} tasks")
                rows.append((title, where, Cell(text), Cell(""), *cells))
        ends.add(len(rows) - 1)
    references = " or ".join(dict.fromkeys(contrast.reference for contrast in found))
    signs = notes([cell.text for row in rows for cell in row[3:]])
    return Table.of(
        title=f"{results.name}: differences by {design.heading}, each minus {references}"
        + source_suffix(results.tasks, results.sources),
        caption=f"Mean difference on the same seeds ± half-width of the paired {CONFIDENCE:.0%} t interval "
        "over seeds (none for one seed); means over tasks: of the tasks' mean differences, t interval over "
        "tasks, which takes them for independent.  Marked: the interval leaves out "
        f"zero, as one in twenty does by chance.  {signs + '  ' if signs else ''}"
        + source_note(results.tasks, results.sources),
        heads=("Metric", "Task", "Attack", "Seeds", *arms),
        num_text_columns=3,
        rows=rows,
        section_ends=ends,
    )


def _moves(contrast: Contrast, name: str) -> bool:
    """Whether a column is defined and, for the target's own, can differ at all."""
    mean = contrast.interval(name).mean
    return not math.isnan(mean) and (name != "test_accuracy" or mean != 0)


def tables(results: Results) -> list[Table]:
    """Returns all tables of an experiment, the ones that answer its question first."""
    found: list[Table | None] = []
    for kind in results.design.tables:
        if kind == "transfer":
            found += [transfer_table(results, name) for name in ("precision", "recall", "auc")]
        else:
            found.append((correlation_table if kind == "correlation" else points_table)(results))
    if results.design.series:
        found.append(series_table(results, results.design.series))
    elif "transfer" not in results.design.tables and results.groups:
        title, note = f"{results.name}: every attack", _AVERAGED if results.design.averaged else ""
        found.append(metric_table(results, results.compared, title, OF_EXPERIMENTS, note))
    found.append(contrast_table(results))
    return [table for table in found if table is not None]


def run_tables(results: Results, fits_fn: Callable[[Table], bool] = lambda _: True) -> list[Table]:
    """Returns all tables of the main job: one for each adversary, then the transfer matrices.

    Args:
      results: Of the main job.
      fits_fn: Whether there is room for a table: a matrix that has none goes without intervals.
    """
    found = []
    for adversary, title in ADVERSARIES.items():
        groups: Sequence[Group] = [g for g in results.groups if g.attack == adversary]
        note = ""
        if adversary == "adversary 2":
            alone, groups = groups, average_over_shadow_tasks(groups)
            if any(len(group.shadow_tasks) > 1 for group in groups):
                note = _AVERAGED
            if left_out := {group.task for group in alone} - {group.task for group in groups}:
                names = ", ".join(map(plain_title, order_tasks(left_out)))
                note = _joined(note, f"Left out, no seed that all shadow tasks have: {names}.")
        if groups:
            found.append(metric_table(results, groups, title, OF_RUNS, note))
    if any(group.attack == "adversary 2" for group in results.groups):
        for name in ("precision", "recall"):
            full = transfer_table(results, name)
            found.append(
                full if fits_fn(full) else transfer_table(results, name, with_bounds=False)
            )
    return found
