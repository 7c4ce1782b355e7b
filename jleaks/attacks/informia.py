"""InfoRMIA: by how much a record's ratio beats the population's, where RMIA counts how often.

arXiv 2510.05582: log r_x - mean over z of log r_z, r as RMIA has it.  The paper could not be read here: the
formula is that of its abstract and of summaries of it.  For one target the mean over z is one number, so
that records rank, and every metric comes out, as those of BASE at the same temperature and estimate of
p(x); the shift matters where targets are compared, as a record's risk over many models does.
"""

import jax.numpy as jnp
from jaxtyping import Array

from jleaks.attacks.attack import Attack, Records, plain
from jleaks.attacks.options import Options
from jleaks.attacks.rmia import OFFLINE_FORMS, log_ratio_online, log_ratio_parts


def above_population(log_ratio: Array, records: Records, _: Options) -> Array:
    """One model's log ratios [N] less their mean over the population, all valid records."""
    everybody = jnp.where(records.valid, log_ratio, 0).sum() / records.valid.sum()
    return log_ratio - everybody


_SOURCE = "InfoRMIA, ICLR 2026"

ENTRIES = (
    Attack(
        "informia_offline", "InfoRMIA offline", _SOURCE, plain(log_ratio_parts), "out",
        signals=("phi_t",), finish=above_population, variants=OFFLINE_FORMS,
    ),
    Attack(
        "informia_online", "InfoRMIA online", _SOURCE, plain(log_ratio_online), "in and out",
        signals=("phi_t",), finish=above_population,
    ),
)  # fmt: skip
