"""Adversarial regularisation: losses against loops, neutral weight, fleets, resuming, bad input."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jleaks import keys
from jleaks.errors import InputError
from jleaks.training import adversarial, epoch
from jleaks.training import step as step_lib
from jleaks.training.checkpoints import Store
from jleaks.training.learner import Data
from jleaks.training.preemption import Preempted
from tests.fleets import (
    StopAfter,
    alone,
    assert_close,
    assert_identical,
    fleet_spec,
    trained,
    trained_in_steps,
)

K = 4


def regularised(c, weight, size=30):
    """The spec's models, compared with records outside their training parts."""
    count = c.num_models
    outside = [np.setdiff1d(np.arange(len(c.labels)), row)[:size] for row in c.members.indices]
    weights = np.broadcast_to(np.float32(weight), (count,)).copy()
    return dataclasses.replace(
        c,
        members=c.members._replace(
            adversarial=weights,
            reference=np.stack(outside).astype(np.int32),
            reference_size=np.full(count, size, np.int32),
        ),
    )


def softmax(z):
    p = np.exp(z.astype(float) - z.max())
    return p / p.sum()


def naive_odds(params, z, y):
    p = softmax(z)
    x = np.concatenate([p, np.eye(K)[y], [-np.log(p[y])]])
    for i in range(3):
        x = x @ np.asarray(params[f"layer_{i}"]["kernel"], float) + params[f"layer_{i}"]["bias"]
        x = np.tanh(x) if i < 2 else x
    return x[0]


def begun(c):
    data = Data(jnp.asarray(c.features), jnp.asarray(c.labels))
    members = jax.tree.map(lambda a: jnp.asarray(a[0]), c.members)
    key = keys.wrap(jnp.asarray(c.key_data[0]))
    return data, members, key, epoch.init(c.learner, data, members, key, None)


def test_the_gain_is_the_weight_times_the_log_probability():
    c = regularised(fleet_spec("mlp", 1), 2.5)
    _, _, _, state = begun(c)
    params, rng = state.adversary["params"], np.random.default_rng(0)
    z, y = rng.normal(0, 2, (9, K)).astype(np.float32), rng.integers(0, K, 9).astype(np.int32)
    found = adversarial.gain(params, z, y, jnp.full(9, 2.5))
    for row, label, value in zip(z, y, found, strict=True):
        odds = naive_odds(params, row, label)
        assert float(value) == pytest.approx(-2.5 * np.log1p(np.exp(-odds)), rel=1e-4)


def test_the_adversary_learns_to_tell_members():
    """Of a model that knows its training part by heart, whose answers are left alone."""
    c = fleet_spec("mlp", 1, epochs=120)
    state = alone(c, 0)
    c = regularised(c, 0.0)
    data, members, key, fresh = begun(c)
    state = state._replace(adversary=fresh.adversary)
    one = jax.jit(adversarial.step, static_argnums=0)
    for i in range(400):
        own = jax.random.fold_in(key, i)
        state = one(c.learner, data, members, state, own, jnp.bool_(True))

    def probability(rows):
        logits = c.learner.logits(state, data.features[rows])
        return jax.nn.sigmoid(
            adversarial.odds(state.adversary["params"], logits, data.labels[rows])
        )

    assert probability(members.indices).mean() > 0.8
    assert probability(members.reference).mean() < 0.3
    frozen = one(c.learner, data, members, state, key, jnp.bool_(False))
    assert_identical(frozen, state)


def test_a_step_follows_the_sum_of_both_losses():
    c = regularised(fleet_spec("mlp", 1), 3.0)
    data, members, key, state = begun(c)
    rows = members.indices[:20]
    order = (c.learner, data, members, key, state, rows, data.labels[rows])
    batch = epoch.draw(*order, jnp.int32(0), jnp.int32(0))
    loss, grads, _ = step_lib.gradient(c.learner, state, batch)

    def naive(params):
        total = 0.0
        for row in np.asarray(rows):
            x = jnp.asarray(c.features[row], jnp.float32)
            hidden = jnp.tanh(x @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"])
            z = hidden @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"]
            p, y = jax.nn.softmax(z), c.labels[row]
            x = jnp.concatenate([p, jnp.eye(K)[y], -jnp.log(p[y])[None]])
            for i in range(3):
                layer = state.adversary["params"][f"layer_{i}"]
                x = x @ layer["kernel"] + layer["bias"]
                x = jnp.tanh(x) if i < 2 else x
            total += -jnp.log(p[y]) + 3.0 * jnp.log(jax.nn.sigmoid(x[0]))
        return total / 20

    expected, slopes = jax.value_and_grad(naive)(state.params)
    assert float(loss) == pytest.approx(float(expected), rel=1e-4)
    assert_close(grads, slopes)


def test_a_weight_of_zero_trains_as_without():
    plain = fleet_spec("mlp", 3, ragged=True)
    expected = trained(plain, models_per_vmap=1)
    found = trained(regularised(plain, (0.0, 5.0, 0.0)), models_per_vmap=1)
    for i, alike in enumerate((True, False, True)):
        mine, theirs = (
            np.asarray(s.params["Dense_0"]["kernel"])[i].astype(float) for s in (found, expected)
        )
        distance = np.linalg.norm(mine - theirs) / np.linalg.norm(theirs)
        assert (distance < 1e-3) == alike


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_fleets_are_models_alone(model):
    c = regularised(fleet_spec(model, 3, ragged=True, epochs=2), (1.0, 3.0, 10.0))
    found = trained(c)
    for i in range(3):
        one = alone(c, i)
        assert_close(jax.tree.map(lambda a, i=i: a[i], found.params), one.params)


def test_stopped_models_continue_with_their_adversary(tmp_path):
    c = regularised(fleet_spec("mlp", 3, epochs=5), 3.0)
    whole = trained_in_steps(c)
    store = Store(tmp_path, "plan")
    with pytest.raises(Preempted):
        trained_in_steps(c, store, StopAfter(2))
    store.close()
    again = Store(tmp_path, "plan")
    assert_identical(trained_in_steps(c, again), whole)
    again.close()


def test_without_enough_to_compare_with_is_one_line():
    c = regularised(fleet_spec("mlp", 2), 1.0, size=10)
    with pytest.raises(InputError, match="has 10 reference records, expected at least a batch, 20"):
        trained(c)
