"""What commands share that train models anew for each target: flags, a plan of each task, tables."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from absl import flags

from jleaks.data.tasks import get_task
from jleaks.experiments.bank_plan import default_sizes

from .app import WHAT, WHERE, define_execution, make_execution, start
from .command_line import public_command
from .fields import Fields
from .log import Log, console
from .recipe import make_recipe
from .tasks import DATA_DIR, define_own_data, define_tasks, read_tasks, source, told

if TYPE_CHECKING:
    from jleaks.experiments.per_target_plan import PerTargetPlan
    from jleaks.report.table import Table

_OTHERWISE = ("task", "source", "recipe", "data")


class Command:
    """One such command."""

    def __init__(self, plan: "type[PerTargetPlan]", workdir: str):
        """Defines its flags.

        Args:
          plan: Its kind of plan.
          workdir: Default of --workdir.
        """
        define_execution()
        self._plan = plan
        self._workdir = flags.DEFINE_string(
            "workdir", workdir, "Directory of the tasks' results.", module_name=WHERE
        )
        self._models_dir = flags.DEFINE_string(
            "models_dir",
            None,
            "Where trained models are kept; runs may share one.  Default: the task's directory.",
            module_name=WHERE,
        )
        self._tasks = define_tasks("location")
        define_own_data()
        self._fields = Fields(
            plan,
            [field.name for field in dataclasses.fields(plan) if field.name not in _OTHERWISE],
            WHAT,
            unset={
                "num_candidates": "all but the population, up to 50,000",
                "num_population": "a sixth of the records, up to 10,000",
            },
        )

    def run(
        self,
        attack: Callable[..., list[dict[str, Any]]],
        table_of: "Callable[[list[dict[str, Any]]], Table]",
    ) -> int:
        """Attacks on every task, prints and writes.

        Args:
          attack: From a plan, an execution, a directory, those of data and models, a command and a reporter
            to rows.
          table_of: From the rows of a task to their table.
        """
        from jleaks.files import replace_file
        from jleaks.rows import write_csv
        from jleaks.training.reporter import describe_device

        plans = [self._plan_of(name) for name in read_tasks(self._tasks)]
        execution = start(make_execution())
        output = console()
        log = Log(output)
        for line in told([plan.task for plan in plans]):
            log.line(line)
        for plan in plans:
            folder = f"{self._workdir.value}/{plan.task}"
            log.follow(folder)
            where = describe_device(execution)
            log.line(f"{plan.kind} {plan.fingerprint()}, {where}, {folder}")
            directories = folder, DATA_DIR.value, self._models_dir.value
            rows = attack(plan, execution, *directories, public_command(), log.reporter)
            table = table_of(rows)
            output.print(table.to_rich(output))
            for path in (
                write_csv(f"{folder}/results.csv", rows, ()),
                replace_file(f"{folder}/tables.md", table.to_markdown().encode()),
            ):
                log.line(f"wrote {path}")
        return 0

    def _plan_of(self, name: str) -> "PerTargetPlan":
        from jleaks.data.origin import num_records

        recipe, values = make_recipe(get_task(name)), self._fields.values()
        sizes = {"num_candidates": 0, "num_population": 0}
        plan = self._plan(task=name, source=source(), recipe=recipe, **{**sizes, **values})
        found = default_sizes(num_records(name, source(), DATA_DIR.value), plan.is_disjoint)
        return dataclasses.replace(
            plan, **{**dict(zip(sizes, found, strict=True)), **values}
        ).validate()
