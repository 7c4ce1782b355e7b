"""Dropout in training (Srivastava et al. 2014) as a defence: Salem et al. 2019, section VII-A."""

import numpy as np

from jleaks.defences.defence import Defence, defence
from jleaks.errors import InputError


@defence(
    "dropout",
    strength="ratio of the input, ratio of the hidden layers",
    tried=("0.25", "0.5", "0.75"),
)
def dropout(ratios: float | tuple[float, float]) -> Defence:
    """Drops shares of inputs and hidden activations in training.

    Args:
      ratios: Of the network's inputs and of its hidden activations, in [0, 1); one number for both.

    Raises:
      InputError: there are more than two, or one is not in [0, 1).
    """
    values = np.ravel(ratios)
    if values.size > 2 or not ((values >= 0) & (values < 1)).all():
        raise InputError(f"dropout ratios are {ratios}, expected one or two numbers in [0, 1)")
    pair = float(values[0]), float(values[-1])
    return Defence(training={"dropout": pair})
