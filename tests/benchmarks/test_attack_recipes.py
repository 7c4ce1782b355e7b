"""Attack recipes: what is measured, how the page chooses, and that the default is its choice."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.checks.attack_recipes import COMMAND, grid, summary
from benchmarks.pages.attack_recipes import chosen, page
from jleaks import json_lines
from jleaks.errors import InputError
from jleaks.training.recipe import ATTACK_RECIPE, ATTACK_RECIPES, Recipe

ROOT = Path(__file__).parents[2]


def test_spread_is_told_apart_by_keys_and_by_seeds():
    values = np.array([[0.2, 0.4], [0.5, 0.5], [0.9, np.nan]])
    found = summary(values)
    assert found["mean"] == pytest.approx(0.5)
    assert (found["least"], found["largest"]) == (0.2, 0.9)
    assert found["undefined"] == pytest.approx(1 / 6, abs=1e-6)
    # Variances over keys: 0.02 and 0; a seed with one value has none.
    assert found["over_keys"] == pytest.approx(0.1)
    # Means of seeds: 0.3, 0.5 and 0.9.
    assert found["over_seeds"] == pytest.approx(np.std([0.3, 0.5, 0.9], ddof=1), abs=1e-6)
    nothing = summary(np.full((2, 2), np.nan))
    assert [nothing[k] for k in ("mean", "over_keys", "over_seeds")] == [None] * 3


def test_named_recipes_come_first_and_none_twice(monkeypatch):
    asked = {
        "activations": ["tanh", "relu"],
        "schedules": ["constant"],
        "learning_rates": ["0.01"],
        "batch_sizes": ["10"],
        "recipes": ["ml_leaks", "released"],
    }
    for name, value in asked.items():
        monkeypatch.setattr(COMMAND, name, value)
    found = grid()
    named = [ATTACK_RECIPES[name].recipe for name in ("ml_leaks", "released")]
    assert found == [*named, dataclasses.replace(named[0], activation="relu")]


def record(recipe, task, collapsed=0.0, over_keys=0.01, auc=0.7, num_steps=100):
    spread = {"mean": 0.6, "least": 0.5, "largest": 0.7, "undefined": 0.0, "over_seeds": 0.02}
    of_metric = {"precision": 0.6, "recall": 0.6, "accuracy": 0.6, "accuracy_shadow_cut": 0.6}
    return {
        "benchmark": "attack recipes",
        "task": task,
        "source": "stand-in" if task.startswith("purchase") else "real",
        "recipe": dataclasses.asdict(recipe),
        "num_seeds": 3,
        "num_keys": 4,
        "num_rows": 100,
        "num_steps": num_steps,
        "collapsed": collapsed,
        **{name: {**spread, "over_keys": over_keys} for name in of_metric},
        "auc": {**spread, "mean": auc, "over_keys": 0.0},
        "device_seconds": 1.5,
        "command": "python -m benchmarks.checks.attack_recipes",
        "cpu": "a processor",
        "cores": 2,
        "load_before": 0.5,
        "commit": "c0ffee",
        "versions": {"jax": "0.10.2"},
    }


MLP, RELU, SLOW = Recipe(), Recipe(activation="relu"), Recipe(batch_size=10)


def rows(**changes):
    """Two recipes on two tasks; `changes` of the first recipe on the first task."""
    return [
        record(MLP, "location", **changes),
        record(MLP, "purchase10"),
        record(RELU, "location", auc=0.69),
        record(RELU, "purchase10", auc=0.69),
    ]


def test_the_rule_chooses():
    assert chosen(rows()) == MLP
    # Whoever collapses anywhere, or leaks less, or takes more steps for as much, is not chosen.
    assert chosen(rows(collapsed=0.25)) == RELU
    assert chosen(rows(auc=0.66)) == RELU
    slow = [record(SLOW, task, auc=0.7005, num_steps=1000) for task in ("location", "purchase10")]
    assert chosen([*rows(), *slow]) == MLP
    much = [record(SLOW, task, auc=0.71, num_steps=1000) for task in ("location", "purchase10")]
    assert chosen([*rows(), *much]) == SLOW
    logistic = [record(Recipe("logistic"), task, auc=0.8) for task in ("location", "purchase10")]
    assert chosen([*rows(), *logistic]) == MLP


def test_rows_that_are_not_one_comparison_are_refused():
    with pytest.raises(InputError, match=r"two rows of .* on location"):
        chosen([*rows(), *rows()])
    with pytest.raises(InputError, match=r"64 relu.* has no row of purchase10"):
        chosen([*rows(), record(ATTACK_RECIPES["stable"].recipe, "location")])
    with pytest.raises(InputError, match="no recipe"):
        chosen([record(MLP, "location", collapsed=1.0)])


def test_the_default_is_what_the_committed_rows_choose_and_the_page_says_so():
    records = json_lines.read(ROOT / "results" / "attack_recipes.jsonl")
    assert chosen(records) == ATTACK_RECIPE
    text = (ROOT / "docs" / "attack_recipes.md").read_text()
    assert text == page(records)
    for name in ATTACK_RECIPES:
        assert f"| {name} |" in text
    assert "Purchase-100 (stand-in)" in text


def test_a_small_comparison(launch, tmp_path):
    out, workdir = tmp_path / "rows.jsonl", tmp_path / "models"
    flags = (
        *("--tasks=location", "--scale=smoke", "--num_seeds=2", "--num_keys=2", "--epochs=2"),
        *("--recipes=released", "--activations=relu", "--schedules=cosine"),
        *("--learning_rates=0.001", "--batch_sizes=100", f"--out={out}", f"--workdir={workdir}"),
    )
    done = launch("benchmarks.checks.attack_recipes", *flags)
    assert done.returncode == 0, done.stderr
    released, relu = (json.loads(line) for line in out.read_text().splitlines())
    assert (released["recipe"]["model"], relu["recipe"]["activation"]) == ("logistic", "relu")
    for row in (released, relu):
        assert (row["num_seeds"], row["num_keys"], row["num_rows"]) == (2, 2, 800)
        assert row["num_steps"] == 800 // row["recipe"]["batch_size"] * 2
        assert 0 <= row["collapsed"] <= 1
        assert row["auc"]["least"] <= row["auc"]["mean"] <= row["auc"]["largest"]
        assert math.isfinite(row["device_seconds"])
        assert row["source"] == "synthetic"
        assert str(tmp_path) not in row["command"]
    # Targets and attack models are found again.
    again = launch("benchmarks.checks.attack_recipes", *flags)
    assert "models trained" not in again.stdout
