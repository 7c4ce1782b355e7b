"""Runs ML-Leaks' experiments: rows, a table and figures for each, over one library of trained models.

Without --data_dir the tasks are synthetic stand-ins.  A model that several experiments need is trained
once.  Interrupt it anywhere: the same command continues where it stopped, and prints what has finished.

Example: python -m launch.paper --experiment=shadows --tasks=location --scale=smoke
"""

from pathlib import Path

from absl import flags

from jleaks.errors import InputError
from jleaks.experiments.claims import EXPERIMENTS
from jleaks.experiments.paper_plan import SMOKE_ATTACK, PaperPlan
from jleaks.experiments.paper_plan import make_plan as plan_of_scale

from .attack_recipe import make_attack_recipe
from .execution import make_execution, start
from .fields import Fields
from .flags import WHAT, WHERE, public_flags, run
from .log import Log, console
from .tasks import DATA_DIR, define_task_seeds, define_tasks, read_seeds, read_tasks, source

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
    "Experiments to run: all, or some of\n"
    + "\n".join(f"{name} or {e.alias}: {e.title}" for name, e in EXPERIMENTS.items()),
    module_name=WHAT,
)
_TASKS, _TASK_SEEDS = define_tasks("all"), define_task_seeds()
_NUM_SEEDS = flags.DEFINE_integer(
    "num_seeds",
    None,
    "Number of independent repetitions of each task.  Default: --scale's.",
    module_name=WHAT,
)
_OF_SCALE = ("share", "num_shokri_shadows", "shadow_counts")
_FIELDS = Fields(
    PaperPlan,
    ("scale", *_OF_SCALE),
    WHAT,
    unset=dict.fromkeys(_OF_SCALE, "--scale's")
    | {"shadow_counts": "--scale's, more for tasks with the MLP"},
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
    names, changes = read_tasks(_TASKS.value), _FIELDS.values()
    scale = changes.pop("scale")
    changes["attack"] = make_attack_recipe(SMOKE_ATTACK if scale == "smoke" else {})
    if "shadow_counts" in changes:
        changes["shadow_counts_mlp"] = changes["shadow_counts"]
    seeds = read_seeds(_TASK_SEEDS.value, names)
    return plan_of_scale(scale, names, source(), _NUM_SEEDS.value, seeds, changes)


def main(_: list[str]) -> int:
    """Runs the experiments."""
    from jleaks.experiments import engine
    from jleaks.report.report import report_experiment
    from jleaks.training.reporter import Reporter, describe_device

    names, plan, execution = resolve(_EXPERIMENT.value), make_plan(), make_execution()
    execution = start(execution)
    output = console()
    log = Log(output)
    workdir = _WORKDIR.value or f"checkpoints/paper_{plan.scale}"
    log.line(f"plan {plan.fingerprint()}, {describe_device(execution)}, {workdir}")
    reporter = Reporter(log.line, log.progress)
    command = f"python -m launch.paper {public_flags()}"
    for name in names:
        found = engine.run(
            plan,
            [name],
            execution,
            workdir,
            DATA_DIR.value,
            _MODELS_DIR.value,
            command,
            reporter,
        )
        if found[name]:
            for path in report_experiment(name, found[name], Path(workdir) / name):
                log.line(f"wrote {path}")
    return 0


if __name__ == "__main__":
    run(main, "python -m launch.paper", __doc__ or "")
