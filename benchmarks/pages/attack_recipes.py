"""docs/attack_recipes.md from committed rows: attack recipes compared, and why the default is what it is.

python -m benchmarks.pages.attack_recipes --rows=results/attack_recipes.jsonl --page=docs/attack_recipes.md
"""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.checks.attack_recipes import (
    LEAKS,
    auc,
    by_recipe,
    describe,
    leaking,
    name,
    recipes_table,
    titles,
)
from benchmarks.harness import Command, Layout, Row, versions, where
from benchmarks.pages import render
from jleaks import json_lines
from jleaks.errors import InputError
from jleaks.files import replace_file
from jleaks.report.table import Table
from jleaks.training.recipe import Recipe

COMMAND = Command(
    "benchmarks.pages.attack_recipes",
    __doc__,
    rows=where("Committed rows.", "results/attack_recipes.jsonl"),
    page=where("The page to write.", "docs/attack_recipes.md"),
)

# On tasks that leak nobody may collapse under a default, and the standard deviation of recall at 0.5 over
# keys is at most this.
STEADY = 0.02
# AUCs, averaged over tasks that leak, that differ by no more are equal.
EQUAL_AUC = 0.001


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
    best = max(map(auc, steady.values()))
    near = {recipe: mine for recipe, mine in steady.items() if auc(mine) >= best - EQUAL_AUC}
    return min(near, key=lambda r: (sum(row["num_steps"] for row in near[r]), -auc(near[r])))


def _spread(metric: str) -> str:
    return f"{{{metric}[mean]:.3f}} ({{{metric}[over_keys]:.3f}} / {{{metric}[over_seeds]:.3f}})"


_LAYOUT = Layout(
    "Named recipes on each task",
    "Precision and recall at 0.5: mean, and standard deviation over the keys of one shadow / over the "
    "means of seeds.  Where nobody is called a member precision is left out.  Accuracy: balanced, at 0.5, "
    "and at the cut that is best for the shadow's rows.",
    [
        ("Task", "{title}"),
        ("Recipe", "{named}"),
        ("Collapsed", lambda line: f"{100 * line['collapsed']:.1f}%"),
        ("Precision", _spread("precision"), "-"),
        ("Recall", _spread("recall"), "-"),
        ("AUC", "{auc[mean]:.3f}"),
        ("Accuracy\nat 0.5", "{accuracy[mean]:.3f}"),
        ("Accuracy,\nshadow cut", "{accuracy_shadow_cut[mean]:.3f}"),
    ],
    num_text_columns=2,
    section="{task}",
)


def tasks_table(rows: Sequence[Row]) -> Table:
    """Returns the table of the named recipes on each task."""
    named = [(name(recipe), mine) for recipe, mine in by_recipe(rows).items() if name(recipe)]
    lines = [
        {**mine[i], "named": text, "title": "" if j else title}
        for i, title in enumerate(titles(rows).values())
        for j, (text, mine) in enumerate(named)
    ]
    return _LAYOUT.table(lines)


def page(rows: Sequence[Row]) -> str:
    """Returns the page.

    Raises:
      InputError: the rows are not of one comparison, or no recipe qualifies as a default.
    """
    first, shown = rows[0], titles(rows)
    return render(
        "attack_recipes.md.jinja",
        num_keys=first["num_keys"],
        tasks_table=tasks_table(rows).to_markdown(),
        leaks=LEAKS,
        leaking=", ".join(shown[task] for task in leaking(rows)),
        steady=STEADY,
        equal=EQUAL_AUC,
        chosen=describe(chosen(rows)),
        recipes_table=recipes_table(rows).to_markdown(),
        command=first["command"],
        commit=first["commit"],
        versions=versions(first),
    )


def main() -> int:
    rows = json_lines.read(COMMAND.rows)
    if not rows:
        raise InputError(f"{COMMAND.rows} has no rows")
    best = chosen(rows)
    if name(best) != "stable":
        print(f"the rows choose {describe(best)}, which is not the default")
    replace_file(Path(COMMAND.page), page(rows).encode())
    print(f"wrote {COMMAND.page}")
    return 0


if __name__ == "__main__":
    COMMAND.run(main)
