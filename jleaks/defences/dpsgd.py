"""DP-SGD (Abadi et al. 2016) as a defence: the algorithm is in `jleaks.training.private`."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jleaks.defences.defence import Defence, defence
from jleaks.errors import InputError
from jleaks.metrics.epsilon import DELTA
from jleaks.metrics.privacy_accounting import loss_epsilon, noise_for
from jleaks.training.recipe import Recipe

_REST = "clipping norm[, sampling rate[, delta]]"


def _read(strength: Any, first: str) -> tuple[float, float, float, float]:
    """Returns the first number, clipping norm, rate (0: the recipe's batch) and delta of a strength.

    Raises:
      InputError: there are too few or too many, or one is out of range.
    """
    values = [float(value) for value in np.ravel(strength)]
    if not 2 <= len(values) <= 4:
        raise InputError(f"DP-SGD has {len(values)} numbers, expected {first}, {_REST}")
    number, clip, rate, delta = (*values, *(0.0, DELTA)[len(values) - 2 :])
    lowest = float(np.finfo(np.float32).tiny)
    for name, value, expected, holds in (
        (first, number, "at least 0", number == 0 or number >= lowest),
        ("clipping norm", clip, "above 0", clip >= lowest),
        ("sampling rate", rate, "in [0, 1], 0 for the recipe's batch size", 0 <= rate <= 1),
        ("delta", delta, "in [1e-10, 1)", 1e-10 <= delta < 1),
    ):
        if not (holds and value <= float(np.finfo(np.float32).max)):
            raise InputError(f"DP-SGD's {name} is {value:g}, expected a number {expected}")
    return number, clip, rate, delta


def _rate(given: float, recipe: Recipe, num_members: int) -> float:
    """Returns a record's probability in one step, as float32 has it."""
    return float(np.float32(given or min(1.0, recipe.batch_size / num_members)))


def _steps(recipe: Recipe, num_members: int) -> int:
    return recipe.epochs * (num_members // recipe.batch_size)


@defence("dpsgd", strength=f"noise multiplier, {_REST}", tried=("0.2,1", "0.5,1", "1,1", "2,1"))
def dpsgd(strength: tuple[float, ...]) -> Defence:
    """Trains by DP-SGD with a stated noise.

    Args:
      strength: Noise multiplier (0: clipping alone, which guarantees nothing); clipping norm of a record's
        gradient; probability of a record in one step, 0 or left out for the recipe's batch size divided by
        the number of members; delta at which epsilon is accounted, left out for 1e-5.

    Raises:
      InputError: a number is out of range.
    """
    noise, clip, rate, _ = _read(strength, "noise multiplier")

    def tailor(recipe: Recipe, num_members: int) -> Mapping[str, Any]:
        return {"privacy": (noise, clip, _rate(rate, recipe, num_members))}

    return Defence(tailor=tailor)


@defence("dpsgd_epsilon", strength=f"target epsilon, {_REST}", tried=("8,1", "4,1", "2,1", "1,1"))
def dpsgd_epsilon(strength: tuple[float, ...]) -> Defence:
    """Trains by DP-SGD with the least noise whose accounted epsilon is at most a target.

    Args:
      strength: Target epsilon, above 0; then as of `dpsgd`.

    Raises:
      InputError: a number is out of range.
    """
    epsilon, clip, rate, delta = _read(strength, "target epsilon")
    if epsilon == 0:
        raise InputError("DP-SGD's target epsilon is 0, expected a number above 0")

    def tailor(recipe: Recipe, num_members: int) -> Mapping[str, Any]:
        sampled = _rate(rate, recipe, num_members)
        found = noise_for(epsilon, sampled, _steps(recipe, num_members), delta)
        # Up to the next float32, so that the target holds for what is run.
        noise = float(np.nextafter(np.float32(found), np.float32(np.inf)))
        return {"privacy": (noise, clip, sampled)}

    return Defence(tailor=tailor)


def accounted(given: Defence | None, recipe: Any, num_members: int) -> dict[str, float | None]:
    """Returns what a model's training guarantees, as row fields; empty for other defences.

    Args:
      given: The model's defence, tailored to it.
      recipe: How it was trained.
      num_members: Records that it was trained on.

    Returns:
      epsilon (an upper bound; None for none), delta, noise, clip and rate.
    """
    if given is None or "privacy" not in given.training:
        return {}
    noise, clip, rate = (float(np.float32(value)) for value in given.training["privacy"])
    by_jleaks = given.name in ("dpsgd", "dpsgd_epsilon")
    delta = _read(given.strength, "")[3] if by_jleaks else DELTA
    epsilon = loss_epsilon(noise, rate, _steps(recipe, num_members), delta)
    return {
        "epsilon": epsilon if math.isfinite(epsilon) else None,
        "delta": delta,
        "noise": noise,
        "clip": clip,
        "rate": rate,
    }
