"""Quantile regression: what a non-member of these features would score (Bertran et al. 2023).

The attacker asks the target about records that are surely not members, the population, and trains a small
network per target to predict a high quantile of phi from a record's features.  A record is likelier a
member the further its phi is above that.  No reference model is trained on the task itself.
"""

import numpy as np
from jaxtyping import Array, Float

from jleaks.data.dataset import Dataset
from jleaks.keys import Role, identity_key
from jleaks.training import packing
from jleaks.training.execution import Execution
from jleaks.training.fleet import PredictFn, Signals, stack_key_data
from jleaks.training.learner import Members
from jleaks.training.recipe import Recipe
from jleaks.training.trainer import FleetSpec


def quantile_models(
    data: Dataset,
    population: np.ndarray,
    phi: Float[np.ndarray, "models population"],
    seed: int,
    recipe: Recipe,
    execution: Execution,
    first: int = 0,
) -> FleetSpec:
    """Lays out one regression per target as a fleet.

    Args:
      data: All records of the task.
      population: [P] positions of the records held out from all models.
      phi: [M, P] the targets' answers on them.
      seed: Of the bank.
      recipe: With the quantile loss.
      execution: How fast.
      first: Number of the first of these targets in the bank.
    """
    numbers = range(first, first + len(phi))
    name = data.task.name
    return FleetSpec(
        name=f"{name}, quantiles",
        names=[f"quantile model of target {i} of {name}, seed {seed}" for i in numbers],
        learner=packing.make_learner(recipe, data.task.encoding, 1, execution),
        features=data.features,
        labels=data.labels,
        members=Members(
            np.tile(population.astype(np.int32), (len(phi), 1)),
            np.full(len(phi), len(population), np.int32),
            phi.astype(np.float32),
        ),
        key_data=stack_key_data([identity_key(seed, name, Role.QUANTILE, i) for i in numbers]),
    )


def prediction(predict_fn: PredictFn, inputs: Array, labels: Array) -> Signals:
    """What is kept of a regression's answer: `quantile` [B]."""
    del labels
    return {"quantile": predict_fn(inputs)[:, 0]}
