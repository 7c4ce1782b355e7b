"""docs/attacks.md from committed results: every attack on every bank, and what the references cost.

python -m benchmarks.pages.attacks --results=results/bank --page=docs/attacks.md --readme=README.md

--results holds one directory per bank with summary.jsonl and roc.png (of launch.attack), and, where it was
measured, cost.jsonl and cost.png (of benchmarks.attack_cost); beside them null.jsonl (of
benchmarks.checks.null_banks), coverage.jsonl and coverage.png (of benchmarks.checks.coverage),
evaluator.jsonl (of benchmarks.evaluator) and command.jsonl (of benchmarks.scaling.attack_command); and in
the folder claims beside it what `benchmarks.pages.claims` reads.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.checks.coverage import coverage_table
from benchmarks.evaluator.evaluator import evaluator_table
from benchmarks.harness import Command, Layout, last_run, versions, where
from benchmarks.pages import claims, filled, render
from benchmarks.scaling.attack_command import LAYOUT as COMMAND_LAYOUT
from jleaks import json_lines
from jleaks.attacks.registry import ATTACKS
from jleaks.data.tasks import TASKS
from jleaks.errors import InputError
from jleaks.files import replace_file
from jleaks.report.bank_tables import (
    bank_tables,
    cost_table,
    curve,
    interval_note,
    knee,
    number,
)
from jleaks.report.numbers import FEW_NOTE, UNDEFINED, few_mark, notes
from jleaks.report.table import Table
from jleaks.rows import OF_SUMMARY, read_rows
from jleaks.training.recipe import RECIPES

Row = Mapping[str, Any]

COMMAND = Command(
    "benchmarks.pages.attacks",
    __doc__,
    results=where("Committed results.", "results/bank"),
    page=where("The page to write.", "docs/attacks.md"),
    readme=where(
        "A page whose table of TPRs, between the lines <!-- attacks table --> and <!-- /attacks table -->, "
        "is written, too."
    ),
)

# In between stands the table of TPRs.
TABLE = "attacks table"
_TPR = "tpr_at_fpr_0.001"

# Shown side by side for all tasks; the best known of each family and need.
_MAIN = (
    *("loss", "class_thresholds", "quantile", "label_only"),
    *("calibrated", "attack_r", "lira_offline", "rmia_offline", "bavaria_offline"),
    *("lira_online", "rmia_online", "base_online", "base_online_tempered", "bavaria"),
)


@dataclasses.dataclass(frozen=True)
class PageBank:
    """One bank of the page.

    Attributes:
      name: Of its directory.
      title: The task's, and what its recipe differs in from the main job's.
      rows: Its summary, one for each attack.
    """

    name: str
    title: str
    rows: Sequence[Row]

    def tables(self, results: Path) -> list[str]:
        """Returns what is known of it: its attacks, comparisons, audits."""
        here = results / self.name
        compared, audits = (
            read_rows(path, (), may_be_empty=True) if path.exists() else []
            for path in (here / "comparisons.jsonl", here / "audit.jsonl")
        )
        return [table.to_markdown() for table in bank_tables(self.rows, compared, audits)]

    def cost(self, results: Path) -> str:
        """Returns the table of attacks against references; "" where it was not measured."""
        path = results / self.name / "cost.jsonl"
        return cost_table(read_rows(path, OF_SUMMARY)).to_markdown() if path.exists() else ""


def _differences(task: str, recipe: Row) -> list[str]:
    """Returns what a recipe differs in from that of the main job."""
    usual = RECIPES["ml_leaks"].recipe
    found = []
    if recipe["model"] != TASKS[task].model:
        found.append(recipe["model"])
    if recipe["model"] == "mlp" and tuple(recipe["hidden"]) != usual.hidden:
        found.append(f"hidden {'-'.join(map(str, recipe['hidden']))}")
    if recipe["model"] in ("mlp", "cnn"):
        activation = recipe.get("activation", usual.activation)
        found += [activation] if activation != usual.activation else []
    if recipe["epochs"] != usual.epochs:
        found.append(f"{recipe['epochs']} epochs")
    if recipe.get("optimizer", usual.optimizer) != usual.optimizer:
        found.append(recipe["optimizer"].upper())
    if recipe.get("augmentation", "none") != "none":
        found.append(recipe["augmentation"])
    return found


def _title(name: str, first: Row) -> str:
    task, recipe = first["task"], first.get("recipe")
    if task not in TASKS:
        return name
    if recipe:
        return ", ".join([TASKS[task].title, *_differences(task, recipe)])
    return TASKS[task].title + ("" if name == task else f" ({name})")


def _banks(folder: Path) -> list[PageBank]:
    """Reads every directory with a summary, in the registry's order of tasks, then by name."""
    order = list(TASKS)

    def rank(bank: PageBank) -> tuple[int, str]:
        task = bank.rows[0]["task"]
        return order.index(task) if task in order else len(order), bank.name

    found = []
    for path in folder.glob("*/summary.jsonl"):
        name, rows = path.parent.name, read_rows(path, OF_SUMMARY)
        found.append(PageBank(name, _title(name, rows[0]), rows))
    if not found:
        raise InputError(f"{folder} has no NAME/summary.jsonl")
    titles = [bank.title for bank in found]
    told_apart = [
        bank
        if titles.count(bank.title) == 1
        else dataclasses.replace(bank, title=f"{bank.title} ({bank.name})")
        for bank in found
    ]
    return sorted(told_apart, key=rank)


_BANKS = Layout(
    "The banks",
    "Versions: {shown_versions}.",
    [
        ("Bank", "{title}"),
        ("Records", "{source}"),
        ("Models", "{num_models}"),
        ("Members of each", "{num_members:,.0f}"),
        ("Accuracy, members / non-members", "{train_accuracy:.3f} / {test_accuracy:.3f}"),
        ("Training", "{training_seconds:.0f} s"),
        ("Device", "{device}"),
        (
            "Evaluation of all attacks",
            "{count:,} in {evaluation_seconds:.0f} s, compilation included",
        ),
    ],
    num_text_columns=8,
)


def _what_was_run(banks: list[PageBank]) -> str:
    lines = [
        {
            **(first := bank.rows[0]),
            "title": bank.title,
            "count": len(bank.rows) * first["num_targets"],
        }
        for bank in banks
    ]
    table = _BANKS.table(lines, shown_versions=versions(lines[0]))
    return table.to_markdown().replace("### ", "## ", 1)


def _side_by_side(banks: list[PageBank], metric: str) -> str:
    """Returns a table of the main attacks on all banks, and below it what its signs mean."""
    lines: list[list[str]] = []
    needs = {"none": "-", "out": "OUT", "proxies and out": "proxies, OUT", "in and out": "IN, OUT"}
    by = [{r["attack"]: r for r in bank.rows} for bank in banks]
    texts: list[str] = []
    for attack in _MAIN:
        cells = [number(found[attack], metric) if attack in found else UNDEFINED for found in by]
        if any(cell != UNDEFINED for cell in cells):
            entry = ATTACKS[attack]
            lines.append([entry.title, needs[entry.references], *cells])
            texts += cells
    rows = [row for bank in banks for row in bank.rows]
    table = Table.of("", "", ["Attack", "Needs", *(bank.title for bank in banks)], 2, lines)
    return "\n".join(
        [*table.markdown_lines(), "", f"{interval_note(rows)} {notes(texts)}".rstrip()]
    )


def _ordering(banks: list[PageBank], folder: Path) -> list[str]:
    """What is found of what the literature reports, a line for each bank."""
    lines = []
    for bank in banks:
        by = {r["attack"]: r for r in bank.rows}
        tpr = {a: r[_TPR]["mean"] for a, r in by.items()}
        plain = max(v for a, v in tpr.items() if by[a]["needs"] == "none")
        best = max((a for a in tpr if by[a]["needs"] != "none"), key=lambda a: tpr[a])
        mark = few_mark(_TPR, by[best]["num_nonmembers"])
        times = f"{tpr[best] / plain:.0f} times" if plain > 0 else "against none of"
        text = (
            f"- **{bank.title}.** TPR at 0.1% FPR: {tpr[best]:.4f}{mark} with references "
            f"({ATTACKS[best].title}), {times} the best without ({plain:.4f}{mark})."
        )
        cost = folder / bank.name / "cost.jsonl"
        if cost.exists():
            text += " " + _few_and_many(read_rows(cost, OF_SUMMARY))
        lines.append(text)
    return lines


def _few_and_many(rows: Sequence[Row]) -> str:
    counts = sorted({r["num_references"] for r in rows})
    by = {(r["attack"], r["num_references"]): r[_TPR]["mean"] for r in rows}
    names = list(dict.fromkeys(r["attack"] for r in rows))

    mark = few_mark(_TPR, rows[0]["num_nonmembers"])

    def ahead(count: int) -> str:
        best = max(names, key=lambda name: by[name, count])
        return f"{ATTACKS[best].title} ({by[best, count]:.4f}{mark}) with {count}"

    few = 2 if 2 in counts else counts[0]
    knees = ", ".join(
        f"{ATTACKS[name].title} {knee(curve(rows, name, 'auc'))}"
        for name in ("lira_online", "rmia_online", "bavaria")
        if name in names
    )
    return (
        f"Ahead by that measure: {ahead(few)} references, {ahead(counts[-1])}. Knee of the AUC "
        f"(references): {knees}."
    )


_NULL = Layout(
    "Null checks",
    "",
    [
        ("Bank", "{task}"),
        ("Null", "{null}"),
        ("Attack", lambda row: ATTACKS[row["attack"]].title),
        ("Draws", "{draws}"),
        ("Mean AUC", "{mean_auc:.5f}"),
        ("Its standard error", "{standard_error:.5f}"),
        ("Interval over records covers 0.5", "{coverage_of_mean:.3f}", UNDEFINED),
        ("t interval over targets covers 0.5", "{coverage:.3f}", UNDEFINED),
        ("Epsilon bound over thresholds above 0", "{over_thresholds:.3f}", UNDEFINED),
        ("of one run", "{one_run:.3f}", UNDEFINED),
    ],
    num_text_columns=3,
)


def _table(path: Path, table_fn: Callable[[list[Any]], Table]) -> str:
    """Returns the table of a file's rows, "" where there is no file."""
    return table_fn(json_lines.read(path)).to_markdown() if path.exists() else ""


def page(folder: Path, beside: Path) -> str:
    """Returns the page.

    Args:
      folder: The committed results.
      beside: Directory that the page will lie in; figures are linked relative to it.
    """
    banks = _banks(folder)
    metrics = {
        "TPR at 0.1% FPR": _TPR,
        "TPR at 1% FPR": "tpr_at_fpr_0.01",
        "AUC": "auc",
    }
    # Its heading stands in the template, before the text.
    null = _table(folder / "null.jsonl", _NULL.table).partition("\n\n")[2]
    return render(
        "attacks.md.jinja",
        few_note=FEW_NOTE,
        what_was_run=_what_was_run(banks),
        side_by_side={title: _side_by_side(banks, metric) for title, metric in metrics.items()},
        ordering=_ordering(banks, folder),
        claims=[table.to_markdown() for table in claims.tables(folder.parent / "claims", folder)],
        null=null.rstrip("\n"),
        coverage=_table(folder / "coverage.jsonl", coverage_table),
        speed=_table(folder / "evaluator.jsonl", lambda rows: evaluator_table(last_run(rows))),
        command=_table(folder / "command.jsonl", lambda rows: COMMAND_LAYOUT.table(last_run(rows))),
        banks=banks,
        folder=folder,
        link=os.path.relpath(folder, beside),
    )


def with_table(readme: str, folder: Path) -> str:
    """Returns the text of a README with the table of TPRs between its markers.

    Raises:
      InputError: the markers are not there, once each and in order.
    """
    return filled(readme, TABLE, _side_by_side(_banks(folder), _TPR))


def main() -> int:
    target, folder = Path(COMMAND.page), Path(COMMAND.results)
    written = {target: page(folder, target.parent)}
    if COMMAND.readme:
        readme = Path(COMMAND.readme)
        if not readme.is_file():
            raise InputError(f"{readme} does not exist")
        try:
            written[readme] = with_table(readme.read_text(), folder)
        except InputError as error:
            raise InputError(f"{readme}: {error}") from error
    for path, text in written.items():
        replace_file(path, text.encode())
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    COMMAND.run(main)
