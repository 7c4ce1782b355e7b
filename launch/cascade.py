"""Attacks in rounds: shadows are trained anew for each target, on what the rounds before were sure of.

CMIA (Du et al., NDSS 2026): records that the attack is sure of are assumed in the next round's shadows.
Beside it stands the same attack with as many plain shadows.  Writes rows.jsonl (one row per target and
round, with device seconds), results.csv and tables.md.  Without --data_dir the task is a synthetic
stand-in.  Interrupt it anywhere: the same command continues from the models that are kept.

Example: python -m launch.cascade --tasks=location --num_targets=2 --num_shadows=4 --epochs=10
"""

import dataclasses

from absl import flags

from jleaks.data.tasks import get_task
from jleaks.experiments.bank_plan import default_sizes
from jleaks.experiments.cascade_plan import CascadePlan

from .app import WHAT, WHERE, define_execution, make_execution, run, start
from .command_line import public_command
from .fields import Fields
from .log import Log, console
from .recipe import make_recipe
from .tasks import DATA_DIR, define_own_data, define_tasks, read_tasks, source, told

define_execution()

_WORKDIR = flags.DEFINE_string(
    "workdir", "checkpoints/cascade", "Directory of the tasks' cascades.", module_name=WHERE
)
_MODELS_DIR = flags.DEFINE_string(
    "models_dir",
    None,
    "Where trained models are kept; runs may share one.  Default: the task's directory.",
    module_name=WHERE,
)
_TASKS = define_tasks("location")
define_own_data()
_OTHERWISE = ("task", "source", "recipe", "data")
_FIELDS = Fields(
    CascadePlan,
    [field.name for field in dataclasses.fields(CascadePlan) if field.name not in _OTHERWISE],
    WHAT,
    unset={
        "num_candidates": "all but the population, up to 50,000",
        "num_population": "a sixth of the records, up to 10,000",
    },
)


def main(_: list[str]) -> int:
    """Runs the cascades."""
    from jleaks.data.origin import num_records
    from jleaks.experiments.cascade import cascade
    from jleaks.files import replace_file
    from jleaks.report.cascade_table import cascade_table
    from jleaks.rows import write_csv
    from jleaks.training.reporter import describe_device

    plans = []
    for name in read_tasks(_TASKS):
        candidates, population = default_sizes(num_records(name, source(), DATA_DIR.value))
        values = {"num_candidates": candidates, "num_population": population, **_FIELDS.values()}
        recipe = make_recipe(get_task(name))
        plans.append(CascadePlan(task=name, source=source(), recipe=recipe, **values).validate())
    execution = start(make_execution())
    output = console()
    log = Log(output)
    for line in told([plan.task for plan in plans]):
        log.line(line)
    for plan in plans:
        folder = f"{_WORKDIR.value}/{plan.task}"
        log.follow(folder)
        log.line(f"cascade {plan.fingerprint()}, {describe_device(execution)}, {folder}")
        rows = cascade(
            plan,
            execution,
            folder,
            DATA_DIR.value,
            _MODELS_DIR.value,
            public_command(),
            log.reporter,
        )
        table = cascade_table(rows)
        output.print(table.to_rich(output))
        for path in (
            write_csv(f"{folder}/results.csv", rows, ()),
            replace_file(f"{folder}/tables.md", table.to_markdown().encode()),
        ):
            log.line(f"wrote {path}")
    return 0


if __name__ == "__main__":
    run(main, "python -m launch.cascade", __doc__ or "")
