"""Residual networks against a loop; batch normalisation in fleets, checkpoints and queries."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fleets import assert_close, assert_identical, tiny_spec, trained
from naive_convolution import naive_convolution

from jleaks.errors import InputError
from jleaks.models import kernels, networks
from jleaks.models.networks import Computing, Training
from jleaks.models.registry import NETWORKS
from jleaks.training import epoch, packing, step
from jleaks.training import fleet as fleet_lib
from jleaks.training.checkpoints import Store
from jleaks.training.cost import measure
from jleaks.training.execution import Execution
from jleaks.training.fleet import Fleet, make_mesh
from jleaks.training.learner import Batch, Data, Factors, Learner, Members
from jleaks.training.preemption import Preempted, StopSignal
from jleaks.training.recipe import Recipe
from jleaks.training.trainer import Trainer

ORDERS = ("post-activation", "pre-activation")
SHAPE = (8, 8, 3)
OWN = ("mlp", "logistic", "cnn", "resnet18", "wrn28_2")


query = jax.jit(Learner.logits, static_argnums=0)
apply = jax.jit(Learner.apply, static_argnums=0)


def untrained(order="pre-activation", form="products"):
    """A tiny network, its state, and 24 records."""
    c = tiny_spec(1, order=order)
    learner = dataclasses.replace(c.learner, form=form)
    data = Data(jnp.asarray(c.features), jnp.asarray(c.labels))
    members = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), c.members)
    init = jax.jit(epoch.init, static_argnums=0)
    state = init(learner, data, members, jax.random.key(2), None)
    # Scales and biases that training would have changed.
    params = jax.tree.map(
        lambda leaf: leaf + 0.3 * jnp.cos(jnp.arange(leaf.size) + 1.0).reshape(leaf.shape),
        state.params,
    )
    averages = jax.tree.map(
        lambda leaf: leaf + 0.5 * jnp.sin(jnp.arange(leaf.size) + 1.0), state.averages
    )
    return learner, state._replace(params=params, averages=averages), data


@pytest.mark.parametrize(
    ("name", "expected"), [("resnet18", 11_173_962), ("wrn28_2", 1_467_610), ("cnn", 136_810)]
)
def test_networks_have_the_published_number_of_parameters(name, expected):
    module = NETWORKS[name].make(10, Recipe(name), Computing())
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    if name == "cnn":
        expected = 25 * 3 * 32 + 32 + 25 * 32 * 32 + 32 + 6 * 6 * 32 * 128 + 128 + 128 * 10 + 10
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == expected
    assert ("batch_stats" in shapes) == (not NETWORKS[name].splits)


def test_every_model_can_be_built():
    for name in OWN:
        module = NETWORKS[name].make(3, Recipe(name, (7,)), Computing())
        shape = (2, 32, 32, 3) if NETWORKS[name].images else (2, 20)
        variables = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros(shape))
        factors = tuple(jnp.ones((2, width)) for width in module.drop_widths)
        answer = jax.eval_shape(
            lambda v, x, f, m=module: m.apply(v, x, Training(f), mutable=["batch_stats"])[0],
            variables, jnp.zeros(shape), factors,
        )  # fmt: skip
        assert answer.shape == (2, 3)
    with pytest.raises(InputError, match="model is vgg, expected one of mlp, logistic, cnn"):
        Learner(Recipe("vgg"), "binary", 3)


def test_convolutions_start_as_he_and_others_say():
    x = jnp.zeros((1, 4, 4, 128))
    kernel = networks.Filter(256, 3).init(jax.random.key(0), x)["params"]["kernel"]
    assert kernel.shape == (3, 3, 128, 256)
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * 128)), rtol=0.01)
    assert abs(kernel.mean()) < 5 * kernel.std() / np.sqrt(kernel.size)


def naive_forward(order, params, averages, x, training):
    """The network in float64; collects the batch's means and variances by path."""
    found = {}

    def norm(path, x):
        scope, stats = params, averages
        for name in path:
            scope, stats = scope[name], stats[name]
        mean, var = np.asarray(stats["mean"]), np.asarray(stats["var"])
        if training:
            mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
            found[path] = (mean, var)
        scale, bias = np.asarray(scope["scale"]), np.asarray(scope["bias"])
        return (x - mean) / np.sqrt(var + 1e-5) * scale + bias

    def conv(scope, name, x, strides=1):
        return naive_convolution(x, np.asarray(scope[name]["kernel"], np.float64), "SAME", strides)

    def relu(x):
        return np.maximum(x, 0)

    x = conv(params, "Filter_0", x)
    if order == "post-activation":
        x = relu(norm(("BatchNorm_0",), x))
    for stage in range(2):
        name = f"{'Post' if order == 'post-activation' else 'Pre'}Activation_{stage}"
        block, strides = params[name], 1 + stage
        # Flax numbers layers by when they are made.
        if order == "post-activation":
            y = relu(norm((name, "BatchNorm_0"), conv(block, "Filter_0", x, strides)))
            y = norm((name, "BatchNorm_1"), conv(block, "Filter_1", y))
            x = relu(y + norm((name, "BatchNorm_2"), conv(block, "Filter_2", x, strides)))
        else:
            y = relu(norm((name, "BatchNorm_0"), x))
            shortcut = conv(block, "Filter_0", y, strides)
            y = relu(norm((name, "BatchNorm_1"), conv(block, "Filter_1", y, strides)))
            x = shortcut + conv(block, "Filter_2", y)
    if order == "pre-activation":
        x = relu(norm(("BatchNorm_0",), x))
    read_out = params["MLP_0"]["Dense_0"]
    return x.mean((1, 2)) @ np.asarray(read_out["kernel"]) + np.asarray(read_out["bias"]), found


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("form", ["native", "products"])
def test_networks_equal_a_loop_in_training_and_in_queries(order, form):
    learner, state, data = untrained(order, form)
    records = data.features[:6]
    x = np.asarray(learner.encode(state, records), np.float64)
    expected, _ = naive_forward(order, state.params, state.averages, x, training=False)
    np.testing.assert_allclose(query(learner, state, records), expected, rtol=1e-3, atol=1e-3)

    expected, statistics = naive_forward(order, state.params, state.averages, x, training=True)
    found, averages = apply(learner, state, Batch(records, data.labels[:6]))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    leaves = jax.tree_util.tree_flatten_with_path(averages)[0]
    assert len(leaves) == 2 * len(statistics)
    for path, leaf in leaves:
        *names, kind = (part.key for part in path)
        old = functools.reduce(lambda tree, name: tree[name], (*names, kind), state.averages)
        new = statistics[tuple(names)][("mean", "var").index(kind)]
        np.testing.assert_allclose(leaf, 0.9 * old + 0.1 * new, rtol=1e-3, atol=1e-3)


def test_an_identity_shortcut_adds_the_input():
    for block in (networks.PostActivation, networks.PreActivation):
        x = jnp.abs(jnp.sin(jnp.arange(2 * 16 * 4.0))).reshape(2, 4, 4, 4)
        module = block(4, 1, Computing())
        variables = module.init(jax.random.key(0), x, None)
        assert set(variables["params"]) == {"Filter_0", "Filter_1", "BatchNorm_0", "BatchNorm_1"}
        zero = jax.tree.map(jnp.zeros_like, variables["params"])
        np.testing.assert_allclose(module.apply({**variables, "params": zero}, x, None), x)


@pytest.mark.parametrize("order", ORDERS)
def test_a_query_does_not_depend_on_what_else_is_asked(order):
    learner, state, data = untrained(order)
    records, others = data.features[:5], data.features[40:60]
    alone = query(learner, state, records)
    among = query(learner, state, jnp.concatenate([records, others]))[:5]
    brighter = query(learner, state, jnp.concatenate([records, 255 - others // 4]))[:5]
    np.testing.assert_allclose(among, alone, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(brighter, alone, rtol=1e-5, atol=1e-5)
    # Training does depend on it, or the test above would show nothing.
    labels = jnp.zeros(25, jnp.int32)
    trained_among, _ = apply(learner, state, Batch(jnp.concatenate([records, others]), labels))
    trained_brighter, _ = apply(
        learner, state, Batch(jnp.concatenate([records, 255 - others // 4]), labels)
    )
    assert np.abs(trained_among[:5] - trained_brighter[:5]).max() > 1e-2


def test_dropout_of_the_features_before_the_read_out():
    learner, state, data = untrained()
    factors = Factors(jnp.ones((6, *SHAPE)), (jnp.zeros((6, 6)),))
    found, _ = apply(learner, state, Batch(data.features[:6], data.labels[:6], factors))
    bias = state.params["MLP_0"]["Dense_0"]["bias"]
    np.testing.assert_allclose(found, np.broadcast_to(bias, (6, 4)), atol=1e-6)
    cnn = networks.CNN(4)
    x = jnp.ones((2, 12, 12, 3))
    variables = jax.jit(cnn.init)(jax.random.key(0), x)
    answer = jax.jit(cnn.apply)(variables, x, Training((jnp.zeros((2, 128)),)))
    np.testing.assert_array_equal(answer, np.zeros((2, 4)))


def test_a_fleet_on_four_devices_equals_each_model_alone():
    c = tiny_spec(2)
    size = 49
    c = dataclasses.replace(c, members=Members(c.members.indices, np.full(2, size, np.int32)))
    state = trained(c, num_devices=4)
    for i in range(2):
        data = Data(jnp.asarray(c.features), jnp.asarray(c.labels))
        # Without padding there are no surplus steps, which must not move the averages.
        members = Members(jnp.asarray(c.members.indices[i, :size]), jnp.int32(size))
        key = jax.random.wrap_key_data(jnp.asarray(c.key_data[i]))
        one = epoch.init(c.learner, data, members, key, None)
        one = jax.jit(epoch.fit, static_argnums=0)(
            c.learner, data, members, key, one, jnp.int32(0), jnp.int32(2)
        )
        ours = jax.tree.map(lambda leaf, at=i: leaf[at], state)
        assert_close(ours.params, one.params, 2e-3)
        assert_close(ours.averages, one.averages)


def test_the_compiled_program_has_no_collective():
    c = tiny_spec(4)
    f = Fleet(c.learner, make_mesh(4), 1)
    data = f.put_data(c.features, c.labels)
    text = f.load(f.init(data, c.members, c.key_data), c.members, c.key_data).compiled_text(data)
    assert "fusion" in text
    collective = r"(all-reduce|all-gather|all-to-all|collective|reduce-scatter)[\w-]*\("
    assert not re.search(collective, text)


class StopAfter(StopSignal):
    """Pretends that SIGTERM arrived after so many looks."""

    def __init__(self, looks):
        self.looks = looks

    @property
    def received(self):
        self.looks -= 1
        return 15 if self.looks < 0 else None


def test_a_resumed_fleet_equals_an_uninterrupted_one(tmp_path):
    c = tiny_spec(2, epochs=3, order="post-activation")
    turns = {"num_devices": 1, "models_per_vmap": 1, "models_per_call": 2}
    before = fleet_lib.TRACES["fit"]
    whole = trained(c, **turns, chunk_seconds=9)
    store = Store(tmp_path, "plan")
    execution = Execution(**turns, chunk_seconds=0)
    with pytest.raises(Preempted):
        Trainer(c, execution, lambda _: None, StopAfter(1)).run(store)
    store = Store(tmp_path, "plan")
    resumed = Trainer(c, execution, lambda _: None, StopSignal()).run(store)
    store.close()
    assert_identical(resumed, whole)
    assert fleet_lib.TRACES["fit"] - before <= 1
    start = Trainer(c, execution, lambda _: None, StopSignal()).initial()
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(-1) > 1e-4, whole.averages, start.averages)
    assert all(both.all() for both in jax.tree.leaves(moved))


def test_a_normalised_batch_is_never_split():
    with pytest.raises(
        InputError, match="records_per_block is 5, but wrn28_2 takes every batch as a whole"
    ):
        packing.make_learner(Recipe("wrn28_2"), "pixels", 10, Execution(records_per_block=5))
    for name in ("resnet18", "wrn28_2"):
        learner = packing.make_learner(Recipe(name), "pixels", 10, Execution())
        assert learner.num_blocks == 1
        assert learner.form == ("products" if jax.default_backend() == "cpu" else "native")
    learner, state, data = untrained()
    split = dataclasses.replace(learner, records_per_block=5)
    with pytest.raises(ValueError, match="cannot be split into blocks"):
        step.gradient(split, state, Batch(data.features[:20], data.labels[:20]))


def test_the_memory_estimate_holds_parameters_velocity_and_averages():
    learner, state, data = untrained()
    cost = measure(learner, data.features, 60)
    count = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    averages = 2 * (3 + 4 + 4 + 6 + 6)
    assert sum(leaf.size for leaf in jax.tree.leaves(state.averages)) == averages
    pixels, epochs = 2 * np.prod(SHAPE), 2
    assert cost.state_bytes == 4 * (2 * count + averages + pixels + epochs + 1)


def test_accelerators_have_a_cross_entropy_without_scatter(rng):
    logits = jnp.asarray(rng.normal(0, 9, (40, 7)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 7, 40), jnp.int32)
    chosen = kernels.choose(None, "gpu").cross_entropy
    assert kernels.choose(None, "tpu").cross_entropy is chosen
    assert kernels.choose(None, "cpu") is kernels.XLA

    def losses(fn):
        return jax.value_and_grad(lambda x: fn(x, labels).mean())(logits)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        losses(chosen),
        losses(kernels.XLA.cross_entropy),
    )
    assert "scatter" in str(jax.make_jaxpr(lambda: losses(kernels.XLA.cross_entropy))())
    assert "scatter" not in str(jax.make_jaxpr(lambda: losses(chosen))())
