"""Adversaries 1 and 3 beside what the paper and its re-implementations report, from committed rows.

python -m benchmarks.paper_table --rows=results/main/rows.jsonl

References carry how sure we are of them: S, read in a source; m, recalled ("about").
"""

from absl import flags

from jleaks.data.tasks import TASKS
from jleaks.metrics.intervals import t_interval
from jleaks.report.numbers import interval_text
from jleaks.rows import Row, read_rows
from launch.flags import run

_ROWS = flags.DEFINE_string(
    "rows", "results/main/rows.jsonl", "Rows of a run.", module_name="Where"
)

# Adversary 1, precision/recall; Salem et al. 2019, figures 2 and 10, and the authors' README.
PAPER = {
    "adult": "about 0.5 [m]",
    "cifar100": "0.95/0.95 [S]",
    "mnist": "precision about 0.6 [S]",
    "purchase100": "about 0.86/0.86 [m], real Purchase",
    "location": "about 0.89/0.86 behind an API [m]",
}
# Adversary 1 in public re-implementations.
REIMPLEMENTATIONS = {
    "cifar10": "precision .56-.64, recall .82-.92, AUC about .68 [S]",
    "cifar100": "precision .64, recall .85, AUC .77 at accuracy .94/.21 [S]",
    "face": "AUC .80 at accuracy 1.00/.34 (all of LFW's people) [S]",
    "mnist": "accuracy of the attack .50-.51 [S]",
}


def cell(rows: list[Row], field: str) -> str:
    """Mean and 95% t interval over seeds."""
    values = [row[field] for row in rows]  # type: ignore[literal-required]
    if all(value is None for value in values):
        return "-"
    found = t_interval(values).within(0, 1)
    return interval_text(found, (found.n, len(values)))


def main(_: list[str]) -> int:
    """Prints a Markdown table."""
    rows = read_rows(_ROWS.value)
    columns = "task | seeds | train / test accuracy | 1: precision | 1: recall | 1: AUC | 3: AUC (maximum)"
    print(f"| {columns} | paper, adversary 1 | re-implementations |")
    print("|---" * 9 + "|")
    for name, task in TASKS.items():
        first = [r for r in rows if r["task"] == name and r["adversary"] == 1]
        third = [r for r in rows if r["task"] == name and r["attack"] == "maximum"]
        if not first:
            continue
        title = task.title + (" (stand-in)" if first[0]["source"] == "stand-in" else "")
        accuracy = f"{cell(first, 'train_accuracy')} / {cell(first, 'test_accuracy')}"
        cells = [title, str(len(first)), accuracy]
        cells += [cell(first, field) for field in ("precision", "recall", "auc")]
        cells += [cell(third, "auc"), PAPER.get(name, "-"), REIMPLEMENTATIONS.get(name, "-")]
        print(f"| {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    run(main, "python -m benchmarks.paper_table", __doc__ or "")
