"""Choices and values are checked where a library user enters: plans, recipes, learners, executions."""

import dataclasses
import math

import numpy as np
import pytest

from jleaks.attacks.options import Options
from jleaks.auditing.adversaries import Attacker, attack_answers
from jleaks.blackbox.posteriors import make_posteriors
from jleaks.errors import InputError
from jleaks.experiments.bank_plan import BankPlan
from jleaks.experiments.paper_plan import make_plan
from jleaks.experiments.plan import Plan
from jleaks.fields import problems
from jleaks.models.forest import ForestRecipe
from jleaks.models.stacking import CombinerRecipe
from jleaks.training.execution import Execution
from jleaks.training.learner import Learner
from jleaks.training.packing import make_learner
from jleaks.training.recipe import RECIPES, Recipe

PLAN = Plan(("location",), (1,))
BANK = BankPlan("location", 4, 400, 0)

# What a field is given, and what the message says.
RECIPES_THAT_FAIL = [
    ({"model": "resnet"}, "model is resnet, expected one of mlp, logistic, cnn, resnet18, wrn28_2"),
    ({"optimizer": "adamw"}, "optimizer is adamw, expected one of adam, sgd"),
    ({"schedule": "cosin"}, "schedule is cosin, expected one of constant, cosine"),
    ({"loss": "hinge"}, "loss is hinge, expected one of cross entropy, quantile"),
    (
        {"augmentation": "flips"},
        "augmentation is flips, expected one of none, crops, flips and crops",
    ),
    ({"precision": "float16"}, "precision is float16, expected one of float32, "),
    ({"precision": None}, "precision is None, expected one of"),
    ({"epochs": 0}, "epochs is 0, expected at least 1"),
    ({"epochs": 10**30}, r"epochs is 10{30}, expected at least 1 and below 2\^31"),
    ({"epochs": 3.0}, "epochs is 3.0, expected a whole number"),
    ({"epochs": True}, "epochs is True, expected a whole number"),
    ({"epochs": "5"}, "epochs is '5', expected a whole number"),
    ({"epochs": np.int64(5)}, r"epochs is np.int64\(5\), expected a whole number"),
    ({"hidden": [64]}, r"hidden is \[64\], expected a tuple"),
    ({"hidden": (64, 0)}, r"hidden are \(64, 0\), expected at least 1 and below 2\^31 for each"),
    ({"hidden": (64, 0.5)}, r"hidden are \(64, 0.5\), expected a whole number for each"),
    ({"learning_rate": 0.0}, "learning_rate is 0.0, expected a positive number of float32"),
    # Zero, or flushed to it, where it is used; infinity likewise.
    ({"learning_rate": 1e-46}, "learning_rate is 1e-46, expected a positive number of float32"),
    ({"learning_rate": 1e-40}, "learning_rate is 1e-40, expected a positive number of float32"),
    ({"learning_rate": 1e39}, "learning_rate is 1e.39, expected a finite number"),
    ({"learning_rate": math.nan}, "learning_rate is nan, expected a finite number"),
    ({"learning_rate": "0.1"}, "learning_rate is '0.1', expected a finite number"),
    ({"l2": -1e-7}, "l2 is -1e-07, expected 0 or a number >= 0"),
    ({"l2": 1e-46}, "l2 is 1e-46, expected"),
    ({"l2": 3e38}, "l2 is 3e.38, expected"),
    ({"momentum": 1.0}, r"momentum is 1.0, expected a number in \[0, 1\)"),
    # One in float32.
    ({"momentum": 1 - 1e-9}, "momentum is 0.999999999, expected"),
    ({"quantile": 1 - 1e-9}, "quantile is 0.999999999, expected"),
    ({"quantile": 1e-46}, "quantile is 1e-46, expected"),
]


@pytest.mark.parametrize(("changes", "message"), RECIPES_THAT_FAIL)
def test_a_recipe_that_went_through_no_plan_is_refused(changes, message):
    recipe = Recipe(**changes)
    with pytest.raises(InputError, match=f"^recipe {message}"):
        Learner(recipe, "binary", 3)
    with pytest.raises(InputError, match=f"^recipe {message}"):
        make_learner(recipe, "binary", 3, Execution())
    for plan, name in (
        (dataclasses.replace(PLAN, target=recipe), "target"),
        (dataclasses.replace(PLAN, attack=recipe), "attack"),
        (dataclasses.replace(BANK, recipe=recipe), "recipe"),
        (dataclasses.replace(BANK, quantile=dataclasses.replace(recipe)), "quantile"),
        (dataclasses.replace(make_plan("smoke"), target=recipe), "target"),
    ):
        with pytest.raises(InputError, match=f"{name} {message}"):
            plan.validate()


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan((), ()), "no task was named"),
        (Plan("location", (1,)), "tasks is 'location', expected a tuple"),
        (Plan(("location",), (0,)), "num_seeds of location is 0, expected at least 1"),
        (Plan(("location",), (1.0,)), r"seeds are \(1.0,\), expected a whole number for each"),
        (
            dataclasses.replace(PLAN, membership="shufled"),
            "membership is shufled, expected one of true",
        ),
        (
            dataclasses.replace(PLAN, source="real"),
            "source is real, expected one of prepared, synth",
        ),
        (dataclasses.replace(PLAN, model="mpl"), "model is mpl, expected one of .* or None"),
        (dataclasses.replace(PLAN, scale=0), r"scale is 0, expected a number in \(0, 1\]"),
        (dataclasses.replace(PLAN, scale=math.nan), "scale is nan"),
        (
            dataclasses.replace(PLAN, top=10**9),
            "top is 1000000000, expected at least 1 and at most 100",
        ),
        (
            dataclasses.replace(PLAN, adversaries=(1, 4)),
            r"adversaries are \(1, 4\), .* 1, 2, 3 for each",
        ),
        (dataclasses.replace(PLAN, adversaries=(True,)), "adversaries are"),
        (dataclasses.replace(PLAN, adversaries=()), "expected at least one value"),
        (
            dataclasses.replace(PLAN, num_random_points=9),
            "num_random_points is 9, expected at least 10",
        ),
        (dataclasses.replace(PLAN, percentile=100), "percentile is 100"),
        (dataclasses.replace(PLAN, target="mlp"), "target is 'mlp', expected a Recipe"),
        (
            dataclasses.replace(PLAN, target=Recipe(loss="quantile")),
            "loss is quantile, but location has classes",
        ),
        (dataclasses.replace(PLAN, attack=Recipe(loss="quantile")), "attack loss is quantile"),
        (
            dataclasses.replace(BANK, null="shuffeld"),
            "null is shuffeld, expected one of none, shuf",
        ),
        (dataclasses.replace(BANK, source="real"), "location: source is real"),
        (dataclasses.replace(BANK, num_models=4.0), "num_models is 4.0, expected a whole number"),
        (dataclasses.replace(BANK, num_population=-1), "num_population is -1, expected at least 0"),
        (dataclasses.replace(BANK, noise=1e300), "noise is 1e.300"),
        (dataclasses.replace(BANK, noise=1e39), "noise is 1e.39"),
        (dataclasses.replace(BANK, temperature=1e-300), "temperature is 1e-300, expected .* 1e-6"),
        (dataclasses.replace(BANK, temperature=math.inf), "temperature is inf"),
        (dataclasses.replace(BANK, quantile=Recipe()), "quantile loss is cross entropy"),
        (
            dataclasses.replace(BANK, quantile=Recipe("cnn", loss="quantile")),
            "quantile model is cnn, but location has no images",
        ),
        (dataclasses.replace(BANK, task=3), "task is 3, expected a str"),
        (
            dataclasses.replace(make_plan("smoke"), scale="tiny"),
            "scale is tiny, expected one of smoke",
        ),
        (dataclasses.replace(make_plan("smoke"), source="web"), "source is web"),
        (dataclasses.replace(make_plan("smoke"), tops=()), "tops are"),
        (dataclasses.replace(make_plan("smoke"), dropout=(0.5,)), "expected 2 values"),
        (dataclasses.replace(make_plan("smoke"), hyperparameters=("lr",)), "hyperparameters are"),
        (dataclasses.replace(make_plan("smoke"), combiner_c=1e-50), "combiner_c is 1e-50"),
        (Execution(kernels="hosst"), "kernels is hosst, expected one of xla, host or None"),
        (Execution(convolution="fft"), "convolution is fft, expected one of native"),
        (Execution(num_devices=0), "num_devices is 0, expected at least 1"),
        (Execution(chunk_seconds=math.inf), "chunk_seconds is inf, expected a finite number"),
        (Execution(checkpoint_seconds=-1), "checkpoint_seconds is -1, expected a number >= 0"),
        (Options(gamma=0.0), "gamma is 0.0, expected a positive number"),
        (Options(offline_a=1.5), r"offline_a is 1.5, expected a number in \[0, 1\]"),
    ],
)
def test_plans_name_what_cannot_be_used(plan, message):
    with pytest.raises(InputError, match=message):
        plan.validate()


@pytest.mark.parametrize("seed", [-1, 2**32, 10**30, 0.5, True, None])
def test_seeds_are_refused_by_name_before_any_work(seed):
    with pytest.raises(InputError, match=r"location: seed is .*, expected a whole number"):
        dataclasses.replace(BANK, seed=seed).validate()
    if type(seed) is int:
        own = make_posteriors(np.full((20, 2), 0.5), np.arange(20) < 10, None, "own")
        with pytest.raises(InputError, match=r"^seed is .*, expected a whole number from 0"):
            attack_answers(own, Attacker(seed=seed))


def test_several_problems_are_named_at_once():
    found = problems(Recipe(epochs=0, optimizer="adamw", l2=-1))
    assert [one.split(" is ")[0] for one in found] == ["epochs", "l2", "optimizer"]
    assert problems(Recipe(epochs=0), "attack")[0].startswith("attack epochs is 0")
    nested = problems(dataclasses.replace(PLAN, target=Recipe(epochs=0), scale=2.0))
    assert sorted(one.split(" is ")[0] for one in nested) == ["scale", "target epochs"]


def test_what_is_used_everywhere_has_no_problems():
    for recipe in (Recipe(l2=0), Recipe(learning_rate=1), *(p.recipe for p in RECIPES.values())):
        assert recipe.problems("model") == []
    for scale in ("smoke", "small", "paper"):
        make_plan(scale).validate()
    Execution(1, 2, 3, 4, "rows", "xla", 0, 1e9).validate()
    assert ForestRecipe(max_depth=3).problems("forest") == []
    assert CombinerRecipe(0.5).problems("combiner") == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoding": "byte"}, "encoding is byte|encoding is 'byte'"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"form": "fft"}, "form is fft"),
        ({"kernels": "cuda"}, "kernels is 'cuda', expected a Kernels"),
        ({"records_per_block": 0}, "records_per_block is 0"),
        ({"recipe": None}, "recipe is None, expected a Recipe"),
    ],
)
def test_learners_are_checked_as_a_whole(changes, message):
    fields = {"recipe": Recipe(), "encoding": "binary", "num_classes": 3, **changes}
    with pytest.raises(InputError, match=message):
        Learner(**fields)


def test_executions_are_checked_where_training_begins():
    with pytest.raises(InputError, match="kernels is hosst"):
        make_learner(Recipe(), "binary", 3, Execution(kernels="hosst"))


def test_unknown_scales_are_refused():
    with pytest.raises(InputError, match="scale is smal, expected one of smoke, small, paper"):
        make_plan("smal")
