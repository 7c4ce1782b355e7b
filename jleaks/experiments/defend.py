"""Defences beside each other: strengths x seeds x defences as fleets, attacked naively and knowingly.

Every target is attacked by adversary 1 whose shadow lacks the defence (naive), by adversary 1 whose shadow
has it (aware), and by adversary 3, which has no shadow; undefended targets stand beside them.  LiRA, RMIA
and an attack on labels alone have banks for it (`jleaks.experiments.defence_banks`).
"""

from collections.abc import Iterator, Sequence
from typing import Any, cast

from jleaks.defences.defence import DEFENCES
from jleaks.errors import InputError
from jleaks.experiments.case import Case
from jleaks.experiments.context import Context
from jleaks.experiments.defence_banks import bank_rows
from jleaks.experiments.defend_plan import DefendPlan
from jleaks.experiments.experiment import Experiment
from jleaks.rows import Row

NONE = "none"


def grid(names: Sequence[str], stated: Sequence[str]) -> tuple[str, ...]:
    """Returns every defence at every strength, "NAME:STRENGTH", in the order of the names.

    Args:
      names: Of defences; those of `stated` that are missing come last.
      stated: Defences at strengths; of names that are not among them, what `Family.tried` has is taken.

    Raises:
      InputError: there is no such defence, or no strength of it.
    """
    of: dict[str, list[str]] = {name: [] for name in names}
    for given in stated:
        of.setdefault(given.partition(":")[0], []).append(given)
    for name, found in of.items():
        family = DEFENCES.find(name)
        if not found:
            if not family.tried:
                raise InputError(
                    f"defence {name} has no strengths of its own; state some by "
                    f"--strengths={name}:NUMBER ({family.strength})"
                )
            found += [f"{name}:{strength}" for strength in family.tried]
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


def _banks(run: Context) -> list[Row]:
    plan = run.plan
    assert isinstance(plan, DefendPlan)
    if not plan.bank_models:
        return []
    given = plan.defences, plan.bank_models, plan.canaries
    return [cast("Row", row) for row in bank_rows(run, DEFEND.name, *given)]


DEFEND = Experiment(
    name="defences",
    alias="",
    title="Defences at their strengths",
    question="What does each defence cost in accuracy, and what is left of the attacks, also of those who "
    "know of it?",
    cases=_cases,
    varies=("defence", "strength", "attacker"),
    by_task=True,
    further=_banks,
)
