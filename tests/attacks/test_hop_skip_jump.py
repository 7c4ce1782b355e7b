"""HopSkipJump: distances in closed form, labels alone, the budget, and banks that ask by it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jleaks.attacks.evaluate_bank import scores
from jleaks.attacks.hop_skip_jump import LEAST_QUERIES, asked, distances, rounds
from jleaks.attacks.references import assign
from jleaks.attacks.registry import ATTACKS
from jleaks.attacks.requirements import missing
from jleaks.experiments.bank import train_bank
from jleaks.experiments.bank_plan import BankPlan
from jleaks.metrics.over_targets import auc_over_records
from jleaks.training.execution import Execution
from jleaks.training.recipe import Recipe

KEY = jax.random.key(1)


def linear(rng, size=10, classes=2):
    weights = rng.normal(size=(size, classes))
    return weights, lambda z: z @ jnp.asarray(weights, jnp.float32)


def found(predict_fn, x, labels, budget=1000):
    one = jax.jit(lambda x, y: distances(predict_fn, x, y, KEY, budget))
    return np.asarray(one(jnp.asarray(x, jnp.float32), jnp.asarray(labels)), np.float64)


def test_of_a_linear_model_it_is_the_distance_to_the_plane(rng):
    weights, predict_fn = linear(rng)
    x = rng.normal(size=(60, 10))
    labels = (x @ weights).argmax(1)
    apart = weights[:, 0] - weights[:, 1]
    expected = np.abs(x @ apart) / np.linalg.norm(apart)
    ratio = found(predict_fn, x, labels) / expected
    # A point beyond the boundary is no nearer than the boundary.
    assert ratio.min() > 1 - 1e-3
    assert ratio.max() < 1.03
    # With fewer queries the normal is known less well.
    assert (found(predict_fn, x, labels, LEAST_QUERIES) / expected).mean() > ratio.mean()
    # Records that are labelled wrongly lie on the other side already.
    np.testing.assert_array_equal(found(predict_fn, x, 1 - labels), 0)


def test_of_a_ball_it_is_the_distance_to_the_sphere(rng):
    def predict_fn(z):
        inside = 1 - (z.reshape(len(z), -1) ** 2).sum(-1)
        return jnp.stack([inside, jnp.zeros_like(inside)], -1)

    x = rng.normal(size=(40, 2, 3))
    x *= (rng.uniform(0.2, 0.9, 40) / np.linalg.norm(x, axis=(1, 2)))[:, None, None]
    expected = 1 - np.linalg.norm(x, axis=(1, 2))
    ratio = found(predict_fn, x, np.zeros(40, int)) / expected
    assert ratio.min() > 1 - 1e-3
    # Near the middle all directions are nearly alike.
    assert np.median(ratio) < 1.03
    assert ratio.max() < 1.25


def test_where_no_other_label_is_found_it_is_the_farthest_tried():
    x = np.array([[3.0, 4.0], [0.0, 0.0]])
    always = found(lambda z: jnp.stack([jnp.ones(len(z)), jnp.zeros(len(z))], -1), x, [0, 0])
    # Eight times its length, which is taken for one where it is less.
    np.testing.assert_allclose(always, [40, 8], rtol=1e-6)


def test_labels_are_all_that_is_looked_at_and_others_change_nothing(rng):
    _, predict_fn = linear(rng, classes=4)
    x = rng.normal(size=(20, 10))
    labels = np.array(jnp.argmax(predict_fn(jnp.asarray(x, jnp.float32)), -1))
    labels[:3] = (labels[:3] + 1) % 4
    plain = found(predict_fn, x, labels, 150)
    hard = found(lambda z: jax.nn.one_hot(jnp.argmax(predict_fn(z), -1), 4), x, labels, 150)
    np.testing.assert_array_equal(hard, plain)
    np.testing.assert_allclose(found(predict_fn, x[5:9], labels[5:9], 150), plain[5:9], rtol=1e-4)


@pytest.mark.parametrize("budget", [LEAST_QUERIES, 150])
def test_so_many_queries_are_asked_as_are_told(rng, budget):
    _, predict_fn = linear(rng)
    calls = []

    def counted(z):
        jax.debug.callback(lambda: calls.append(len(z)))
        return predict_fn(z)

    x = jnp.asarray(rng.normal(size=(3, 10)), jnp.float32)
    found(counted, x, jnp.argmax(predict_fn(x), -1), budget)
    jax.effects_barrier()
    assert calls == [3] * asked(rounds(budget))
    assert len(calls) <= budget
    assert asked(rounds(budget)) + 20 + 30 * np.sqrt(len(rounds(budget)) + 1) > budget - 1


def test_a_bank_asks_by_it_and_null_draws_are_not_told(tmp_path):
    recipe = Recipe("mlp", (32,), 30, 20, 3e-3)
    plan = BankPlan("mnist", 8, 160, 20, recipe=recipe, num_queries=1, boundary=LEAST_QUERIES)
    bank = train_bank(plan.validate(), Execution(), str(tmp_path / "bank"))
    assert bank.meta["boundary_queries"] == LEAST_QUERIES
    assert bank.boundary.shape == (8, 180)
    # Nothing but wrong labels is at the boundary.
    np.testing.assert_array_equal(bank.boundary == 0, ~bank.correct[0])
    (rows,) = scores(bank, [ATTACKS["hop_skip_jump"]], *assign(bank)).values()
    np.testing.assert_array_equal(rows, bank.boundary)
    rng, real, null = np.random.default_rng(0), [], []
    for row, member in zip(rows[:, :160], bank.member[:, :160], strict=True):
        real.append(auc_over_records(row, member).mean)
        null.append(auc_over_records(row, rng.permutation(member)).mean)
    assert np.mean(real) > 0.6
    assert abs(np.mean(null) - 0.5) < 4.5 * np.sqrt(1 / 80 / 6 / 8)
    without = BankPlan("mnist", 4, 160, 20, recipe=recipe, num_queries=1)
    assert missing(ATTACKS["hop_skip_jump"], train_bank(without, Execution(), str(tmp_path / "b")))
