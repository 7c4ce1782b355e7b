"""t-SNE: equal draws of every group, neighbours that stay neighbours, and the same layout every time."""

import sys

import numpy as np
import pytest

from jleaks.errors import InputError
from jleaks.metrics.embedding import embed, sample


@pytest.fixture
def clusters(rng):
    """Two clusters in three dimensions, 30 standard deviations apart, in a random order."""
    side = rng.permutation(np.arange(120) % 2)
    points = rng.normal(scale=0.02, size=(120, 3)) + 0.6 * side[:, None]
    return points.astype(np.float32), side


def test_nearest_neighbours_belong_to_the_same_cluster(clusters):
    points, side = clusters
    found = embed(points, 0, perplexity=15.0)
    assert found.shape == (120, 2)
    assert found.dtype == np.float32
    distance = np.linalg.norm(found[:, None] - found[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    np.testing.assert_array_equal(side[distance.argmin(1)], side)
    # The clusters lie apart as wholes, not as crumbs: every gap is wider than any cluster's links.
    across = distance[side[:, None] != side[None]].min()
    assert across > 2 * distance.min(1).max()


def test_the_same_seed_gives_the_same_layout(clusters):
    points, _ = clusters
    np.testing.assert_array_equal(embed(points, 3, 10.0), embed(points, 3, 10.0))


def test_sample_draws_equally_many_of_every_group(rng):
    groups = {
        "members": np.arange(60).reshape(30, 2),
        "non-members": 1000 + np.arange(80).reshape(40, 2),
    }
    points, names = sample(rng, groups, 25)
    assert points.shape == (50, 2)
    assert points.dtype == np.float32
    assert names.tolist() == ["members"] * 25 + ["non-members"] * 25
    for name, group in groups.items():
        drawn = {tuple(point) for point in points[names == name].astype(int).tolist()}
        assert len(drawn) == 25  # without replacement
        assert drawn <= {tuple(point) for point in group.tolist()}
    other, _ = sample(np.random.default_rng(1), groups, 25)
    assert (other != points).any()
    again, _ = sample(np.random.default_rng(1), groups, 25)
    np.testing.assert_array_equal(again, other)


def test_groups_that_cannot_be_sampled(rng):
    group = np.zeros((5, 3))
    with pytest.raises(InputError, match="no group"):
        sample(rng, {}, 1)
    with pytest.raises(InputError, match="per_group is 0"):
        sample(rng, {"members": group}, 0)
    with pytest.raises(InputError, match="group 'members' has 5 points, 6 were asked for"):
        sample(rng, {"members": group}, 6)
    with pytest.raises(InputError, match=r"expected \[n, d\] with one d"):
        sample(rng, {"members": group, "others": group[:, :2]}, 2)
    with pytest.raises(InputError, match=r"expected \[n, d\] with one d"):
        sample(rng, {"members": group[:, 0]}, 2)


def test_points_that_cannot_be_embedded(rng):
    points = rng.random((90, 3)).astype(np.float32)
    with pytest.raises(InputError, match="90 points at perplexity 30, expected more than 90"):
        embed(points, 0)
    with pytest.raises(InputError, match="perplexity is 0"):
        embed(points, 0, 0.0)
    with pytest.raises(InputError, match=r"shape \(90, 1\), expected \[n, d\] with d at least 2"):
        embed(points[:, :1], 0, 10.0)
    with pytest.raises(InputError, match="all 90 points are equal"):
        embed(np.ones_like(points), 0, 10.0)
    points[4, 1] = np.nan
    with pytest.raises(InputError, match="not all finite"):
        embed(points, 0, 10.0)


def test_without_scikit_learn(monkeypatch, clusters):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(InputError, match=r"needs scikit-learn .*jleaks\[datasets\]"):
        embed(clusters[0], 0, 10.0)
