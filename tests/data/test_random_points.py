"""Random points: of every task's format, and of the distribution that its format calls for."""

import jax.numpy as jnp
import numpy as np
import pytest

from jleaks.data import Dataset, encodings, get_task
from jleaks.data.random_points import random_points
from jleaks.data.synthetic import synthetic
from jleaks.data.tasks import ADULT_CATEGORIES, ADULT_NUMERIC, TASKS

COUNT = 400


def points_of(name, seed=0, count=COUNT, shape=None):
    task = get_task(name)
    return random_points(task, seed, shape or task.feature_shape, count)


def assert_equally_frequent(values, num_values):
    """Every one of 0..n-1 occurs as often as the others: binomial, 5.5 standard deviations."""
    counts = np.bincount(np.ravel(values), minlength=num_values)
    assert len(counts) == num_values
    expected = np.size(values) / num_values
    assert abs(counts - expected).max() < 5.5 * np.sqrt(expected * (1 - 1 / num_values))


def assert_independent(columns):
    """No two columns [n, d] are correlated: 5.5 standard deviations of 1 / sqrt(n)."""
    correlation = np.corrcoef(columns.astype(np.float64), rowvar=False)
    np.fill_diagonal(correlation, 0)
    assert abs(correlation).max() < 5.5 / np.sqrt(len(columns))


@pytest.mark.parametrize("name", TASKS)
def test_points_are_records_of_the_task(name):
    points = points_of(name, count=20)
    # A dataset refuses records of another type or shape.
    Dataset(get_task(name), "synthetic", points, np.zeros(20, np.int32))
    assert points.shape == (20, *get_task(name).feature_shape)
    own = synthetic(name, 400).features
    encoding = get_task(name).encoding
    statistics = encodings.fit(encoding, jnp.asarray(own), jnp.arange(300), jnp.int32(300))
    assert np.isfinite(encodings.encode(encoding, statistics, points)).all()


@pytest.mark.parametrize("name", ["adult", "face", "location", "news"])
def test_task_and_seed_identify_the_points(name):
    np.testing.assert_array_equal(points_of(name, 1), points_of(name, 1))
    differ = (points_of(name, 1) != points_of(name, 2)).reshape(COUNT, -1)
    assert differ.any(axis=1).all()


def test_tasks_of_one_dataset_have_their_own_points():
    assert (points_of("purchase2") != points_of("purchase10")).mean() > 0.4


@pytest.mark.parametrize("name", ["mnist", "face", "cifar10", "cifar100"])
def test_pixels_are_uniform(name):
    points = points_of(name)
    assert_equally_frequent(points, 256)
    rows = points.reshape(COUNT, -1)
    # Everywhere in the image: a mean of 127.5, a standard deviation of sqrt((256^2 - 1) / 12).
    std = np.sqrt((256**2 - 1) / 12)
    assert abs(rows.mean(0) - 127.5).max() < 5.5 * std / np.sqrt(COUNT)
    assert_independent(rows[:, :40])


@pytest.mark.parametrize("name", ["location", "purchase100"])
def test_binary_features_are_fair_coins(name):
    points = points_of(name)
    assert set(np.unique(points)) == {0, 1}
    assert abs(points.mean(0) - 0.5).max() < 5.5 * 0.5 / np.sqrt(COUNT)
    assert abs(points.mean() - 0.5) < 5.5 * 0.5 / np.sqrt(points.size)
    assert_independent(points)


def test_posts_are_a_hundred_words_of_the_whole_vocabulary():
    points = points_of("news", shape=(200,))
    np.testing.assert_array_equal(points.sum(1), 100)
    # Of 40,000 words drawn, 200 of each; a word may occur twice in a post.
    words = np.repeat(np.tile(np.arange(200), COUNT), points.ravel())
    assert_equally_frequent(words, 200)
    assert points.max() > 1


def test_adult_has_uniform_attributes():
    points = points_of("adult", count=4000)
    for column, (low, high) in enumerate(
        [(17, 90), (12_285, 1_490_400), (1, 16), (0, 99_999), (0, 4_356), (1, 99)]
    ):
        values = points[:, column]
        assert low <= values.min() < low + 0.01 * (high - low) + 1
        assert high - 0.01 * (high - low) - 1 < values.max() <= high
        deciles = (values - low) * 10 // (high - low + 1)
        if high - low > 1000:
            assert_equally_frequent(deciles, 10)
        else:
            assert_equally_frequent(values - low, high - low + 1)
    for column, size in enumerate(ADULT_CATEGORIES.values(), len(ADULT_NUMERIC)):
        assert_equally_frequent(points[:, column], size)
    assert_independent(points)


@pytest.mark.parametrize(("name", "shape"), [("face", (64, 64, 3)), ("news", (500,))])
def test_parameters_of_preparation_change_the_shape(name, shape):
    assert points_of(name, count=3, shape=shape).shape == (3, *shape)
