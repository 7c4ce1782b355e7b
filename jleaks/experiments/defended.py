"""E16 to E18: attacks on defended targets, by attackers who know of the defence and who do not."""

from collections.abc import Callable, Sequence
from pathlib import Path

from jleaks.data.tasks import TASKS
from jleaks.experiments.cases import AnyCase, Case, attacked, unaided
from jleaks.experiments.context import Context
from jleaks.experiments.subjects import AnySubject
from jleaks.keys import Role
from jleaks.models.forest import ForestRecipe
from jleaks.models.stacking import CombinerRecipe
from jleaks.rows import Row


def _defended(
    context: Context,
    name: str,
    tasks: Sequence[str],
    defence: str,
    make: Callable[[Role, str, int], AnySubject],
) -> list[Row]:
    """Adversaries 1 and 3 on undefended and defended targets.

    The naive attacker's shadow has no defence, the aware one's has the target's.
    """
    cases: list[AnyCase] = []
    alone: list[AnyCase] = []
    for task, seed in context.draws(tasks):
        plain, shadow = context.layout.target(task, seed), context.layout.shadow(task, seed)
        target, aware = make(Role.TARGET, task, seed), make(Role.SHADOW, task, seed)
        for victim, model, attacker, what in (
            (plain, shadow, "naive", "none"),
            (target, shadow, "naive", defence),
            (target, aware, "aware", defence),
        ):
            variant = {"defence": what, "attacker": attacker}
            cases.append(Case("adversary 1", seed, victim, (model,), variant, context.plan.top))
        for victim, what in ((plain, "none"), (target, defence)):
            variant = {"defence": what, "attacker": "naive"}
            alone += unaided(context, [(seed, victim)], variant=variant, statistics=("maximum",))
    return attacked(context, name, cases + alone)


def dropout(context: Context, name: str, _: Path) -> list[Row]:
    """E16: dropout on input and hidden layer."""

    def make(role: Role, task: str, seed: int) -> AnySubject:
        layout = context.layout
        lay_out = layout.target if role == Role.TARGET else layout.shadow
        return lay_out(task, seed, dropout=context.plan.dropout)

    return _defended(context, name, tuple(TASKS), "dropout", make)


def dropout_grid(context: Context, name: str, _: Path) -> list[Row]:
    """E17: every ratio on the input with every ratio on the hidden layer, one fleet."""
    cases = []
    for task, seed in context.draws(("cifar100", "location", "purchase100")):
        shadow = context.layout.shadow(task, seed)
        for on_input in context.plan.ratios:
            for on_hidden in context.plan.ratios:
                ratios = on_input, on_hidden
                target = context.layout.target(task, seed, dropout=ratios)
                aware = context.layout.shadow(task, seed, dropout=ratios)
                for attacker, model in (("naive", shadow), ("aware", aware)):
                    variant = {
                        "input_ratio": on_input,
                        "hidden_ratio": on_hidden,
                        "attacker": attacker,
                    }
                    cases.append(
                        Case("adversary 1", seed, target, (model,), variant, context.plan.top)
                    )
    return attacked(context, name, cases)


def stacking(context: Context, name: str, _: Path) -> list[Row]:
    """E18: model stacking."""
    forest = ForestRecipe(context.plan.num_trees)
    combiner = CombinerRecipe(c=context.plan.combiner_c)

    def make(role: Role, task: str, seed: int) -> AnySubject:
        return context.layout.stacked(role, task, seed, forest, combiner)

    return _defended(context, name, tuple(TASKS), "stacking", make)
