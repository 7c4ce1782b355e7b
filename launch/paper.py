"""Runs ML-Leaks' experiments: rows, a table and figures for each, over one library of trained models.

Without --data_dir the tasks are synthetic stand-ins.  A model that several experiments need is trained
once.  Interrupt it anywhere: the same command continues where it stopped, and prints what has finished.
"""

import sys
from pathlib import Path
from typing import Any, cast

from absl import flags

from jleaks.datasets.registry import TASKS
from jleaks.errors import InputError
from jleaks.paper import engine
from jleaks.paper.plan import PRESETS, SMOKE_ATTACK, PaperPlan
from jleaks.paper.plan import make_plan as plan_of_scale
from jleaks.preemption import Preempted
from jleaks.report.paper import report_experiment
from jleaks.report.paper.titles import EXPERIMENTS
from jleaks.reporter import Reporter, describe_device
from jleaks.trainer import DivergedError

from .attack_recipe import make_attack_recipe
from .execution import make_execution, start
from .flags import WHAT, WHERE, public_flags, run
from .log import Log, console

_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Datasets prepared by launch.prepare; without it the synthetic stand-ins are used.",
    module_name=WHERE,
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Directory of this run's results; default checkpoints/paper_SCALE.",
    module_name=WHERE,
)
_MODELS_DIR = flags.DEFINE_string(
    "models_dir",
    None,
    "Where trained models are kept; runs may share one.  Default: the work directory.",
    module_name=WHERE,
)
_EXPERIMENT = flags.DEFINE_list(
    "experiment",
    None,
    "all, or some of:\n      "
    + "\n      ".join(f"{name} or {e.alias}: {e.title}" for name, e in EXPERIMENTS.items()),
    module_name=WHAT,
)
_SCALE = flags.DEFINE_enum(
    "scale",
    "smoke",
    list(PRESETS),
    "smoke: minutes, shows that everything runs, with attack models of 10 epochs and batches of 50; "
    "small: a fifth of the paper's records, three seeds; "
    "paper: the paper's sizes, five seeds.",
    module_name=WHAT,
)
_TASKS = flags.DEFINE_list(
    "tasks", ["all"], f"all, or some of {', '.join(TASKS)}.", module_name=WHAT
)
_NUM_SEEDS = flags.DEFINE_integer(
    "num_seeds", None, "Independent repetitions; default by scale.", module_name=WHAT
)
_TASK_SEEDS = flags.DEFINE_list(
    "task_seeds", [], "Exceptions to --num_seeds, such as cifar10=1,mnist=3.", module_name=WHAT
)
_SHARE = flags.DEFINE_float(
    "share", None, "Fraction of the paper's records per part; default by scale.", module_name=WHAT
)
_SHOKRI = flags.DEFINE_integer(
    "num_shokri_shadows",
    None,
    "Shadow models of the baseline; default by scale.",
    module_name=WHAT,
)
_COUNTS = flags.DEFINE_list(
    "shadow_counts",
    None,
    "E6: numbers of shadow models, the same for all tasks; default by scale and network.",
    module_name=WHAT,
)


def resolve(names: list[str] | None) -> list[str]:
    """Returns the experiments that names and aliases stand for, in the paper's order.

    Raises:
      InputError: a name is unknown, or there is none.
    """
    if not names:
        raise InputError("--experiment names what to run; allowed: all, or see --help")
    by_alias = {e.alias: name for name, e in EXPERIMENTS.items()}
    found = set()
    for name in names:
        if name == "all":
            found |= set(EXPERIMENTS)
        elif name.upper() in EXPERIMENTS:
            found.add(name.upper())
        elif name in by_alias:
            found.add(by_alias[name])
        else:
            raise InputError(
                f"unknown experiment {name!r}; allowed: all, {', '.join(EXPERIMENTS)}, "
                f"{', '.join(by_alias)}"
            )
    return [name for name in EXPERIMENTS if name in found]


def make_plan() -> PaperPlan:
    """Returns the plan that the flags describe.

    Raises:
      InputError: a flag's value cannot be read or used.
    """
    names = list(TASKS) if _TASKS.value == ["all"] else _TASKS.value
    seeds = {}
    for item in _TASK_SEEDS.value:
        name, _, count = item.partition("=")
        if not count.isdigit():
            raise InputError(f"--task_seeds has {item!r}, expected TASK=COUNT")
        seeds[name] = int(count)
    changes: dict[str, Any] = {
        "attack": make_attack_recipe(SMOKE_ATTACK if _SCALE.value == "smoke" else {})
    }
    if _SHARE.value is not None:
        changes["share"] = _SHARE.value
    if _SHOKRI.value is not None:
        changes["num_shokri_shadows"] = _SHOKRI.value
    if _COUNTS.value is not None:
        if not _COUNTS.value or not all(count.isdigit() for count in _COUNTS.value):
            raise InputError(f"--shadow_counts is {','.join(_COUNTS.value)}, expected numbers")
        counts = tuple(int(count) for count in _COUNTS.value)
        changes |= {"shadow_counts": counts, "shadow_counts_mlp": counts}
    return plan_of_scale(
        cast(Any, _SCALE.value),
        tuple(names),
        "synthetic" if _DATA_DIR.value is None else "prepared",
        _NUM_SEEDS.value,
        seeds,
        changes,
    )


def main(argv: list[str]) -> int:
    """Runs the experiments."""
    del argv
    names, plan, execution = resolve(_EXPERIMENT.value), make_plan(), make_execution()
    execution = start(execution)
    output = console()
    log = Log(output)
    workdir = _WORKDIR.value or f"checkpoints/paper_{plan.scale}"
    log.line(f"plan {plan.fingerprint()}, {describe_device(execution)}, {workdir}")
    reporter = Reporter(log.line, log.progress)
    command = f"python -m launch.paper {public_flags()}"
    for name in names:
        try:
            found = engine.run(
                plan,
                [name],
                execution,
                workdir,
                _DATA_DIR.value,
                _MODELS_DIR.value,
                command,
                reporter,
            )
        except Preempted as stopped:
            log.line(f"{stopped}; the same command continues")
            return 0
        except DivergedError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        if found[name]:
            for path in report_experiment(name, found[name], Path(workdir) / name):
                log.line(f"wrote {path}")
    return 0


if __name__ == "__main__":
    run(main, "python -m launch.paper", __doc__ or "")
