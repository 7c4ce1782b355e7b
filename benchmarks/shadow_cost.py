"""Adversary 1 against the number, and the cost, of its shadow models (see benchmarks.attack_cost)."""

from pathlib import Path

from jleaks.experiments.engine import opened
from jleaks.experiments.paper import shadow_curve
from jleaks.experiments.paper_plan import PaperPlan
from jleaks.report.report import report_experiment
from jleaks.rows import OF_EXPERIMENT, Row, read_rows, write_rows
from jleaks.training.execution import Execution
from jleaks.training.reporter import Reporter

# The paper's experiment on the number of shadow models, whose rows and figures these are.
_EXPERIMENT = "E6"


def shadow_cost(
    plan: PaperPlan,
    execution: Execution,
    workdir: str,
    data_dir: str | None,
    command: str,
    reporter: Reporter,
) -> tuple[list[Row], list[Path]]:
    """Trains the largest number of shadows of every draw as one fleet, and attacks with nested subsets.

    Returns:
      One row per task, seed and number of shadows: precision, recall, AUC beside device seconds, wall
      seconds and FLOPs of training the shadows and device seconds of training the attack model; and
      the files written: rows, table, figures with the knee marked.

    Raises:
      InputError: anything about the input.
      Preempted: a stop signal arrived; the same call continues.
    """
    folder = Path(workdir) / "shadow cost"
    path = folder / "rows.jsonl"
    if path.exists():
        rows = read_rows(path, OF_EXPERIMENT)
    else:
        with opened(plan, execution, workdir, data_dir, None, command, reporter) as context:
            rows = shadow_curve(context, _EXPERIMENT, plan.tasks)
        write_rows(path, rows, OF_EXPERIMENT)
    return rows, [path, *report_experiment(_EXPERIMENT, rows, folder)]
