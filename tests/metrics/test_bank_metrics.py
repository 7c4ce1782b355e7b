"""Ranking and the metrics of rows against brute force over all thresholds."""

import jax
import jax.numpy as jnp
import naive_attacks as naive
import naive_intervals as slow
import numpy as np
import pytest

from jleaks.metrics import bank_metrics, roc
from jleaks.metrics.bank_metrics import FPRS, INFLUENCES
from jleaks.metrics.operating_points import Counts

_FPRS = (0.0, *FPRS, 0.1, 0.3, 1.0)


def ranked(scores: np.ndarray, member: np.ndarray, candidate: np.ndarray) -> roc.Ranked:
    """The row's ranking, listed beside a target with more members and one with fewer."""
    others = np.stack([member, np.arange(len(member)) < 2, np.arange(len(member)) > 1])
    listed = bank_metrics.membership_index(others, np.tile(candidate, (3, 1)))
    given = map(jnp.asarray, (scores, member, candidate, listed.inside[0], listed.outside[0]))
    return jax.jit(roc.rank)(*given)


def row(rng, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n = 160
    member, candidate = rng.random(n) < 0.4, rng.random(n) < 0.9
    scores = rng.normal(size=n) + member
    if kind == "ties":
        scores = np.round(scores)
    if kind == "constant":
        scores = np.zeros(n)
    if kind == "perfect":
        scores = np.where(member, 2.0, -1.0) + 0.1 * rng.random(n)
    if kind == "inverted":
        scores = np.where(member, -5.0, 1.0) + rng.random(n)
    if kind == "one member":
        member &= np.arange(n) == np.flatnonzero(member & candidate)[3]
    return scores.astype(np.float32), member, candidate


@pytest.mark.parametrize("kind", ["plain", "ties", "constant", "perfect", "inverted", "one member"])
def test_a_row_equals_brute_force(rng, kind):
    scores, member, candidate = row(rng, kind)
    found = ranked(scores, member, candidate)
    own, truth = scores[candidate], member[candidate]
    masked = roc.rank(scores, member, candidate)
    assert (found.positives, found.negatives) == (truth.sum(), (~truth).sum())
    assert roc.auc(found) == pytest.approx(naive.auc(own, truth), abs=1e-6)
    assert roc.auc(masked) == pytest.approx(float(roc.auc(found)), abs=1e-6)
    tp, fp = roc.operating_points(found, _FPRS)
    np.testing.assert_array_equal((tp, fp), roc.operating_points(masked, _FPRS))
    for f, fpr in enumerate(_FPRS):
        _, realised, k, _ = naive.tpr_at(own, truth, fpr)
        assert (tp[f], fp[f] / found.negatives) == (k, pytest.approx(realised))
    level = roc.best_threshold(found)
    assert level == naive.balanced_best_threshold(own, truth)
    assert level == roc.best_threshold(masked)
    edges = scores.max() + 1, scores.min() - 1, np.float32(np.inf), np.float32(-np.inf)
    for threshold in (level, np.float32(0), *edges, np.float32(np.nan)):
        called = own >= threshold
        expected = (called & truth).sum(), (called & ~truth).sum()
        assert tuple(roc.called(found, threshold)) == expected
        assert tuple(roc.called(masked, threshold)) == expected


@pytest.mark.parametrize("kind", ["plain", "ties", "constant", "perfect", "inverted"])
def test_thresholds_by_allowed_non_members_equal_loops(rng, kind):
    scores, member, candidate = row(rng, kind)
    found = ranked(scores, member, candidate)
    own, truth = scores[candidate], member[candidate]
    n = int((~truth).sum())
    # One row per FPR in use; here any counts, from above all scores to below them.
    asked = np.array([[-1, 0, 1, 2, 5, 20, 3], [n - 1, n, n - 2, 7, 8, -1, n]], np.int32)
    tp = np.asarray(bank_metrics.found_near(found, jnp.asarray(asked)))
    for (i, c), j in np.ndenumerate(asked):
        beside = Counts._fields[c] == "high"
        assert tp[i, c] == slow.found(own, truth, j, beside), (j, beside)


@pytest.mark.parametrize("kind", ["plain", "ties", "constant", "perfect", "inverted"])
@pytest.mark.parametrize("level", [0.5, 50.0, np.nan])
def test_influences_equal_loops(rng, kind, level):
    scores, member, candidate = row(rng, kind)
    found = ranked(scores, member, candidate)
    own, truth = scores[candidate], member[candidate]
    near = bank_metrics.near(member[None], candidate[None])[0]
    _, measured = bank_metrics.evaluate_row(found, jnp.asarray(near), jnp.float32(level))
    sums = bank_metrics.influence(measured)
    assert not np.asarray(sums)[:, ~candidate].any()
    by_name = dict(zip(INFLUENCES, np.asarray(sums, np.float64)[:, candidate], strict=True))
    expected = {"auc": slow.placements(own, truth)[1]}
    for f, fpr in enumerate(FPRS):
        at = near[f, Counts._fields.index("nearest")]
        both = slow.exceedances(own, truth, at)
        expected |= {f"members_at_fpr_{fpr}": both[0], f"others_at_fpr_{fpr}": both[1]}
    for name, (_, steps) in slow.called(own, truth, level).items():
        nobody = name == "precision" and not (own >= level).any()
        expected[name] = np.zeros(len(own)) if nobody else steps
    assert expected.keys() == by_name.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(by_name[name], values, rtol=1e-3, atol=1e-8, err_msg=name)
        assert by_name[name].sum() == pytest.approx(0, abs=1e-6)


def test_membership_indices_list_candidates_of_every_target():
    member = np.array([[1, 0, 1, 0, 1], [0, 0, 0, 1, 1]], bool)
    found = bank_metrics.membership_index(member, np.array([[1, 1, 1, 1, 0]] * 2, bool))
    nobody = np.iinfo(np.int32).max
    assert found.inside.shape[1] == found.outside.shape[1] == 64
    np.testing.assert_array_equal(found.inside[:, :2], [[0, 2], [3, nobody]])
    assert (found.inside[:, 2:] == nobody).all()
    np.testing.assert_array_equal(found.outside[:, :3], [[1, 3, nobody], [0, 1, 2]])


def test_a_large_row_has_an_exact_auc(rng):
    # 2 * 10^9 pairs do not fit in 32 bits.
    member = np.arange(100_000) % 2 == 0
    scores = np.round(rng.normal(size=100_000) + member, 2).astype(np.float32)
    found = float(roc.auc(ranked(scores, member, np.ones(100_000, bool))))
    inside, outside = np.sort(scores[member]), np.sort(scores[~member])
    below = np.searchsorted(outside, inside, "left") + np.searchsorted(outside, inside, "right")
    assert found == pytest.approx(below.mean() / (2 * len(outside)), abs=1e-7)


def test_rows_together_equal_rows_one_after_the_other(rng):
    scores, member, candidate = row(rng, "ties")
    rows = {
        "target": jnp.asarray(rng.normal(size=(8, len(scores))) + member, jnp.float32),
        "attack": jnp.asarray([0, 0, 0, 1, 1, 1, 1, 1]),
        "weight": jnp.asarray([1, 1, 1, 1, 1, 1, 0, 0]),
    }
    near = bank_metrics.near(member[None], candidate[None])[0]

    def one(row):
        found = roc.rank(row["target"], member, candidate)
        return bank_metrics.evaluate_row(found, jnp.asarray(near), jnp.float32(0.5))

    nothing = jnp.zeros((2, len(INFLUENCES), len(scores)), jnp.float32)
    (slow_metrics, slow_sums), (metrics, sums) = (
        jax.jit(lambda rows, n=n: bank_metrics.in_turn(one, nothing, rows, n))(rows) for n in (1, 4)
    )
    jax.tree.map(np.testing.assert_array_equal, metrics, slow_metrics)
    np.testing.assert_allclose(sums, slow_sums, rtol=1e-5, atol=1e-8)
    assert np.abs(sums).max() > 0.01
