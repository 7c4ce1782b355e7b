"""Tables of the paper's experiments: means over seeds with 95% t intervals."""

import math
from collections.abc import Callable, Sequence

from jleaks.experiments.claims import (
    ATTACKS,
    get_experiment,
    value_rank,
    value_title,
    variant_rank,
    variant_title,
)
from jleaks.metrics.intervals import Interval, correlation_interval
from jleaks.report.numbers import UNDEFINED, few_mark, interval_text, notes
from jleaks.report.paper.cells import COLUMNS, COSTS, flat_title, range_text, seeds_text
from jleaks.report.paper.contrast_tables import contrast_table
from jleaks.report.paper.contrasts import about
from jleaks.report.paper.groups import CONFIDENCE, GAP, Group, average_over_shadow_tasks
from jleaks.report.paper.points import points_table
from jleaks.report.paper.results import Results
from jleaks.report.paper.rows import engine_rows
from jleaks.report.summary import transfers
from jleaks.report.table import Cell, Table
from jleaks.report.titles import flagged_title, order_tasks, short_title, source_note, source_suffix
from jleaks.rows import collapsed_note

_SERIES_METRICS: dict[str, tuple[str, ...]] = {
    "E3": ("precision", "recall", "auc", "target_train_accuracy", "target_test_accuracy"),
    "E5": ("precision", "recall", "auc", "accuracy", "tpr_at_fpr_0.01"),
    "E6": ("precision", "recall", "auc", "tpr_at_fpr_0.01", "shadow_seconds", *COSTS),
    "E14": ("precision", "recall", "accuracy"),
}

_OWN_SERIES = ("precision", "recall", "auc", "accuracy", "target_test_accuracy")


def _cell_text(group: Group, metric: str) -> str:
    if metric == "shadow_flops":
        # Counted, not measured: equal for all seeds.
        mean = group.interval(metric).mean
        return UNDEFINED if math.isnan(mean) else f"{mean / 1e12:.3g}"
    digits = 1 if metric.endswith("seconds") else 3
    mark = few_mark(metric, group.any_row["num_nonmembers"])
    return interval_text(group.interval(metric), group.defined(metric), digits=digits, mark=mark)


def _defined(groups: Sequence[Group], metric: str) -> bool:
    return any(group.interval(metric).n for group in groups)


def _notes(results: Results, groups: Sequence[Group], texts: list[str]) -> str:
    """Returns the sentences that explain the numbers of a table, whose cells hold `texts`."""
    found = [seeds_text(len(group.rows) for group in groups), notes(texts)]
    tasks = {task for group in groups for task in (group.task, *group.shadow_tasks)}
    found.append(collapsed_note(results.rows))
    found.append(source_note(tasks, results.sources))
    return " ".join(note for note in found if note)


def _fpr_note(groups: Sequence[Group]) -> str:
    parts = []
    for rate, title in (("0.01", "1%"), ("0.001", "0.1%")):
        values = [group.interval(f"fpr_realised_{rate}").mean for group in groups]
        values = [value for value in values if not math.isnan(value)]
        if values:
            parts.append(f"{range_text(values, '.4f')} at {title}")
    return f"FPR realised: {', '.join(parts)}." if parts else ""


def _shadow_titles(group: Group, results: Results) -> str:
    if group.attack != "adversary 2":
        return UNDEFINED
    names = group.shadow_tasks
    return flagged_title(names[0], results.sources) if len(names) == 1 else f"{len(names)} tasks"


def metric_table(results: Results) -> Table:
    """Returns one row per group with every metric that is defined."""
    groups = list(results.groups)
    averaged = ""
    if results.name == "E15":
        groups = average_over_shadow_tasks(groups)
        averaged = "Adversary 2: averages over its shadow tasks within each seed."
    named = {name for group in groups for name, value in group.variant if value is not None}
    entries = sorted(named, key=variant_rank)
    columns = [metric for metric in COLUMNS if _defined(groups, metric)]
    with_shadows = any(group.attack == "adversary 2" for group in groups)
    rows, ends = [], set()
    texts: list[str] = []
    for i, group in enumerate(groups):
        new_task = i == 0 or group.task != groups[i - 1].task
        if new_task and i:
            ends.add(i - 1)
        any_row = group.any_row
        cells = [flagged_title(group.task, results.sources) if new_task else ""]
        cells += [ATTACKS[group.attack]]
        cells += [_shadow_titles(group, results)] if with_shadows else []
        cells += [value_title(group.get(name)) for name in entries]
        cells += [str(len(group.rows)), f"{any_row['num_members']:,}"]
        numbers = [_cell_text(group, metric) for metric in columns]
        texts += numbers
        rows.append(tuple(map(Cell, [*cells, *numbers])))
    nonmembers = "As many non-members as members." if _balanced(results) else ""
    sentences = (averaged, _notes(results, groups, texts), nonmembers, _fpr_note(groups))
    heads = ["Task", "Attack", *(["Shadow task"] if with_shadows else [])]
    heads += [variant_title(name) for name in entries]
    return Table(
        title=f"{results.name}: every attack{source_suffix(results.tasks, results.sources)}",
        caption=" ".join(sentence for sentence in sentences if sentence),
        heads=(*heads, "Seeds", "Members", *(COLUMNS[metric] for metric in columns)),
        num_text_columns=len(heads),
        rows=tuple(rows),
        section_ends=frozenset(ends),
    )


def _balanced(results: Results) -> bool:
    return all(row["num_members"] == row["num_nonmembers"] for row in results.rows)


def series_table(results: Results) -> Table:
    """Returns a table with the values of the variant across, metrics, tasks and attacks down."""
    entry = get_experiment(results.name).varies[0]
    values = sorted({group.get(entry) for group in results.groups}, key=value_rank)
    lines: dict[tuple[str, str], dict[object, Group]] = {}
    for group in results.groups:
        key = (group.task, about(group, [entry]))
        lines.setdefault(key, {})[group.get(entry)] = group
    rows, ends = [], set()
    texts: list[str] = []
    for metric in _SERIES_METRICS.get(results.name, _OWN_SERIES):
        if not _defined(results.groups, metric):
            continue
        for (task, text), found in lines.items():
            cells = [flat_title(metric), flagged_title(task, results.sources), text]
            cells.append(range_text((len(group.rows) for group in found.values()), "d"))
            numbers = [_cell_text(found[v], metric) if v in found else "" for v in values]
            texts += numbers
            rows.append(tuple(map(Cell, [*cells, *numbers])))
        ends.add(len(rows) - 1)
    return Table(
        title=f"{results.name}: against {variant_title(entry).lower()}"
        + source_suffix(results.tasks, results.sources),
        caption=f"{_notes(results, results.groups, texts)} {_fpr_note(results.groups)}".strip(),
        heads=("Metric", "Task", "Attack", "Seeds", *map(value_title, values)),
        num_text_columns=3,
        rows=tuple(rows),
        section_ends=frozenset(ends),
    )


def correlation_table(results: Results) -> Table:
    """Returns the correlation over tasks of the overfitting gap with adversary 1's metrics."""
    rows = []
    for metric in ("precision", "recall", "auc", "accuracy"):
        r = gap_correlation(results, metric)
        bounds = f"[{r.low:.3f}, {r.high:.3f}]" if r.is_bounded else UNDEFINED
        value = UNDEFINED if math.isnan(r.mean) else f"{r.mean:.3f}"
        title = flat_title(metric)
        rows.append(tuple(map(Cell, (title, str(r.n), value, bounds))))
    return Table(
        title=f"{results.name}: train minus test accuracy against adversary 1"
        + source_suffix(results.tasks, results.sources),
        caption=f"Pearson's correlation over tasks of the means over seeds, Fisher's {CONFIDENCE:.0%} "
        "interval, which takes tasks for independent (tasks cut from one data set are not).  "
        + source_note(results.tasks, results.sources),
        heads=("Metric", "Tasks", "Pearson r", "95% interval"),
        num_text_columns=1,
        rows=tuple(rows),
    )


def gap_correlation(results: Results, metric: str) -> Interval:
    """Returns Pearson's r over tasks between the overfitting gap and a metric of adversary 1."""
    mine = [group for group in results.groups if group.attack == "adversary 1"]
    gaps = [group.interval(GAP).mean for group in mine]
    return correlation_interval(gaps, [group.interval(metric).mean for group in mine], CONFIDENCE)


def transfer_table(results: Results, metric: str) -> Table:
    """Returns the matrix of one metric: shadow tasks down, target tasks across."""
    matrix = transfers(engine_rows(results.rows), CONFIDENCE)
    shadows = order_tasks(shadow for shadow, _ in matrix)
    targets = order_tasks(target for _, target in matrix)
    rows = []
    for shadow in shadows:
        cells = [Cell(flagged_title(shadow, results.sources))]
        for target in targets:
            summary = matrix.get((shadow, target))
            text = ""
            if summary is not None:
                of = summary.num_defined[metric], summary.num_rows
                text = interval_text(summary.metrics[metric], of, digits=2)
            cells.append(Cell(text, marked=shadow == target and summary is not None))
        rows.append(tuple(cells))
    tasks = {*shadows, *targets}
    return Table(
        title=f"{results.name}: {COLUMNS[metric]}, shadow task (row) to target task (column)"
        + source_suffix(tasks, results.sources),
        caption=" ".join(
            sentence
            for sentence in (
                seeds_text(summary.metrics[metric].n for summary in matrix.values()),
                notes([cell.text for row in rows for cell in row[1:]]),
                f"Marked diagonal: adversary 1. {UNDEFINED}: no seed defines the value.",
                collapsed_note(results.rows),
                source_note(tasks, results.sources),
            )
            if sentence
        ),
        heads=("Shadow task", *map(short_title, targets)),
        num_text_columns=1,
        rows=tuple(rows),
        compact=True,
    )


def tables(results: Results) -> list[Table]:
    """Returns all tables of an experiment, the ones that answer its question first."""
    found: list[Table | None] = []
    makers: dict[str, Callable[[], list[Table]]] = {
        "E2": lambda: [correlation_table(results)],
        "E10": lambda: [transfer_table(results, m) for m in ("precision", "recall", "auc")],
        "E11": lambda: [points_table(results)],
    }
    if results.name in makers:
        found += makers[results.name]()
    if get_experiment(results.name).table == "series":
        found.append(series_table(results))
    elif results.name != "E10" and results.rows:
        found.append(metric_table(results))
    found.append(contrast_table(results))
    return [table for table in found if table is not None]
