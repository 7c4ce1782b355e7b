"""Accounting: closed forms, quadrature, and dp-accounting's values as constants."""

import math

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from jleaks.errors import InputError
from jleaks.metrics.privacy_accounting import (
    ORDERS,
    hockey_stick,
    loss_epsilon,
    noise_for,
    renyi,
    renyi_epsilon,
)

# noise, rate, steps, delta; epsilon by dp_accounting.rdp.RdpAccountant with ORDERS; epsilon by
# dp_accounting.pld.PLDAccountant; of SelfComposedDpEvent(PoissonSampledDpEvent(rate,
# GaussianDpEvent(noise)), steps).  dp-accounting 0.6.0, SciPy 1.17.1.
DP_ACCOUNTING = [
    (0.5, 0.01, 100, 1e-05, 8.03411971, 6.47621022),
    (0.5, 0.01, 100, 1e-06, 9.50157897, 7.91608432),
    (0.7, 0.05, 500, 1e-05, 18.3148381, 16.4828369),
    (0.7, 0.05, 500, 1e-06, 20.3772733, 18.5216706),
    (1.0, 0.01, 1000, 1e-05, 2.10136653, 1.82824365),
    (1.0, 0.01, 1000, 1e-06, 2.4366938, 2.12452253),
    (1.0, 0.1, 200, 1e-05, 11.0631041, 9.97127503),
    (1.0, 0.1, 200, 1e-06, 12.2933366, 11.2346885),
    (1.0, 1.0, 1, 1e-05, 4.72850707, 4.3771781),
    (1.0, 1.0, 1, 1e-06, 5.22153963, 4.88655412),
    (1.0, 1.0, 10, 1e-05, 19.0535975, 17.8565868),
    (1.0, 1.0, 10, 1e-06, 20.5519916, 19.4236565),
    (1.5, 0.02, 5000, 1e-05, 5.1646643, 4.7652691),
    (1.5, 0.02, 5000, 1e-06, 5.71435392, 5.33086123),
    (2.0, 0.25, 400, 1e-05, 15.9632073, 14.4674382),
    (2.0, 0.25, 400, 1e-06, 17.1144999, 15.895152),
    (4.0, 0.1, 1000, 1e-05, 3.73624171, 3.4443448),
    (4.0, 0.1, 1000, 1e-06, 4.1487116, 3.86883775),
    (8.0, 0.001, 10000, 1e-05, 0.0397275066, 0.0371014038),
    (8.0, 0.001, 10000, 1e-06, 0.048757252, 0.0454881103),
    (0.3, 0.08, 50, 1e-05, 82.9360963, 63.5163884),
    (0.3, 0.08, 50, 1e-06, 88.692559, 71.6376704),
    (0.8, 0.004, 12500, 1e-05, 4.39319871, 3.97358019),
    (0.8, 0.004, 12500, 1e-06, 4.94097237, 4.50698644),
]

# rate, noise, order; divergence of a fractional order by mpmath.quad of 30 digits (mpmath 1.4.1).
MPMATH = [
    (0.01, 0.5, 2.3, 0.00925367444494259),
    (0.01, 0.5, 1.9, 0.004574529829924407),
    (0.01, 0.5, 2.0, 0.0053455023143452384),
    (0.05, 0.7, 1.8, 0.013721294885431798),
    (0.05, 0.7, 3.5, 0.11277649486092348),
    (0.02, 1.5, 7.4, 0.000892310434176176),
    (0.08, 0.3, 1.4, 1.1238842764139718),
    (0.25, 2.0, 1.7, 0.01472085889635964),
    (0.1, 4.0, 9.9, 0.003349607893036389),
]


@pytest.mark.parametrize(("noise", "rate", "steps", "delta", "by_renyi", "by_loss"), DP_ACCOUNTING)
def test_epsilons_are_dp_accountings(noise, rate, steps, delta, by_renyi, by_loss):
    assert loss_epsilon(noise, rate, steps, delta) == pytest.approx(by_loss, rel=1e-6)
    ours = renyi_epsilon(noise, rate, steps, delta)
    # dp-accounting sums truncated series at fractional orders, which are too large there or left out.
    assert by_loss < ours <= by_renyi * (1 + 1e-6)
    whole = min(
        steps * renyi(noise, rate, a) + math.log1p(-1 / a) - math.log(delta * a) / (a - 1)
        for a in ORDERS
        if float(a).is_integer()
    )
    assert ours <= whole * (1 + 1e-9)
    if (noise >= 1 and rate < 0.2 and steps > 200) or rate == 1:
        assert ours == pytest.approx(by_renyi, rel=1e-5)


@pytest.mark.parametrize(("rate", "noise", "order", "expected"), MPMATH)
def test_divergences_are_integrals(rate, noise, order, expected):
    assert renyi(noise, rate, order) == pytest.approx(expected, rel=1e-9)


def gaussian_delta(epsilon, mu):
    """Balle & Wang 2018, theorem 8: exact for the Gaussian mechanism, mu = sensitivity / deviation."""
    phi = stats.norm.cdf
    return phi(mu / 2 - epsilon / mu) - math.exp(epsilon) * phi(-mu / 2 - epsilon / mu)


@pytest.mark.parametrize(("noise", "steps"), [(0.7, 1), (1.0, 16), (5.0, 30)])
def test_without_sampling_steps_are_one_gaussian(noise, steps):
    mu = math.sqrt(steps) / noise
    exact = optimize.brentq(lambda e: gaussian_delta(e, mu) - 1e-5, 0, 100)
    assert loss_epsilon(noise, 1.0, steps, 1e-5) == pytest.approx(exact, rel=1e-6)
    assert renyi(noise, 1.0, 3.5) == 3.5 / (2 * noise**2)


@pytest.mark.parametrize("remove", [True, False])
@pytest.mark.parametrize(("noise", "rate"), [(0.6, 0.02), (2.0, 0.4)])
def test_hockey_sticks_are_integrals(noise, rate, remove):
    def densities(x):
        zero = stats.norm.pdf(x, 0, noise)
        mixed = (1 - rate) * zero + rate * stats.norm.pdf(x, 1, noise)
        return (mixed, zero) if remove else (zero, mixed)

    for epsilon in (-0.5, -0.01, 0.0, 0.005, 0.3, 1.0):

        def excess(x, epsilon=epsilon):
            first, second = densities(x)
            return np.maximum(first - math.exp(epsilon) * second, 0)

        expected = integrate.quad(excess, -15, 16, points=np.linspace(-3, 4, 29), limit=500)[0]
        found = hockey_stick(noise, rate, np.array([epsilon]), remove)[0]
        assert found == pytest.approx(expected, abs=1e-7)


def test_one_sampled_step_is_exact():
    def delta(e):
        return max(hockey_stick(0.8, 0.05, np.array([e]), remove)[0] for remove in (True, False))

    exact = optimize.brentq(lambda e: delta(e) - 1e-5, 0, 20)
    assert loss_epsilon(0.8, 0.05, 1, 1e-5) == pytest.approx(exact, rel=1e-5)


def test_epsilon_moves_as_it_must():
    base = loss_epsilon(1.0, 0.02, 300, 1e-5)
    assert loss_epsilon(1.2, 0.02, 300, 1e-5) < base < loss_epsilon(1.0, 0.02, 400, 1e-5)
    assert loss_epsilon(1.0, 0.01, 300, 1e-5) < base < loss_epsilon(1.0, 0.02, 300, 1e-7)
    for fn in (renyi_epsilon, loss_epsilon):
        assert fn(0.0, 0.02, 300, 1e-5) == math.inf
        assert fn(1.0, 0.02, 0, 1e-5) == 0
        assert fn(1e5, 0.02, 10, 1e-5) == 0


@pytest.mark.parametrize("target", [0.1, 1.0, 8.0])
def test_noise_is_the_least_that_is_enough(target):
    found = noise_for(target, 0.05, 400, 1e-5)
    assert loss_epsilon(found, 0.05, 400, 1e-5) <= target
    assert loss_epsilon(found * 0.999, 0.05, 400, 1e-5) > target


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((-1.0, 0.1, 10, 1e-5), "noise is -1, expected a finite number >= 0"),
        ((math.nan, 2.0, 10, 1e-5), "noise is nan, .*; rate is 2, expected a number in"),
        ((1.0, 0.1, 10, 0.0), "delta is 0, expected a number in"),
        ((1.0, 0.1, 10, 1e-12), "delta is 1e-12, expected at least 1e-10"),
    ],
)
def test_numbers_out_of_range_are_one_line(values, message):
    with pytest.raises(InputError, match=message):
        loss_epsilon(*values)
    with pytest.raises(InputError, match="target epsilon is 0"):
        noise_for(0.0, 0.1, 10, 1e-5)
