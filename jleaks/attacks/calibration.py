"""Attacks that calibrate a record's loss: by the population's, or by models that did not train on it."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jleaks.attacks.attack import Attack, Records, plain
from jleaks.attacks.lira import log_survival
from jleaks.attacks.options import Options
from jleaks.attacks.reference_statistics import VARIANCE_FLOOR, ReferenceStatistics
from jleaks.metrics.roc import Standing, standing


def calibrated(statistics: ReferenceStatistics) -> Array:
    """Log posterior minus its mean over OUT references (Watson et al. 2022, equation 2)."""
    return statistics.log_p() - statistics.mean_log_p("out")


def attack_r(statistics: ReferenceStatistics) -> Array:
    """Attack-R (Ye et al. 2022, section 4.4), thresholds interpolated linearly as in the authors' code.

    A record is called a member at level alpha if its loss is at most the alpha-quantile of the OUT
    references' losses, between which, and 0 and 1000, is interpolated.  The score is minus the log of the
    least such alpha: unlike the share of references below, it tells records that beat all of them apart.
    """
    return -statistics.log_level("out")


def attack_r_logit(statistics: ReferenceStatistics) -> Array:
    """Attack-R with the smaller of two thresholds, as the authors' code offers it ("min_linear_logit").

    The second is the quantile of a normal distribution of rescaled losses, which is phi, fitted to the OUT
    references.  The score is minus the log of the level at which the record passes both.
    """
    found, overall = statistics.phi(0, "out"), statistics.overall(0, "out")
    spread = jnp.maximum(found.deviations / jnp.maximum(found.size, 1), VARIANCE_FLOOR)
    spread = jnp.where(found.size >= 2, spread, overall.variance)
    mean = jnp.where(found.size > 0, found.mean, overall.mean)
    z = (statistics.own("phi", 0) - mean) / jnp.sqrt(spread)
    return jnp.minimum(-statistics.log_level("out"), log_survival(z))


def attack_r_share(statistics: ReferenceStatistics) -> Array:
    """Share of OUT references with a larger loss, ties half: cannot be sure of anybody."""
    return statistics.share_above("out")


def population_share(
    phi: Float[Array, "records"],
    population: Bool[Array, "records"],
    standing_fn: Standing = standing,
) -> Float[Array, "records"]:
    """Attack-P: share of population records with a larger loss, ties half (Ye et al. 2022, section 4.2).

    One target's row; the loss falls as phi rises.
    """
    below, up_to = standing_fn(phi, population, phi)
    return (below + up_to) / (2 * population.sum())


def share_of_population(phi: Array, records: Records, _: Options) -> Array:
    """Attack-P on the records held out from all models, or on all where none is."""
    population = records.valid & ~records.candidate
    population = jnp.where(population.any(), population, records.valid)
    return population_share(phi, population, records.kernels.standing)


_YE = "Ye et al. 2022"

ENTRIES = (
    Attack(
        "attack_p", "Attack-P", _YE, lambda statistics, _: statistics.own("phi", 0),
        finish=share_of_population,
    ),
    # Its regressions are trained with the bank (`jleaks.attacks.quantile`).
    Attack(
        "quantile", "Quantile regression", "Bertran et al. 2023",
        lambda statistics, _: statistics.own("phi", 0) - statistics.own("quantile"),
        signals=("quantile",),
    ),
    Attack("attack_r", "Attack-R", _YE, plain(attack_r), "out"),
    Attack(
        "attack_r_logit", "Attack-R, linear and logit", f"{_YE}, code", plain(attack_r_logit), "out",
    ),
    Attack("attack_r_share", "Attack-R, share", _YE, plain(attack_r_share), "out"),
    Attack("calibrated", "Calibrated loss", "Watson et al. 2022", plain(calibrated), "out"),
)  # fmt: skip
