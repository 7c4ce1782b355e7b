"""Attacks by imitators: a few models imitate each target, beside many plain shadows.

IMIA (zealscott/IMIA, December 2025): imitators are trained towards what the target answers about the
attacker's records, who has the audited ones (--setting=adaptive) or not (disjoint).  Beside them stand
LiRA, RMIA and, of the second, PMIA with as many plain shadows and with ten times as many.  Writes
rows.jsonl (a row per attack, with device seconds), results.csv and tables.md.  Without --data_dir the task
is a synthetic stand-in.  Interrupt it anywhere: the same command continues from the models that are kept.

Example: python -m launch.imitate --tasks=location --num_targets=2 --num_imitators=4 --num_shadows=8
"""

import dataclasses

from absl import flags

from jleaks.data.tasks import get_task
from jleaks.experiments.bank_plan import default_sizes
from jleaks.experiments.imitation_plan import ImitationPlan

from .app import WHAT, WHERE, define_execution, make_execution, run, start
from .command_line import public_command
from .fields import Fields
from .log import Log, console
from .recipe import make_recipe
from .tasks import DATA_DIR, define_own_data, define_tasks, read_tasks, source, told

define_execution()

_WORKDIR = flags.DEFINE_string(
    "workdir", "checkpoints/imitation", "Directory of the tasks' results.", module_name=WHERE
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
    ImitationPlan,
    [field.name for field in dataclasses.fields(ImitationPlan) if field.name not in _OTHERWISE],
    WHAT,
    unset={
        "num_candidates": "all but the population, up to 50,000",
        "num_population": "a sixth of the records, up to 10,000",
    },
)


def main(_: list[str]) -> int:
    """Runs the attacks."""
    from jleaks.data.origin import num_records
    from jleaks.experiments.imitation import imitate
    from jleaks.files import replace_file
    from jleaks.report.imitation_table import imitation_table
    from jleaks.rows import write_csv
    from jleaks.training.reporter import describe_device

    plans = []
    for name in read_tasks(_TASKS):
        values = _FIELDS.values()
        total = num_records(name, source(), DATA_DIR.value)
        candidates, population = default_sizes(total, values.get("setting") == "disjoint")
        values = {"num_candidates": candidates, "num_population": population, **values}
        recipe = make_recipe(get_task(name))
        plans.append(ImitationPlan(task=name, source=source(), recipe=recipe, **values).validate())
    execution = start(make_execution())
    output = console()
    log = Log(output)
    for line in told([plan.task for plan in plans]):
        log.line(line)
    for plan in plans:
        folder = f"{_WORKDIR.value}/{plan.task}"
        log.follow(folder)
        log.line(f"imitation {plan.fingerprint()}, {describe_device(execution)}, {folder}")
        rows = imitate(
            plan,
            execution,
            folder,
            DATA_DIR.value,
            _MODELS_DIR.value,
            public_command(),
            log.reporter,
        )
        table = imitation_table(rows)
        output.print(table.to_rich(output))
        for path in (
            write_csv(f"{folder}/results.csv", rows, ()),
            replace_file(f"{folder}/tables.md", table.to_markdown().encode()),
        ):
            log.line(f"wrote {path}")
    return 0


if __name__ == "__main__":
    run(main, "python -m launch.imitate", __doc__ or "")
