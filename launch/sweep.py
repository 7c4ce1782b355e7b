"""The main job: train targets and shadows of many tasks and seeds, run the three adversaries.

Without --data_dir the tasks are synthetic stand-ins.  Interrupt it anywhere: the same command continues
where it stopped; once it has finished, the same command prints the results again.
"""

import sys
from typing import Any, cast

from absl import flags

from jleaks import report
from jleaks.datasets.registry import TASKS, get_task
from jleaks.errors import InputError
from jleaks.paper import sweep as main_job
from jleaks.plan import Plan
from jleaks.preemption import Preempted
from jleaks.reporter import Reporter, describe_device
from jleaks.trainer import DivergedError
from launch.attack_recipe import make_attack_recipe
from launch.execution import make_execution, start
from launch.flags import run
from launch.log import Log, console
from launch.recipe import chosen_model, make_recipe

_WHERE = "Where"
_WHAT = "What is measured (defines the numbers)"

_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Datasets prepared by launch.prepare; without it the synthetic stand-ins are used.",
    module_name=_WHERE,
)
_WORKDIR = flags.DEFINE_string(
    "workdir", "checkpoints/sweep", "Directory of this run.", module_name=_WHERE
)

_TASKS = flags.DEFINE_list(
    "tasks", ["all"], f"all, or some of {', '.join(TASKS)}.", module_name=_WHAT
)
_NUM_SEEDS = flags.DEFINE_integer(
    "num_seeds", 5, "Independent repetitions (split, weights, order).", module_name=_WHAT
)
_TASK_SEEDS = flags.DEFINE_list(
    "task_seeds", [], "Exceptions to --num_seeds, such as cifar10=1,mnist=3.", module_name=_WHAT
)
_SCALE = flags.DEFINE_float(
    "scale", 1.0, "Fraction of the paper's records per part.", module_name=_WHAT
)
_TOP = flags.DEFINE_integer("top", 3, "Largest posteriors an attack model sees.", module_name=_WHAT)
_ADVERSARIES = flags.DEFINE_list(
    "adversaries", ["1", "2", "3"], "Some of 1, 2, 3.", module_name=_WHAT
)
_POINTS = flags.DEFINE_integer(
    "num_random_points", 1000, "Queries for adversary 3's threshold.", module_name=_WHAT
)
_PERCENTILE = flags.DEFINE_float(
    "percentile", 10.0, "Adversary 3: top percent of random points.", module_name=_WHAT
)
_MEMBERSHIP = flags.DEFINE_enum(
    "membership",
    "true",
    ["true", "shuffled"],
    "shuffled is the null check: membership is drawn by a coin and every attack must fail.",
    module_name=_WHAT,
)


def make_plan() -> Plan:
    """Returns the plan that the flags describe.

    Raises:
      InputError: a flag's value cannot be read.
    """
    names = list(TASKS) if _TASKS.value == ["all"] else [get_task(n).name for n in _TASKS.value]
    names = sorted(set(names), key=list(TASKS).index)
    seeds = dict.fromkeys(names, _NUM_SEEDS.value)
    for item in _TASK_SEEDS.value:
        name, _, count = item.partition("=")
        if name not in seeds or not count.isdigit():
            raise InputError(f"--task_seeds has {item!r}, expected TASK=COUNT with a chosen task")
        seeds[name] = int(count)
    if not all(a in ("1", "2", "3") for a in _ADVERSARIES.value):
        raise InputError(f"--adversaries is {','.join(_ADVERSARIES.value)}, expected 1, 2, 3")
    return Plan(
        tasks=tuple(names),
        seeds=tuple(seeds[name] for name in names),
        source="synthetic" if _DATA_DIR.value is None else "prepared",
        scale=_SCALE.value,
        target=make_recipe(),
        attack=make_attack_recipe(),
        top=_TOP.value,
        adversaries=cast(Any, tuple(int(a) for a in sorted(set(_ADVERSARIES.value)))),
        num_random_points=_POINTS.value,
        percentile=_PERCENTILE.value,
        membership=cast(Any, _MEMBERSHIP.value),
        model=chosen_model(),
    ).validate()


def main(_: list[str]) -> int:
    """Runs the sweep."""
    plan, execution = make_plan(), make_execution()
    execution = start(execution)
    output = console()
    log = Log(output)
    log.line(f"plan {plan.fingerprint()}, {describe_device(execution)}, {_WORKDIR.value}")
    reporter = Reporter(log.line, log.progress)
    try:
        rows = main_job.run(plan, execution, _WORKDIR.value, _DATA_DIR.value, reporter)
    except Preempted as stopped:
        log.line(f"{stopped}; the same command continues")
        return 0
    except DivergedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for path in report.report_run(rows, _WORKDIR.value, output):
        log.line(f"wrote {path}")
    return 0


if __name__ == "__main__":
    run(main, "launch.sweep", __doc__ or "")
