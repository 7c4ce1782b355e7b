"""Trains targets and shadows of many tasks and seeds and runs the three adversaries: the main job.

Without --data_dir the tasks are synthetic stand-ins.  Interrupt it anywhere: the same command continues
where it stopped; once it has finished, the same command prints the results again.

Example: python -m launch.sweep --tasks=location,mnist --num_seeds=3 --scale=0.05 --epochs=20
"""

from absl import flags

from jleaks.experiments.plan import Plan
from jleaks.training import processes

from .app import WHAT, WHERE, define_execution, make_execution, run, start
from .attack_recipe import make_attack_recipe
from .command_line import public_command
from .fields import Fields
from .log import Log, console
from .privacy import with_target
from .recipe import chosen_model, make_recipe
from .tasks import (
    DATA_DIR,
    define_own_data,
    define_task_seeds,
    define_tasks,
    read_seeds,
    read_tasks,
    source,
    told,
)

define_execution()

_WORKDIR = flags.DEFINE_string(
    "workdir", "checkpoints/sweep", "Directory of this run.", module_name=WHERE
)
_TASKS, _TASK_SEEDS = define_tasks("all"), define_task_seeds()
define_own_data()
_NUM_SEEDS = flags.DEFINE_integer(
    "num_seeds",
    5,
    "Number of independent repetitions (split, weights, order) of each task.",
    module_name=WHAT,
)
_FIELDS = Fields(
    Plan,
    (
        *("scale", "top", "adversaries", "num_random_points", "percentile", "membership"),
        *("defence", "attacker"),
    ),
    WHAT,
)


def make_plan() -> Plan:
    """Returns the plan that the flags describe.

    Raises:
      InputError: a flag's value cannot be read.
    """
    names, values = read_tasks(_TASKS), _FIELDS.values()
    seeds = dict.fromkeys(names, _NUM_SEEDS.value) | read_seeds(_TASK_SEEDS.value, names)
    values["defence"] = with_target(values.get("defence"))
    values["adversaries"] = tuple(sorted(set(values["adversaries"])))
    return Plan(
        tasks=names,
        seeds=tuple(seeds.values()),
        source=source(),
        target=make_recipe(),
        attack=make_attack_recipe(),
        model=chosen_model(),
        **values,
    ).validate()


def main(_: list[str]) -> int:
    """Runs the sweep."""
    from jleaks.experiments import sweep as main_job
    from jleaks.report.report import report_run
    from jleaks.training.reporter import describe_device

    plan, execution = make_plan(), make_execution()
    execution = start(execution, together=True)
    output = console()
    log = Log(output, folder=_WORKDIR.value)
    log.line(f"plan {plan.fingerprint()}, {describe_device(execution)}, {_WORKDIR.value}")
    for line in told(plan.tasks):
        log.line(line)
    rows = main_job.run(plan, execution, _WORKDIR.value, DATA_DIR.value, log.reporter)
    if not processes.is_first():
        return 0
    log.results(rows)
    for path in report_run(rows, _WORKDIR.value, output, public_command()):
        log.line(f"wrote {path}")
    return 0


if __name__ == "__main__":
    run(main, "python -m launch.sweep", __doc__ or "")
