"""How hard are the synthetic stand-ins?  Train and test accuracy beside the real sets'.

python -m benchmarks.checks.stand_ins --synthetic=results/synthetic/rows.jsonl
"""

from benchmarks.harness import Command, where
from jleaks.data.tasks import TASKS
from jleaks.metrics.intervals import t_interval
from jleaks.report.numbers import interval_text
from jleaks.rows import Row, read_rows

COMMAND = Command(
    "benchmarks.checks.stand_ins",
    __doc__,
    real=where("Rows of the real sets.", "results/main/rows.jsonl"),
    synthetic=where("Rows of the stand-ins.", "results/synthetic/rows.jsonl"),
)


def mean_text(rows: list[Row], field: str) -> str:
    """Returns a field's mean over rows with a 95% t interval over seeds; "-" where no row has it."""
    values = [row[field] for row in rows]  # type: ignore[literal-required]
    if all(value is None for value in values):
        return "-"
    found = t_interval(values).within(0, 1)
    return interval_text(found, (found.n, len(values)))


def main() -> int:
    """Prints a Markdown table."""
    kinds = {name: read_rows(getattr(COMMAND, name)) for name in ("real", "synthetic")}
    heads = [head for kind in kinds for head in (f"{kind}, train", f"{kind}, test", "members")]
    print(f"| task | {' | '.join(heads)} |")
    print("|---" * 7 + "|")
    for task in TASKS:
        cells = []
        for rows in kinds.values():
            mine = [r for r in rows if r["task"] == task and r["adversary"] == 1]
            cells += [mean_text(mine, name) for name in ("train_accuracy", "test_accuracy")]
            cells.append(str(next((r["num_members"] for r in rows if r["task"] == task), "-")))
        print(f"| {task} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    COMMAND.run(main)
