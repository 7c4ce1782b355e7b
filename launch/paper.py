"""Runs ML-Leaks' experiments: rows, a table and figures for each, over one library of trained models.

Without --data_dir the tasks are synthetic stand-ins.  A model that several experiments need is trained
once.  Interrupt it anywhere: the same command continues where it stopped, and prints what has finished.

Example: python -m launch.paper --experiment=shadows --tasks=location --scale=smoke
"""

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from jleaks.errors import InputError
from jleaks.experiments import paper  # noqa: F401 - the experiments that it registers
from jleaks.experiments.experiment import EXPERIMENTS, resolve
from jleaks.experiments.paper_plan import SMOKE_ATTACK, PaperPlan
from jleaks.experiments.paper_plan import make_plan as plan_of_scale

from .app import WHAT, WHERE, define_execution, make_execution, run, start
from .attack_recipe import make_attack_recipe
from .command_line import public_flags
from .fields import Fields
from .log import Log, console
from .network import choose_network
from .tasks import DATA_DIR, define_task_seeds, define_tasks, read_seeds, read_tasks, source

if TYPE_CHECKING:
    from jleaks.rows import Row

define_execution()

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
    "Experiments to run: all, those of a --plugin by name, or some of\n"
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
    ("scale", *_OF_SCALE, "model", "defence", "attacker"),
    WHAT,
    unset=dict.fromkeys(_OF_SCALE, "--scale's")
    | {
        "shadow_counts": "--scale's, more for tasks with the MLP",
        "model": "each task's own in the paper",
    },
)


def make_plan() -> PaperPlan:
    """Returns the plan that the flags describe.

    Raises:
      InputError: a flag's value cannot be read or used.
    """
    names, changes = read_tasks(_TASKS), _FIELDS.values()
    scale = changes.pop("scale")
    changes["model"] = choose_network(changes.get("model"))
    changes["attack"] = make_attack_recipe(SMOKE_ATTACK if scale == "smoke" else {})
    if "shadow_counts" in changes:
        changes["shadow_counts_mlp"] = changes["shadow_counts"]
    seeds = read_seeds(_TASK_SEEDS.value, names)
    return plan_of_scale(scale, names, source(), _NUM_SEEDS.value, seeds, changes)


def main(_: list[str]) -> int:
    """Runs the experiments."""
    from jleaks.experiments import engine
    from jleaks.report.report import print_experiment, report_experiment
    from jleaks.report.run_pages import write_page
    from jleaks.training.reporter import describe_device

    if not _EXPERIMENT.value:
        raise InputError("--experiment names what to run; allowed: all, or see --help")
    names, plan, execution = resolve(_EXPERIMENT.value), make_plan(), make_execution()
    execution = start(execution)
    output = console()
    workdir = _WORKDIR.value or f"checkpoints/paper_{plan.scale}"
    log = Log(output, folder=workdir)
    log.line(f"plan {plan.fingerprint()}, {describe_device(execution)}, {workdir}")
    command = f"python -m launch.paper {public_flags()}"
    rows: dict[str, list[Row]] = {}
    for name in names:
        found = engine.run(
            plan,
            [name],
            execution,
            workdir,
            DATA_DIR.value,
            _MODELS_DIR.value,
            command,
            log.reporter,
        )
        rows[name] = found[name]
        for path in report_experiment(name, found[name], Path(workdir) / name):
            log.line(f"wrote {path}")
    for name, mine in rows.items():
        log.results(mine)
        print_experiment(name, mine, Path(workdir) / name, output)
    log.line(f"wrote {write_page(workdir, command)}")
    return 0


if __name__ == "__main__":
    run(main, "python -m launch.paper", __doc__ or "")
