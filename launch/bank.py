"""Train a bank: many models of a task on random halves of its records, each asked about every record.

Without --data_dir the tasks are synthetic stand-ins.  Interrupt it anywhere: the same command continues
where it stopped.  launch.attack attacks what this trains.
"""

import sys
from typing import Any, cast

from absl import flags

from jleaks.bank import engine
from jleaks.bank.plan import BankPlan, default_sizes
from jleaks.datasets.origin import Origin, num_records
from jleaks.datasets.registry import TASKS, get_task
from jleaks.preemption import Preempted
from jleaks.reporter import Reporter, describe_device
from jleaks.trainer import DivergedError
from launch.execution import make_execution, start
from launch.flags import run
from launch.log import Log, console
from launch.recipe import make_recipe

_WHERE = "Where"
_WHAT = "What is measured (defines the numbers)"

_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Datasets prepared by launch.prepare; without it the synthetic stand-ins are used.",
    module_name=_WHERE,
)
_WORKDIR = flags.DEFINE_string(
    "workdir", "checkpoints/bank", "Each task's bank is a directory in it.", module_name=_WHERE
)
_TASKS = flags.DEFINE_list(
    "tasks", ["location"], f"all, or some of {', '.join(TASKS)}.", module_name=_WHAT
)
_MODELS = flags.DEFINE_integer("num_models", 128, "Models per bank, even.", module_name=_WHAT)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Independent banks have different seeds.", module_name=_WHAT
)
_CANDIDATES = flags.DEFINE_integer(
    "num_candidates",
    None,
    "Records audited, even; each model trains on half.  Default: all but the population, up to "
    "50,000.",
    module_name=_WHAT,
)
_POPULATION = flags.DEFINE_integer(
    "num_population",
    None,
    "Records held out from all models.  Default: a sixth, up to 10,000.",
    module_name=_WHAT,
)
_QUERIES = flags.DEFINE_integer(
    "num_queries", 9, "Queries per record: itself and perturbed copies.", module_name=_WHAT
)
_NOISE = flags.DEFINE_float(
    "noise",
    2.0,
    "Length of the largest perturbation relative to the record's, where it is noise.",
    module_name=_WHAT,
)
_TEMPERATURE = flags.DEFINE_float(
    "temperature", 2.0, "RMIA's softmax temperature.", module_name=_WHAT
)
_NULL = flags.DEFINE_enum(
    "null",
    "none",
    ["none", "shuffled", "untrained"],
    "Null checks in which every attack must fail: membership drawn afresh, or untrained models.",
    module_name=_WHAT,
)


def make_plans() -> list[BankPlan]:
    """Returns one plan per task.

    Raises:
      InputError: a value cannot be used, or a task was not prepared.
    """
    names = list(TASKS) if _TASKS.value == ["all"] else [get_task(n).name for n in _TASKS.value]
    source: Origin = "synthetic" if _DATA_DIR.value is None else "prepared"
    plans = []
    for name in sorted(set(names), key=list(TASKS).index):
        candidates, population = default_sizes(num_records(name, source, _DATA_DIR.value))
        plans.append(
            BankPlan(
                task=name,
                num_models=_MODELS.value,
                num_candidates=_CANDIDATES.value or candidates,
                num_population=population if _POPULATION.value is None else _POPULATION.value,
                seed=_SEED.value,
                source=source,
                recipe=make_recipe(get_task(name)),
                num_queries=_QUERIES.value,
                noise=_NOISE.value,
                temperature=_TEMPERATURE.value,
                null=cast(Any, _NULL.value),
            ).validate()
        )
    return plans


def main(_: list[str]) -> int:
    """Trains the banks."""
    plans, execution = make_plans(), make_execution()
    execution = start(execution)
    log = Log(console())
    reporter = Reporter(log.line, log.progress)
    for plan in plans:
        workdir = f"{_WORKDIR.value}/{plan.task}"
        log.line(f"bank {plan.fingerprint()}, {describe_device(execution)}, {workdir}")
        try:
            engine.train_bank(plan, execution, workdir, _DATA_DIR.value, reporter)
        except Preempted as stopped:
            log.line(f"{stopped}; the same command continues")
            return 0
        except DivergedError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    run(main, "launch.bank", __doc__ or "")
