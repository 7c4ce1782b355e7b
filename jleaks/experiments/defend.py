"""Defences beside each other: strengths x seeds x defences as fleets, attacked naively and knowingly.

Every target is attacked by adversary 1 whose shadow lacks the defence (naive), by adversary 1 whose shadow
has it (aware), and by adversary 3, which has no shadow; undefended targets stand beside them.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from jleaks.defences.defence import DEFENCES, get_defence
from jleaks.errors import InputError
from jleaks.experiments.case import Case
from jleaks.experiments.context import Context
from jleaks.experiments.engine import checked, opened, reread, rows_of
from jleaks.experiments.experiment import Experiment
from jleaks.experiments.paper_plan import PaperPlan
from jleaks.experiments.workdir import Workdir
from jleaks.rows import OF_EXPERIMENT, Row, read_rows, write_rows
from jleaks.training.execution import Execution
from jleaks.training.reporter import Reporter

# What is tried of a defence whose strengths are not stated.
STRENGTHS: Mapping[str, tuple[str, ...]] = {
    "temperature": ("2", "10"),
    "rounding": ("2", "1"),
    "top_k": ("3", "1"),
    "dpsgd": ("0.2,1", "0.5,1", "1,1", "2,1"),
    "dpsgd_epsilon": ("8,1", "4,1", "2,1", "1,1"),
    "dropout": ("0.25", "0.5", "0.75"),
    "stacking": ("100",),
    "label_smoothing": ("0.1", "0.3", "0.6"),
    "confidence_penalty": ("0.1", "0.5", "1"),
    "hamp_training": ("0.3,0.01", "0.6,0.01", "0.9,0.01"),
    "weight_decay": ("1e-4", "5e-4", "2e-3"),
    "early_stopping": ("5", "10", "20"),
    "relaxloss": ("0.2", "0.5", "1"),
    "mixup": ("0.2", "1"),
}

NONE = "none"


@dataclasses.dataclass(frozen=True)
class DefendPlan(PaperPlan):
    """Everything that defines the numbers of a comparison of defences.

    Attributes:
      defences: Each at one strength, "NAME:STRENGTH".
    """

    kind: ClassVar[str] = "defend"

    defences: tuple[str, ...] = ()

    def validate(self) -> "DefendPlan":
        """Checks everything that can be known before any data is read; see `PaperPlan.validate`."""
        super().validate()
        if not self.defences:
            raise InputError("no defence was named")
        for given in self.defences:
            get_defence(given)
        if len(set(self.defences)) < len(self.defences):
            raise InputError(f"a defence is named twice in {'; '.join(self.defences)}")
        return self

    def digests(self) -> dict[str, str]:
        """Returns the digests of the files of users' defences."""
        return {
            name: digest
            for given in self.defences
            for name, digest in self.defence_digests(given).items()
        }


def grid(names: Sequence[str], stated: Sequence[str]) -> tuple[str, ...]:
    """Returns every defence at every strength, "NAME:STRENGTH", in the order of the names.

    Args:
      names: Of defences; those of `stated` that are missing come last.
      stated: Defences at strengths; of names that are not among them, `STRENGTHS` are taken.

    Raises:
      InputError: there is no such defence, or no strength of it.
    """
    of: dict[str, list[str]] = {name: [] for name in names}
    for given in stated:
        of.setdefault(given.partition(":")[0], []).append(given)
    for name, found in of.items():
        family = DEFENCES.find(name)
        if not found:
            if name not in STRENGTHS:
                raise InputError(
                    f"defence {name} has no strengths of its own; state some by "
                    f"--strengths={name}:NUMBER ({family.strength})"
                )
            found += [f"{name}:{strength}" for strength in STRENGTHS[name]]
    return tuple(given for found in of.values() for given in found)


def _cases(run: Context) -> Iterator[Case]:
    plan = run.plan
    assert isinstance(plan, DefendPlan)
    for task, seed in run.draws():
        shadow = run.shadow(task, seed)
        for given in (None, *plan.defences):
            target = run.target(task, seed, defence=given)
            name, _, strength = (given or NONE).partition(":")
            what: dict[str, Any] = {"defence": name, "strength": strength}
            yield Case("adversary 1", target, (shadow,), {**what, "attacker": "naive"})
            if given is not None:
                aware = run.shadow(task, seed, defence=given)
                yield Case("adversary 1", target, (aware,), {**what, "attacker": "aware"})
            no_shadow = {**what, "attacker": "naive"}
            yield Case("adversary 3", target, varies=no_shadow, statistics=("maximum",))


DEFEND = Experiment(
    name="defences",
    alias="",
    title="Defences at their strengths",
    question="What does each defence cost in accuracy, and what is left of the attacks, also of those who "
    "know of it?",
    cases=_cases,
    varies=("defence", "strength", "attacker"),
    by_task=True,
)


def run(
    plan: DefendPlan,
    execution: Execution,
    workdir: str,
    data_dir: str | None = None,
    models_dir: str | None = None,
    command: str = "",
    reporter: Reporter | None = None,
) -> list[Row]:
    """Runs a comparison, or continues it, or reads its rows if it has finished.

    Args:
      plan: What defines the numbers.
      execution: How fast.
      workdir: Directory of this run.
      data_dir: Where prepared datasets are; needed unless the plan is synthetic.
      models_dir: Where trained models are kept, `workdir` itself by default.
      command: Recorded in every row.
      reporter: Where to tell what is going on.

    Returns:
      One row per attack, target and seed.

    Raises:
      InputError: anything about the input, before any long work.
      Preempted: a stop signal arrived; the same call continues.
      DivergedError: a model's loss was not finite.
    """
    reporter = checked(plan, execution, reporter)
    outcome = Workdir(workdir, plan).outcome("rows.jsonl")

    def read(path: Any) -> list[Row]:
        return read_rows(path, OF_EXPERIMENT)

    told = f"finished before: reading {outcome.path}"
    if (found := reread(outcome, read, lambda rows: rows, reporter, told)) is not None:
        return found
    with opened(plan, execution, workdir, data_dir, models_dir, command, reporter) as context:
        rows = rows_of(context, DEFEND)
    with outcome.writing() as path:
        write_rows(path, rows, OF_EXPERIMENT)
    return rows
