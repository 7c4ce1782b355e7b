"""HAMP's output step: against a loop, on fleets and behind endpoints, bad input."""

import dataclasses

import jax
import numpy as np
import pytest

from jleaks.data.random_points import random_points
from jleaks.data.synthetic import synthetic
from jleaks.defences.defence import answering, get_defence
from jleaks.defences.hamp import NUM_POINTS
from jleaks.errors import InputError
from jleaks.experiments.library import Library
from jleaks.experiments.querier import Querier
from jleaks.experiments.subjects import Subject, defended
from jleaks.keys import Role, identity_key
from jleaks.models.forest import ForestRecipe
from jleaks.training.execution import Execution
from jleaks.training.fleet import stack_key_data
from jleaks.training.preemption import StopSignal
from jleaks.training.recipe import Recipe
from jleaks.training.reporter import Reporter


def softmax(z):
    p = np.exp(z.astype(float) - z.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def test_answers_keep_the_order_and_have_a_point_s_confidences(rng):
    points = softmax(rng.normal(0, 2, (2, NUM_POINTS, 6)))
    z = rng.normal(0, 3, (50, 6)).astype(np.float32)
    found = answering([get_defence("hamp_output:1")] * 2, lambda _: points)
    fn = jax.jit(jax.vmap(found.fn, in_axes=(0, None)))
    answers = softmax(np.asarray(fn(found.strength, z)))
    for model in range(2):
        confidences = np.sort(points[model], axis=1)
        used = set()
        for row, logits in zip(answers[model], z, strict=True):
            assert (np.argsort(row) == np.argsort(logits)).all()
            distance = np.abs(confidences - np.sort(row)).max(1)
            assert distance.min() < 1e-6
            used.add(int(distance.argmin()))
        assert len(used) > 20
    # Nothing but the order is told.
    again = softmax(np.asarray(fn(found.strength, 3 * z + 1)))
    np.testing.assert_allclose(again, answers, rtol=1e-5)


def test_a_share_of_orders_is_replaced(rng):
    points = softmax(rng.normal(0, 2, (1, NUM_POINTS, 8)))
    z = rng.normal(0, 3, (2000, 8)).astype(np.float32)
    found = answering([get_defence("hamp_output:0.3")], lambda _: points)
    changed = (np.asarray(found.fn(found.strength[0], z)) != z).any(1)
    # 2,000 orders, hardly two alike: four standard errors.
    assert abs(changed.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 2000)


def test_a_fleet_s_answers_are_a_loop_s(tmp_path):
    data, execution = synthetic("location", 300), Execution(models_per_vmap=1)
    querier = Querier(
        Library(tmp_path, execution, Reporter(), StopSignal()), lambda _: data, execution
    )
    recipe = Recipe(hidden=(8,), epochs=3, batch_size=20)
    plain = [
        Subject(f"model {i}", "location", recipe, np.arange(100), np.arange(100, 200), key)
        for i, key in enumerate(
            stack_key_data([identity_key(i, "location", Role.TARGET) for i in range(2)])
        )
    ]
    hidden = [dataclasses.replace(one, defence=get_defence("hamp_output:1")) for one in plain]
    own, found = querier.query(plain), querier.query(hidden)
    points = random_points(data.task, 0, data.features.shape[1:], NUM_POINTS)
    assert querier.identity(plain[0]) != querier.identity(hidden[0])
    features = np.concatenate([data.features, points])
    longer = dataclasses.replace(
        data, features=features, labels=np.resize(data.labels, len(features))
    )
    asked = Querier(querier.library, lambda name: longer if name == "location" else data, execution)
    # The library knows the weights by the first data.
    asked._digests["location"] = data.fingerprint()
    rows = [np.arange(len(data.features), len(features))] * 2
    for before, after, pool in zip(own, found, asked.query(plain, rows), strict=True):
        np.testing.assert_array_equal(before.correct, after.correct)
        confidences = np.sort(pool.whole(), axis=1)
        for answer in np.sort(after.whole(), axis=1):
            assert np.abs(confidences - answer).max(1).min() < 1e-5


def test_hamp_trains_and_answers():
    made = get_defence("hamp:0.6,0.01")
    assert made.training == get_defence("hamp_training:0.6,0.01").training
    assert made.answer is not None
    assert made.trained() == get_defence("hamp_training:0.6,0.01").trained()


@pytest.mark.parametrize("text", ["hamp_output:0", "hamp_output:1.5", "hamp_output:1,2"])
def test_bad_shares_are_one_line(text):
    with pytest.raises(InputError, match=r"HAMP's share is .*, expected one number in \(0, 1\]"):
        get_defence(text)


def test_forests_are_refused():
    key = stack_key_data([identity_key(0, "location", Role.TARGET)])[0]
    forest = Subject("forest", "location", ForestRecipe(5), np.arange(9), np.arange(9, 18), key)
    with pytest.raises(InputError, match="forest; hamp_output:1 defends networks alone"):
        defended(forest, "hamp_output:1", key)
