"""How attack models are trained: activation and schedule against loops by hand, names, flags."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from absl.flags import FLAGS
from absl.testing import flagsaver
from fleets import trained

from jleaks.errors import InputError
from jleaks.experiments.paper_plan import SMOKE_ATTACK, make_plan
from jleaks.experiments.plan import Plan
from jleaks.keys import Role, identity_key
from jleaks.training import epoch as epoch_lib
from jleaks.training.execution import Execution
from jleaks.training.fleet import stack_key_data
from jleaks.training.learner import Learner, Members, State
from jleaks.training.preemption import StopSignal
from jleaks.training.recipe import ATTACK_RECIPE, ATTACK_RECIPES, Recipe
from jleaks.training.trainer import FleetSpec, Trainer
from launch.attack_recipe import make_attack_recipe

# Rows that each attack model learns from: one batch is 10, so they take 6, 3 and 4 steps an epoch.
SIZES = (64, 39, 40)


def attack_spec(recipe: Recipe) -> FleetSpec:
    """Attack models of shadows of different sizes, the last of which sees two posteriors."""
    rng = np.random.default_rng(11)
    features = -np.sort(-rng.dirichlet(np.full(3, 0.6), 70).astype(np.float32), axis=1)
    labels = rng.integers(0, 2, 70).astype(np.int32)
    indices = np.stack([rng.permutation(70)[:64] for _ in SIZES]).astype(np.int32)
    return FleetSpec(
        name="attack models",
        names=[f"attack model {i}" for i in range(len(SIZES))],
        learner=Learner(recipe, "posteriors", 2),
        features=features,
        labels=labels,
        members=Members(indices, np.array(SIZES, np.int32)),
        key_data=stack_key_data(
            [identity_key(i, "test", Role.ATTACK, 3) for i in range(len(SIZES))]
        ),
        masks=np.array([[1, 1, 1], [1, 1, 1], [1, 1, 0]], np.float32),
    )


def by_hand(spec: FleetSpec, model: int, start: State) -> dict[str, np.ndarray]:
    """Adam on one hidden layer in float64 NumPy: Kingma & Ba 2015, algorithm 1."""
    recipe = spec.learner.recipe
    size, batch = SIZES[model], recipe.batch_size
    names = ("w1", "b1", "w2", "b2")
    layers = [
        start.params[f"Dense_{i}"][name][model] for i in (0, 1) for name in ("kernel", "bias")
    ]
    p = dict(zip(names, (np.asarray(x, np.float64) for x in layers), strict=True))
    mean = {name: np.zeros_like(x) for name, x in p.items()}
    square = {name: np.zeros_like(x) for name, x in p.items()}
    members = Members(spec.members.indices[model], np.int32(size))
    key = identity_key(model, "test", Role.ATTACK, 3)
    num_steps = size // batch
    step = 0
    for epoch in range(recipe.epochs):
        order = np.asarray(epoch_lib.shuffled(spec.learner, members, key, jnp.int32(epoch)))
        for at in order[: num_steps * batch].reshape(num_steps, batch):
            rows = spec.members.indices[model][at]
            x = spec.features[rows].astype(np.float64) * spec.masks[model]
            z = x @ p["w1"] + p["b1"]
            h = np.maximum(z, 0) if recipe.activation == "relu" else np.tanh(z)
            logits = h @ p["w2"] + p["b2"]
            dy = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            dy[np.arange(batch), spec.labels[rows]] -= 1
            dy /= batch
            dz = dy @ p["w2"].T * ((z > 0) if recipe.activation == "relu" else 1 - h**2)
            gradient = {
                "w1": x.T @ dz + 2 * recipe.l2 * p["w1"],
                "b1": dz.sum(0),
                "w2": h.T @ dy + 2 * recipe.l2 * p["w2"],
                "b2": dy.sum(0),
            }
            rate = recipe.learning_rate
            if recipe.schedule == "cosine":
                rate *= (1 + np.cos(np.pi * step / (recipe.epochs * num_steps))) / 2
            step += 1
            for name, g in gradient.items():
                mean[name] = 0.9 * mean[name] + 0.1 * g
                square[name] = 0.999 * square[name] + 0.001 * g**2
                m, v = mean[name] / (1 - 0.9**step), square[name] / (1 - 0.999**step)
                p[name] = p[name] - rate * m / (np.sqrt(v) + 1e-8)
    return p


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_attack_models_of_a_fleet_equal_a_loop_by_hand(activation, schedule):
    """Each decays over its own steps, though the fleet takes as many as its longest model."""
    recipe = Recipe("mlp", (8,), 3, 10, 1e-2, 1e-3, schedule=schedule, activation=activation)
    spec = attack_spec(recipe)
    start = Trainer(spec, Execution(), lambda _: None, StopSignal()).initial()
    found = trained(spec, num_devices=2, models_per_vmap=2)
    for model in range(len(SIZES)):
        expected = by_hand(spec, model, start)
        for layer, names in (("Dense_0", ("w1", "b1")), ("Dense_1", ("w2", "b2"))):
            for leaf, name in zip(("kernel", "bias"), names, strict=True):
                np.testing.assert_allclose(
                    found.params[layer][leaf][model], expected[name], rtol=2e-3, atol=2e-4
                )


def test_recipes_have_names():
    assert list(ATTACK_RECIPES) == ["stable", "ml_leaks", "released"]
    assert ATTACK_RECIPES["stable"].recipe == ATTACK_RECIPE
    assert ATTACK_RECIPES["ml_leaks"].recipe == Recipe("mlp", (64,), 50, 10, 1e-2, 1e-6)
    released = ATTACK_RECIPES["released"].recipe
    assert (released.model, released.epochs, released.batch_size) == ("logistic", 50, 10)
    assert (released.learning_rate, released.l2, released.schedule) == (1e-2, 1e-6, "constant")
    for name, preset in ATTACK_RECIPES.items():
        assert preset.model == preset.recipe.model
        assert preset.about
        Plan(("face",), (1,), attack=preset.recipe).validate()
        assert make_plan("smoke", ("face",), changes={"attack": preset.recipe}), name


def test_plans_attack_with_the_stable_recipe():
    assert Plan(("face",), (1,)).attack == ATTACK_RECIPE
    assert make_plan("paper").attack == make_plan("small").attack == ATTACK_RECIPE
    # Attack models of the smallest scale are cheaper, and otherwise the same.
    assert make_plan("smoke").attack == dataclasses.replace(ATTACK_RECIPE, epochs=10, batch_size=50)


@pytest.mark.parametrize(
    ("given", "cheaper", "name", "changes"),
    [
        ({}, {}, "stable", {}),
        ({"attack_recipe": "ml_leaks"}, {}, "ml_leaks", {}),
        ({"attack_recipe": "released"}, SMOKE_ATTACK, "released", SMOKE_ATTACK),
        (
            {"attack_batch_size": "25", "attack_l2": "0"},
            SMOKE_ATTACK,
            "stable",
            {"epochs": 10, "batch_size": 25, "l2": 0.0},
        ),
        (
            {
                "attack_recipe": "ml_leaks",
                "attack_activation": "relu",
                "attack_schedule": "cosine",
                "attack_learning_rate": "0.5",
                "attack_epochs": "2",
            },
            {},
            "ml_leaks",
            {"activation": "relu", "schedule": "cosine", "learning_rate": 0.5, "epochs": 2},
        ),
    ],
)
def test_flags_deviate_from_the_named_attack_recipe(given, cheaper, name, changes):
    FLAGS.mark_as_parsed()
    with flagsaver.as_parsed(**given):
        expected = dataclasses.replace(ATTACK_RECIPES[name].recipe, **changes)
        assert make_attack_recipe(cheaper) == expected


def test_a_bad_activation_is_named():
    with pytest.raises(InputError, match="attack activation is gelu, expected one of tanh, relu"):
        Plan(("face",), (1,), attack=Recipe(activation="gelu")).validate()
    with pytest.raises(InputError, match="target activation is gelu"):
        Plan(("face",), (1,), target=Recipe(activation="gelu")).validate()
