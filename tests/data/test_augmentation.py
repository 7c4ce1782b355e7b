"""Flips and crops against a loop; what training sees; who may use them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fleets import assert_close, fleet_spec, trained

from jleaks.data.augmentation import BORDER, Moves, augment, draw, move
from jleaks.keys import Stream
from jleaks.training import epoch as epoch_lib
from jleaks.training import optimizer
from jleaks.training import step as step_lib
from jleaks.training.learner import Batch, Data, Members


def mirror(i, size):
    """Index into an image of a position in its reflected border."""
    return -i if i < 0 else 2 * (size - 1) - i if i >= size else i


@pytest.mark.parametrize("shape", [(8, 11, 3), (28, 28, 1), (5, 5, 2)])
def test_moves_equal_a_loop_over_pixels(rng, shape):
    batch = 6
    images = rng.integers(0, 256, (batch, *shape)).astype(np.uint8)
    flip = np.arange(batch) % 2 == 1
    down, right = rng.integers(0, 2 * BORDER + 1, (2, batch))
    found = np.asarray(move(Moves(flip, down, right), images))
    assert found.dtype == np.uint8
    height, width, _ = shape
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                row = mirror(i + down[b] - BORDER, height)
                column = mirror(j + right[b] - BORDER, width)
                if flip[b]:
                    column = width - 1 - column
                np.testing.assert_array_equal(found[b, i, j], images[b, row, column])


def test_moves_in_place_change_nothing(rng):
    images = rng.integers(0, 256, (3, 9, 9, 1)).astype(np.uint8)
    np.testing.assert_array_equal(move(draw("none", 3, jax.random.key(0)), images), images)


@pytest.mark.parametrize(("kind", "flips"), [("crops", 0.0), ("flips and crops", 0.5)])
def test_moves_are_uniform_and_independent(kind, flips):
    n = 20_000
    moves = draw(kind, n, jax.random.key(5))
    assert abs(np.mean(moves.flip) - flips) < 5 * np.sqrt(flips * (1 - flips) / n) + 1e-9
    # All 81 crops, whatever was flipped.
    cells = np.asarray(moves.down) * 9 + np.asarray(moves.right)
    for chosen in (moves.flip, ~moves.flip):
        part = cells[np.asarray(chosen)]
        if len(part):
            counts = np.bincount(part, minlength=81)
            assert len(counts) == 81
            # Chi-squared of 80 degrees of freedom; five standard deviations above its mean.
            expected = len(part) / 81
            assert ((counts - expected) ** 2 / expected).sum() < 80 + 5 * np.sqrt(160)


def logistic(num_models=2, *, augmentation="flips and crops", block=None):
    """A fleet of linear models of images, quick to compile."""
    c = fleet_spec("cnn", num_models, ragged=True, block=block)
    recipe = dataclasses.replace(
        c.learner.recipe, model="logistic", augmentation=augmentation, optimizer="sgd"
    )
    return dataclasses.replace(c, learner=dataclasses.replace(c.learner, recipe=recipe))


def test_training_sees_the_augmented_records_and_queries_the_stored_ones():
    c = logistic(1)
    learner = c.learner
    data = Data(jnp.asarray(c.features), jnp.asarray(c.labels))
    members = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), c.members)
    key = jax.random.wrap_key_data(jnp.asarray(c.key_data[0]))
    state = epoch_lib.init(learner, data, members, key, None)
    found = epoch_lib.fit(learner, data, members, key, state, jnp.int32(0), jnp.int32(2))
    plain = dataclasses.replace(
        learner, recipe=dataclasses.replace(learner.recipe, augmentation="none")
    )
    size, seen, expected = learner.recipe.batch_size, set(), state
    for epoch in range(2):
        order = np.asarray(epoch_lib.shuffled(learner, members, key, jnp.int32(epoch)))
        for step in range(3):
            rows = members.indices[order[step * size : (step + 1) * size]]
            parts = (Stream.AUGMENTATION, epoch, step)
            moves = draw("flips and crops", size, functools.reduce(jax.random.fold_in, parts, key))
            seen.add(np.asarray(moves.down).tobytes())
            batch = Batch(move(moves, data.features[rows]), data.labels[rows])
            _, grads, _ = step_lib.gradient(plain, expected, batch)
            updates, opt_state = optimizer.make(learner.recipe).update(
                grads, expected.opt_state, expected.params
            )
            params = jax.tree.map(jnp.add, expected.params, updates)
            expected = expected._replace(params=params, opt_state=opt_state)
    assert_close(found.params, expected.params, 1e-5)
    assert len(seen) == 6
    np.testing.assert_array_equal(
        learner.logits(found, data.features[:7]), plain.logits(found, data.features[:7])
    )


def test_augmentation_does_not_depend_on_execution():
    reference = trained(logistic(3), num_devices=1, models_per_vmap=1, chunk_seconds=0)
    assert_close(trained(logistic(3, block=5), num_devices=4, models_per_vmap=2), reference)
    still = trained(logistic(3, augmentation="none"), num_devices=1, models_per_vmap=1)
    distance = np.linalg.norm(
        still.params["Dense_0"]["kernel"] - reference.params["Dense_0"]["kernel"]
    )
    assert distance > 1e-2
    c = logistic(3)
    padded = Members(np.pad(c.members.indices, ((0, 0), (0, 37))), c.members.size)
    c = dataclasses.replace(c, members=padded)
    assert_close(trained(c, num_devices=1, models_per_vmap=1), reference)


def test_models_and_steps_are_augmented_differently():
    images = np.arange(4 * 100, dtype=np.int32).reshape(4, 10, 10, 1)
    found = {
        np.asarray(augment("crops", images, jax.random.key(seed))).tobytes() for seed in range(5)
    }
    assert len(found) == 5
