"""What DP-SGD guarantees: epsilon of the composed Poisson-subsampled Gaussian mechanism, in float64.

A step adds Gaussian noise of deviation `noise` times the sensitivity to the sum over a sample in which
every record is with probability `rate`.  Neighbours add or remove one record.  Two accountants:

- `renyi_epsilon`: Renyi differential privacy at fixed orders (Mironov, Talwar & Zhang 2019, sections 3.2
  and 3.3), converted by Canonne, Kamath & Steinke 2020, proposition 12.
- `loss_epsilon`: the privacy loss distribution on a grid, pessimistic by connecting the dots of the
  hockey-stick divergence (Doroshenko et al. 2022, section 3), composed by one FFT.  Nearly exact, hence
  smaller: what rows hold.

Both are upper bounds.  Lower bounds, from attacks, are in `jleaks.metrics.epsilon`.
"""

import functools
import math

import numpy as np
from jaxtyping import Float
from scipy import optimize, special

from jleaks.errors import InputError, refuse

ORDERS = (*(1 + x / 10 for x in range(1, 100)), *range(11, 64), *(128, 256, 512, 1024))

# Grid of privacy losses: its step, and the most points of one step's distribution.
_STEP = 1e-4
_POINTS = 2**18
# Probability of losses beyond the grid, over all steps: added to delta.
_TAIL = 1e-14


def _checked(noise: float, rate: float, steps: int, delta: float) -> None:
    """Raises an InputError that names every number out of range."""
    found = [
        f"{name} is {value:g}, expected {expected}"
        for name, value, expected, holds in (
            ("noise", noise, "a finite number >= 0", 0 <= noise < math.inf),
            ("rate", rate, "a number in (0, 1]", 0 < rate <= 1),
            ("steps", steps, "a number >= 0", steps >= 0),
            ("delta", delta, "a number in (0, 1)", 0 < delta < 1),
        )
        if not holds
    ]
    refuse(found)


def renyi(noise: float, rate: float, order: float) -> float:
    """Returns one step's Renyi divergence of an order above 1."""
    if rate == 1:
        return order / (2 * noise**2)
    if float(order).is_integer():
        i = np.arange(int(order) + 1)
        logs = (
            special.gammaln(order + 1) - special.gammaln(i + 1) - special.gammaln(order - i + 1)
            + i * math.log(rate) + (order - i) * math.log1p(-rate) + (i * i - i) / (2 * noise**2)
        )  # fmt: skip
        return float(special.logsumexp(logs)) / (order - 1)
    return _fractional(noise, rate, order) / (order - 1)


def _fractional(noise: float, rate: float, order: float) -> float:
    """Returns (order - 1) times the divergence: log E[(1 - q + q exp((2x - 1) / 2 s^2))^order].

    By the trapezoid rule over x of N(0, s^2), which for so smooth a function is exact to rounding.
    """
    margin = 14 * noise
    x = np.arange(-margin, order + margin, noise / 16)
    ratio = np.logaddexp(math.log1p(-rate), math.log(rate) + (2 * x - 1) / (2 * noise**2))
    density = -((x / noise) ** 2) / 2 - math.log(16 * math.sqrt(2 * math.pi))
    return float(special.logsumexp(order * ratio + density))


@functools.lru_cache(maxsize=4096)
def renyi_epsilon(noise: float, rate: float, steps: int, delta: float) -> float:
    """Returns the epsilon of training by Renyi differential privacy.

    Args:
      noise: Multiplier: deviation of the noise divided by the sensitivity; 0 for none.
      rate: Probability of a record in one step.
      steps: How many are taken.
      delta: Probability with which the bound may fail.

    Returns:
      The smallest over `ORDERS`; infinite without noise.

    Raises:
      InputError: a number is out of range.
    """
    _checked(noise, rate, steps, delta)
    if steps == 0:
        return 0.0
    if noise == 0:
        return math.inf
    found = math.inf
    for order in ORDERS:
        divergence = steps * renyi(noise, rate, order)
        epsilon = (
            divergence + math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1)
        )
        # A divergence so small that total variation alone is below delta (dp-accounting has it, too).
        if delta**2 + math.expm1(-divergence) > 0:
            epsilon = 0.0
        found = min(found, epsilon)
    return max(0.0, found)


def hockey_stick(
    noise: float, rate: float, epsilon: Float[np.ndarray, "points"], remove: bool
) -> Float[np.ndarray, "points"]:
    """Returns one step's hockey-stick divergence: the exact delta of each epsilon.

    Args:
      noise: Multiplier.
      rate: Probability of the record.
      epsilon: Of any sign.
      remove: Whether the record is in the first of the two data sets, otherwise in the second.
    """
    # The output beyond which the loss log((1 - q) + q exp((2x - 1) / 2 s^2)) exceeds epsilon; adding a
    # record mirrors it.
    signed = epsilon if remove else -epsilon
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = (np.expm1(signed) + rate) / rate
        cut = noise**2 * np.log(inside) + 0.5
    cut = np.where(inside > 0, cut, -np.inf)
    # Where records are scarce, exp(epsilon) may be beyond float64.
    side = -1 if remove else 1
    without, with_one = special.ndtr(side * cut / noise), special.ndtr(side * (cut - 1) / noise)
    mixed = (1 - rate) * without + rate * with_one
    first, second = (mixed, without) if remove else (without, mixed)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.where(second > 0, np.exp(epsilon) * second, 0)
    return np.clip(first - scaled, 0, 1)


def _extremes(noise: float, rate: float, steps: int, remove: bool) -> tuple[float, float]:
    """Returns losses beyond which one of all steps is with probability below `_TAIL`."""
    z = -float(special.ndtri(_TAIL / max(steps, 1) / 2))

    def loss(x: float) -> float:
        return float(np.logaddexp(math.log1p(-rate) if rate < 1 else -math.inf,
                                  math.log(rate) + (2 * x - 1) / (2 * noise**2)))  # fmt: skip

    low, high = -z * noise, (1 + z * noise if remove else z * noise)
    return (loss(low), loss(high)) if remove else (-loss(high), -loss(low))


@functools.lru_cache(maxsize=1024)
def loss_epsilon(noise: float, rate: float, steps: int, delta: float) -> float:
    """Returns the epsilon of training by its privacy loss distribution.

    Args:
      noise: Multiplier: deviation of the noise divided by the sensitivity; 0 for none.
      rate: Probability of a record in one step.
      steps: How many are taken.
      delta: Probability with which the bound may fail, above 1e-10.

    Returns:
      The larger of those for adding and for removing a record; infinite without noise.

    Raises:
      InputError: a number is out of range.
    """
    _checked(noise, rate, steps, delta)
    if delta < 1e-10:
        raise InputError(f"delta is {delta:g}, expected at least 1e-10: the grid resolves no less")
    if steps == 0:
        return 0.0
    if noise == 0:
        return math.inf
    return max(_directed(noise, rate, steps, delta, remove) for remove in (True, False))


def _directed(noise: float, rate: float, steps: int, delta: float, remove: bool) -> float:
    low, high = _extremes(noise, rate, steps, remove)
    step = max(_STEP, (high - low) / _POINTS)
    first = math.floor(low / step)
    grid = step * np.arange(first, math.ceil(high / step) + 1)
    masses, beyond = _connected(grid, hockey_stick(noise, rate, grid, remove))
    low, high = _window(grid, masses, steps)
    size = 2 ** math.ceil(math.log2(max((high - low) / step + 2, len(grid))))
    composed = np.fft.irfft(np.fft.rfft(masses, size) ** steps, size)
    # Position 0 is a loss of steps * grid[0]; the window says which turn of the circle is meant.
    at = np.arange(size) + steps * first
    start = math.floor(low / step)
    losses = step * (start + (at - start) % size)
    by_loss = np.argsort(losses)
    losses, composed = losses[by_loss], np.maximum(composed[by_loss], 0)
    lost = -math.expm1(steps * math.log1p(-beyond)) + 2 * _TAIL
    return _epsilon(losses, composed, lost, delta)


def _connected(
    grid: Float[np.ndarray, "points"], deltas: Float[np.ndarray, "points"]
) -> tuple[Float[np.ndarray, "points"], float]:
    """Returns masses of losses on a grid, and that of an infinite loss.

    Their hockey-stick divergence connects the dots linearly in exp(epsilon): it is never below the true
    one, which is convex.
    """
    # Divided by exp(grid), so that nothing overflows: sums of masses over exp(losses above).
    slopes = (deltas[:-1] - deltas[1:]) / np.expm1(grid[1:] - grid[:-1])
    masses = np.zeros(len(grid))
    masses[1:-1] = slopes[:-1] * np.exp(grid[1] - grid[0]) - slopes[1:]
    masses[-1] = slopes[-1] * np.exp(grid[-1] - grid[-2])
    masses = np.maximum(masses, 0)
    beyond = float(deltas[-1])
    masses[0] = max(0.0, 1 - beyond - masses.sum())
    return masses, beyond


def _window(
    grid: Float[np.ndarray, "points"], masses: Float[np.ndarray, "points"], steps: int
) -> tuple[float, float]:
    """Returns losses beyond which the sum over all steps is with probability below `_TAIL` (Chernoff)."""
    used = masses > 0
    logs, losses = np.log(masses[used]), grid[used]
    low, high = steps * float(losses[0]), steps * float(losses[-1])
    for power in np.geomspace(1e-2, 1e3, 26):
        up = steps * float(special.logsumexp(logs + power * losses)) - math.log(_TAIL)
        down = steps * float(special.logsumexp(logs - power * losses)) - math.log(_TAIL)
        low, high = max(low, -down / power), min(high, up / power)
    return low, high


def _epsilon(
    losses: Float[np.ndarray, "points"],
    masses: Float[np.ndarray, "points"],
    lost: float,
    delta: float,
) -> float:
    """Returns the smallest epsilon >= 0 whose delta, sum of mass (1 - exp(epsilon - loss)), is met."""
    if lost >= delta:
        return math.inf
    # Sums over the losses from each on: of mass, and of mass times exp(-loss), relative to the loss there.
    above = np.cumsum(masses[::-1])[::-1]
    with np.errstate(under="ignore"):
        logs = np.log(np.maximum(masses, 1e-300)) - losses
    scaled = np.logaddexp.accumulate(logs[::-1])[::-1]
    deltas = lost + above - np.exp(np.minimum(losses + scaled, 700))
    at = int(np.argmax((deltas <= delta) & (losses >= 0)))
    if losses[at] < 0:
        return math.inf
    # Between two losses, delta is lost + above - exp(epsilon) * sum: solved for epsilon.
    found = math.log(max(lost + above[at] - delta, 1e-300)) - scaled[at]
    return max(0.0, min(found, float(losses[at])))


def noise_for(epsilon: float, rate: float, steps: int, delta: float) -> float:
    """Returns the least noise multiplier, to 1e-4 of it, at which training is (epsilon, delta)-private.

    Args:
      epsilon: Above 0.
      rate: Probability of a record in one step.
      steps: How many are taken.
      delta: Probability with which the bound may fail.

    Raises:
      InputError: a number is out of range, or no noise up to 1e4 is enough.
    """
    if not 0 < epsilon < math.inf:
        raise InputError(f"target epsilon is {epsilon:g}, expected a finite number above 0")

    def above(log_noise: float) -> float:
        return min(loss_epsilon(math.exp(log_noise), rate, steps, delta), 1e6) - epsilon

    low, high = -math.log(2), 0.0
    while above(high) > 0:
        low, high = high, high + math.log(2)
        if high > math.log(1e4):
            raise InputError(
                f"no noise up to 1e4 makes {steps} steps at rate {rate:g} ({epsilon:g}, {delta:g})-private"
            )
    while above(low) <= 0:
        low, high = low - math.log(2), low
        if low < math.log(1e-3):
            return math.exp(high)
    root = float(optimize.brentq(above, low, high, xtol=1e-5))
    while above(root) > 0:
        root += 2e-5
    return math.exp(root)
