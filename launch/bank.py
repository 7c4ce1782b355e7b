"""Trains a bank: many models of a task on random halves of its records, each asked about every record.

Without --data_dir the tasks are synthetic stand-ins.  Interrupt it anywhere: the same command continues
where it stopped.  launch.attack attacks what this trains.

Example: python -m launch.bank --tasks=location --num_models=16 --epochs=20
"""

import dataclasses

from absl import flags

from jleaks.data.tasks import get_task
from jleaks.experiments.bank_plan import BankPlan, default_sizes

from .app import WHAT, WHERE, define_execution, make_execution, run, start
from .fields import Fields
from .log import Log, console
from .privacy import with_target
from .recipe import make_recipe
from .tasks import DATA_DIR, define_own_data, define_tasks, read_tasks, source, told

define_execution()

_WORKDIR = flags.DEFINE_string(
    "workdir", "checkpoints/bank", "Directory of the tasks' banks.", module_name=WHERE
)
_TASKS = define_tasks("location")
define_own_data()
_OTHERWISE = ("task", "source", "recipe", "quantile", "data")
_FIELDS = Fields(
    BankPlan,
    [field.name for field in dataclasses.fields(BankPlan) if field.name not in _OTHERWISE],
    WHAT,
    unset={
        "num_candidates": "all but the population, up to 50,000",
        "num_population": "a sixth of the records, up to 10,000",
    },
    defaults={"num_models": 128},
)


def make_plans() -> list[BankPlan]:
    """Returns one plan per task.

    Raises:
      InputError: a value cannot be used, or a task was not prepared.
    """
    from jleaks.data.origin import num_records

    plans = []
    for name in read_tasks(_TASKS):
        values = _FIELDS.values()
        have = num_records(name, source(), DATA_DIR.value)
        candidates, population = default_sizes(have, values.get("num_targets", 0))
        values = {"num_candidates": candidates, "num_population": population, **values}
        values["defence"] = with_target(values.get("defence"))
        recipe = make_recipe(get_task(name))
        plans.append(BankPlan(task=name, source=source(), recipe=recipe, **values).validate())
    return plans


def main(_: list[str]) -> int:
    """Trains the banks."""
    from jleaks.experiments.bank import make_bank
    from jleaks.training.reporter import describe_device

    plans, execution = make_plans(), make_execution()
    execution = start(execution, together=True)
    log = Log(console())
    for line in told([plan.task for plan in plans]):
        log.line(line)
    for plan in plans:
        workdir = f"{_WORKDIR.value}/{plan.task}"
        log.follow(workdir)
        log.line(f"bank {plan.fingerprint()}, {describe_device(execution)}, {workdir}")
        make_bank(plan, execution, workdir, DATA_DIR.value, log.reporter)
    return 0


if __name__ == "__main__":
    run(main, "python -m launch.bank", __doc__ or "")
