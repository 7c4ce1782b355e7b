"""RMIA and BASE: the target's confidence beside the references' mean confidence.

RMIA: Zarifzadeh et al. 2024, equations 3, 4 and 11.  BASE: Lassila et al. 2025; its online form ranks
records as RMIA's at the same temperature does, up to ties.  All means are taken in the log domain: a
posterior of exp(-200) is a number.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jleaks.attacks.attack import Attack, Records, Variants, plain
from jleaks.attacks.options import Options
from jleaks.attacks.reference_statistics import ReferenceStatistics
from jleaks.metrics.roc import Standing, standing


def log_ratio_online(statistics: ReferenceStatistics) -> Array:
    """Log r = log p_T - log of (mean p_T of IN + mean p_T of OUT) / 2."""
    return statistics.log_p("phi_t") - statistics.log_mean_of_sides("phi_t")


def log_ratio_parts(statistics: ReferenceStatistics) -> Array:
    """What the offline form needs, [2, T, N]: log p_T, and log of the mean p_T of OUT."""
    return jnp.stack([statistics.log_p("phi_t"), statistics.log_mean("phi_t", "out")])


def log_ratio_offline(parts: Float[Array, "2 records"], a: Array) -> Float[Array, "records"]:
    """Log r with the mean over all references guessed from OUT alone: ((1 + a) mean + 1 - a) / 2.

    The paper's line p_IN = a p_OUT + 1 - a; a = 1 leaves the OUT mean as it is.
    """
    own, outside = parts
    guess = jnp.logaddexp(jnp.log1p(a) + outside, jnp.log(1 - a)) - jnp.log(2.0)
    return own - guess


def dominated_share(
    log_ratio: Float[Array, "records"],
    population: Bool[Array, "records"],
    log_gamma: float,
    standing_fn: Standing = standing,
) -> Float[Array, "records"]:
    """Share of population records z with r_x / r_z >= gamma, for one target.

    One sort of the population in which each record is found: O((N + Z) log Z), no N x Z array.
    """
    _, up_to = standing_fn(log_ratio, population, log_ratio - log_gamma)
    return up_to / population.sum()


def share_of_all(log_ratio: Array, records: Records, options: Options) -> Array:
    """RMIA's score of one model's records, whose population z are all of them."""
    standing_fn = records.kernels.standing
    return dominated_share(log_ratio, records.valid, np.log(options.gamma), standing_fn)


def base_online(statistics: ReferenceStatistics, name: str = "phi") -> Array:
    """Log p - log of (mean p of IN + mean p of OUT) / 2.

    The paper's logsumexp over references less log of their number is the same where half of them trained
    on the record.

    Args:
      statistics: Of all targets and records.
      name: "phi" for temperature 1, "phi_t" for the bank's.
    """
    return statistics.log_p(name) - statistics.log_mean_of_sides(name)


def base_offline(statistics: ReferenceStatistics, name: str = "phi", scale: float = 1.0) -> Array:
    """Log p - scale * log of the mean p of OUT.

    Args:
      statistics: Of all targets and records.
      name: "phi" for temperature 1, "phi_t" for the bank's.
      scale: Of the OUT mean, which alone overstates how hard a record is.
    """
    return statistics.log_p(name) - scale * statistics.log_mean(name, "out")


# The grid of the authors' code.
OFFLINE_FORMS = Variants(
    values=lambda options: (
        tuple(round(0.1 * i, 1) for i in range(11))
        if options.offline_a is None
        else (options.offline_a,)
    ),
    default=lambda options: options.published_a if options.offline_a is None else options.offline_a,
    form=log_ratio_offline,
)
_ZARIFZADEH = "Zarifzadeh et al. 2024"
_LASSILA = "Lassila et al. 2025"

ENTRIES = (
    Attack(
        "rmia_offline", "RMIA offline", _ZARIFZADEH, plain(log_ratio_parts), "out",
        signals=("phi_t",), finish=share_of_all, variants=OFFLINE_FORMS,
    ),
    Attack("base_offline", "BASE offline", _LASSILA, plain(base_offline), "out"),
    Attack(
        "base_offline_tempered", "BASE offline, tempered", f"{_LASSILA}, code",
        lambda statistics, options: base_offline(statistics, "phi_t", options.base_scale), "out",
        signals=("phi_t",),
    ),
    Attack(
        "rmia_online", "RMIA online", _ZARIFZADEH, plain(log_ratio_online), "in and out",
        signals=("phi_t",), finish=share_of_all,
    ),
    Attack("base_online", "BASE online", _LASSILA, plain(base_online), "in and out"),
    Attack(
        "base_online_tempered", "BASE online, tempered", f"{_LASSILA}, code",
        lambda statistics, _: base_online(statistics, "phi_t"), "in and out", signals=("phi_t",),
    ),
)  # fmt: skip
