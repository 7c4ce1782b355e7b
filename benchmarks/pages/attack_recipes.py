"""docs/attack_recipes.md from committed rows: attack recipes compared, and why the default is what it is.

python -m benchmarks.pages.attack_recipes --rows=results/attack_recipes.jsonl --page=docs/attack_recipes.md
"""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks.harness import WHERE
from jleaks import json_lines
from jleaks.data.tasks import TASKS
from jleaks.errors import InputError
from jleaks.files import replace_file
from jleaks.report.table import Cell, Table
from jleaks.training.recipe import ATTACK_RECIPES, Recipe
from launch.flags import run

_ROWS = flags.DEFINE_string("rows", "results/attack_recipes.jsonl", "Committed rows.", **WHERE)
_PAGE = flags.DEFINE_string("page", "docs/attack_recipes.md", "The page to write.", **WHERE)

Row = dict[str, Any]

# A task leaks if some recipe's AUC, mean over seeds and keys, is at least this.
LEAKS = 0.52
# On tasks that leak nobody may collapse under a default, and the standard deviation of recall at 0.5 over
# keys is at most this.
STEADY = 0.02
# AUCs, averaged over tasks that leak, that differ by no more are equal.
EQUAL_AUC = 0.001

_HEAD = """# How attack models are trained

Adversary 1's attack model learns from a shadow's three largest posteriors who was a member, and calls a
record a member if its own posterior says so: the 0.5 cut. Here attack recipes learn from the same shadows
and attack the same targets (`python -m benchmarks.checks.attack_recipes`). Each trains {num_keys} attack
models on every shadow, which differ in their key alone: random start, order of batches, hence where the
last step lies. What an attack says should not depend on that. An attack model *collapsed* if it calls nobody, or
everybody, of the very rows it learned from a member. This page is generated from
`results/attack_recipes.jsonl` by `python -m benchmarks.pages.attack_recipes`.

`ml_leaks` is the attack model that the paper describes, `released` the one of its authors' released code,
`stable` the default here.
"""

_RULE = """## The default

`stable`, the default of `launch.sweep`, `launch.paper` and `launch.audit`, follows from the rows by a rule.
A task leaks if some recipe's AUC is at least {leaks}: here {leaking}.
Of the recipes with a hidden layer those qualify under which, on every task that leaks, no attack model
collapses and the standard deviation of recall over keys is at most {steady}. Of these, those whose AUC
(mean over tasks that leak) is within {equal} of the best; of these the one with the fewest steps, and of
equally many the one with the highest AUC. That is: {chosen}.

Where nothing leaks nothing can be learned, whatever the recipe: attack models end as a constant, or on one
side of their cut by chance. Rows mark them as collapsed.
"""

_HEADS = (
    *("Name", "Hidden", "Schedule", "Rate", "Batch", "Collapsed", "Recall, keys\n(largest)"),
    *("Recall,\nkeys", "Recall,\nseeds", "AUC", "Accuracy\nat 0.5", "Accuracy,\nshadow cut"),
    "Device-\nseconds",
)
_TASK_HEADS = (
    *("Task", "Recipe", "Collapsed", "Precision", "Recall", "AUC", "Accuracy\nat 0.5"),
    "Accuracy,\nshadow cut",
)


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


def _auc(rows: Sequence[Row]) -> float:
    return mean(rows, lambda r: r["auc"]["mean"]) or 0.0


def leaking(rows: Sequence[Row]) -> list[str]:
    """Returns the tasks that leak under some recipe."""
    tasks = dict.fromkeys(row["task"] for row in rows)
    best = {task: max(r["auc"]["mean"] for r in rows if r["task"] == task) for task in tasks}
    return [task for task in tasks if best[task] >= LEAKS]


def chosen(rows: Sequence[Row]) -> Recipe:
    """Returns the recipe that the rule of the page chooses.

    Raises:
      InputError: the rows are not of one comparison, or none qualifies.
    """
    leaks = leaking(rows)
    steady: dict[Recipe, list[Row]] = {}
    for recipe, every in by_recipe(rows).items():
        mine = [r for r in every if r["task"] in leaks]
        if recipe.model == "mlp" and all(
            r["collapsed"] == 0 and (r["recall"]["over_keys"] or 0.0) <= STEADY for r in mine
        ):
            steady[recipe] = mine
    if not steady:
        raise InputError("no recipe is steady on every task that leaks")
    best = max(map(_auc, steady.values()))
    near = {recipe: mine for recipe, mine in steady.items() if _auc(mine) >= best - EQUAL_AUC}
    return min(near, key=lambda r: (sum(row["num_steps"] for row in near[r]), -_auc(near[r])))


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _titles(rows: Sequence[Row]) -> dict[str, str]:
    """Returns the title of every task, with its source where that is not real."""
    found = {}
    for row in rows:
        suffix = "" if row["source"] == "real" else f" ({row['source']})"
        found[row["task"]] = TASKS[row["task"]].title + suffix
    return found


def recipes_table(rows: Sequence[Row]) -> Table:
    """Returns the table of all recipes, averaged over tasks."""
    body, leaks = [], leaking(rows)
    for recipe, every in by_recipe(rows).items():
        mine = [r for r in every if r["task"] in leaks]
        others = [r for r in every if r["task"] not in leaks]
        shares = [mean(some, lambda r: 100 * r["collapsed"]) for some in (mine, others)]
        cells = [
            name(recipe),
            "none" if recipe.model == "logistic" else recipe.activation,
            recipe.schedule,
            f"{recipe.learning_rate:g}",
            str(recipe.batch_size),
            " / ".join("-" if share is None else f"{share:.1f}%" for share in shares),
            _number(max((r["recall"]["over_keys"] or 0.0 for r in mine), default=None)),
            _number(mean(mine, lambda r: r["recall"]["over_keys"])),
            _number(mean(mine, lambda r: r["recall"]["over_seeds"])),
            _number(mean(mine, lambda r: r["auc"]["mean"]), 4),
            _number(mean(mine, lambda r: r["accuracy"]["mean"]), 4),
            _number(mean(mine, lambda r: r["accuracy_shadow_cut"]["mean"]), 4),
            _number(mean(every, lambda r: r["device_seconds"]), 1),
        ]
        body.append(tuple(map(Cell, cells)))
    first = rows[0]
    return Table(
        title="Attack recipes, means over tasks",
        caption=f"{', '.join(_titles(rows).values())}; {first['num_seeds']} seeds, {first['num_keys']} "
        "keys each.  Collapsed: of tasks that leak / of the others.  All else but seconds: of tasks that "
        "leak.  Standard deviations of recall at 0.5: over the keys of a shadow (largest of a task, mean "
        "over tasks) and over the means of seeds.  Accuracy: balanced, at 0.5, and at the cut that is best "
        "for the shadow's rows.  Device-seconds: of training one attack model in its fleet, beside "
        f"other work on {first['cores']} cores of {first['cpu']} (load {first['load_before']:g} at the "
        "start), which makes equal work differ by a factor of two and more.",
        heads=_HEADS,
        num_text_columns=3,
        rows=tuple(body),
    )


def tasks_table(rows: Sequence[Row]) -> Table:
    """Returns the table of the named recipes on each task."""
    body, ends = [], set()
    named = [(name(recipe), mine) for recipe, mine in by_recipe(rows).items() if name(recipe)]
    for i, title in enumerate(_titles(rows).values()):
        for j, (text, mine) in enumerate(named):
            r = mine[i]
            cells = [
                title if j == 0 else "",
                text,
                f"{100 * r['collapsed']:.1f}%",
                *(_spread(r[metric]) for metric in ("precision", "recall")),
                _number(r["auc"]["mean"]),
                _number(r["accuracy"]["mean"]),
                _number(r["accuracy_shadow_cut"]["mean"]),
            ]
            body.append(tuple(map(Cell, cells)))
        ends.add(len(body) - 1)
    return Table(
        title="Named recipes on each task",
        caption="Precision and recall at 0.5: mean, and standard deviation over the keys of one shadow / "
        "over the means of seeds.  Where nobody is called a member precision is left out.  Accuracy: "
        "balanced, at 0.5, and at the cut that is best for the shadow's rows.",
        heads=_TASK_HEADS,
        num_text_columns=2,
        rows=tuple(body),
        section_ends=frozenset(ends),
    )


def _spread(value: dict[str, Any]) -> str:
    return (
        f"{_number(value['mean'])} ({_number(value['over_keys'])} / {_number(value['over_seeds'])})"
    )


def page(rows: Sequence[Row]) -> str:
    """Returns the page.

    Raises:
      InputError: the rows are not of one comparison, or no recipe qualifies as a default.
    """
    first, titles = rows[0], _titles(rows)
    rule = _RULE.format(
        leaks=LEAKS,
        leaking=", ".join(titles[task] for task in leaking(rows)),
        steady=STEADY,
        equal=EQUAL_AUC,
        chosen=describe(chosen(rows)),
    )
    versions = ", ".join(f"{package} {v}" for package, v in first["versions"].items())
    made = f"`{first['command']}`, commit {first['commit']}; {versions}.\n"
    parts = [tasks_table(rows).to_markdown(), rule, recipes_table(rows).to_markdown(), made]
    return "\n".join([_HEAD.format(num_keys=first["num_keys"]), *parts])


def main(_: list[str]) -> int:
    """Writes the page."""
    rows = json_lines.read(_ROWS.value)
    if not rows:
        raise InputError(f"{_ROWS.value} has no rows")
    best = chosen(rows)
    if name(best) != "stable":
        print(f"the rows choose {describe(best)}, which is not the default")
    replace_file(Path(_PAGE.value), page(rows).encode())
    print(f"wrote {_PAGE.value}")
    return 0


if __name__ == "__main__":
    run(main, "python -m benchmarks.pages.attack_recipes", __doc__ or "")
