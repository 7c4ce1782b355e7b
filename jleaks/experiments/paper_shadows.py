"""E1 to E9: adversary 1, and what it needs of its shadows (Salem et al. 2019, section IV)."""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from jleaks.data.tasks import get_task
from jleaks.errors import InputError
from jleaks.experiments.case import Access, Case
from jleaks.experiments.experiment import Claim, experiment
from jleaks.models.registry import NETWORKS
from jleaks.training.recipe import Recipe

if TYPE_CHECKING:
    from jleaks.experiments.context import Context
    from jleaks.models.forest import ForestRecipe

ACCESS: tuple[Access, ...] = ("direct", "http")


def one_shadow(run: "Context", **fields: Any) -> Iterator[Case]:
    """Adversary 1 on the undefended targets of all draws."""
    for task, seed in run.draws():
        yield Case("adversary 1", run.target(task, seed), (run.shadow(task, seed),), **fields)


def forest(run: "Context") -> "ForestRecipe":
    """Returns the recipe of the plan's random forests."""
    from jleaks.models.forest import ForestRecipe

    return ForestRecipe(run.plan.num_trees)


@experiment(
    "E1",
    alias="shokri",
    title="Adversary 1 against Shokri et al.",
    question="Is one shadow model and one attack model on the three largest posteriors as good as many "
    "shadow models and one attack model per class?",
    claims=(
        Claim(
            "precision/recall on CIFAR-100",
            "0.95/0.95 of adversary 1 against 0.95/0.94 of Shokri et al.",
            "S",
        ),
        Claim("precision on MNIST", "about 0.6", "S"),
        Claim("precision/recall on Purchase-100", "0.86/0.86", "m"),
        Claim("precision and recall on Adult", "0.5", "m"),
    ),
    varies=("attack_model",),
)
def shokri(run: "Context") -> Iterator[Case]:
    """Adversary 1 with three kinds of attack model, and the baseline."""
    for model, name in (("mlp", "mlp"), ("logistic", "logistic"), (forest(run), "forest")):
        yield from one_shadow(run, model=model, varies={"attack_model": name})
    shadows = range(run.plan.num_shokri_shadows)
    for task, seed in run.draws():
        yield Case(
            "shokri",
            run.target(task, seed),
            tuple(run.shadow(task, seed, i) for i in shadows),
            {"attack_model": "mlp"},
        )


@experiment(
    "E2",
    alias="overfitting",
    title="Overfitting against attack",
    question="Are the targets that overfit most the ones that leak most?",
    claims=(
        Claim("", "a strong correlation", "S"),
        Claim("train minus test accuracy on Adult", "2%", "m"),
        Claim("train minus test accuracy on Purchase-100", "35%", "m"),
    ),
)
def overfitting(run: "Context") -> Iterator[Case]:
    """What varies is the task itself."""
    return one_shadow(run)


@experiment(
    "E3",
    alias="epochs",
    title="The target's epochs",
    question="Does a target leak more the longer it is trained?",
    claims=(Claim("", "the attack grows stronger with the epochs", "S"),),
    varies=("epochs",),
    tasks=("cifar100", "purchase100"),
    table="series",
)
def epochs(run: "Context") -> Iterator[Case]:
    """Target and shadow trained for fewer or more epochs."""
    for task, seed in run.draws():
        for count in run.plan.epochs:
            target, shadow = (make(task, seed, epochs=count) for make in (run.target, run.shadow))
            yield Case("adversary 1", target, (shadow,), {"epochs": count})


@experiment(
    "E4",
    alias="classes",
    title="The number of classes",
    question="Does a target with more classes leak more?",
    claims=(Claim("", "more classes, stronger attack", "S"),),
    tasks=(
        *("purchase2", "purchase10", "purchase20", "purchase50", "purchase100"),
        *("cifar10", "cifar100"),
    ),
)
def classes(run: "Context") -> Iterator[Case]:
    """What varies is the task itself."""
    return one_shadow(run)


@experiment(
    "E5",
    alias="posteriors",
    title="The number of posteriors",
    question="How many of the largest posteriors does the attack model need?",
    claims=(Claim("", "little effect; three is the best choice overall", "m"),),
    varies=("top",),
    tasks=("cifar100", "location", "news", "purchase100"),
    table="series",
)
def posteriors(run: "Context") -> Iterator[Case]:
    """The attack model sees more or fewer of the largest posteriors."""
    for top in run.plan.tops:
        yield from one_shadow(run, top=top, varies={"top": top or "all"})


@experiment(
    "E6",
    alias="shadows",
    title="The number of shadow models",
    question="What do more shadow models than one bring, and what do they cost?",
    claims=(Claim("1 to 10 shadow models", "no significant difference", "S"),),
    varies=("num_shadows",),
    tasks=("adult", "cifar100", "face", "location", "purchase100"),
    by_task=True,
    table="series",
)
def shadows(run: "Context") -> Iterator[Case]:
    """Nested sets of shadow models; the attack model learns from all of a set's answers."""
    for task, seed in run.draws():
        for count in run.plan.counts(get_task(task)):
            chosen = tuple(run.shadow(task, seed, i) for i in range(count))
            yield Case("adversary 1", run.target(task, seed), chosen, {"num_shadows": count})


@experiment(
    "E7",
    alias="api",
    title="A target behind a prediction API",
    question="Does the attack work when target and shadow can only be asked over the network?",
    claims=(
        Claim("precision/recall on Purchase-100", "0.90/0.89", "m"),
        Claim("precision/recall on Location", "0.89/0.86", "m"),
    ),
    varies=("access",),
    tasks=("location", "purchase100"),
)
def api(run: "Context") -> Iterator[Case]:
    """Targets and shadows behind an endpoint, against the same ones asked directly."""
    for access in ACCESS:
        varies = {"access": access}
        yield from one_shadow(run, access=access, shadow_access=access, varies=varies)


def _halved(recipe: Recipe, what: str, factor: float) -> Recipe:
    """A recipe with one hyper-parameter (or all four) multiplied by a factor."""
    values: dict[str, Any] = {
        "hidden": tuple(max(1, round(width * factor)) for width in recipe.hidden),
        "epochs": max(1, round(recipe.epochs * factor)),
        "batch_size": max(1, round(recipe.batch_size * factor)),
        "learning_rate": recipe.learning_rate * factor,
    }
    chosen = values if what == "all" else {what: values[what]}
    return dataclasses.replace(recipe, **chosen)


@experiment(
    "E8",
    alias="hyperparameters",
    title="A shadow with other hyper-parameters",
    question="Must the shadow model share the target's hyper-parameters?",
    claims=(
        Claim("precision/recall on Purchase-100, half the target's", "0.86/0.83", "m"),
        Claim("precision/recall on Purchase-100, double the target's", "0.82/0.80", "m"),
    ),
    varies=("what", "shadow"),
    tasks=("location", "purchase100"),
)
def hyperparameters(run: "Context") -> Iterator[Case]:
    """The shadow's hyper-parameters are half or double the target's."""
    for task, seed in run.draws():
        recipe, target = run.layout.network(task), run.target(task, seed)
        varied = {"hidden", "all"} & set(run.plan.hyperparameters)
        if varied and "hidden" not in NETWORKS[recipe.model].obeys:
            raise InputError(
                f"E8 varies the widths of hidden layers, which {recipe.model} does not take from its "
                "recipe; leave this experiment out"
            )
        for what in run.plan.hyperparameters:
            for label, factor in (("half", 0.5), ("same", 1.0), ("double", 2.0)):
                shadow = run.shadow(task, seed, recipe=_halved(recipe, what, factor))
                yield Case("adversary 1", target, (shadow,), {"what": what, "shadow": label})


def kinds(run: "Context", task: str) -> "dict[str, Recipe | ForestRecipe]":
    """Returns the kinds of classifier that E9 compares on a task: its network and two others."""
    network = run.layout.network(task)
    return {
        network.model: network,
        "logistic": dataclasses.replace(network, model="logistic"),
        "forest": forest(run),
    }


@experiment(
    "E9",
    alias="kinds",
    title="The target's kind, known or not",
    question="Can shadows of several kinds together replace the knowledge of the target's kind?",
    claims=(
        Claim("precision/recall, MLP", "0.86/0.86 known, 0.88/0.85 combining", "m"),
        Claim("precision/recall, logistic regression", "0.90/0.88 known, 0.89/0.86 combining", "m"),
        Claim("precision/recall, random forest", "1.0/1.0 known, 0.94/0.93 combining", "m"),
    ),
    varies=("target", "shadow"),
    tasks=("location", "news", "purchase100"),
)
def combined(run: "Context") -> Iterator[Case]:
    """The target's kind known to the attacker, against shadows of all kinds combined."""
    for task, seed in run.draws():
        recipes = kinds(run, task)
        of_kind = {kind: run.shadow(task, seed, recipe=r) for kind, r in recipes.items()}
        for kind, recipe in recipes.items():
            target = run.target(task, seed, recipe=recipe)
            for label, chosen in ((kind, (of_kind[kind],)), ("combined", tuple(of_kind.values()))):
                yield Case("adversary 1", target, chosen, {"target": kind, "shadow": label})
