"""The main job of the paper, as one call."""

import os
import tempfile
from collections.abc import Callable

import pandas as pd

from jleaks.experiments import sweep as main_job
from jleaks.experiments.plan import Plan
from jleaks.training.execution import Execution
from jleaks.training.reporter import Reporter


def sweep(
    plan: Plan,
    *,
    data_dir: str | None = None,
    workdir: str | os.PathLike[str] | None = None,
    execution: Execution | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> pd.DataFrame:
    """Trains targets and shadows of a plan's tasks and seeds, and runs the three adversaries.

    Args:
      plan: What defines the numbers.
      data_dir: Datasets prepared by `jleaks prepare`; needed unless the plan is synthetic.
      workdir: Where models and rows are kept, so that a stopped run goes on; None for nowhere.
      execution: How fast.
      tell: Receives lines of progress.

    Returns:
      One row per attack, target and seed.

    Raises:
      InputError: anything about the input, before any long work.
      Preempted: a stop signal arrived; the same call continues.
      DivergedError: a model's loss was not finite.
    """
    with tempfile.TemporaryDirectory() as scratch:
        rows = main_job.run(
            plan, execution or Execution(), workdir or scratch, data_dir, Reporter(tell)
        )
    return pd.DataFrame(rows)
