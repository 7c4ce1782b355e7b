"""Encodings against scikit-learn and NumPy, fitted on members alone."""

import jax
import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.preprocessing import StandardScaler

from jleaks.data import encodings
from jleaks.data.synthetic import synthetic

COUNT = 301


@pytest.fixture
def members(rng):
    # More indices than are valid: the rest is padding that must not be looked at.
    return rng.permutation(600).astype(np.int32)


def fitted(encoding, features, members):
    fit = jax.jit(encodings.fit, static_argnums=0)
    return fit(encoding, features, members, np.int32(COUNT))


def test_terms_equal_scikit_learn(rng, members):
    features = rng.poisson(0.2, (600, 50)).astype(np.uint8)
    features[3] = 0  # a post that is empty after stripping
    reference = TfidfTransformer().fit(features[members[:COUNT]])
    statistics = fitted("terms", features, members)
    np.testing.assert_allclose(statistics["idf"], reference.idf_, rtol=1e-5)
    found = encodings.encode("terms", statistics, features)
    np.testing.assert_allclose(found, reference.transform(features).toarray(), rtol=1e-4, atol=1e-6)


def test_pixels_equal_standardising_with_a_floor(rng, members):
    features = rng.integers(0, 256, (600, 4, 4, 3)).astype(np.uint8)
    features[:, 0, 0] = 7  # never changes: one grey level, not a division by zero
    own = features[members[:COUNT]].astype(np.float64)
    mean, std = own.mean(0), np.maximum(own.std(0), 1)
    found = encodings.encode("pixels", fitted("pixels", features, members), features)
    np.testing.assert_allclose(found, (features - mean) / std, rtol=1e-4, atol=1e-4)


def test_mixed_equals_standardised_numbers_and_one_hot_codes(members):
    features = synthetic("adult", 600).features
    reference = StandardScaler().fit(features[members[:COUNT], :6])
    found = np.asarray(encodings.encode("mixed", fitted("mixed", features, members), features))
    assert found.shape == (600, 6 + 102)
    # Weights and gains reach a million: float32 sums, float64 reference.
    np.testing.assert_allclose(found[:, :6], reference.transform(features[:, :6]), atol=2e-3)
    np.testing.assert_array_equal(found[:, 6:].sum(1), 8)
    np.testing.assert_array_equal(found[:, 6:15].argmax(1), features[:, 6])


def test_statistics_never_see_other_records(rng, members):
    features = rng.integers(0, 256, (600, 4, 4, 3)).astype(np.uint8)
    before = fitted("pixels", features, members)
    features[members[COUNT:]] = 255 - features[members[COUNT:]]
    jax.tree.map(np.testing.assert_array_equal, fitted("pixels", features, members), before)


def test_unknown_encoding():
    with pytest.raises(ValueError, match="no encoding 'sound'"):
        encodings.encode("sound", {}, np.zeros((1, 2)))
