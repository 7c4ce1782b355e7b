"""Recipes beyond the paper's: SGD, the cosine schedule, wide networks, quantile regression."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fleets import crew
from test_fleet import assert_close, trained

from jleaks import train
from jleaks.keys import Role, identity_key
from jleaks.plan import Recipe
from jleaks.train import Data, Learner, Members


def with_recipe(c, **changes):
    recipe = dataclasses.replace(c.learner.recipe, **changes)
    return dataclasses.replace(c, learner=dataclasses.replace(c.learner, recipe=recipe))


@pytest.mark.parametrize("sizes", ["equal", "ragged"])
def test_wide_sgd_cosine_models_do_not_depend_on_each_other(sizes):
    c = crew("mlp", 5, epochs=3)
    c = with_recipe(
        c, hidden=(24, 16), optimizer="sgd", learning_rate=0.05, l2=2.5e-4, schedule="cosine"
    )
    if sizes == "ragged":
        counts = c.members.size - np.array([0, 7, 25, 3, 31], np.int32)
        c = dataclasses.replace(c, members=Members(c.members.indices, counts))
    alone = trained(c, num_devices=1, models_per_vmap=1, models_per_call=1)
    assert_close(trained(c, num_devices=4, models_per_vmap=2), alone)


def linear(optimizer: str, schedule: str) -> tuple[Learner, Data, Members]:
    rng = np.random.default_rng(0)
    features = rng.integers(0, 2, (48, 6)).astype(np.uint8)
    labels = rng.integers(0, 3, 48).astype(np.int32)
    recipe = Recipe(
        "logistic", (), 2, 8, 0.1, 2.5e-4, optimizer=optimizer, momentum=0.9, schedule=schedule
    )
    members = Members(jnp.arange(48), jnp.int32(48))
    return Learner(recipe, "binary", 3), Data(jnp.asarray(features), jnp.asarray(labels)), members


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_sgd_equals_a_loop_written_by_hand(schedule):
    learner, data, members = linear("sgd", schedule)
    key = identity_key(0, "location", Role.TARGET)
    state = train.init(learner, data, members, key, None)
    found = train.fit(learner, data, members, key, state, jnp.int32(0), jnp.int32(2))

    w = np.asarray(state.params["Dense_0"]["kernel"], np.float64)
    b = np.asarray(state.params["Dense_0"]["bias"], np.float64)
    velocity = [np.zeros_like(w), np.zeros_like(b)]
    rate = optax.cosine_decay_schedule(0.1, 12) if schedule == "cosine" else lambda _: 0.1
    step = 0
    for epoch in range(2):
        order = np.asarray(train.shuffled(members, key, jnp.int32(epoch)))
        for at in order.reshape(6, 8):
            x, y = np.asarray(data.features)[at].astype(np.float64), np.asarray(data.labels)[at]
            z = x @ w + b
            p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
            p[np.arange(8), y] -= 1
            # Weight decay 5e-4 on the kernel, as in PyTorch's SGD.
            gradients = [x.T @ p / 8 + 5e-4 * w, p.mean(0)]
            velocity = [0.9 * v + g for v, g in zip(velocity, gradients, strict=True)]
            w, b = (a - float(rate(step)) * v for a, v in zip((w, b), velocity, strict=True))
            step += 1
    np.testing.assert_allclose(found.params["Dense_0"]["kernel"], w, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.params["Dense_0"]["bias"], b, rtol=1e-4, atol=1e-5)


def test_the_wide_mlp_of_the_literature_has_its_shape():
    recipe = Recipe(
        hidden=(1024, 512), epochs=100, batch_size=128, learning_rate=0.01, l2=2.5e-4,
        optimizer="sgd", schedule="cosine",
    )  # fmt: skip
    assert recipe.problems("model") == []
    learner = Learner(recipe, "binary", 100)
    shapes = jax.eval_shape(learner.module.init, jax.random.key(0), jnp.zeros((1, 600)))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert count == 600 * 1024 + 1024 + 1024 * 512 + 512 + 512 * 100 + 100


def quantile_fleet(num_models: int, level: float):
    """Records with one of three features; answers are drawn from a distribution per feature and model."""
    rng = np.random.default_rng(1)
    kind = rng.integers(0, 3, 3000)
    base = crew("mlp", num_models, epochs=60)
    answers = kind + np.arange(num_models)[:, None] + rng.exponential(1, (num_models, 3000))
    recipe = Recipe("mlp", (16,), 60, 100, 1e-2, 0.0, loss="quantile", quantile=level)
    learner = Learner(recipe, "binary", 1)
    c = dataclasses.replace(
        base,
        learner=learner,
        features=np.eye(3, dtype=np.uint8)[kind],
        labels=np.zeros(3000, np.int32),
        members=Members(
            np.tile(np.arange(3000, dtype=np.int32), (num_models, 1)),
            np.full(num_models, 3000, np.int32),
            answers.astype(np.float32),
        ),
    )
    return c, kind, answers


def test_quantile_regression_finds_each_model_s_quantiles():
    c, kind, answers = quantile_fleet(3, 0.9)
    state = trained(c, num_devices=1, models_per_vmap=1)
    for model in range(3):
        one = jax.tree.map(lambda leaf, at=model: jnp.asarray(leaf[at]), state)
        found = np.asarray(c.learner.logits(one, jnp.eye(3)))[:, 0]
        expected = [np.quantile(answers[model][kind == k], 0.9) for k in range(3)]
        np.testing.assert_allclose(found, expected, atol=0.35)
    # Answers stay with their records whatever the packing.
    assert_close(trained(c, num_devices=4, models_per_vmap=2), state)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"momentum": 1.0}, "momentum is 1.0"), ({"quantile": 0.0}, "quantile is 0.0")],
)
def test_bad_recipes_name_the_value(changes, message):
    assert message in Recipe(**changes).problems("model")[0]
