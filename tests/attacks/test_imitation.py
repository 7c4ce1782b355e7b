"""IMIA's score against loops in float64, its pivots by hand, and what scores that tell nothing say."""

import jax.numpy as jnp
import numpy as np
import pytest

from jleaks.attacks import imitation


def by_the_code(phi, inside, outside):
    """The authors' loop over records: the means of either side, zero where they are the wrong way round."""
    found = []
    for j in range(len(phi)):
        mean_in = sum(inside[j]) / len(inside[j])
        mean_out = sum(outside[j]) / len(outside[j])
        apart = (mean_out - phi[j]) ** 2 - (mean_in - phi[j]) ** 2
        found.append(0.0 if mean_in < mean_out else apart)
    return np.array(found)


def test_margins_are_over_the_runner_up_and_do_not_saturate(rng):
    logits = rng.normal(size=(200, 5)) * rng.choice([1, 300], size=(200, 1))
    labels = rng.integers(5, size=200)
    expected = [
        row[label] - max(z for k, z in enumerate(row) if k != label)
        for row, label in zip(logits, labels, strict=True)
    ]
    logits, labels = jnp.asarray(logits, jnp.float32), jnp.asarray(labels)
    found = imitation.margin(logits, labels)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    kept = imitation.log_posteriors(lambda x: x, logits, labels)
    np.testing.assert_allclose(np.exp(np.asarray(kept["logs"], np.float64)).sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(kept["margin"], found)


def test_scores_are_those_of_the_loop(rng):
    models, n = 10, 300
    saw = np.stack([rng.permutation(n) < n // 2 for _ in range(models // 2)])
    saw = np.concatenate([saw, ~saw])
    phi, plain, imitators = (
        rng.normal(size=n),
        rng.normal(1, 1, (models, n)),
        rng.normal(size=(models, n)),
    )
    found = imitation.score(
        phi, imitation.means_of(plain, saw), imitation.means_of(imitators, ~saw)
    )
    inside = [plain[saw[:, j], j] for j in range(n)]
    outside = [imitators[~saw[:, j], j] for j in range(n)]
    expected = by_the_code(phi, inside, outside)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert (expected == 0).any()
    assert (expected != 0).any()


def test_pivots_have_the_least_losses_of_each_class():
    labels = np.array([0, 1, 0, 0, 1, 0, 2, 0])
    losses = np.array([0.5, 0.1, 0.2, 0.9, 0.3, 0.1, 0.7, 0.2])
    # Half of 8 over 3 classes: one each; of 9 over 3 at 0.7: two each, or what there is.
    np.testing.assert_array_equal(imitation.pivots(losses, labels, 3), [5, 1, 6])
    np.testing.assert_array_equal(imitation.pivots(losses, labels, 3, 0.8), [5, 2, 1, 4, 6])


def test_medians_of_a_class_are_over_its_pivots_and_models(rng):
    margins, labels = rng.normal(size=(3, 7)), np.array([0, 0, 2, 2, 2, 0, 2])
    found = imitation.class_medians(margins, labels, 4)
    for k in (0, 2):
        values = sorted(m for row in margins for m, y in zip(row, labels, strict=True) if y == k)
        middle = len(values) // 2
        expected = values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2
        assert found[k] == pytest.approx(expected)
    # Nothing is known of the others.
    assert found[1] == found[3] == pytest.approx(np.median(margins))


def test_scores_of_a_target_like_its_imitators_tell_nothing(rng):
    n, models, ahead = 2000, 10, []
    for _ in range(20):
        saw = np.concatenate([(half := rng.random((models // 2, n)) < 0.5), ~half])
        answers, phi = rng.normal(size=(models, n)), rng.normal(size=n)
        member = rng.random(n) < 0.5
        found = imitation.score(
            phi, imitation.means_of(answers, saw), imitation.means_of(answers, ~saw)
        )
        ahead.append((found[member][:, None] > found[~member]).mean()
                     + (found[member][:, None] == found[~member]).mean() / 2)  # fmt: skip
    assert abs(np.mean(ahead) - 0.5) < 4.5 * np.sqrt(1 / (12 * n / 4) / 20) * 1.5
