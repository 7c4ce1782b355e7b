"""Recipes beyond the paper's: SGD, the cosine schedule, wide networks, quantile regression, dropout."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl.flags import FLAGS
from absl.testing import flagsaver
from fleets import assert_close, assert_identical, fleet_spec, trained

from jleaks.data.tasks import get_task
from jleaks.errors import InputError
from jleaks.experiments.bank_plan import BankPlan
from jleaks.experiments.plan import Plan
from jleaks.keys import Role, Stream, identity_key
from jleaks.models.registry import NETWORKS
from jleaks.training import epoch as epoch_lib
from jleaks.training import fleet as fleet_lib
from jleaks.training import step as step_lib
from jleaks.training.learner import Batch, Data, Learner, Members, State
from jleaks.training.recipe import RECIPES, Recipe
from launch.recipe import chosen_model, make_recipe


def with_recipe(c, **changes):
    recipe = dataclasses.replace(c.learner.recipe, **changes)
    return dataclasses.replace(c, learner=dataclasses.replace(c.learner, recipe=recipe))


@pytest.mark.parametrize("sizes", ["equal", "ragged"])
def test_wide_sgd_cosine_models_do_not_depend_on_each_other(sizes):
    c = fleet_spec("mlp", 5, epochs=3)
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
    state = epoch_lib.init(learner, data, members, key, None)
    found = epoch_lib.fit(learner, data, members, key, state, jnp.int32(0), jnp.int32(2))

    w = np.asarray(state.params["Dense_0"]["kernel"], np.float64)
    b = np.asarray(state.params["Dense_0"]["bias"], np.float64)
    velocity = [np.zeros_like(w), np.zeros_like(b)]
    rate = optax.cosine_decay_schedule(0.1, 12) if schedule == "cosine" else lambda _: 0.1
    step = 0
    for epoch in range(2):
        order = np.asarray(epoch_lib.shuffled(learner, members, key, jnp.int32(epoch)))
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
    base = fleet_spec("mlp", num_models, epochs=60)
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


def test_presets_can_be_trained_with():
    assert list(RECIPES) == ["ml_leaks", "wide", "wrn28_2", "resnet18"]
    for name, preset in RECIPES.items():
        assert preset.recipe.problems("model") == []
        assert preset.model in (None, preset.recipe.model)
        images = NETWORKS[preset.recipe.model].images
        assert bool(preset.recipe.misfits(get_task("location"))) == images
        assert preset.recipe.misfits(get_task("cifar10")) == []
        assert images == (name in ("wrn28_2", "resnet18"))
    assert RECIPES["ml_leaks"].recipe == Recipe()
    # PyTorch's weight decay of 5e-4.
    assert {2 * preset.recipe.l2 for preset in list(RECIPES.values())[1:]} == {5e-4}


@pytest.mark.parametrize(
    ("task", "changes", "message"),
    [
        ("location", {"model": "resnet18"}, "model is resnet18, but location has no images"),
        ("news", {"model": "cnn"}, "model is cnn, but news has no images"),
        ("adult", {"augmentation": "crops"}, "augmentation is crops, but adult has no images"),
        (
            "mnist",
            {"augmentation": "flips and crops"},
            "mirrored images of mnist are none of its kind",
        ),
    ],
)
def test_recipes_that_a_task_cannot_be_trained_with(task, changes, message):
    recipe = Recipe(**changes)
    (found,) = recipe.misfits(get_task(task))
    assert message in found
    with pytest.raises(InputError, match=message):
        BankPlan(task, 4, 400, 0, recipe=recipe).validate()
    plan = Plan(("face", task), (1, 1), target=recipe, model=changes.get("model"))
    with pytest.raises(InputError, match=message):
        plan.validate()


def test_a_plan_s_network_is_the_task_s_own_unless_it_names_one():
    tasks = [get_task(name) for name in ("cifar10", "location")]
    own = Plan(("cifar10", "location"), (1, 1), target=Recipe("logistic", epochs=3))
    assert [own.recipe(task).model for task in tasks] == ["cnn", "mlp"]
    named = dataclasses.replace(own, model="mlp")
    assert [named.validate().recipe(task).model for task in tasks] == ["mlp", "mlp"]
    assert named.recipe(tasks[0]).epochs == 3
    assert Recipe("wrn28_2", augmentation="crops").misfits(get_task("mnist")) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"model": "wrn28_2"}, "attack model is wrn28_2"), ({"augmentation": "crops"}, "attack aug")],
)
def test_attack_models_are_small(changes, message):
    with pytest.raises(InputError, match=message):
        Plan(("face",), (1,), attack=Recipe(**changes)).validate()


def with_dropout(c, *ratios):
    """Gives every model its ratios of inputs and hidden activations."""
    return dataclasses.replace(c, members=c.members._replace(dropout=np.array(ratios, np.float32)))


TURNS = {"num_devices": 1, "models_per_vmap": 1}


@pytest.mark.parametrize("block", [None, 5])
def test_ratio_zero_trains_the_model_without_dropout_bit_for_bit(block):
    c = fleet_spec("mlp", 2, block=block)
    found = trained(with_dropout(c, (0, 0), (0.5, 0.5)), **TURNS)
    expected = trained(c, **TURNS)
    one = jax.tree.map(lambda leaf: leaf[0], found)
    assert_identical(one, jax.tree.map(lambda leaf: leaf[0], expected))
    changed = jax.tree.map(
        lambda a, b: np.abs(a[1] - b[1]).max() > 1e-3, found.params, expected.params
    )
    assert all(jax.tree.leaves(changed))


def test_dropout_does_not_depend_on_execution():
    c = fleet_spec("mlp", 6, ragged=True)
    c = with_dropout(c, (0.5, 0.5), (0, 0), (0.2, 0.7), (0.9, 0), (0, 0.3), (0.1, 0.1))
    reference = trained(c, **TURNS, models_per_call=6, chunk_seconds=0)
    assert_identical(trained(c, **TURNS, models_per_call=3, chunk_seconds=9), reference)
    assert_close(trained(c, num_devices=4, models_per_vmap=2), reference)
    padded = c.members._replace(indices=np.pad(c.members.indices, ((0, 0), (0, 37))))
    assert_close(trained(dataclasses.replace(c, members=padded), **TURNS), reference)


def test_dropout_does_not_depend_on_blocks_of_records():
    c = fleet_spec("mlp", 1)
    data = Data(jnp.asarray(c.features), jnp.asarray(c.labels))
    members = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), c.members)
    state = epoch_lib.init(c.learner, data, members, jax.random.key(0), None)
    records, labels = data.features[:20], data.labels[:20]
    ratios = jnp.array([0.3, 0.5])
    factors = epoch_lib.drop(c.learner, state, records, ratios, jax.random.key(1))
    whole, blocks = (
        jax.jit(step_lib.gradient, static_argnums=0)(
            dataclasses.replace(c.learner, records_per_block=block),
            state,
            Batch(records, labels, factors),
        )
        for block in (None, 5)
    )
    assert_close(blocks, whole, 1e-5)


def test_all_ratios_share_one_compiled_program():
    c = fleet_spec("mlp", 3, epochs=2)
    before = fleet_lib.TRACES["fit"]
    for ratio in (0, 0.25, 0.5):
        trained(with_dropout(c, *[(ratio, ratio)] * 3), models_per_vmap=1)
    assert fleet_lib.TRACES["fit"] - before <= 1


def mlp(hidden: tuple[int, ...] = (40, 30)) -> tuple[Learner, State, jax.Array]:
    """A network of random weights, and 50 records."""
    rng = np.random.default_rng(4)
    learner = Learner(Recipe("mlp", hidden, 1, 50), "binary", 3)
    records = jnp.asarray(rng.integers(0, 2, (50, 20)).astype(np.uint8))
    members = Members(jnp.arange(50), jnp.int32(50))
    data = Data(records, jnp.zeros(50, jnp.int32))
    return learner, epoch_lib.init(learner, data, members, jax.random.key(1), None), records


def test_inputs_and_hidden_activations_drop_at_the_stated_rates():
    learner, state, records = mlp()
    keys = jax.random.split(jax.random.key(0), 40)
    ratios = jnp.array([0.2, 0.7])
    inputs, hidden = jax.vmap(lambda key: epoch_lib.drop(learner, state, records, ratios, key))(
        keys
    )
    assert inputs.shape == (40, 50, 20)
    assert [layer.shape for layer in hidden] == [(40, 50, 40), (40, 50, 30)]
    for factors, ratio in ((inputs, 0.2), (hidden[0], 0.7), (hidden[1], 0.7)):
        values = np.unique(factors)
        np.testing.assert_allclose(values, [0, 1 / (1 - ratio)], rtol=1e-6)
        dropped = np.asarray(factors == 0)
        error = np.sqrt(ratio * (1 - ratio) / dropped.size)
        assert abs(dropped.mean() - ratio) < 5 * error
        # Every record, every activation and every step has its own.
        for axis in (0, 1, 2):
            spread = dropped.mean(tuple({0, 1, 2} - {axis}))
            assert np.abs(spread - ratio).max() < 6 * error * np.sqrt(dropped.shape[axis])
    # Layers do not drop in step with each other.
    both = np.mean(np.asarray(hidden[0][..., :30] == 0) & np.asarray(hidden[1] == 0))
    assert abs(both - 0.49) < 0.02


def test_dropped_activations_are_multiplied_and_queries_never_drop():
    learner, state, records = mlp()
    key, ratios = jax.random.key(2), jnp.array([0.4, 0.5])
    factors = epoch_lib.drop(learner, state, records, ratios, key)

    def forward(inputs, first, second):
        x, layers = np.asarray(records, np.float64) * inputs, state.params
        for name, factor in (("Dense_0", first), ("Dense_1", second)):
            x = np.tanh(x @ layers[name]["kernel"] + layers[name]["bias"]) * factor
        return x @ layers["Dense_2"]["kernel"] + layers["Dense_2"]["bias"]

    batch = Batch(records, jnp.zeros(50, jnp.int32), factors)
    found, averages = learner.apply(state, batch)
    assert averages == {}
    dropped = forward(factors.inputs, *factors.hidden)
    np.testing.assert_allclose(found, dropped, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        learner.logits(state, records), forward(1, 1, 1), rtol=1e-4, atol=1e-5
    )


def test_a_linear_network_answers_the_same_on_average():
    learner, state, records = mlp(())
    labels = jnp.zeros(50, jnp.int32)

    def answer(key):
        factors = epoch_lib.drop(learner, state, records, jnp.array([0.5, 0.0]), key)
        return learner.apply(state, Batch(records, labels, factors))[0]

    answers = np.asarray(jax.vmap(answer)(jax.random.split(jax.random.key(3), 4000)))
    error = answers.std(0) / np.sqrt(len(answers))
    assert (np.abs(answers.mean(0) - learner.logits(state, records)) < 5 * error + 1e-6).all()
    assert error.max() > 0


def test_sgd_with_dropout_equals_a_loop_written_by_hand():
    learner, data, members = linear("sgd", "constant")
    members = members._replace(dropout=jnp.array([0.25, 0.9]))
    key = identity_key(0, "location", Role.TARGET)
    state = epoch_lib.init(learner, data, members, key, None)
    found = epoch_lib.fit(learner, data, members, key, state, jnp.int32(0), jnp.int32(2))
    w, b = (np.asarray(state.params["Dense_0"][name], np.float64) for name in ("kernel", "bias"))
    velocity, masks = [np.zeros_like(w), np.zeros_like(b)], []
    for epoch in range(2):
        order = np.asarray(epoch_lib.shuffled(learner, members, key, jnp.int32(epoch)))
        for step, at in enumerate(order.reshape(6, 8)):
            drop_key = jax.random.fold_in(key, Stream.DROPOUT)
            drop_key = jax.random.fold_in(jax.random.fold_in(drop_key, epoch), step)
            factors = epoch_lib.drop(learner, state, data.features[at], members.dropout, drop_key)
            masks.append(np.asarray(factors.inputs))
            x = np.asarray(data.features)[at] * masks[-1].astype(np.float64)
            z = x @ w + b
            p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
            p[np.arange(8), np.asarray(data.labels)[at]] -= 1
            gradients = [x.T @ p / 8 + 5e-4 * w, p.mean(0)]
            velocity = [0.9 * v + g for v, g in zip(velocity, gradients, strict=True)]
            w, b = (a - 0.1 * v for a, v in zip((w, b), velocity, strict=True))
    np.testing.assert_allclose(found.params["Dense_0"]["kernel"], w, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.params["Dense_0"]["bias"], b, rtol=1e-4, atol=1e-5)
    assert len({mask.tobytes() for mask in masks}) == len(masks)


def test_models_drop_differently():
    c = fleet_spec("mlp", 2, epochs=1)
    words = np.stack([c.key_data[0], c.key_data[1]])
    learner, state, records = mlp()
    ratios = jnp.array([0.5, 0.5])
    first, second = (
        epoch_lib.drop(learner, state, records, ratios, jax.random.wrap_key_data(w)) for w in words
    )
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert 0.4 < np.mean(a != b) < 0.6


@pytest.mark.parametrize("ratio", [1.0, -0.1, float("nan")])
def test_a_bad_dropout_ratio_is_named(ratio):
    c = with_dropout(fleet_spec("mlp", 2), (0, 0.5), (0.5, ratio))
    with pytest.raises(InputError, match=rf"test: a dropout ratio is {ratio:g}, expected"):
        trained(c)


@pytest.mark.parametrize(
    ("flags", "recipe", "model"),
    [
        ([], Recipe("cnn"), None),
        (["epochs=7", "hidden=9,8"], Recipe("cnn", (9, 8), 7), None),
        (["model=mlp"], Recipe("mlp"), "mlp"),
        (["recipe=wide", "l2=0", "hidden=5"], "wide", "mlp"),
        (["recipe=wrn28_2", "augmentation=crops", "batch_size=100"], "wrn28_2", "wrn28_2"),
        (["recipe=wrn28_2", "model=resnet18"], "wrn28_2", "resnet18"),
    ],
)
def test_flags_deviate_from_the_named_recipe(flags, recipe, model):
    if recipe == "wide":
        recipe = dataclasses.replace(RECIPES["wide"].recipe, l2=0.0, hidden=(5,))
    elif recipe == "wrn28_2":
        changes = {"augmentation": "crops", "batch_size": 100} if model == "wrn28_2" else {}
        recipe = dataclasses.replace(RECIPES["wrn28_2"].recipe, model=model, **changes)
    FLAGS.mark_as_parsed()
    with flagsaver.as_parsed(**dict(flag.split("=") for flag in flags)):
        assert make_recipe(get_task("mnist")) == recipe
        assert chosen_model() == model


@pytest.mark.parametrize(
    ("module", "flags", "words"),
    [
        ("launch.sweep", ["--tasks=face,location", "--model=cnn"], "location has no images"),
        ("launch.bank", ["--tasks=adult", "--recipe=resnet18"], "adult has no images"),
        ("launch.bank", ["--tasks=mnist", "--recipe=wrn28_2"], "expected crops or none for mnist"),
    ],
)
def test_networks_and_tasks_that_do_not_fit_are_one_line(launch, tmp_path, module, flags, words):
    process = launch(module, f"--workdir={tmp_path / 'w'}", *flags)
    assert process.returncode == 2, process.stderr
    (line,) = process.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert not (tmp_path / "w").exists()
