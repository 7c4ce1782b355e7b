"""Compares defences: what each costs in accuracy, and what attacks still find, at several strengths.

Every target is attacked by who does not know of its defence and by who does.  Without --data_dir the tasks
are synthetic stand-ins.  Interrupt it anywhere: the same command continues where it stopped; once it has
finished, the same command prints the results again.

Example: python -m launch.defend --tasks=location --defences=dpsgd,label_smoothing --num_seeds=2
Example: python -m launch.defend --tasks=location --strengths="dpsgd:0.5,1;dpsgd:2,1;dropout:0.5"
"""

import dataclasses

from absl import flags

from jleaks.errors import InputError
from jleaks.experiments import paper_plan
from jleaks.experiments.defend_plan import DefendPlan

from .app import WHAT, WHERE, define_execution, make_execution, run, start
from .attack_recipe import make_attack_recipe
from .command_line import public_command
from .fields import Fields
from .log import Log, console
from .recipe import chosen_model, make_recipe
from .tasks import DATA_DIR, define_own_data, define_tasks, read_tasks, source, told

define_execution()

_WORKDIR = flags.DEFINE_string(
    "workdir", "checkpoints/defend", "Directory of this run.", module_name=WHERE
)
_MODELS_DIR = flags.DEFINE_string(
    "models_dir",
    None,
    "Where trained models are kept; runs may share one.  Default: the work directory.",
    module_name=WHERE,
)
_TASKS = define_tasks("location")
define_own_data()
_DEFENCES = flags.DEFINE_list(
    "defences",
    [],
    "Names of defences, each at a few strengths of its own unless --strengths states some.",
    module_name=WHAT,
)
_STRENGTHS = flags.DEFINE_string(
    "strengths",
    "",
    'Defences at strengths, "NAME:STRENGTH", separated by semicolons.',
    module_name=WHAT,
)
_NUM_SEEDS = flags.DEFINE_integer(
    "num_seeds", 3, "Number of independent repetitions of each task.", module_name=WHAT
)
_BANKS = Fields(DefendPlan, ("bank_models", "canaries"), WHAT, defaults={"bank_models": 16})
_SHARE = flags.DEFINE_float(
    "share", 1.0, "Fraction of the paper's records per part.", module_name=WHAT
)


def main(_: list[str]) -> int:
    """Runs the comparison."""
    from jleaks.experiments import defend, engine
    from jleaks.report import defences as report
    from jleaks.training.reporter import describe_device

    if not (_DEFENCES.value or _STRENGTHS.value):
        names = ", ".join(defend.DEFENCES)
        raise InputError(f"--defences or --strengths names what to compare; allowed: {names}")
    stated = [item.strip() for item in _STRENGTHS.value.split(";") if item.strip()]
    base = paper_plan.make_plan(
        "paper",
        read_tasks(_TASKS),
        source(),
        _NUM_SEEDS.value,
        changes={
            "share": _SHARE.value,
            "target": make_recipe(),
            "attack": make_attack_recipe(),
            "model": chosen_model(),
        },
    )
    fields = {field.name: getattr(base, field.name) for field in dataclasses.fields(base)}
    defences = defend.grid(_DEFENCES.value, stated)
    plan = DefendPlan(**fields, defences=defences, **_BANKS.values()).validate()
    execution = start(make_execution())
    output = console()
    log = Log(output, folder=_WORKDIR.value)
    log.line(f"plan {plan.fingerprint()}, {describe_device(execution)}, {_WORKDIR.value}")
    for line in told(plan.tasks):
        log.line(line)
    (rows,) = engine.run(
        plan,
        [defend.DEFEND],
        execution,
        _WORKDIR.value,
        DATA_DIR.value,
        _MODELS_DIR.value,
        public_command(),
        log.reporter,
    ).values()
    for task, own in report.by_task(rows).items():
        for table in report.tables(task, own):
            output.print(table.to_rich(output))
    for path in report.write(rows, f"{_WORKDIR.value}/{defend.DEFEND.name}"):
        log.line(f"wrote {path}")
    return 0


if __name__ == "__main__":
    run(main, "python -m launch.defend", __doc__ or "")
