"""Encodings against scikit-learn and NumPy, fitted on members alone."""

import jax
import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.preprocessing import StandardScaler

from jleaks import registry
from jleaks.data import encodings
from jleaks.data.dataset import Dataset
from jleaks.data.synthetic import synthetic
from jleaks.data.tasks import Task
from jleaks.errors import InputError
from jleaks.registry import Registry

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
    with pytest.raises(InputError, match="unknown encoding 'sound'"):
        encodings.encode("sound", {}, np.zeros((1, 2)))


def test_real_numbers_equal_standardising_in_float64(rng, members):
    features = rng.normal([0, 50, -2e6], [1, 20, 3e4], (600, 3)).astype(np.float32)
    own = features[members[:COUNT]].astype(np.float64)
    found = encodings.encode("real", fitted("real", features, members), features)
    np.testing.assert_allclose(found, (features - own.mean(0)) / own.std(0), atol=1e-4)


def test_a_column_that_never_changes_in_the_training_part_says_nothing(rng, members):
    features = rng.normal(size=(600, 2)).astype(np.float32)
    # Its mean over the training part is not itself in float32.
    features[:, 0] = 0.1
    others = np.setdiff1d(np.arange(600), members[:COUNT])
    features[others[0], 0] = 5e8
    found = np.asarray(encodings.encode("real", fitted("real", features, members), features))
    assert abs(found[:, 0]).max() < 1e-20
    np.testing.assert_allclose(found[members[:COUNT], 1].std(), 1, rtol=1e-5)


def test_columns_equal_numbers_and_one_hot_codes(rng, members):
    numbers = rng.normal(7, 3, (600, 2))
    codes = np.stack([rng.integers(0, size, 600) for size in (4, 2)], axis=1)
    features = np.concatenate([numbers, codes], axis=1).astype(np.float32)
    own = numbers[members[:COUNT]]
    found = encodings.encode("columns-4.2", fitted("columns-4.2", features, members), features)
    one_hot = [np.eye(size)[codes[:, i]] for i, size in enumerate((4, 2))]
    standard = (numbers - own.mean(0)) / own.std(0)
    np.testing.assert_allclose(found, np.concatenate([standard, *one_hot], 1), atol=1e-4)


@pytest.mark.parametrize("name", ["columns", "columns-", "columns-4.", "columns-0", "columns-x"])
def test_names_that_spell_no_columns(name):
    with pytest.raises(InputError, match="unknown encoding"):
        encodings.find(name)


def test_an_encoding_of_a_file_enters_the_fingerprints_of_datasets(tmp_path, monkeypatch):
    copy = Registry("encoding")
    monkeypatch.setattr(encodings, "ENCODINGS", copy)
    monkeypatch.setattr(encodings, "_USED", {})
    path = tmp_path / "logs.py"
    text = "from jleaks.data import encodings as e\nimport jax.numpy as jnp\n"
    text += "e.ENCODINGS.register('logs', e.Encoding(lambda _, x: jnp.log1p(x)))\n"
    features = np.arange(8, dtype=np.float32).reshape(4, 2)
    task = Task("t", encoding="logs", data=(features, [0, 1, 0, 1])).read()
    prints = []
    for more in ("", "# edited\n"):
        path.write_text(text + more)
        registry.load(str(path))
        prints.append(
            Dataset(task, "own", task.records.features, task.records.labels).fingerprint()
        )
    assert prints[0] != prints[1]
    np.testing.assert_allclose(
        encodings.encode("logs", {}, features), np.log1p(features), rtol=1e-6
    )
    # Programs that were compiled with the former would go on with it.
    path.write_text(text.replace("log1p", "sqrt"))
    registry.load(str(path))
    with pytest.raises(InputError, match="encoding 'logs' was registered anew after it had been"):
        encodings.find("logs")
