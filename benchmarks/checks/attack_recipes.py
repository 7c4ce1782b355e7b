"""How should adversary 1's attack model be trained?  Recipes compared on the same shadows and targets.

python -m benchmarks.checks.attack_recipes --data_dir=data --out=results/attack_recipes.jsonl
python -m benchmarks.pages.attack_recipes --rows=results/attack_recipes.jsonl --page=docs/attack_recipes.md

Targets and shadows are the paper's and are trained once.  Every recipe then trains many attack models on
each shadow's answers, as one fleet: they differ in nothing but their key, hence in random start, order of
batches and where the last step lies.  What an attack model says at its 0.5 cut should not depend on that.
One row per recipe and task: the share of attack models that collapsed (see
`jleaks.metrics.case_metrics.OwnRows`), how precision and recall at 0.5 spread over keys and over seeds,
AUC, balanced accuracy at 0.5 and at the shadow's cut, seconds.
"""

import dataclasses
import itertools
import math
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from absl import flags

from benchmarks.harness import WHAT, WHERE, append, command, machine
from benchmarks.pages.attack_recipes import recipes_table
from jleaks.attacks.attack_models import AttackDataset, fit_networks
from jleaks.attacks.evaluate_cases import evaluate_own_rows, evaluate_scores
from jleaks.data.tasks import get_task
from jleaks.experiments.answers import Answers
from jleaks.experiments.context import Context
from jleaks.experiments.engine import opened
from jleaks.experiments.paper_plan import PRESETS, make_plan
from jleaks.experiments.subjects import truth
from jleaks.fields import Activation
from jleaks.fingerprint import fingerprint
from jleaks.keys import Role, identity_key
from jleaks.training.fleet import make_mesh, stack_key_data
from jleaks.training.recipe import ATTACK_RECIPES, Recipe
from jleaks.training.reporter import Reporter, provenance
from launch.execution import make_execution, start
from launch.flags import run
from launch.log import Log, console

_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Datasets prepared by launch.prepare; without it the synthetic stand-ins are used.",
    **WHERE,
)
_OUT = flags.DEFINE_string("out", None, "JSON lines to append to.", **WHERE)
_WORKDIR = flags.DEFINE_string(
    "workdir", "checkpoints/attack_recipes", "Where models are kept.", **WHERE
)
_TASKS = flags.DEFINE_list(
    "tasks", ["adult", "face", "location", "purchase10", "purchase100"], "Attacked.", **WHAT
)
_SCALE = flags.DEFINE_enum(
    "scale", "paper", list(PRESETS), "Sizes of the parts and recipe of the targets.", **WHAT
)
_SEEDS = flags.DEFINE_integer("num_seeds", 3, "Of every task.", lower_bound=1, **WHAT)
_KEYS = flags.DEFINE_integer("num_keys", 8, "Attack models of a shadow.", lower_bound=2, **WHAT)
_NAMED = flags.DEFINE_list(
    "recipes", list(ATTACK_RECIPES), "Of the registry of attack recipes; compared besides.", **WHAT
)
_ACTIVATIONS = flags.DEFINE_list("activations", ["tanh", "relu"], "Of the grid.", **WHAT)
_SCHEDULES = flags.DEFINE_list("schedules", ["constant", "cosine"], "Of the grid.", **WHAT)
_RATES = flags.DEFINE_list("learning_rates", ["0.01", "0.001"], "Of the grid.", **WHAT)
_BATCHES = flags.DEFINE_list("batch_sizes", ["10", "100"], "Of the grid.", **WHAT)
_EPOCHS = flags.DEFINE_integer(
    "epochs", None, "Of every attack model; default the recipe's.", lower_bound=1, **WHAT
)

# Metrics of a row, each with its spread.
_METRICS = ("precision", "recall", "accuracy", "auc", "accuracy_shadow_cut")
# Keys beside the one that an attack model has elsewhere.
_MORE_KEYS = 10_000


class _Draw(NamedTuple):
    """What one seed of a task gives: answers of shadow and target, with the truth about them."""

    seed: int
    shadow: np.ndarray
    shadow_member: np.ndarray
    target: np.ndarray
    target_member: np.ndarray


def grid() -> list[Recipe]:
    """Returns the recipes to compare, those with a name first."""
    base = ATTACK_RECIPES["ml_leaks"].recipe
    found = [ATTACK_RECIPES[name].recipe for name in _NAMED.value]
    for activation, schedule, rate, batch in itertools.product(
        _ACTIVATIONS.value, _SCHEDULES.value, _RATES.value, _BATCHES.value
    ):
        recipe = dataclasses.replace(
            base,
            activation=cast(Activation, activation),
            schedule=cast(Any, schedule),
            learning_rate=float(rate),
            batch_size=int(batch),
        )
        found.append(recipe)
    if _EPOCHS.value is not None:
        found = [dataclasses.replace(recipe, epochs=_EPOCHS.value) for recipe in found]
    return list(dict.fromkeys(found))


def draws(context: Context, task: str) -> list[_Draw]:
    """Returns the answers of every seed's shadow and target."""
    seeds = range(context.plan.num_seeds(task))
    subjects = [
        subject
        for seed in seeds
        for subject in (context.layout.shadow(task, seed), context.layout.target(task, seed))
    ]
    top = context.plan.top
    width = min(top, get_task(task).num_classes)
    answers: list[Answers] = context.querier.query(subjects, top=top)
    sides = [(a.largest(width), truth(s)) for s, a in zip(subjects, answers, strict=True)]
    return [_Draw(seed, *sides[2 * seed], *sides[2 * seed + 1]) for seed in seeds]


def measure(
    context: Context, task: str, recipe: Recipe, found: Sequence[_Draw], num_keys: int
) -> dict[str, Any]:
    """Returns what a recipe makes of a task's shadows."""
    datasets = []
    for draw, key in itertools.product(found, range(num_keys)):
        width = draw.shadow.shape[1]
        index = width if key == 0 else _MORE_KEYS + key
        key_data = stack_key_data([identity_key(draw.seed, task, Role.ATTACK, index)])[0]
        own = fingerprint(draw.shadow, digits=24)
        datasets.append(
            AttackDataset(
                name=f"attack model {key} of {task}, seed {draw.seed}",
                fingerprint=fingerprint("attack recipe", recipe, own, key_data, digits=24),
                key_data=key_data,
                features=draw.shadow,
                member=draw.shadow_member,
                num_inputs=context.plan.top,
                queries=[draw.target],
            )
        )
    scores = fit_networks(recipe, context.querier.library.train, datasets)
    mesh = make_mesh(context.execution.num_devices)
    own_rows = evaluate_own_rows([own for own, _ in scores], [x.member for x in datasets], mesh)
    truths = [draw.target_member for draw in found for _ in range(num_keys)]
    cuts = [float(cut) for cut in own_rows.cut]
    metrics = evaluate_scores(
        [asked[0] for _, asked in scores], truths, [0.0] * len(cuts), mesh, cuts
    )
    assert metrics.shadow_cut is not None
    values = {name: getattr(metrics, name) for name in _METRICS[:-1]}
    values["accuracy_shadow_cut"] = metrics.shadow_cut.balanced_accuracy
    shape = len(found), num_keys
    seconds = [context.querier.library.cost(x.fingerprint).device_seconds for x in datasets]
    return {
        "num_seeds": len(found),
        "num_keys": num_keys,
        "num_rows": len(datasets[0].member),
        "num_steps": len(datasets[0].member) // recipe.batch_size * recipe.epochs,
        "collapsed": float(np.mean(own_rows.collapsed)),
        **{name: summary(np.asarray(values[name]).reshape(shape)) for name in _METRICS},
        "device_seconds": round(float(np.mean(seconds)), 4),
    }


def summary(values: np.ndarray) -> dict[str, float | None]:
    """Returns mean and spread of a metric [seeds, keys].

    Returns:
      `mean`, `least` and `largest` of what is defined, `undefined` the share that is not; `over_keys`, the
      standard deviation over the keys of a shadow, averaged over seeds as variances are; `over_seeds`, that
      of the seeds' means.
    """
    known = values[np.isfinite(values)]

    def deviation(rows: Iterable[np.ndarray]) -> float | None:
        variances = [row.var(ddof=1) for row in rows if len(row) > 1]
        return round(math.sqrt(float(np.mean(variances))), 6) if variances else None

    by_seed = [row[np.isfinite(row)].astype(np.float64) for row in values]
    means = np.array([row.mean() for row in by_seed if len(row)])
    return {
        "mean": round(float(known.mean()), 6) if len(known) else None,
        "least": round(float(known.min()), 6) if len(known) else None,
        "largest": round(float(known.max()), 6) if len(known) else None,
        "undefined": round(1 - len(known) / values.size, 6),
        "over_keys": deviation(by_seed),
        "over_seeds": deviation([means]),
    }


def main(_: list[str]) -> int:
    plan = make_plan(
        cast(Any, _SCALE.value),
        tuple(_TASKS.value),
        "synthetic" if _DATA_DIR.value is None else "prepared",
        _SEEDS.value,
    )
    recipes, execution = grid(), start(make_execution())
    output = console()
    log, before = Log(output), machine()
    sizes = (_TASKS, _SCALE, _SEEDS, _KEYS, _ACTIVATIONS, _SCHEDULES, _RATES, _BATCHES)
    shown = command("benchmarks.checks.attack_recipes", sizes)
    about = provenance("", execution)
    # Of a plan; attack recipes are compared under one.
    del about["fingerprint"]
    rows = []
    reporter = Reporter(log.line, log.progress)
    with (
        tempfile.TemporaryDirectory() as folder,
        # Nothing but trained models is kept: the same ones serve other tasks, seeds and recipes.
        opened(
            plan, execution, folder, _DATA_DIR.value, _WORKDIR.value, reporter=reporter
        ) as context,
    ):
        for task in plan.tasks:
            found = draws(context, task)
            for recipe in recipes:
                row = {
                    "benchmark": "attack recipes",
                    "task": task,
                    "source": context.querier.datasets(task).source,
                    "recipe": dataclasses.asdict(recipe),
                    **measure(context, task, recipe, found, _KEYS.value),
                    "scale": _SCALE.value,
                    "command": shown,
                    **before,
                    **about,
                }
                rows.append(row)
    output.print(recipes_table(rows).to_rich(output))
    append(_OUT.value, rows)
    if _OUT.value:
        output.print(f"wrote {_OUT.value}", highlight=False)
    return 0


if __name__ == "__main__":
    run(main, "python -m benchmarks.checks.attack_recipes", __doc__ or "")
