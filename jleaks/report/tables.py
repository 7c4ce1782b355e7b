"""Tables of a run, for the terminal, a text file and a results folder.

One table per adversary with every task's figures, and for adversary 2 the transfer matrices of
precision and recall with adversary 1 on their diagonal.
"""

import dataclasses
import io
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from jleaks.files import replace_file
from jleaks.report.numbers import few_mark, interval_text, notes
from jleaks.report.summary import Summary, average_over_shadow_tasks, summarise, transfers
from jleaks.report.table import Cell, Table
from jleaks.report.titles import (
    ADVERSARIES,
    Sources,
    flagged_title,
    order_tasks,
    plain_title,
    short_title,
    source_note,
    source_suffix,
    task_sources,
)
from jleaks.rows import Row, collapsed_note

_METRIC_COLUMNS: dict[str, str] = {
    "precision": "Precision",
    "recall": "Recall",
    "auc": "AUC",
    "accuracy": "Accuracy",
    "tpr_at_fpr_0.01": "TPR at\n1% FPR",
    "train_accuracy": "Target\ntrain acc.",
    "test_accuracy": "Target\ntest acc.",
    "precision_shadow_cut": "Precision,\nshadow cut",
    "recall_shadow_cut": "Recall,\nshadow cut",
    "accuracy_shadow_cut": "Accuracy,\nshadow cut",
}


def _count(fewest_and_most: tuple[int, int]) -> str:
    fewest, most = fewest_and_most
    return f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"


def _columns(summaries: Sequence[Summary]) -> dict[str, str]:
    """Returns the metrics of a table and their heads: without the shadow's cut where nobody has one."""
    with_cut = any(summary.metrics["accuracy_shadow_cut"].n for summary in summaries)
    return {
        metric: head
        for metric, head in _METRIC_COLUMNS.items()
        if with_cut or not metric.endswith("_shadow_cut")
    }


def _interval_note(summaries: Sequence[Summary], confidence: float) -> str:
    """Returns the sentences that say what stands behind a ± and what where there is none."""
    seeds = {len(summary.seeds) for summary in summaries}
    if seeds == {1}:
        return "One seed: no intervals."
    note = f"Mean over seeds ± half-width of the {100 * confidence:g}% t interval."
    return f"{note} No ±: a single seed." if 1 in seeds else note


def _metric_text(summary: Summary, metric: str) -> str:
    of = summary.num_defined[metric], summary.num_rows
    mark = few_mark(metric, summary.num_nonmembers[0])
    return interval_text(summary.metrics[metric], of, mark=mark)


def _fpr_note(summaries: Sequence[Summary]) -> str:
    realised = [summary.metrics["fpr_realised_0.01"].mean for summary in summaries]
    realised = [value for value in realised if not math.isnan(value)]
    if not realised:
        return ""
    low, high = f"{min(realised):.4f}", f"{max(realised):.4f}"
    return f"FPR realised at the 1% point: {low if low == high else f'{low} to {high}'}."


def _join(*sentences: str) -> str:
    return " ".join(sentence for sentence in sentences if sentence)


def _metric_table(
    summaries: Sequence[Summary], title: str, sources: Sources, note: str, confidence: float
) -> Table:
    """Returns the table of one adversary: a row per target task and statistic."""
    with_shadows = any(summary.adversary == 2 for summary in summaries)
    with_statistic = len({summary.statistic for summary in summaries}) > 1
    balanced = all(summary.num_members == summary.num_nonmembers for summary in summaries)
    columns = _columns(summaries)
    heads = ["Task"]
    heads += ["Shadow tasks"] if with_shadows else []
    heads += ["Statistic"] if with_statistic else []
    heads += ["Seeds", "Members" if balanced else "Members / non-members"]

    rows: list[tuple[Cell, ...]] = []
    texts: list[str] = []
    section_ends: set[int] = set()
    previous = None
    for summary in summaries:
        # The task is named once, then its statistics follow.
        name = "" if summary.task == previous else flagged_title(summary.task, sources)
        if with_statistic and name and rows:
            section_ends.add(len(rows) - 1)
        previous = summary.task
        cells = [name]
        if with_shadows:
            shadows = summary.shadow_tasks
            cells.append(
                flagged_title(shadows[0], sources) if len(shadows) == 1 else f"{len(shadows)}"
            )
        if with_statistic:
            cells.append(summary.statistic)
        members = _count(summary.num_members)
        cells += [
            str(len(summary.seeds)),
            members if balanced else f"{members} / {_count(summary.num_nonmembers)}",
        ]
        numbers = [_metric_text(summary, metric) for metric in columns]
        texts += numbers
        rows.append(tuple(Cell(cell) for cell in [*cells, *numbers]))

    tasks = {task for summary in summaries for task in (summary.task, *summary.shadow_tasks)}
    caption = _join(
        note,
        _interval_note(summaries, confidence),
        notes(texts),
        "As many non-members as members." if balanced else "",
        "Accuracy: of the decision member or non-member.",
        "Shadow cut: decided at the cut that separates the attack model's own rows best, not at its 0.5."
        if len(columns) == len(_METRIC_COLUMNS)
        else "",
        _fpr_note(summaries),
        source_note(tasks, sources),
    )
    return Table(
        title=title + source_suffix(tasks, sources),
        caption=caption,
        heads=(*heads, *columns.values()),
        num_text_columns=1 + with_shadows + with_statistic,
        rows=tuple(rows),
        section_ends=frozenset(section_ends),
    )


def _matrix_text(summary: Summary, metric: str, with_half_width: bool) -> str:
    interval = summary.metrics[metric]
    if not with_half_width:
        interval = dataclasses.replace(interval, low=math.nan, high=math.nan)
    return interval_text(interval, (summary.num_defined[metric], summary.num_rows), digits=2)


def _transfer_table(
    rows: Sequence[Row], metric: str, sources: Sources, confidence: float, with_half_width: bool
) -> Table:
    """Returns the matrix of one metric: shadow tasks down, target tasks across."""
    matrix = transfers(rows, confidence)
    shadows = order_tasks(shadow for shadow, _ in matrix)
    targets = order_tasks(target for _, target in matrix)
    body = []
    for shadow in shadows:
        cells = [Cell(flagged_title(shadow, sources))]
        for target in targets:
            summary = matrix.get((shadow, target))
            text = "" if summary is None else _matrix_text(summary, metric, with_half_width)
            cells.append(Cell(text, marked=shadow == target and summary is not None))
        body.append(tuple(cells))
    tasks = {*shadows, *targets}
    attacks = [row for row in rows if row["adversary"] != 3]
    if not any(summary.metrics[metric].is_bounded for summary in matrix.values()):
        note = "One seed: no intervals."
    elif with_half_width:
        note = f"Mean over seeds ± half-width of the {100 * confidence:g}% t interval."
    else:
        note = "Mean over seeds."
    key = ", ".join(
        f"{short_title(task)} = {plain_title(task)}"
        for task in targets
        if short_title(task) != plain_title(task)
    )
    return Table(
        title=f"Transfer of the attack model, {metric}: shadow task (row) to target task (column)"
        + source_suffix(tasks, sources),
        caption=_join(
            note,
            notes([cell.text for row in body for cell in row[1:]]),
            "Marked diagonal: adversary 1.",
            f"{key}." if key else "",
            collapsed_note(attacks),
            source_note(tasks, sources),
        ),
        heads=("Shadow task", *(short_title(task) for task in targets)),
        num_text_columns=1,
        rows=tuple(body),
        compact=True,
    )


def _metric_tables(rows: Sequence[Row], sources: Sources, confidence: float) -> list[Table]:
    """Returns the tables of the adversaries that occur in `rows`."""
    summaries = summarise(rows, confidence)
    tables = []
    for adversary, title in ADVERSARIES.items():
        chosen = [summary for summary in summaries if summary.adversary == adversary]
        note = ""
        if adversary == 2:
            targets = {summary.task for summary in chosen}
            chosen = average_over_shadow_tasks(rows, confidence)
            if any(len(summary.shadow_tasks) > 1 for summary in chosen):
                note = "Each value is averaged over the shadow tasks before the mean over seeds."
            left_out = targets - {summary.task for summary in chosen}
            if left_out:
                names = ", ".join(plain_title(task) for task in order_tasks(left_out))
                note = _join(note, f"Left out, no seed that all shadow tasks have: {names}.")
        if chosen:
            note = _join(note, collapsed_note(r for r in rows if r["adversary"] == adversary))
            tables.append(_metric_table(chosen, title, sources, note, confidence))
    return tables


def _tables(
    rows: Sequence[Row], confidence: float, fits_fn: Callable[[Table], bool]
) -> list[Table]:
    """Returns all tables; matrices carry half-widths where `fits_fn` accepts that form."""
    sources = task_sources(rows)
    tables = _metric_tables(rows, sources, confidence)
    if any(row["adversary"] == 2 for row in rows):
        for metric in ("precision", "recall"):
            full = _transfer_table(rows, metric, sources, confidence, with_half_width=True)
            brief = _transfer_table(rows, metric, sources, confidence, with_half_width=False)
            tables.append(full if fits_fn(full) else brief)
    return tables


def print_tables(rows: Sequence[Row], console: Console, confidence: float = 0.95) -> None:
    """Prints the tables of a run.

    A transfer matrix too wide for the console is printed without the half-widths.  Columns for
    which there still is no room continue below.

    Args:
      rows: The rows of a run.
      console: Where to print.
      confidence: Coverage of the intervals.

    Raises:
      InputError: there are no rows, or they are not of one run (see `summarise`,
        `task_sources`).
    """
    for table in _tables(rows, confidence, lambda table: table.fits(console)):
        console.print(table.to_rich(console))


def write_text_tables(
    path: str | os.PathLike[str], rows: Sequence[Row], confidence: float = 0.95
) -> Path:
    """Writes the tables of a run as plain UTF-8 text, 160 columns wide or less for twelve tasks.

    Args:
      path: The file to write; missing folders are created.
      rows: The rows of a run.
      confidence: Coverage of the intervals.

    Returns:
      `path`.

    Raises:
      InputError: as for `print_tables`, or the file cannot be written.
    """
    text = io.StringIO()
    # Everything that rich would otherwise find out from the terminal or the environment is said,
    # so that the file is the same wherever it is written.
    console = Console(
        file=text,
        width=160,
        color_system=None,
        force_terminal=False,
        force_jupyter=False,
        legacy_windows=False,
    )
    print_tables(rows, console, confidence)
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    return replace_file(path, ("\n".join(lines).rstrip() + "\n").encode())


def markdown_tables(rows: Sequence[Row], confidence: float = 0.95) -> str:
    """Returns the tables of a run as GitHub-flavoured Markdown, for a results folder.

    Args:
      rows: The rows of a run.
      confidence: Coverage of the intervals.

    Raises:
      InputError: as for `print_tables`.
    """
    return "\n".join(table.to_markdown() for table in _tables(rows, confidence, lambda _: True))
