"""DP-SGD: clipped sums against loops in float64, the sample, the noise, fleets, rows and bad input."""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jleaks.attacks.registry import ATTACKS
from jleaks.defences.defence import get_defence
from jleaks.defences.dpsgd import accounted
from jleaks.errors import InputError
from jleaks.experiments import bank_audits, sweep
from jleaks.experiments.bank import train_bank
from jleaks.experiments.bank_plan import BankPlan
from jleaks.experiments.plan import Plan
from jleaks.keys import wrap
from jleaks.metrics.privacy_accounting import loss_epsilon
from jleaks.models.kernels import CPU, XLA
from jleaks.models.own_network import register_network
from jleaks.training import clipping, epoch, fleet, private
from jleaks.training.execution import Execution
from jleaks.training.learner import Batch, Data, Factors
from jleaks.training.recipe import Recipe
from tests.fleets import assert_close, assert_identical, fleet_spec, tiny_spec, trained

CLIP = 0.7


def one_model(recipe, model="mlp"):
    c = fleet_spec(model, 1)
    learner = dataclasses.replace(c.learner, recipe=recipe)
    members = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), c.members)
    data = Data(jnp.asarray(c.features), jnp.asarray(c.labels))
    state = epoch.init(learner, data, members, wrap(jnp.asarray(c.key_data[0])), None)
    return learner, data, members, state


def mlp_gradient(params, x, label, activation):
    """Loss and gradient of one record, float64, layer by layer."""
    layers = [params[f"Dense_{i}"] for i in range(len(params))]
    layers = [{k: np.asarray(v, np.float64) for k, v in layer.items()} for layer in layers]
    inputs, before = [], []
    for i, layer in enumerate(layers):
        inputs.append(x)
        z = x @ layer["kernel"] + layer["bias"]
        before.append(z)
        last = i + 1 == len(layers)
        x = z if last else (np.tanh(z) if activation == "tanh" else np.maximum(z, 0))
    p = np.exp(z - z.max())
    p /= p.sum()
    delta = p - np.eye(len(p))[label]
    found = {}
    for i in reversed(range(len(layers))):
        found[f"Dense_{i}"] = {"kernel": np.outer(inputs[i], delta), "bias": delta}
        if i > 0:
            slope = 1 - np.tanh(before[i - 1]) ** 2 if activation == "tanh" else before[i - 1] > 0
            delta = (layers[i]["kernel"] @ delta) * slope
    return -np.log(p[label]), found


def clipped(grads, clip):
    norm = math.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(grads)))
    return jax.tree.map(lambda leaf: leaf * min(1.0, clip / norm), grads), norm


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("hidden", [(), (16,), (16, 8)])
def test_ghost_norms_clip_as_single_gradients_do(activation, hidden):
    model = "mlp" if hidden else "logistic"
    recipe = Recipe(model, hidden, batch_size=20, activation=activation)
    learner, data, _, state = one_model(recipe)
    batch = Batch(data.features[:20], data.labels[:20])
    real = np.arange(20) < 17
    loss, grads = jax.jit(clipping.clipped_sum, static_argnums=0)(
        learner, state, batch, jnp.float32(CLIP), real
    )
    activation = activation if hidden else "tanh"
    expected, losses, norms = None, [], []
    for x, y in zip(np.asarray(data.features[:17], float), data.labels[:17], strict=True):
        one, whole = mlp_gradient(state.params, x, int(y), activation)
        part, norm = clipped(whole, CLIP)
        losses.append(one)
        norms.append(norm)
        expected = part if expected is None else jax.tree.map(np.add, expected, part)
    # Both cases of the clip are there.
    assert max(norms) > CLIP
    np.testing.assert_allclose(loss, sum(losses), rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), grads, expected
    )
    total = clipping.clipped_sum(learner, state, batch, jnp.float32(1e6), real)[1]
    assert clipped(total, 1)[1] > clipped(grads, 1)[1]


class Wide(nn.Module):
    """A user's network, of which nothing is known."""

    num_classes: int

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(3, (3, 3))(x))
        return nn.Dense(self.num_classes)(x.reshape(x.shape[0], -1))


@pytest.mark.usefixtures("kernels", "networks")
@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("way", ["native", "products", "columns", "host", "own network"])
def test_a_convolution_is_clipped_record_by_record(way, dropped):
    """Against `jax.grad` of one record at a time, which knows nothing of blocks, norms or masks."""
    model = "cnn"
    if way == "own network":
        model = "wide"
        register_network(model, Wide, images=True)
    if dropped and model != "cnn":
        pytest.skip("dropout, the defence, is of jleaks' own networks")
    learner, data, _, state = one_model(Recipe(model, batch_size=6, activation="relu"), "cnn")
    simple = learner
    if way == "host":
        learner = dataclasses.replace(learner, kernels=CPU)
    elif model == "cnn":
        learner = dataclasses.replace(learner, form=way)
    batch = Batch(data.features[:6], data.labels[:6])
    if dropped:
        drop = jax.random.bernoulli(jax.random.key(4), 0.7, (6, 12 * 12 * 3 + 128)) / 0.7
        inputs, hidden = drop[:, 128:].reshape(6, 12, 12, 3), drop[:, :128]
        batch = batch._replace(factors=Factors(inputs, (hidden,)))

    @jax.jit
    def loss(params, record):
        logits = simple.apply(state._replace(params=params), record)[0][0]
        return jax.nn.logsumexp(logits) - logits[record.labels[0]]

    records = [jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], batch) for i in range(5)]
    losses, grads = zip(*(jax.value_and_grad(loss)(state.params, r) for r in records), strict=True)
    grads = [jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), one) for one in grads]
    # Some are clipped, others not.
    clip = float(np.median([clipped(one, 1)[1] for one in grads]))
    expected = jax.tree.map(lambda *leaves: sum(leaves), *(clipped(one, clip)[0] for one in grads))
    real = np.array([True] * 5 + [False])
    total, found = jax.jit(clipping.clipped_sum, static_argnums=0)(
        learner, state, batch, jnp.float32(clip), real
    )
    np.testing.assert_allclose(total, sum(losses), rtol=1e-4)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), found, expected
    )


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("kernels", [XLA, CPU])
def test_padding_of_a_convolution_is_never_seen(kernels):
    """A padded record whose gradient is not finite leaves the sum as it is."""
    learner, data, _, state = one_model(Recipe("cnn", batch_size=4), "cnn")
    learner = dataclasses.replace(learner, kernels=kernels, encoding="posteriors")
    state = state._replace(statistics={"mask": jnp.ones(3)})
    x, real = jnp.asarray(data.features[:4], jnp.float32) / 256, np.arange(4) < 3
    found = [
        clipping.clipped_sum(
            learner, state, Batch(x.at[3].multiply(value), data.labels[:4]), jnp.float32(CLIP), real
        )
        for value in (1.0, 1e30)
    ]
    assert_identical(*found)


@pytest.mark.usefixtures("kernels")
def test_private_fleets_of_cnns_by_kernels_are_those_by_xla():
    """In blocks of other sizes, of which a sample takes several."""
    c = fleet_spec("cnn", 3, ragged=True, epochs=2)
    c = dataclasses.replace(c, members=c.members._replace(privacy=np.array(GRID[:3], np.float32)))
    few = dataclasses.replace(c.learner, kernels=CPU)
    assert private.block_size(few) < 20 < private.block_size(c.learner)
    found, expected = (
        trained(dataclasses.replace(c, learner=learner)) for learner in (few, c.learner)
    )
    assert_close(found.params, expected.params)


def test_padding_is_never_seen():
    """A padded record whose loss is not finite leaves sum and loss as they are."""
    learner, data, _, state = one_model(Recipe(hidden=(16,), batch_size=4))
    learner = dataclasses.replace(learner, encoding="posteriors")
    x = jnp.asarray(data.features[:4], jnp.float32)
    real = np.array([True, True, True, False])
    state = state._replace(statistics={"mask": jnp.ones(20)})
    found = [
        clipping.clipped_sum(
            learner, state, Batch(x.at[3].set(value), data.labels[:4]), jnp.float32(CLIP), real
        )
        for value in (0.0, 1e38)
    ]
    assert_identical(*found)


def test_samples_are_poisson():
    learner, _, members, _ = one_model(Recipe(hidden=(16,), batch_size=20))
    size, rate, draws = 50, 0.3, 2000
    members = members._replace(size=jnp.int32(size))
    draw = jax.jit(jax.vmap(lambda k: private.sample(learner, members, jnp.float32(rate), wrap(k))))
    words = jax.random.bits(jax.random.key(5), (draws, 2))
    order, count = jax.tree.map(np.asarray, draw(words))
    taken = np.zeros((draws, 60), bool)
    for row, (at, n) in enumerate(zip(order, count, strict=True)):
        taken[row, at[:n]] = True
    # Every record alike, none of the padding; numbers are binomial, and any two independent.
    assert not taken[:, size:].any()
    share = taken[:, :size].mean(0)
    assert np.abs(share - rate).max() < 4.5 * math.sqrt(rate * (1 - rate) / draws)
    expected = draws * stats.binom.pmf(np.arange(size + 1), size, rate)
    seen = np.bincount(count, minlength=size + 1)
    common = expected > 5
    statistic = ((seen - expected)[common] ** 2 / expected[common]).sum()
    assert statistic < stats.chi2.ppf(0.9999, common.sum())
    pairs = np.corrcoef(taken[:, :size].T)[np.triu_indices(size, 1)]
    assert np.abs(pairs).max() < 5 / math.sqrt(draws)
    # How far the training part is padded changes nothing.
    padded = members._replace(indices=jnp.pad(members.indices, (0, 9)))
    again = private.sample(learner, padded, jnp.float32(rate), wrap(words[0]))
    assert again[1] == count[0]
    np.testing.assert_array_equal(again[0][: count[0]], order[0][: count[0]])
    everyone = private.sample(learner, members, jnp.float32(1), wrap(words[0]))
    assert everyone[1] == size
    nobody = private.sample(learner, members, jnp.float32(0), wrap(words[0]))
    assert nobody[1] == 0


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("shape", [(1,), (13,), (100, 7), (300, 1000)])
def test_the_kernel_s_noise_is_jaxs(shape):
    key = jax.random.key(3)
    expected = jax.random.normal(key, shape)
    np.testing.assert_allclose(CPU.normals(key, shape), expected, rtol=2e-5, atol=1e-6)
    if len(shape) > 1:
        assert np.abs(expected).max() > 2.5


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(("hidden", "activation"), [((16,), "tanh"), ((24, 17), "relu")])
@pytest.mark.parametrize("encoding", ["binary", "real"])
@pytest.mark.parametrize("rate", [0.3, 0.95])
def test_one_kernel_takes_the_step_of_many(hidden, activation, encoding, rate):
    """Of a sample in one block; of a larger one, which takes two blocks, the kernels add up to the same."""
    recipe = Recipe(hidden=hidden, activation=activation, batch_size=20, l2=1e-3)
    learner, data, members, state = one_model(recipe)
    learner = dataclasses.replace(learner, encoding=encoding)
    if encoding == "real":
        data = data._replace(features=jnp.asarray(data.features, jnp.float32))
        state = state._replace(statistics={"mean": jnp.full(20, 0.4), "std": jnp.full(20, 0.7)})
    members = members._replace(privacy=jnp.array([0.8, CLIP, rate], jnp.float32))
    keys = jax.random.key(1), jax.random.key(2)
    taken = int(private.sample(learner, members, jnp.float32(rate), keys[0])[1])
    assert (taken > private.block_size(learner)) == (rate > 0.5)

    def step_by(kernels):
        one = dataclasses.replace(learner, kernels=kernels)

        def draw(at, _):
            rows = members.indices[at]
            return Batch(one.kernels.gather(data.features, rows, False), data.labels[rows])

        def step(state, active):
            return private.step(one, members, state, draw, keys, jnp.float32(1), active)

        return jax.jit(step)

    def after(step, active=True):
        now = state
        for _ in range(3):
            loss, now = step(now, jnp.bool_(active))
        return loss, now

    ours = step_by(CPU)
    (loss, found), (other, expected) = after(ours), after(step_by(XLA))
    assert float(loss) == pytest.approx(float(other), rel=1e-4)
    assert_close(found.params, expected.params)
    assert_close(found.opt_state, expected.opt_state)
    assert_identical(after(ours, active=False)[1].params, state.params)


@pytest.mark.usefixtures("kernels")
def test_private_fleets_by_kernels_are_those_by_xla():
    found, expected = (
        trained(
            dataclasses.replace(c, learner=dataclasses.replace(c.learner, kernels=kernels)),
            models_per_vmap=1,
        )
        for c in [private_spec(GRID[:3], ragged=True, epochs=2)]
        for kernels in (CPU, XLA)
    )
    assert_close(found.params, expected.params)


@pytest.mark.parametrize(("rate", "block"), [(0.3, None), (0.9, 7), (1e-6, None)])
def test_a_step_is_what_the_formula_says(rate, block):
    """SGD without momentum: the new weights are the old less rate / (q n) (clipped sum + noise)."""
    noise, size = 0.8, 50
    recipe = Recipe(
        hidden=(16,), batch_size=20, learning_rate=0.5, l2=0.0, optimizer="sgd", momentum=0.0
    )
    learner, data, members, state = one_model(recipe)
    learner = dataclasses.replace(learner, records_per_block=block)
    members = members._replace(
        size=jnp.int32(size), privacy=jnp.array([noise, CLIP, rate], jnp.float32)
    )
    keys = jax.random.key(1), jax.random.key(2)

    def draw(at, _):
        rows = members.indices[at]
        return Batch(data.features[rows], data.labels[rows])

    loss, new = jax.jit(
        lambda s: private.step(learner, members, s, draw, keys, jnp.float32(1), jnp.bool_(True))
    )(state)
    order, count = private.sample(learner, members, jnp.float32(rate), keys[0])
    total = jax.tree.map(lambda leaf: np.zeros(leaf.shape), state.params)
    losses = 0.0
    for at in np.asarray(order[:count]):
        row = int(members.indices[at])
        x, y = np.asarray(data.features[row], float), int(data.labels[row])
        one, whole = mlp_gradient(state.params, x, y, "tanh")
        losses += one
        total = jax.tree.map(np.add, total, clipped(whole, CLIP)[0])
    np.testing.assert_allclose(loss, losses / (rate * size), rtol=1e-5)
    leaves, structure = jax.tree.flatten(total)
    expected = jax.tree.unflatten(
        structure,
        [
            leaf
            + noise
            * CLIP
            * np.asarray(jax.random.normal(jax.random.fold_in(keys[1], i), leaf.shape))
            for i, leaf in enumerate(leaves)
        ],
    )
    # The expected number divides, not the drawn one.
    moved = jax.tree.map(lambda a, b: np.asarray(a - b, np.float64), state.params, new.params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            a, 0.5 * b / (rate * size), rtol=1e-3, atol=1e-4 * 0.5 / min(1, rate * size)
        ),
        moved,
        expected,
    )


def private_spec(grid, **spec):
    c = fleet_spec("mlp", len(grid), **spec)
    return dataclasses.replace(c, members=c.members._replace(privacy=np.array(grid, np.float32)))


GRID = [(0.0, 1.0, 1 / 3), (0.5, 1.0, 1 / 3), (0.5, 0.1, 0.2), (2.0, 1.0, 0.1)]


def test_noise_clip_and_rate_are_one_fleet():
    """One trace for all; each model is what it is alone, whatever it stands beside."""
    before = fleet.TRACES["fit"]
    found = trained(private_spec(GRID), models_per_vmap=1)
    assert fleet.TRACES["fit"] == before + 1
    weights = np.asarray(found.params["Dense_0"]["kernel"])
    assert len({w.tobytes() for w in weights}) == len(GRID)
    again = trained(private_spec(GRID[:2]), models_per_vmap=1)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:2], b), found, again)
    together = trained(private_spec(GRID))
    np.testing.assert_allclose(together.params["Dense_0"]["kernel"], weights, rtol=1e-2, atol=1e-3)
    # A padded training part changes nothing.
    c = private_spec(GRID)
    wide = c.members._replace(indices=np.pad(c.members.indices, ((0, 0), (0, 17))))
    padded = trained(dataclasses.replace(c, members=wide), models_per_vmap=1)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        padded.params,
        found.params,
    )


def test_batch_normalisation_is_refused():
    c = tiny_spec()
    members = c.members._replace(privacy=np.array([(1.0, 1.0, 0.3)] * 2, np.float32))
    with pytest.raises(InputError, match="DP-SGD of wrn28_2: batch normalisation mixes"):
        trained(dataclasses.replace(c, members=members))


PLAN = Plan(
    ("location",),
    (2,),
    scale=0.01,
    target=Recipe(hidden=(16,), epochs=4),
    attack=Recipe("mlp", (8,), 2, 50, 1e-2),
    num_random_points=50,
)


def test_rows_carry_what_is_guaranteed(tmp_path):
    plan = dataclasses.replace(PLAN, defence="dpsgd:1.5,0.5", attacker="aware")
    rows = sweep.run(plan, Execution(models_per_vmap=1), tmp_path)
    rate = float(np.float32(0.25))
    for row in rows:
        assert (row["noise"], row["clip"], row["rate"], row["delta"]) == (1.5, 0.5, rate, 1e-5)
        assert row["epsilon"] == loss_epsilon(1.5, rate, 16, 1e-5)
        assert (row["defence"], row["attacker"]) == ("dpsgd:1.5,0.5", "aware")
    # The target's noise is found for its own number of records and steps.
    recipe = PLAN.target
    given = get_defence("dpsgd_epsilon:2,0.5,0,1e-6").tailored(recipe, 400)
    fields = accounted(given, recipe, 400)
    assert 2 * (1 - 1e-3) < fields["epsilon"] <= 2
    assert fields["delta"] == 1e-6
    assert accounted(get_defence("dpsgd:0,1").tailored(recipe, 400), recipe, 400)["epsilon"] is None
    assert accounted(get_defence("dropout:0.5"), recipe, 400) == {}


def test_a_bank_keeps_what_is_guaranteed_beside_what_is_found(tmp_path):
    recipe = Recipe(hidden=(8,), epochs=1)
    plan = BankPlan("location", 4, 400, 40, recipe=recipe, num_queries=1, defence="dpsgd:1,0.5")
    bank = train_bank(plan, Execution(models_per_vmap=1), str(tmp_path))
    epsilon = loss_epsilon(1.0, 0.5, 2, 1e-5)
    assert (bank.meta["epsilon"], bank.meta["noise"], bank.meta["rate"]) == (epsilon, 1.0, 0.5)
    for delta, expected in ((1e-5, epsilon), (1e-6, None)):
        rows = bank_audits.audit(bank, [ATTACKS["loss"]], delta=delta)
        assert {row.get("epsilon") for row in rows} == {expected}
        assert {(row["noise"], row["delta"]) for row in rows} == {(1.0, delta)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dpsgd:1", "DP-SGD has 1 numbers, expected noise multiplier, clipping norm"),
        ("dpsgd:-1,1", "noise multiplier is -1, expected a number at least 0"),
        ("dpsgd:1,0", "clipping norm is 0, expected a number above 0"),
        ("dpsgd:1,1,2", "sampling rate is 2, expected a number in"),
        ("dpsgd:1,1,0,1", "delta is 1, expected a number in"),
        ("dpsgd:1e39,1", "noise multiplier is 1e.39, expected"),
        ("dpsgd_epsilon:0,1", "target epsilon is 0, expected a number above 0"),
    ],
)
def test_bad_strengths_are_one_line(text, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(PLAN, defence=text).validate()
    with pytest.raises(InputError, match=message):
        BankPlan("location", 4, 400, 40, defence=text).validate()
