"""The host kernels against XLA, NumPy in float64 and optax, one operation at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jleaks.metrics import bank_metrics, roc
from jleaks.models.convolution import convolve, max_pool
from jleaks.models.cpu_kernels import operations as host

pytestmark = pytest.mark.usefixtures("kernels")

# Batch, inputs, outputs: single numbers, tails of every kind, the paper's networks, long reductions.
DENSE = [(1, 1, 1), (7, 5, 3), (13, 17, 16), (100, 600, 128), (100, 128, 100), (3, 1700, 33)]
# Batch, height, width, channels, features, border.
IMAGES = [
    (3, 32, 32, 3, 32, 2), (2, 16, 16, 32, 32, 0), (2, 28, 28, 1, 32, 2), (2, 14, 14, 32, 32, 0),
    (2, 13, 11, 5, 20, 0), (1, 11, 6, 20, 70, 2), (2, 7, 30, 2, 3, 1),
]  # fmt: skip


def dense_inputs(rng, shape, kind):
    *few, kind = kind.split()
    batch, inputs, outputs = shape
    x = rng.integers(0, 256 if kind == "bytes" else 2, (batch, inputs)).astype(np.uint8)
    if kind == "floats":
        x = rng.normal(size=(batch, inputs)).astype(np.float32)
    if few:
        x *= rng.random(x.shape) < 0.1
    w = rng.normal(size=(inputs, outputs)).astype(np.float32) / np.sqrt(inputs)
    return x, w / (128 if kind == "bytes" else 1), rng.normal(size=outputs).astype(np.float32)


@pytest.mark.parametrize("tanh", [False, True])
@pytest.mark.parametrize("kind", ["floats", "bits", "bytes", "few floats", "few bits", "few bytes"])
@pytest.mark.parametrize("shape", DENSE)
def test_a_dense_layer_equals_float64(rng, shape, kind, tanh):
    x, w, b = dense_inputs(rng, shape, kind)
    dy = rng.normal(size=(shape[0], shape[2])).astype(np.float32)
    wide = [a.astype(np.float64) for a in (x, w, b, dy)]
    z = wide[0] @ wide[1] + wide[2]
    y = np.tanh(z) if tanh else z
    found, back = jax.vjp(lambda w, b: host.dense(jnp.asarray(x), w, b, tanh), w, b)
    np.testing.assert_allclose(found, y, rtol=1e-5, atol=2e-5)
    dz = wide[3] * (1 - y**2) if tanh else wide[3]
    for one, other in zip(back(jnp.asarray(dy)), (wide[0].T @ dz, dz.sum(0)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * np.abs(other).max())
    if x.dtype == np.float32:
        _, back = jax.vjp(lambda x: host.dense(x, w, b, tanh), x)
        np.testing.assert_allclose(back(jnp.asarray(dy))[0], dz @ wide[1].T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["bits", "bytes", "floats"])
@pytest.mark.parametrize("outputs", [16, 33, 128, 200])
def test_zeros_that_are_left_out_change_no_bit(rng, kind, outputs):
    x, w, b = dense_inputs(rng, (50, 446, outputs), f"few {kind}")
    x[:, 100:300] = x[7] = 0
    dy = rng.normal(size=(50, outputs)).astype(np.float32)
    found, back = jax.vjp(lambda w, b: host.dense(jnp.asarray(x), w, b, False), w, b)
    # Behind records without zeros nothing is left out; those have no part in the gradient.
    behind = np.concatenate([np.ones_like(x[:49]), x])
    expected, reference = jax.vjp(lambda w, b: host.dense(jnp.asarray(behind), w, b, False), w, b)
    np.testing.assert_array_equal(found, expected[49:])
    zeros = np.zeros((49, outputs), np.float32)
    for one, other in zip(back(dy), reference(np.concatenate([zeros, dy])), strict=True):
        np.testing.assert_array_equal(one, other)


def pooled(x, kernel, bias, border):
    z = convolve(jnp.pad(x, ((0, 0), *((border, border),) * 2, (0, 0))), kernel, "VALID", "native")
    return max_pool(jax.nn.relu(z + bias))


def host_of(border):
    return lambda *args: host.convolve_relu_pool(*args, border)


@pytest.mark.parametrize("shape", IMAGES)
def test_a_convolution_with_pooling_equals_xla(rng, shape):
    batch, height, width, channels, features, border = shape
    size = 5 if height > 7 else 3
    x = rng.normal(size=(batch, height, width, channels)).astype(np.float32)
    # Flat parts, where windows tie and share the gradient.
    x[:, : height // 2] = 0.5
    kernel = rng.normal(size=(size, size, channels, features)).astype(np.float32) / size
    bias = rng.normal(size=features).astype(np.float32)
    args = [jnp.asarray(a) for a in (x, kernel, bias)]
    found, back = jax.vjp(host_of(border), *args)
    expected, reference = jax.vjp(lambda *a: pooled(*a, border), *args)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    dy = jnp.asarray(rng.normal(size=found.shape).astype(np.float32))
    for one, other in zip(back(dy), reference(dy), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * float(jnp.abs(other).max()))
    # Without the gradient of the images, as in a first layer.
    _, back = jax.vjp(lambda k, b: host.convolve_relu_pool(args[0], k, b, border), *args[1:])
    for one, other in zip(back(dy), reference(dy)[1:], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * float(jnp.abs(other).max()))
    # Of each image apart.
    for first in (False, True):
        again, apart = host.convolve_apart(*args, border, first)
        np.testing.assert_array_equal(again, found)
        dx, *grads = apart(dy)
        assert (dx is None) == first
        if not first:
            np.testing.assert_array_equal(dx, jax.vjp(host_of(border), *args)[1](dy)[0])
        for i in range(batch):
            _, back = jax.vjp(lambda *a, i=i: pooled(args[0][i : i + 1], *a, border), *args[1:])
            for one, other in zip(grads, back(dy[i : i + 1]), strict=True):
                scale = float(jnp.abs(other).max())
                np.testing.assert_allclose(one[i], other, rtol=1e-4, atol=1e-4 * scale)


def test_tied_windows_share_the_gradient():
    x = jnp.ones((1, 8, 8, 1))
    kernel, bias = jnp.ones((5, 5, 1, 1)), jnp.zeros(1)
    y, back = jax.vjp(lambda x: host.convolve_relu_pool(x, kernel, bias, 0), x)
    np.testing.assert_array_equal(y, np.full((1, 2, 2, 1), 25.0))
    # Every window of 16 hands a quarter of its pool's gradient to each of its 25 pixels.
    (dx,) = back(jnp.ones_like(y))
    assert float(dx.sum()) == pytest.approx(4 * 25)
    assert float(dx[0, 0, 0, 0]) == pytest.approx(0.25)


def test_cross_entropy_equals_optax(rng):
    for batch, classes in ((100, 100), (5, 2), (3, 37), (1, 1)):
        logits = jnp.asarray(rng.normal(size=(batch, classes)) * 20, jnp.float32)
        labels = jnp.asarray(rng.integers(0, classes, batch), jnp.int32)
        weight = jnp.asarray(rng.normal(size=batch), jnp.float32)
        found, back = jax.vjp(lambda z, labels=labels: host.cross_entropy(z, labels), logits)
        expected, reference = jax.vjp(
            lambda z, labels=labels: optax.softmax_cross_entropy_with_integer_labels(z, labels),
            logits,
        )
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(back(weight)[0], reference(weight)[0], rtol=1e-5, atol=1e-6)


def test_cross_entropy_of_extreme_logits():
    logits = jnp.array([[1e30, 0.0], [-1e30, 0.0], [0.0, np.nan], [0.0, np.inf], [-np.inf, 0.0]])
    losses = np.asarray(host.cross_entropy(logits, jnp.zeros(5, jnp.int32)))
    np.testing.assert_array_equal(losses[:2], np.float32([0, 1e30]))
    assert np.isnan(losses[2:4]).all()
    assert losses[4] == np.inf


def adam(scalars):
    return host.Adam(scalars, 0.9, 0.999, 1e-8)


def test_adam_equals_optax(rng):
    rate, decay, shape = 0.01, 0.02, (7, 13)
    params = jnp.asarray(rng.normal(size=shape), jnp.float32)
    optimizer = optax.chain(optax.add_decayed_weights(decay), optax.adam(rate))
    state, expected = optimizer.init(params), params
    now = host.Moments(params, jnp.zeros(shape), jnp.zeros(shape))
    for t in range(1, 8):
        gradient = jnp.asarray(rng.normal(size=shape), jnp.float32).at[0].set(0)
        updates, state = optimizer.update(gradient, state, expected)
        expected = optax.apply_updates(expected, updates)
        scalars = jnp.float32([rate, 1 / (1 - 0.9**t), 1 / (1 - 0.999**t)])
        now = host.adam(now, gradient, adam(scalars), decay)
        np.testing.assert_allclose(now.params, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(now.mean, optax.tree.get(state, "mu"), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(now.square, optax.tree.get(state, "nu"), rtol=1e-5, atol=1e-9)
    still = host.adam(now, gradient, adam(scalars.at[0].set(0)), decay)
    for old, new in zip(now, still, strict=True):
        np.testing.assert_array_equal(new, old)


def layer(rng, shape):
    """A layer that has taken steps before, and its batch."""
    _, inputs, outputs = shape
    sizes = {"kernel": (inputs, outputs), "bias": (outputs,)}
    draw = lambda size: jnp.asarray(rng.normal(size=size), jnp.float32)  # noqa: E731
    return {n: host.Moments(draw(s), draw(s) / 9, draw(s) ** 2) for n, s in sizes.items()}


@pytest.mark.parametrize("tanh", [False, True])
@pytest.mark.parametrize("kind", ["floats", "bits", "few floats", "few bits"])
@pytest.mark.parametrize("shape", [*DENSE, (900, 17, 5)])
def test_a_layers_descent_is_its_gradient_and_then_adam(rng, shape, kind, tanh):
    x = jnp.asarray(dense_inputs(rng, shape, kind)[0])
    now, decay = layer(rng, shape), 0.02
    kernel, bias = now["kernel"].params, now["bias"].params
    y, back = jax.vjp(lambda w, b: host.dense(x, w, b, tanh), kernel, bias)
    dy = jnp.asarray(rng.normal(size=y.shape), jnp.float32)
    dw, dbias = back(dy)
    how = adam(jnp.float32([0.01, 1.5, 30.0]))
    expected = {
        "kernel": host.adam(now["kernel"], dw, how, decay),
        "bias": host.adam(now["bias"], dbias, how, 0.0),
    }
    for first in (True, False):
        found, dx = host.descend(now, x, y, dy, how, decay, tanh, first)
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * np.abs(other).max())
    dz = dy * (1 - y**2) if tanh else dy
    np.testing.assert_allclose(dx, dz @ kernel.T, rtol=1e-4, atol=1e-4 * float(jnp.abs(dz).max()))
    still, dx = host.descend(
        now, x, y, dy, adam(how.scalars.at[0].set(0)), decay, tanh, first=False
    )
    for one, other in zip(jax.tree.leaves(still), jax.tree.leaves(now), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.any(dx)


@pytest.mark.parametrize("shape", [(1,), (5, 7), (1000,), (3, 16, 100)])
def test_random_words_are_jaxs(shape):
    for seed in range(3):
        key = jax.random.fold_in(jax.random.key(seed), 7)
        np.testing.assert_array_equal(host.bits(key, shape), jax.random.bits(key, shape))
        for keep in (1.0, 0.7, 1e-3):
            kept = jax.random.bernoulli(key, jnp.float32(keep), shape)
            expected = jnp.where(kept, 1 / jnp.float32(keep), 0)
            np.testing.assert_array_equal(host.drop(key, jnp.float32(keep), shape), expected)


@pytest.mark.parametrize("size", [1, 2, 5000])
def test_order_equals_argsort(rng, size):
    for most in (3, 2**32 - 1):
        words = rng.integers(0, most, size, dtype=np.uint32, endpoint=True)
        np.testing.assert_array_equal(host.order(words), np.argsort(words, kind="stable"))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.uint16])
def test_gather_equals_indexing(rng, dtype):
    records = rng.integers(0, 200, (50, 3, 7)).astype(dtype)
    rows = jnp.asarray(rng.integers(0, 50, 11), jnp.int32).at[0].set(-5).at[1].set(99)
    expected = records[np.clip(rows, 0, 49)]
    for floats in (False, True):
        found = host.gather(records, rows, floats)
        assert found.dtype == (np.float32 if floats and dtype == np.uint8 else dtype)
        np.testing.assert_array_equal(found, expected)


def test_under_vmap_every_operation_equals_a_loop_over_models(rng):
    def floats(*shape):
        return jnp.asarray(rng.normal(size=(3, *shape)), jnp.float32)

    records = jnp.asarray(rng.integers(0, 2, (20, 6)), jnp.uint8)
    rows = jnp.asarray(rng.integers(0, 20, (3, 4)), jnp.int32)
    labels = jnp.asarray(rng.integers(0, 5, (3, 4)), jnp.int32)

    def layers(x, w, b, labels):
        return host.cross_entropy(host.dense(x, w, b, True), labels).sum()

    def images(x, kernel, bias):
        return (host.convolve_relu_pool(x, kernel, bias, 2) ** 2).sum()

    def apart(x, kernel, bias):
        y, back = host.convolve_apart(x, kernel, bias, 2, False)
        return back(2 * y)

    def step(p, m, g, scalars):
        return host.adam(host.Moments(p, m, m**2), g, adam(scalars), 0.1)

    def descent(p, m, bias, x, dy, scalars):
        now = {"kernel": host.Moments(p, m, m**2), "bias": host.Moments(bias, bias, bias**2)}
        y = host.dense(x, p, bias, True)
        return host.descend(now, x, y, dy, adam(scalars), 0.1, True, False)

    cases = [
        (descent, (floats(6, 5), floats(6, 5), floats(5), floats(4, 6), floats(4, 5), floats(3))),
        (jax.grad(layers, (0, 1, 2)), (floats(4, 6), floats(6, 5), floats(5), labels)),
        (jax.grad(images, (0, 1, 2)), (floats(2, 8, 8, 3), floats(5, 5, 3, 4), floats(4))),
        (apart, (floats(2, 8, 8, 3), floats(5, 5, 3, 4), floats(4))),
        (step, (floats(9), floats(9), floats(9), jnp.abs(floats(3)))),
        (host.order, (jnp.asarray(rng.integers(0, 9, (3, 30)), jnp.uint32),)),
        (lambda seed: host.bits(jax.random.key(seed), (5, 9)), (jnp.arange(3),)),
        (lambda k: host.drop(jax.random.key(1), k, (5, 9)), (jnp.float32([0.2, 0.5, 1]),)),
        (lambda rows: host.gather(records, rows, False), (rows,)),
        (lambda rows: host.gather(records, rows, True), (rows,)),
    ]
    for fn, args in cases:
        together = jax.jit(jax.vmap(fn))(*args)
        for i in range(3):
            alone = fn(*(a[i] for a in args))
            for one, other in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
                np.testing.assert_array_equal(one[i], other)


def test_shared_weights_are_batched_like_all_others(rng):
    x = jnp.asarray(rng.normal(size=(3, 4, 6)), jnp.float32)
    w, b = jnp.asarray(rng.normal(size=(6, 5)), jnp.float32), jnp.ones(5)
    found = jax.vmap(host.dense, (0, None, None, None))(x, w, b, False)
    np.testing.assert_allclose(found, x @ w + b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("records", "others"), [(1, 1), (7, 3), (500, 200), (4096, 4096)])
@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_ranks_equal_xla(rng, records, others, decimals):
    row = np.round(rng.normal(size=records), decimals).astype(np.float32)
    row[rng.random(records) < 0.1] = -0.0
    # Scores that no audited record has.
    row[rng.random(records) < 0.02] = np.inf
    row[rng.random(records) < 0.02] = -np.inf
    for count in (0, others // 2, others):
        outside = np.full(others, roc.NOBODY, np.int32)
        mixed = rng.permutation(records)
        outside[:count] = np.sort(mixed[:count])
        inside = np.append(np.sort(mixed[count:]), roc.NOBODY).astype(np.int32)
        given = jnp.asarray(row), jnp.asarray(inside), jnp.asarray(outside)
        found, expected = host.ranks(*given), roc.ranks(*given)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("decimals", [0, 9])
def test_standing_equals_xla(rng, decimals):
    values, queries = (
        jnp.asarray(np.round(rng.normal(size=size), decimals), jnp.float32) for size in (300, 80)
    )
    among = jnp.asarray(rng.random(300) < 0.6)
    for of in (queries, values):
        found, expected = host.standing(values, among, of), roc.standing(values, among, of)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
    own = np.asarray(values)[np.asarray(among)]
    below = (own[:, None] < np.asarray(queries)).sum(0)
    np.testing.assert_array_equal(host.standing(values, among, queries)[0], below)


@pytest.mark.parametrize("level", [0.5, np.nan])
def test_influence_is_added_like_xla_adds_it(rng, level):
    size = 700
    row = jnp.asarray(np.round(rng.normal(size=size), 1), jnp.float32)
    member, candidate = (jnp.asarray(rng.random(size) < share) for share in (0.4, 0.9))
    near = bank_metrics.near(np.asarray(member)[None], np.asarray(candidate)[None])[0]
    ranked = roc.rank(row, member, candidate)
    _, measured = bank_metrics.evaluate_row(ranked, jnp.asarray(near), jnp.float32(level))
    shape = 3, len(bank_metrics.INFLUENCES), size
    sums = jnp.asarray(rng.normal(size=shape) * 1e-3, jnp.float32)
    for weight in (0.0, 1.0):
        given = sums, measured, jnp.int32(1), jnp.float32(weight)
        found, expected = host.add_influence(*given), bank_metrics.add_influence(*given)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)
        changed = np.asarray(found != sums).any((1, 2))
        np.testing.assert_array_equal(changed, [False, weight > 0, False])


def test_ranks_by_hand_and_of_several_rows_at_once():
    row, nobody = jnp.float32([3, 1, 2, 2, 0, jnp.nan]), roc.NOBODY
    inside, outside = jnp.int32([0, 3, nobody]), jnp.int32([1, 2, 4, nobody])
    others, above, let_in, up_to, tie, tie_end = host.ranks(row, inside, outside)
    np.testing.assert_array_equal(others, np.float32([-2, -1, 0, np.inf]))
    np.testing.assert_array_equal(above[:5], [0, 1, 0, 0, 2])
    np.testing.assert_array_equal(let_in[:5], [0, 2, 1, 1, 3])
    # One member above all others, one beside the first of them.
    np.testing.assert_array_equal(up_to, [1, *[2] * 8])
    np.testing.assert_array_equal(tie, [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(tie_end, [1, 2, 3, 4, 4])
    rows, lists = jnp.stack([row, -row]), jnp.int32([[1, 2, 4], [0, 3, nobody]])
    members = jnp.int32([[0, 3], [1, nobody]])
    for i, several in enumerate(zip(*jax.vmap(host.ranks)(rows, members, lists), strict=True)):
        for one, other in zip(several, host.ranks(rows[i], members[i], lists[i]), strict=True):
            np.testing.assert_array_equal(one, other)
