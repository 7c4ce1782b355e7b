"""The bound on epsilon from one training run: the paper's values, loops, by hand."""

import math

import numpy as np
import pytest
import scipy.stats

from jleaks.metrics.epsilon import epsilon_one_run, one_run_p_value
from jleaks.metrics.guesses import GUESS_SHARES


def drawn(rng, num_records, design):
    if design == "coins":
        return rng.random(num_records) < 0.5
    return rng.permutation(num_records) < num_records // 2


def naive_p_value(v, r, m, epsilon, delta):
    q = 1 / (1 + math.exp(-epsilon))
    pmf = [math.comb(r, k) * q**k * (1 - q) ** (r - k) for k in range(r + 1)]
    steps = [sum(pmf[v - i : v]) / i for i in range(1, v + 1)]
    return min(1, sum(pmf[v:]) + 2 * m * delta * max(steps, default=0))


def test_one_run_gives_the_papers_values():
    # Printed in arXiv 2305.08846, appendix D, and (the last, cut off) section 7.
    assert one_run_p_value(75, 100, 100, math.log(3), 0) == pytest.approx(0.553, abs=1e-3)
    for v, r, m, delta, printed in (
        (75, 100, 100, 0, 0.702),
        (75, 100, 100, 1e-4, 0.699),
        (75, 100, 1000, 1e-4, 0.673),
        (1439, 1510, 100_000, 1e-5, 2.675),
    ):
        assert one_run_p_value(v, r, m, printed - 5e-4, delta) < 0.05
        assert one_run_p_value(v, r, m, printed + 1.5e-3, delta) > 0.05


@pytest.mark.parametrize("delta", [0, 1e-3, 0.05])
@pytest.mark.parametrize(("r", "m"), [(1, 1), (7, 20), (40, 40)])
def test_one_run_p_value_is_a_loop(r, m, delta):
    for epsilon in (0, 0.3, 2, 40):
        for v in range(r + 1):
            expected = naive_p_value(v, r, m, epsilon, delta)
            found = one_run_p_value(v, r, m, epsilon, delta)
            assert found == pytest.approx(expected, rel=1e-9, abs=1e-13)


def test_one_run_p_value_rises_with_epsilon_where_it_refutes():
    # Else the largest refuted epsilon would not be a bound.
    for v, delta in ((60, 0), (60, 1e-3), (95, 1e-4), (100, 1e-5)):
        grid = [one_run_p_value(v, 100, 300, e, delta) for e in np.linspace(0, 6, 301)]
        refuted = np.array(grid) <= 0.2
        assert (np.diff(np.array(grid)[refuted]) >= 0).all()
        assert not refuted[np.argmin(refuted) :].any()


def naive_one_run(right, m, delta, confidence, num_tried):
    """The largest epsilon of a grid refuted, from right guesses (v, r)."""
    grid = np.arange(0, 6, 1e-3)
    alpha = (1 - confidence) / num_tried
    best = 0.0
    for v, r in right:
        refuted = [one_run_p_value(v, r, m, e, delta) <= alpha for e in grid]
        best = max(best, grid[np.argmin(refuted)])
    return best


def test_one_run_coins_is_a_loop(rng):
    member = drawn(rng, 300, "coins")
    scores = rng.normal(size=300) + 2 * member
    tried = sorted({max(1, round(share * 300)) for share in GUESS_SHARES})
    order = sorted(range(300), key=lambda i: -scores[i])
    right = {}
    for sides in ("both", "members"):
        right[sides] = []
        for r in tried:
            ins = r if sides == "members" else math.ceil(r / 2)
            outs = r - ins
            v = sum(member[i] for i in order[:ins])
            v += sum(not member[i] for i in order[300 - outs :])
            right[sides].append((v, r))
        found = epsilon_one_run(scores, member, 1e-4, design="coins", sides=sides)
        expected = naive_one_run(right[sides], 300, 1e-4, 0.95, len(tried))
        assert found.epsilon == pytest.approx(expected, abs=2e-3)
        assert found.epsilon > 0.5
        assert (found.num_correct, found.num_guesses) in right[sides]
        assert (found.num_coins, found.num_tried) == (300, len(tried))


def test_one_run_pairs_is_a_loop():
    # Members 10 and 12 above all others: whatever the matching, the same guesses are right.
    scores, member = [10, 12, 1, -1, 0.5, 0], [1, 1, 0, 0, 1, 0]
    for seed in range(10):
        found = epsilon_one_run(scores, member, 0, num_guesses=2, seed=seed)
        assert (found.num_correct, found.num_guesses, found.num_coins) == (2, 2, 3)
    # Whether the third is right depends on the matching.
    third = [epsilon_one_run(scores, member, num_guesses=3, seed=s).num_correct for s in range(40)]
    assert set(third) == {2, 3}


def test_one_run_pairs_of_unequal_numbers(rng):
    member = np.arange(100) < 30
    found = epsilon_one_run(rng.normal(size=100) + 9 * member, member, 0, num_guesses=30)
    assert (found.num_coins, found.num_correct) == (30, 30)
    # All right: q^r = alpha.
    q = 0.05 ** (1 / 30)
    assert found.epsilon == pytest.approx(math.log(q / (1 - q)), abs=2e-6)


def test_one_run_is_monotone(rng):
    member = drawn(rng, 400, "halves")
    scores = rng.normal(size=400) + 3 * member
    for design in ("pairs", "coins"):
        values = [
            epsilon_one_run(scores, member, d, design=design).epsilon for d in (0, 1e-4, 1e-2)
        ]
        assert values[0] > values[1] > values[2]
        values = [
            epsilon_one_run(scores, member, 0, c, design=design).epsilon for c in (0.5, 0.9, 0.999)
        ]
        assert values[0] > values[1] > values[2] > 0


def test_one_guess_count_is_tight():
    # The theorem's own worst case: the rate of exceeding is near the stated one, not far below.
    rng = np.random.default_rng(13)
    above = 0
    for i in range(1000):
        member = rng.random(500) < 0.5
        told = np.where(rng.random(500) < 1 / (1 + math.exp(-1)), member, ~member)
        found = epsilon_one_run(told, member, 0, 0.8, num_guesses=400, design="coins", seed=i)
        above += found.epsilon > 1
    print(f"one run: exceeded in {above} of 1000 at 0.2 stated")
    assert 0.1 < above / 1000 <= scipy.stats.binom.ppf(0.999, 1000, 0.2) / 1000
