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
import statistics
import tempfile
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from benchmarks import harness
from benchmarks.harness import DATA_DIR, OUT, Command, Flag, Layout, Row, where
from jleaks.attacks.attack_models import AttackDataset, fit_networks
from jleaks.attacks.evaluate_cases import evaluate_own_rows, evaluate_scores
from jleaks.data.tasks import TASKS, get_task
from jleaks.errors import InputError
from jleaks.experiments.answers import Answers
from jleaks.experiments.context import Context
from jleaks.experiments.engine import opened
from jleaks.experiments.paper_plan import PRESETS, make_plan
from jleaks.experiments.subjects import truth
from jleaks.fields import Activation
from jleaks.fingerprint import fingerprint
from jleaks.keys import Role, identity_key
from jleaks.report.table import Table
from jleaks.training.fleet import make_mesh, stack_key_data
from jleaks.training.recipe import ATTACK_RECIPES, Recipe
from jleaks.training.reporter import Reporter
from launch.app import make_execution, start
from launch.log import Log, console

_GRID = ("activations", "schedules", "learning_rates", "batch_sizes")
COMMAND = Command(
    "benchmarks.checks.attack_recipes",
    __doc__,
    ("tasks", "scale", "num_seeds", "num_keys", *_GRID),
    trains=True,
    data_dir=DATA_DIR,
    out=OUT,
    workdir=where("Where models are kept.", "checkpoints/attack_recipes"),
    tasks=Flag("Attacked.", ["adult", "face", "location", "purchase10", "purchase100"]),
    scale=Flag("Sizes of the parts and recipe of the targets.", "paper", kind=tuple(PRESETS)),
    num_seeds=Flag("Of every task.", 3, 1),
    num_keys=Flag("Attack models of a shadow.", 8, 2),
    recipes=Flag("Of the registry of attack recipes; compared besides.", list(ATTACK_RECIPES)),
    activations=Flag("Of the grid.", ["tanh", "relu"]),
    schedules=Flag("Of the grid.", ["constant", "cosine"]),
    learning_rates=Flag("Of the grid.", ["0.01", "0.001"]),
    batch_sizes=Flag("Of the grid.", ["10", "100"]),
    epochs=Flag("Of every attack model; default the recipe's.", None, 1, int),
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
    found = [ATTACK_RECIPES[name].recipe for name in COMMAND.recipes]
    for activation, schedule, rate, batch in itertools.product(
        *(getattr(COMMAND, n) for n in _GRID)
    ):
        recipe = dataclasses.replace(
            base,
            activation=cast(Activation, activation),
            schedule=cast(Any, schedule),
            learning_rate=float(rate),
            batch_size=int(batch),
        )
        found.append(recipe)
    if COMMAND.epochs is not None:
        found = [dataclasses.replace(recipe, epochs=COMMAND.epochs) for recipe in found]
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
) -> Row:
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


# A task leaks if some recipe's AUC, mean over seeds and keys, is at least this.
LEAKS = 0.52


def of(row: Row) -> Recipe:
    """Returns the recipe of a row."""
    fields = row["recipe"]
    return Recipe(**{**fields, "hidden": tuple(fields["hidden"])})


def by_recipe(rows: Sequence[Row]) -> dict[Recipe, list[Row]]:
    """Returns the rows of each recipe, one per task.

    Raises:
      InputError: a recipe and task occur twice, or some recipe lacks a task that others have.
    """
    found: dict[Recipe, dict[str, Row]] = {}
    for row in rows:
        mine = found.setdefault(of(row), {})
        if row["task"] in mine:
            raise InputError(f"two rows of {describe(of(row))} on {row['task']}")
        mine[row["task"]] = row
    tasks = {row["task"] for row in rows}
    for recipe, mine in found.items():
        if lacking := tasks - mine.keys():
            raise InputError(f"{describe(recipe)} has no row of {', '.join(sorted(lacking))}")
    return {recipe: list(mine.values()) for recipe, mine in found.items()}


def name(recipe: Recipe) -> str:
    """Returns the name of a recipe in the registry, or ""."""
    return ", ".join(n for n, preset in ATTACK_RECIPES.items() if preset.recipe == recipe)


def describe(recipe: Recipe) -> str:
    """Returns a recipe in words."""
    network = (
        "logistic" if recipe.model == "logistic" else f"{recipe.hidden[0]} {recipe.activation}"
    )
    return (
        f"{network}, Adam {recipe.learning_rate:g} {recipe.schedule}, batch {recipe.batch_size}, "
        f"{recipe.epochs} epochs"
    )


def mean(rows: Sequence[Row], value_fn: Callable[[Row], float | None]) -> float | None:
    """Returns the mean over tasks of what they define."""
    values = [value for row in rows if (value := value_fn(row)) is not None]
    return statistics.fmean(values) if values else None


def statistic(rows: Sequence[Row], metric: str, of: str = "mean") -> float | None:
    """Returns the mean over tasks of what rows say of a metric."""
    return mean(rows, lambda row: row[metric][of])


def auc(rows: Sequence[Row]) -> float:
    """Returns the AUC, mean over tasks."""
    return statistic(rows, "auc") or 0.0


def leaking(rows: Sequence[Row]) -> list[str]:
    """Returns the tasks that leak under some recipe."""
    tasks = dict.fromkeys(row["task"] for row in rows)
    best = {task: max(r["auc"]["mean"] for r in rows if r["task"] == task) for task in tasks}
    return [task for task in tasks if best[task] >= LEAKS]


def titles(rows: Sequence[Row]) -> dict[str, str]:
    """Returns the title of every task, with its source where that is not real."""
    found = {}
    for row in rows:
        suffix = "" if row["source"] == "real" else f" ({row['source']})"
        found[row["task"]] = TASKS[row["task"]].title + suffix
    return found


_LAYOUT = Layout(
    "Attack recipes, means over tasks",
    "{tasks}; {num_seeds} seeds, {num_keys} keys each.  Collapsed: of tasks that leak / of the others.  "
    "All else but seconds: of tasks that leak.  Standard deviations of recall at 0.5: over the keys of a "
    "shadow (largest of a task, mean over tasks) and over the means of seeds.  Accuracy: balanced, at "
    "0.5, and at the cut that is best for the shadow's rows.  Device-seconds: of training one attack "
    "model in its fleet, beside other work on {cores} cores of {cpu} (load {load_before:g} at the "
    "start), which makes equal work differ by a factor of two and more.",
    [
        ("Name", "{name}"),
        ("Hidden", "{hidden}"),
        ("Schedule", "{recipe.schedule}"),
        ("Rate", "{recipe.learning_rate:g}"),
        ("Batch", "{recipe.batch_size}"),
        ("Collapsed", "{collapsed}"),
        ("Recall, keys\n(largest)", "{largest:.3f}", "-"),
        ("Recall,\nkeys", "{keys:.3f}", "-"),
        ("Recall,\nseeds", "{seeds:.3f}", "-"),
        ("AUC", "{auc:.4f}", "-"),
        ("Accuracy\nat 0.5", "{accuracy:.4f}", "-"),
        ("Accuracy,\nshadow cut", "{accuracy_shadow_cut:.4f}", "-"),
        ("Device-\nseconds", "{device_seconds:.1f}", "-"),
    ],
    num_text_columns=3,
)  # fmt: skip


def recipes_table(rows: Sequence[Row]) -> Table:
    """Returns the table of all recipes, averaged over tasks."""
    lines, leaks = [], leaking(rows)
    for recipe, every in by_recipe(rows).items():
        mine = [r for r in every if r["task"] in leaks]
        others = [r for r in every if r["task"] not in leaks]
        shares = [mean(some, lambda r: 100 * r["collapsed"]) for some in (mine, others)]
        line = {
            "name": name(recipe),
            "recipe": recipe,
            "hidden": "none" if recipe.model == "logistic" else recipe.activation,
            "collapsed": " / ".join("-" if s is None else f"{s:.1f}%" for s in shares),
            "largest": max((r["recall"]["over_keys"] or 0.0 for r in mine), default=None),
            "device_seconds": mean(every, lambda r: r["device_seconds"]),
        }
        for what in ("keys", "seeds"):
            line[what] = statistic(mine, "recall", f"over_{what}")
        for metric in ("auc", "accuracy", "accuracy_shadow_cut"):
            line[metric] = statistic(mine, metric)
        lines.append(line)
    return _LAYOUT.table(lines, **{**rows[0], "tasks": ", ".join(titles(rows).values())})


def main() -> int:
    source = "synthetic" if COMMAND.data_dir is None else "prepared"
    plan = make_plan(
        cast(Any, COMMAND.scale), tuple(COMMAND.tasks), cast(Any, source), COMMAND.num_seeds
    )
    recipes, execution = grid(), start(make_execution())
    log, about = Log(console()), COMMAND.about(harness.machine(), execution)
    rows: list[Row] = []
    reporter, data_dir, kept = Reporter(log.line, log.progress), COMMAND.data_dir, COMMAND.workdir
    with (
        tempfile.TemporaryDirectory() as folder,
        # Nothing but trained models is kept: the same ones serve other tasks, seeds and recipes.
        opened(plan, execution, folder, data_dir, kept, reporter=reporter) as context,
    ):
        for task in plan.tasks:
            found = draws(context, task)
            rows += [
                {
                    "benchmark": "attack recipes",
                    "task": task,
                    "source": context.querier.datasets(task).source,
                    "recipe": dataclasses.asdict(recipe),
                    **measure(context, task, recipe, found, COMMAND.num_keys),
                    "scale": COMMAND.scale,
                    **about,
                }
                for recipe in recipes
            ]
    return COMMAND.finish(rows, recipes_table(rows))


if __name__ == "__main__":
    COMMAND.run(main)
