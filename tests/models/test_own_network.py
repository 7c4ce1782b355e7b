"""A user's networks, linen and nnx: against loops that know nothing of jleaks, and what is refused."""

import dataclasses
import functools
import sys
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from fleets import StopAfter, assert_close, assert_identical, fleet_spec, trained, trained_in_steps

from jleaks import registry
from jleaks.errors import InputError
from jleaks.experiments.plan import Plan
from jleaks.fingerprint import fingerprint
from jleaks.models.kernels import CPU, XLA
from jleaks.models.networks import Training
from jleaks.models.own_network import load_network, register_network
from jleaks.models.registry import NETWORKS
from jleaks.training import packing
from jleaks.training.checkpoints import Store
from jleaks.training.cost import measure
from jleaks.training.execution import Execution
from jleaks.training.fleet import Fleet, make_mesh
from jleaks.training.learner import Learner, Members
from jleaks.training.preemption import Preempted
from jleaks.training.recipe import Recipe

RECORDS = jax.ShapeDtypeStruct((60, 20), np.uint8)


class Copy(nn.Module):
    """The paper's MLP as anybody would write it."""

    num_classes: int

    @nn.compact
    def __call__(self, x):
        glorot = nn.initializers.glorot_uniform()
        x = nn.tanh(nn.Dense(16, kernel_init=glorot)(x))
        return nn.Dense(self.num_classes, kernel_init=glorot)(x)


class Linen(nn.Module):
    """Dropout and batch normalisation."""

    num_classes: int

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dense(12, use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.8)(x))
        x = nn.Dropout(0.3, deterministic=not train)(x)
        return nn.Dense(self.num_classes)(x)


class Nnx(nnx.Module):
    """The same as an object."""

    def __init__(self, in_features, num_classes, *, rngs):
        self.layers = nnx.List([nnx.Linear(in_features, 12, use_bias=False, rngs=rngs)])
        self.norm = nnx.BatchNorm(12, momentum=0.8, rngs=rngs)
        self.dropout = nnx.Dropout(0.3, rngs=rngs)
        self.out = nnx.Linear(12, num_classes, rngs=rngs)

    def __call__(self, x):
        return self.out(self.dropout(nnx.relu(self.norm(self.layers[0](x)))))


@pytest.fixture
def register():
    """Registers networks for the length of a test."""
    before = dict(NETWORKS)
    yield lambda network, name="mine": register_network(name, network)
    for name in set(NETWORKS) - set(before):
        NETWORKS._entries.pop(name)
        NETWORKS._origins.pop(name)


def spec(model="mine", num_models=3, **how):
    """The fleet of other tests with another network."""
    found = fleet_spec(num_models=num_models, **how)
    recipe = dataclasses.replace(found.learner.recipe, model=model)
    return dataclasses.replace(found, learner=Learner(recipe, "binary", 4))


def batches(c, i):
    """Epoch, step, records and labels of every step of model i, by the documented order."""
    key = jax.random.wrap_key_data(jnp.asarray(c.key_data[i]))
    members = c.members.indices[i, : c.members.size[i]]
    for epoch in range(c.learner.recipe.epochs):
        words = jax.random.bits(jax.random.fold_in(jax.random.fold_in(key, 1), epoch), (60,)) >> 1
        order = members[np.argsort(np.asarray(words)[: len(members)], stable=True)]
        for step in range(len(members) // 20):
            rows = order[step * 20 : step * 20 + 20]
            own = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(key, 4), epoch), step)
            yield own, jnp.asarray(c.features[rows], jnp.float32), jnp.asarray(c.labels[rows])


def penalised(logits, labels, params):
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    return loss + 1e-4 * sum((p**2).sum() for p in jax.tree.leaves(params) if p.ndim > 1)


def naive_linen(c, i):
    """One model by a loop as in flax's documentation."""
    model = Linen(4)
    key = jax.random.wrap_key_data(jnp.asarray(c.key_data[i]))
    variables = model.init(jax.random.fold_in(key, 0), jnp.zeros((1, 20)))
    params, stats, adam = variables["params"], variables["batch_stats"], optax.adam(1e-2)
    opt_state = adam.init(params)

    @jax.jit
    def step(params, stats, opt_state, own, x, y):
        def loss_fn(params):
            logits, updated = model.apply(
                {"params": params, "batch_stats": stats},
                x, train=True, rngs={"dropout": own}, mutable=["batch_stats"],
            )  # fmt: skip
            return penalised(logits, y, params), updated["batch_stats"]

        grads, stats_after = jax.grad(loss_fn, has_aux=True)(params)
        updates, opt_state = adam.update(grads, opt_state)
        return optax.apply_updates(params, updates), stats_after, opt_state

    for own, x, y in batches(c, i):
        params, stats, opt_state = step(params, stats, opt_state, own, x, y)
    query = jnp.asarray(c.features[:7], jnp.float32)
    return params, stats, model.apply({"params": params, "batch_stats": stats}, query)


def naive_nnx(c, i):
    """One model by a loop as in flax's documentation."""
    key = jax.random.wrap_key_data(jnp.asarray(c.key_data[i]))
    model = Nnx(20, 4, rngs=nnx.Rngs(jax.random.fold_in(key, 0)))
    optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)
    model.train()

    @nnx.jit
    def step(model, optimizer, own, x, y):
        # A generator's key is the step's, by its number in the module.
        model.dropout.rngs = nnx.Rngs(dropout=jax.random.fold_in(own, 1)).dropout
        grads = nnx.grad(lambda m: penalised(m(x), y, nnx.state(m, nnx.Param)))(model)
        optimizer.update(model, grads)

    for own, x, y in batches(c, i):
        step(model, optimizer, own, x, y)
    model.eval()
    stats = {"norm": {"mean": model.norm.mean[...], "var": model.norm.var[...]}}
    params = {
        "layers": {"0": {"kernel": model.layers[0].kernel[...]}},
        "norm": {"scale": model.norm.scale[...], "bias": model.norm.bias[...]},
        "out": {"kernel": model.out.kernel[...], "bias": model.out.bias[...]},
    }
    return params, stats, model(jnp.asarray(c.features[:7], jnp.float32))


@pytest.mark.parametrize(("network", "naive"), [(Linen, naive_linen), (Nnx, naive_nnx)])
def test_a_fleet_equals_a_loop_over_each_model(register, network, naive):
    register(network)
    c = spec(num_models=2, ragged=True)
    state = trained(c, num_devices=2)
    for i in range(c.num_models):
        params, stats, answers = naive(c, i)
        own = jax.tree.map(lambda leaf, i=i: leaf[i], state)
        assert_close(own.params, params)
        assert_close(own.averages, stats)
        found = c.learner.logits(own, jnp.asarray(c.features[:7]))
        np.testing.assert_allclose(found, answers, rtol=1e-3, atol=1e-3)


def test_the_paper_s_mlp_in_plain_layers_is_the_own_one(register):
    register(Copy)
    assert_close(trained(spec()).params, trained(spec("mlp")).params, 1e-6)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_kernels_for_cpus_train_it_likewise(register, schedule):
    register(Copy)
    c = spec()
    recipe = dataclasses.replace(c.learner.recipe, schedule=schedule)
    found = [
        trained(dataclasses.replace(c, learner=Learner(recipe, "binary", 4, kernels=own))).params
        for own in (XLA, CPU)
    ]
    assert_close(*found)


def test_a_copy_of_the_mlp_computes_no_more_than_the_own_one(register):
    """The compiled fleets: operations and bytes as XLA counts them."""
    register(Copy)
    counted = []
    for name in ("mlp", "mine"):
        c = spec(name, num_models=4)
        fleet = Fleet(c.learner, make_mesh(1), 4)
        data = fleet.put_data(c.features, c.labels)
        state = fleet.init(data, c.members, c.key_data)
        program = fleet.training(data, *fleet._like((state, c.members, c.key_data)))
        counted.append(program.call.cost_analysis())
    for what in ("flops", "bytes accessed"):
        assert counted[0][what] > 0
        assert counted[1][what] <= 1.1 * counted[0][what], what


@pytest.mark.parametrize("network", [Linen, Nnx])
def test_what_is_drawn_depends_on_no_packing_chunk_or_resume(register, network, tmp_path):
    register(network)
    c = spec(num_models=4, epochs=4)
    own = {"num_devices": 1, "models_per_call": 2}
    whole = trained_in_steps(c, **own)
    with pytest.raises(Preempted):
        trained_in_steps(c, Store(tmp_path, "plan"), StopAfter(3), checkpoint_seconds=0, **own)
    assert_identical(trained_in_steps(c, Store(tmp_path, "plan"), **own), whole)
    assert_identical(trained(c, **own, models_per_vmap=1), whole)
    # Elsewhere, and together, sums have another order; other numbers drawn would be far away.
    assert_close(trained(c, num_devices=2), whole)


@pytest.mark.parametrize("network", [Linen, Nnx])
def test_a_step_drops_by_its_key_and_a_query_drops_nothing(register, network):
    register(network)
    c = spec(num_models=1)
    state = jax.tree.map(lambda leaf: leaf[0], trained(c))
    inputs = jnp.asarray(c.features[:20], jnp.float32)
    variables = {"params": state.params, "batch_stats": state.averages}
    apply = c.learner.module.apply
    first, same, other = (
        apply(variables, inputs, Training(key=jax.random.key(seed)), mutable=["batch_stats"])[0]
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, same)
    assert np.abs(first - other).max() > 1e-3
    # Whatever else is asked beside it.
    np.testing.assert_allclose(
        apply(variables, inputs)[:3], apply(variables, inputs[:3]), atol=1e-5
    )


def test_two_generators_of_a_module_draw_different_numbers(register):
    class Twice(nnx.Module):
        def __init__(self, num_classes, *, rngs):
            self.scale = nnx.Param(jnp.ones(num_classes))
            self.first, self.second = (nnx.Dropout(0.5, rngs=rngs) for _ in range(2))

        def __call__(self, x):
            ones = jnp.ones((x.shape[0], len(self.scale[...])))
            return self.scale[...] * (self.first(ones) - self.second(ones))

    register(Twice)
    module = Learner(Recipe("mine"), "binary", 50).module
    found = module.apply(
        {"params": {"scale": jnp.ones(50)}, "batch_stats": {}},
        jnp.zeros((4, 20)),
        Training(key=jax.random.key(3)),
    )
    assert np.unique(found).tolist() == [-2, 0, 2]


def test_constructors_are_given_what_they_take(register):
    class Sized(nnx.Module):
        def __init__(self, input_shape, in_channels, din, *, num_labels=3, rngs):
            assert (input_shape, in_channels, din) == ((4, 5, 3), 3, 60)
            self.out = nnx.Linear(din, num_labels, rngs=rngs)

        def __call__(self, x, *, deterministic):
            assert deterministic in (True, False)
            return self.out(x.reshape(x.shape[0], -1))

    register(Sized)
    register(lambda num_classes: Copy(num_classes), "made")
    register(functools.partial(Sized, num_labels=7), "preset")
    register(Copy(7), "ready")
    register(lambda num_outputs, rngs: nnx.Linear(60, num_outputs, rngs=rngs), "function")
    images = jax.ShapeDtypeStruct((1, 4, 5, 3), np.uint8)
    for name in ("mine", "preset"):
        measure(Learner(Recipe(name), "pixels", 7), images, 1)
    for name in ("made", "ready"):
        assert measure(Learner(Recipe(name), "binary", 7), RECORDS, 1).state_bytes > 0
    with pytest.raises(
        InputError, match=r"^network preset answers \[2, 7\] to 2 records, expected "
    ):
        measure(Learner(Recipe("preset"), "pixels", 8), images, 1)


def test_precision_is_the_recipe_s(register):
    register(Copy)
    for precision, said in (("float32", "HIGHEST"), ("default", None)):
        module = Learner(Recipe("mine", precision=precision), "binary", 4).module
        variables = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 20)))
        text = str(jax.make_jaxpr(module.apply)(variables, jnp.zeros((2, 20))))
        assert ("HIGHEST" in text) == (said is not None)
    for precision in ("bfloat16", "tensorfloat32"):
        recipe = Recipe("mine", precision=precision)
        expected = f"precision is {precision}, but the products of mine are its own"
        with pytest.raises(InputError, match=expected):
            Plan(("location",), (1,), target=recipe, model="mine").validate()
        with pytest.raises(InputError, match=expected):
            measure(Learner(recipe, "binary", 4), RECORDS, 1)


def layer(call, **fields):
    """A linen module whose call is a function of its layer's answer."""

    class Net(nn.Module):
        num_classes: int

        @nn.compact
        def __call__(self, x):
            return call(nn.Dense(self.num_classes, **fields)(x), self)

    return Net


class NoSwitch(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, x):
        return nn.Dropout(0.5, deterministic=False)(nn.Dense(self.num_classes)(x))


class WithMask(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, x, mask):
        return nn.Dense(self.num_classes)(x * mask)


class Words(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, x):
        return nn.Embed(9, self.num_classes)(x).mean(1)


class Rolling(nnx.Module):
    """Normalises queries by their batch."""

    def __init__(self, din, num_classes, *, rngs):
        self.out = nnx.Linear(din, num_classes, rngs=rngs)
        self.norm = nnx.BatchNorm(num_classes, rngs=rngs)

    def __call__(self, x):
        return self.norm(self.out(x), use_running_average=False)


class Noisy(nnx.Module):
    """Draws in queries."""

    def __init__(self, din, num_classes, *, rngs):
        self.out = nnx.Linear(din, num_classes, rngs=rngs)
        self.rngs = rngs

    def __call__(self, x):
        return self.out(x) + jax.random.normal(self.rngs.noise(), (x.shape[0], 1))


class Caching(nnx.Module):
    def __init__(self, din, num_classes, *, rngs):
        self.out = nnx.Linear(din, num_classes, rngs=rngs)
        self.seen = nnx.Cache(jnp.zeros(()))

    def __call__(self, x):
        return self.out(x)


def counting(y, module):
    module.variable("counts", "calls", jnp.zeros, ())
    return y


REFUSED = [
    (layer(lambda y, _: y[:, 0]), r"answers \[2\] to 2 records, expected logits \[2, 4\]"),
    (
        layer(lambda y, _: y.argmax(1, keepdims=True) + 0 * y.astype(int)),
        "answers int.*, expected",
    ),
    (
        layer(lambda y, _: jax.pure_callback(np.sin, y, y, vmap_method="sequential")),
        r"calls the host \(pure_callback\)",
    ),
    (layer(lambda y, _: [jax.debug.print("{}", y.sum()), y][1]), "calls the host"),
    (layer(counting), "keeps counts, expected params and batch_stats alone"),
    (
        layer(lambda y, _: y.astype(jnp.float32), param_dtype=jnp.bfloat16),
        "has bfloat16 parameters",
    ),
    (layer(lambda y, _: y, name="a/b"), "has a layer called a/b/bias"),
    (nn.Module, "NotImplementedError|fails when it is made"),
    (lambda num_classes: print, "makes a builtin_function_or_method, expected a linen module"),  # noqa: ARG005
    (lambda num_classes: Nnx(20, 4, rngs=nnx.Rngs(0)), "expected a linen module: let it take rngs"),  # noqa: ARG005
    (lambda width: nn.Dense(width), "takes width, expected num_classes"),
    (NoSwitch, 'fails in a query.*InvalidRngError: Dropout_0 needs PRNG for "dropout"; `train` or'),
    (WithMask, "is called with mask, expected a batch of records"),
    (Words, r"fails when it is made, on encoded records \[1, 20\] float32: .*must be an integer"),
    (Rolling, "updates statistics in a query"),
    (Noisy, "draws random numbers or updates statistics in a query"),
    (Caching, "keeps Cache, expected nnx.Param and nnx.BatchStat alone"),
    (dict, "source cannot be read"),
    (Nnx(20, 4, rngs=nnx.Rngs(0)), "is of type Nnx, expected a flax module's class"),
    (7, "is of type int, expected a flax module's class"),
]


@pytest.mark.parametrize(("network", "said"), REFUSED)
def test_what_cannot_be_trained_in_a_fleet_is_one_line(register, network, said):
    def measured():
        register(network)
        return measure(Learner(Recipe("mine"), "binary", 4), RECORDS, 1)

    with pytest.raises(InputError, match=f"^network mine.*({said})") as raised:
        measured()
    assert "\n" not in str(raised.value)


def test_batches_are_whole_and_hidden_layers_its_own(register):
    register(Copy)
    with pytest.raises(InputError, match="records_per_block is 5, but mine takes every batch as a"):
        packing.make_learner(Recipe("mine"), "binary", 4, Execution(records_per_block=5))
    c = spec()
    ratios = np.full((3, 2), 0.5, np.float32)
    members = Members(c.members.indices, c.members.size, None, ratios)
    with pytest.raises(InputError, match="mine does not let its hidden activations drop"):
        trained(dataclasses.replace(c, members=members))


def test_an_unknown_network_is_named_with_those_that_are_known():
    with pytest.raises(
        InputError, match="model is resnet, expected one of mlp, logistic, cnn, res"
    ):
        Plan(("location",), (1,), model="resnet").validate()


NETS = """
import flax.linen as nn
from blocks import WIDTH

class Net(nn.Module):
    num_classes: int
    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.num_classes)(nn.relu(nn.Dense(WIDTH)(x)))
"""


@pytest.mark.usefixtures("register")
def test_an_edited_file_is_another_network(tmp_path, monkeypatch):
    nets, blocks = tmp_path / "nets.py", tmp_path / "blocks.py"
    blocks.write_text("WIDTH = 3\n")
    nets.write_text(NETS)
    plan = Plan(("location",), (1,), model="Net")

    def fingerprints():
        sys.modules.pop("blocks", None)
        monkeypatch.setattr(registry, "_LOADED", {})
        assert load_network(f"{nets}:Net") == "Net"
        return (
            plan.validate().fingerprint(),
            fingerprint(Recipe("Net")),
            Learner(Recipe("Net"), "binary", 3),
        )

    first = fingerprints()
    assert fingerprints()[:2] == first[:2]
    nets.write_text(NETS + "# Edited.\n")
    second = fingerprints()
    nets.write_text(NETS)
    # What it imports is part of it.
    blocks.write_text("WIDTH = 4\n")
    third = fingerprints()
    for one, other in ((first, second), (first, third), (second, third)):
        assert all(a != b for a, b in zip(one, other, strict=True))
    # Own networks and their names are what they were.
    assert fingerprint(Recipe("logistic")) == fingerprint({"model": "logistic"})


class Initialised(nn.Module):
    num_classes: int
    first: Callable

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.num_classes, kernel_init=self.first)(x)


def test_arguments_of_a_module_are_part_of_it(register):
    found = []
    for network in (
        Copy(4),
        Copy(5),
        functools.partial(Copy, num_classes=4),
        functools.partial(Copy, num_classes=5),
        layer,
        Initialised(4, nn.initializers.ones),
        Initialised(4, nn.initializers.zeros),
    ):
        register(network)
        found.append(NETWORKS.origin("mine").digest)
    # However the arguments were given.
    assert found[:2] == found[2:4]
    assert len(set(found[2:])) == len(found[2:])
    # Wherever in memory it is.
    register(Initialised(4, nn.initializers.zeros))
    assert NETWORKS.origin("mine").digest == found[-1]
