"""E16 to E18: defended targets, and attackers who know of the defence (Salem et al. 2019, section VII)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jleaks.experiments import paper_transfers  # noqa: F401 - before these in the registry
from jleaks.experiments.case import Case
from jleaks.experiments.experiment import Claim, experiment
from jleaks.experiments.paper_shadows import forest

if TYPE_CHECKING:
    from jleaks.experiments.context import Context
    from jleaks.experiments.subjects import AnyDefence


def defended(run: "Context", defence: "AnyDefence", name: str) -> Iterator[Case]:
    """Adversaries 1 and 3 on undefended and defended targets of all draws, whatever the plan's defence.

    The naive attacker's shadow has no defence, the aware one's has the target's.

    Args:
      run: The run.
      defence: Of the targets.
      name: What the rows call it.
    """
    draws = [
        [
            make(task, seed, defence=one)
            for one in (None, defence)
            for make in (run.target, run.shadow)
        ]
        for task, seed in run.draws()
    ]
    for plain, shadow, target, aware in draws:
        for victim, model, attacker, what in (
            (plain, shadow, "naive", "none"),
            (target, shadow, "naive", name),
            (target, aware, "aware", name),
        ):
            yield Case(
                "adversary 1", victim, (model,), varies={"defence": what, "attacker": attacker}
            )
    for plain, _, target, _ in draws:
        for victim, what in ((plain, "none"), (target, name)):
            varies = {"defence": what, "attacker": "naive"}
            yield Case("adversary 3", victim, varies=varies, statistics=("maximum",))


@experiment(
    "E16",
    alias="dropout",
    title="Defence: dropout",
    question="Does dropout in the target stop the attacks, also those of who knows of it, and what does "
    "it cost?",
    claims=(
        Claim("precision of adversary 1 on CIFAR-100", "0.95 before, 0.60 after", "m"),
        Claim("target's accuracy on CIFAR-100", "21% before, 23% after", "m"),
    ),
    varies=("defence", "attacker"),
)
def dropout(run: "Context") -> Iterator[Case]:
    """Dropout on input and hidden layer."""
    return defended(run, ("dropout", run.plan.dropout), "dropout")


@experiment(
    "E17",
    alias="dropout_grid",
    title="Defence: the dropout ratios",
    question="How do attack and accuracy move with the dropout of the input and the hidden layer?",
    claims=(Claim("", "the attack falls as the ratios rise", "m"),),
    varies=("input_ratio", "hidden_ratio", "attacker"),
    tasks=("cifar100", "location", "purchase100"),
)
def dropout_grid(run: "Context") -> Iterator[Case]:
    """Every ratio on the input with every ratio on the hidden layer, one fleet."""
    for task, seed in run.draws():
        shadow = run.shadow(task, seed, defence=None)
        for on_input in run.plan.ratios:
            for on_hidden in run.plan.ratios:
                defence = "dropout", (on_input, on_hidden)
                target = run.target(task, seed, defence=defence)
                aware = run.shadow(task, seed, defence=defence)
                for attacker, model in (("naive", shadow), ("aware", aware)):
                    varies = {
                        "input_ratio": on_input,
                        "hidden_ratio": on_hidden,
                        "attacker": attacker,
                    }
                    yield Case("adversary 1", target, (model,), varies)


@experiment(
    "E18",
    alias="stacking",
    title="Defence: model stacking",
    question="Does a stack of models trained on separate parts stop the attacks, also those of who knows "
    "of it, and what does it cost?",
    claims=(Claim("adversary 1 on CIFAR-100", "falls by over 30%", "S"),),
    varies=("defence", "attacker"),
)
def stacking(run: "Context") -> Iterator[Case]:
    """Model stacking; its forests have the plan's number of trees."""
    from jleaks.defences.defence import Defence
    from jleaks.defences.stacking import stack

    c = run.plan.combiner_c
    return defended(
        run, Defence(composite=stack(c, forest(run)), name="stacking", strength=c), "stacking"
    )
