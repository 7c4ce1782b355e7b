"""Bounds on mu: closed forms, exact rates of false claims, and mechanisms whose mu is known."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from jleaks.errors import InputError
from jleaks.metrics import gaussian_dp as gdp
from jleaks.metrics.epsilon import epsilon_one_run


@pytest.mark.parametrize(("mu", "epsilon"), [(0.3, 0.1), (1.0, 1.0), (2.5, 4.0), (4.0, 0.0)])
def test_delta_is_the_hockey_stick_divergence(mu, epsilon):
    def excess(x):
        return max(0.0, stats.norm.pdf(x, mu) - math.exp(epsilon) * stats.norm.pdf(x))

    start = epsilon / mu + mu / 2
    whole, _ = integrate.quad(excess, start, start + 12)
    assert gdp.delta_of_mu(mu, epsilon) == pytest.approx(whole, rel=1e-6)
    delta = gdp.delta_of_mu(mu, epsilon)
    assert gdp.epsilon_of_mu(mu, delta) == pytest.approx(epsilon, abs=1e-4)


def test_epsilon_of_extremes():
    assert gdp.epsilon_of_mu(0.0, 1e-5) == 0
    assert gdp.epsilon_of_mu(1e-6, 1e-5) == 0
    # Of the largest mus e^epsilon is no float.
    assert 900 < gdp.epsilon_of_mu(40.0, 1e-5) < 1000
    with pytest.raises(InputError, match="0 < delta < 1"):
        gdp.epsilon_of_mu(1.0, 0.0)


def naive_refuted(v, r, m, mu, alpha):
    """The recursion over whole lists, without leaving early."""
    right, wrong = [0.0] * (v + 1), [0.0] * (v + 1)
    right[v], wrong[v] = alpha * v / m, alpha * (r - v) / m
    for i in range(v - 1, -1, -1):
        shrunk = stats.norm.cdf(stats.norm.ppf(min(right[i + 1], 1.0)) - mu)
        wrong[i] = max(wrong[i + 1], shrunk)
        right[i] = min(right[i + 1] + i / (r - i) * (wrong[i] - wrong[i + 1]), 1.0)
    return right[0] + wrong[0] > r / m


def test_the_recursion_is_that_of_whole_lists():
    for v, r, m in ((10, 10, 20), (18, 25, 60), (60, 100, 100), (99, 100, 400), (5, 12, 12)):
        for mu in (0.0, 0.4, 1.0, 2.5):
            assert gdp.refuted(v, r, m, mu, 0.05) == naive_refuted(v, r, m, mu, 0.05)


def first_refuting(r, m, mu, alpha):
    """The fewest right guesses that refute mu; r + 1 if none does."""
    return next((v for v in range(r + 1) if gdp.refuted(v, r, m, mu, alpha)), r + 1)


@pytest.mark.parametrize(("r", "m"), [(5, 5), (30, 30), (200, 200)])
@pytest.mark.parametrize("mu", [0.0, 0.5, 1.5])
def test_false_claims_against_gaussian_mechanisms_are_as_rare_as_stated(r, m, mu):
    # A pair's answer is N(mu/2, 1) or N(-mu/2, 1), whichever is the member: guessing by its sign is
    # right with probability Phi(mu / 2), independently; and replacing one is mu-GDP.
    fewest = first_refuting(r, m, mu, 0.05)
    rate = stats.binom.sf(fewest - 1, r, stats.norm.cdf(mu / 2))
    assert rate <= 0.05
    if r == 200:
        assert fewest <= r


def gaussian_scores(rng, pairs, mu):
    """Records' answers, of neighbours that replace one: members are mu / 2 off what others are."""
    member = np.repeat([True, False], pairs)
    return rng.normal(size=2 * pairs) + mu / np.sqrt(2) * member, member


def test_of_a_thousand_null_audits_at_most_one_in_twenty_claims_anything():
    rng = np.random.default_rng(5)
    claims = np.zeros(2)
    for seed in range(1000):
        scores, member = gaussian_scores(rng, 60, 0.0)
        claims += [
            gdp.mu_over_thresholds(scores, member, 1e-5).mu > 0,
            gdp.mu_one_run(scores, member, 1e-5, seed=seed).mu > 0,
        ]
    assert (claims <= stats.binom.isf(1e-3, 1000, 0.05)).all()
    assert claims[1] <= 50


def test_bounds_are_below_a_known_mu_and_near_it():
    rng = np.random.default_rng(6)
    mus, epsilons = [], []
    for seed in range(60):
        scores, member = gaussian_scores(rng, 1500, 2.0)
        # The score of one record tells members from others at sqrt(2).
        over = gdp.mu_over_thresholds(scores, member, 1e-5)
        one = gdp.mu_one_run(scores, member, 1e-5, seed=seed)
        mus.append((over.mu, one.mu))
        epsilons.append((one.epsilon, epsilon_one_run(scores, member, 1e-5, seed=seed).epsilon))
        assert over.mu <= over.ceiling
        assert one.mu <= one.ceiling
    over, one = np.array(mus).T
    assert (over > math.sqrt(2)).mean() <= 0.1
    assert (one > 2.0).mean() <= 0.1
    assert np.median(over) > 1.0
    assert np.median(one) > 1.0
    # Where noise is Gaussian the bound on mu says more of epsilon than the one that allows for anything.
    assert np.mean([a > b for a, b in epsilons]) > 0.9


def test_what_can_be_said_of_perfect_scores_is_the_ceiling():
    member = np.repeat([True, False], 100)
    for audit in (gdp.mu_over_thresholds, gdp.mu_one_run):
        found = audit(member.astype(float), member, 1e-5)
        assert found.mu == pytest.approx(found.ceiling, rel=0.35)
        assert 1.2 < found.mu <= found.ceiling
        assert found.epsilon == pytest.approx(gdp.epsilon_of_mu(found.mu, 1e-5))


def test_thresholds_must_be_numbers():
    member = np.repeat([True, False], 5)
    with pytest.raises(InputError, match="expected numbers"):
        gdp.mu_over_thresholds(np.arange(10.0), member, 1e-5, thresholds=[math.nan])
