"""E1 to E18: each says who attacks whom, in terms of cases; nothing is trained here.

Salem et al. 2019.  `jleaks.experiments.claims` has each one's question and what the paper says.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jleaks import npz
from jleaks.data.tasks import TASKS, get_task
from jleaks.experiments import defended
from jleaks.experiments.cases import (
    Access,
    Case,
    Threshold,
    attacked,
    kind_of,
    random_statistics,
    unaided,
)
from jleaks.experiments.context import Context
from jleaks.experiments.shokri import Baseline, baseline
from jleaks.experiments.subjects import Subject
from jleaks.keys import Role, identity_generator
from jleaks.metrics.embedding import PERPLEXITY, embed, sample
from jleaks.models.forest import ForestRecipe
from jleaks.rows import Row
from jleaks.training.recipe import Recipe

_ALL = tuple(TASKS)
_ACCESS: tuple[Access, ...] = ("direct", "http")
_PURCHASES = ("purchase2", "purchase10", "purchase20", "purchase50", "purchase100")

# A run of one experiment: rows, and what it leaves in its folder besides.
RunFn = Callable[[Context, str, Path], list[Row]]


def one_shadow(context: Context, tasks: Sequence[str], **fields: Any) -> list[Case]:
    """Adversary 1 on the undefended targets of all draws of some tasks."""
    return [
        Case(
            "adversary 1",
            seed,
            context.layout.target(task, seed),
            (context.layout.shadow(task, seed),),
            top=context.plan.top,
            **fields,
        )
        for task, seed in context.draws(tasks)
    ]


def _shokri(context: Context, name: str, _: Path) -> list[Row]:
    """E1: adversary 1 with three kinds of attack model, and the baseline."""
    models = ("mlp", "logistic", ForestRecipe(context.plan.num_trees))
    cases = [
        case
        for model in models
        for case in one_shadow(context, _ALL, model=model, variant={"attack_model": kind_of(model)})
    ]
    shadows = range(context.plan.num_shokri_shadows)
    against = [
        Baseline(
            seed,
            context.layout.target(task, seed),
            tuple(context.layout.shadow(task, seed, i) for i in shadows),
            {"attack_model": "mlp"},
        )
        for task, seed in context.draws(_ALL)
    ]
    return attacked(context, name, cases) + baseline(context, name, against)


def _plain(*tasks: str) -> RunFn:
    """Adversary 1 on some tasks; what varies is the task itself (E2: overfitting, E4: classes)."""

    def run(context: Context, name: str, _: Path) -> list[Row]:
        return attacked(context, name, one_shadow(context, tasks))

    return run


def _epochs(context: Context, name: str, _: Path) -> list[Row]:
    """E3: target and shadow trained for fewer or more epochs."""
    cases = []
    for task, seed in context.draws(("cifar100", "purchase100")):
        for epochs in context.plan.epochs:
            recipe = dataclasses.replace(context.layout.network(task), epochs=epochs)
            target = context.layout.target(task, seed, recipe)
            shadow = context.layout.shadow(task, seed, recipe=recipe)
            top = context.plan.top
            cases.append(Case("adversary 1", seed, target, (shadow,), {"epochs": epochs}, top))
    return attacked(context, name, cases)


def _posteriors(context: Context, name: str, _: Path) -> list[Row]:
    """E5: the attack model sees more or fewer of the largest posteriors."""
    cases = []
    for top in context.plan.tops:
        for case in one_shadow(context, ("cifar100", "location", "news", "purchase100")):
            variant = {"top": top or "all"}
            cases.append(dataclasses.replace(case, top=top, variant=variant))
    return attacked(context, name, cases)


def shadow_curve(context: Context, name: str, tasks: Sequence[str]) -> list[Row]:
    """E6: nested sets of shadow models; the attack model learns from all of a set's answers."""
    cases = []
    for task, seed in context.draws(tasks):
        for count in context.plan.counts(get_task(task)):
            shadows = tuple(context.layout.shadow(task, seed, i) for i in range(count))
            target = context.layout.target(task, seed)
            variant = {"num_shadows": count}
            cases.append(Case("adversary 1", seed, target, shadows, variant, context.plan.top))
    # Task by task, so that the answers of only one task's shadows are in memory.
    return [
        row
        for task in dict.fromkeys(case.target.task for case in cases)
        for row in attacked(context, name, [c for c in cases if c.target.task == task])
    ]


def _shadows(context: Context, name: str, _: Path) -> list[Row]:
    return shadow_curve(context, name, ("adult", "cifar100", "face", "location", "purchase100"))


def _api(context: Context, name: str, _: Path) -> list[Row]:
    """E7: targets and shadows behind an endpoint, against the same ones asked directly."""
    cases = [
        case
        for access in _ACCESS
        for case in one_shadow(
            context,
            ("location", "purchase100"),
            access=access,
            shadow_access=access,
            variant={"access": access},
        )
    ]
    return attacked(context, name, cases)


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


def _hyperparameters(context: Context, name: str, _: Path) -> list[Row]:
    """E8: the shadow's hyper-parameters are half or double the target's."""
    cases = []
    for task, seed in context.draws(("location", "purchase100")):
        recipe = context.layout.network(task)
        target = context.layout.target(task, seed)
        for what in context.plan.hyperparameters:
            for label, factor in (("half", 0.5), ("same", 1.0), ("double", 2.0)):
                other = _halved(recipe, what, factor)
                shadow = context.layout.shadow(task, seed, recipe=other)
                variant = {"what": what, "shadow": label}
                cases.append(
                    Case("adversary 1", seed, target, (shadow,), variant, context.plan.top)
                )
    return attacked(context, name, cases)


def kinds(context: Context, task: str) -> dict[str, Recipe | ForestRecipe]:
    """Returns the kinds of classifier that E9 compares on a task: its network and two others."""
    network = context.layout.network(task)
    return {
        network.model: network,
        "logistic": dataclasses.replace(network, model="logistic"),
        "forest": ForestRecipe(context.plan.num_trees),
    }


def _kinds(context: Context, name: str, _: Path) -> list[Row]:
    """E9: the target's kind known to the attacker, against shadows of all kinds combined."""
    cases = []
    for task, seed in context.draws(("location", "news", "purchase100")):
        recipes = kinds(context, task)
        shadows = {
            kind: context.layout.shadow(task, seed, recipe=recipe)
            for kind, recipe in recipes.items()
        }
        for kind, recipe in recipes.items():
            target = context.layout.target(task, seed, recipe)
            for label, chosen in (
                (kind, (shadows[kind],)),
                ("combined", tuple(shadows.values())),
            ):
                variant = {"target": kind, "shadow": label}
                cases.append(Case("adversary 1", seed, target, chosen, variant, context.plan.top))
    return attacked(context, name, cases)


def transfer(
    context: Context, targets: Sequence[str], shadows: Sequence[str], **fields: Any
) -> list[Case]:
    """Every shadow task against every target task, for the seeds that both have.

    Where the two are one task this is adversary 1.
    """
    cases = []
    for target, seed in context.draws(targets):
        for shadow in shadows:
            if shadow not in context.plan.tasks or seed >= context.plan.num_seeds(shadow):
                continue
            attack = "adversary 1" if shadow == target else "adversary 2"
            cases.append(
                Case(
                    attack,
                    seed,
                    context.layout.target(target, seed),
                    (context.layout.shadow(shadow, seed),),
                    top=context.plan.top,
                    **fields,
                )
            )
    return cases


def _transfer(context: Context, name: str, _: Path) -> list[Row]:
    """E10: adversary 2 with every shadow task on every target task."""
    return attacked(context, name, transfer(context, _ALL, _ALL))


def preferred(context: Context, names: Sequence[str], besides: Sequence[str] = ()) -> list[str]:
    """Returns the named tasks, in place of those that the plan lacks others of many classes."""
    others = [task for task in context.plan.tasks if task not in besides]
    named = [task for task in names if task in others]
    spare = [task for task in others if task not in named]
    spare.sort(key=lambda task: -get_task(task).num_classes)
    return (named + spare)[: len(names)]


def _tsne(context: Context, name: str, folder: Path) -> list[Row]:
    """E11: why it transfers: the top posteriors of two tasks in one plane."""
    tasks = preferred(context, ("cifar100", "news"))
    groups, labels = {}, {}
    for task in tasks:
        target = context.layout.target(task, 0)
        (answers,) = context.querier.query([target], top=context.plan.top)
        largest, count = answers.largest(context.plan.top), len(target.members)
        for side, rows in (("member", largest[:count]), ("non-member", largest[count:])):
            groups[f"{task} {side}"] = rows
            labels[f"{task} {side}"] = task, side == "member"
    generator = identity_generator(0, "embedding", Role.SPLIT)
    smallest = min(len(rows) for rows in groups.values())
    points, names = sample(generator, groups, min(context.plan.num_embedded, smallest))
    npz.save(
        folder / "points.npz",
        {
            # Few points have few neighbours.
            "embedding": embed(points, 0, min(PERPLEXITY, (len(points) - 1) / 4)),
            "task": np.array([labels[n][0] for n in names]),
            "member": np.array([labels[n][1] for n in names]),
        },
    )
    return attacked(context, name, transfer(context, tasks, tasks))


def _transfer_api(context: Context, name: str, _: Path) -> list[Row]:
    """E12: adversary 2 on targets behind an endpoint; the shadow is the attacker's own."""
    targets = preferred(context, ("location", "purchase100"))
    shadows = preferred(context, ("face", "news"), besides=targets) or targets
    cases = [
        case
        for access in _ACCESS
        for case in transfer(context, targets, shadows, access=access, variant={"access": access})
    ]
    return attacked(context, name, cases)


def _targets(context: Context, tasks: Sequence[str]) -> list[tuple[int, Subject]]:
    return [(seed, context.layout.target(task, seed)) for task, seed in context.draws(tasks)]


def _statistics(context: Context, name: str, _: Path) -> list[Row]:
    """E13: adversary 3 with each statistic."""
    return attacked(context, name, unaided(context, _targets(context, _ALL)))


def _threshold(context: Context, name: str, folder: Path) -> list[Row]:
    """E14: adversary 3's percentile; and how random points, members and others are distributed."""
    targets = _targets(context, _ALL)
    cases = [
        Threshold(seed, target, {"percentile": t}, t, ("maximum",))
        for seed, target in targets
        for t in context.plan.percentiles
    ]
    rows = attacked(context, name, cases)
    first = [target for seed, target in targets if seed == 0]
    answers = context.querier.query(first, top=1)
    arrays = {}
    for target, found, random in zip(
        first, answers, random_statistics(context, first, [0] * len(first)), strict=True
    ):
        count = len(target.members)
        arrays[f"{target.task}/random"] = random[:, 0]
        arrays[f"{target.task}/member"] = found.statistics[:count, 0]
        arrays[f"{target.task}/nonmember"] = found.statistics[count:, 0]
    npz.save(folder / "densities.npz", arrays)
    return rows


def _adversaries(context: Context, name: str, _: Path) -> list[Row]:
    """E15: the three adversaries side by side.

    Adversary 2's shadow is fixed beforehand: News, from which the paper's headline transfer comes, and
    CIFAR-100 for News itself (the first other task where those were not chosen).
    """
    cases = one_shadow(context, _ALL)
    for task in context.plan.tasks:
        others = [t for t in ("news", "cifar100", *context.plan.tasks) if t != task]
        chosen = [t for t in others if t in context.plan.tasks]
        if chosen:
            cases += transfer(context, (task,), chosen[:1])
    maximum = unaided(context, _targets(context, _ALL), statistics=("maximum",))
    return attacked(context, name, cases + maximum)


# What runs under each name; where nothing is said, all tasks take part.
RUNS: dict[str, RunFn] = {
    "E1": _shokri,
    "E2": _plain(*_ALL),
    "E3": _epochs,
    "E4": _plain(*_PURCHASES, "cifar10", "cifar100"),
    "E5": _posteriors,
    "E6": _shadows,
    "E7": _api,
    "E8": _hyperparameters,
    "E9": _kinds,
    "E10": _transfer,
    "E11": _tsne,
    "E12": _transfer_api,
    "E13": _statistics,
    "E14": _threshold,
    "E15": _adversaries,
    "E16": defended.dropout,
    "E17": defended.dropout_grid,
    "E18": defended.stacking,
}
