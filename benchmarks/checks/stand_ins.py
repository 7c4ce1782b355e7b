"""How hard are the synthetic stand-ins?  Train and test accuracy beside the real sets'.

python -m benchmarks.checks.stand_ins --synthetic=results/synthetic/rows.jsonl
"""

from absl import flags

from jleaks.data.tasks import TASKS
from jleaks.metrics.intervals import t_interval
from jleaks.report.numbers import interval_text
from jleaks.rows import Row, read_rows
from launch.flags import run

_REAL = flags.DEFINE_string(
    "real", "results/main/rows.jsonl", "Rows of the real sets.", module_name="Where"
)
_SYNTHETIC = flags.DEFINE_string(
    "synthetic", "results/synthetic/rows.jsonl", "Rows of the stand-ins.", module_name="Where"
)


def cell(rows: list[Row], task: str, field: str) -> str:
    """Mean and 95% t interval over seeds of a target's accuracy."""
    values = [r[field] for r in rows if r["task"] == task and r["adversary"] == 1]  # type: ignore[literal-required]
    if not values:
        return "-"
    found = t_interval(values).within(0, 1)
    return interval_text(found, (found.n, len(values)))


def main(_: list[str]) -> int:
    """Prints a Markdown table."""
    real, synthetic = read_rows(_REAL.value), read_rows(_SYNTHETIC.value)
    print(
        "| task | real, train | real, test | members | synthetic, train | synthetic, test | members |"
    )
    print("|---|---|---|---|---|---|---|")
    for task in TASKS:
        cells = []
        for rows in (real, synthetic):
            cells += [cell(rows, task, name) for name in ("train_accuracy", "test_accuracy")]
            cells.append(str(next((r["num_members"] for r in rows if r["task"] == task), "-")))
        print(f"| {task} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    run(main, "python -m benchmarks.checks.stand_ins", __doc__ or "")
