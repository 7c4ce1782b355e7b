"""Defences that change how a model is trained, and leave its answers alone.

The losses are in `jleaks.training.objective` and `jleaks.training.adversarial`.  An attacker who knows of
one trains shadows with it.
"""

from typing import Any

import numpy as np

from jleaks.defences.defence import Defence, defence
from jleaks.errors import InputError


def _number(
    what: str, given: Any, low: float, high: float = np.inf, open_low: bool = False
) -> float:
    """Returns one number of a range [low, high), or (low, high).

    Raises:
      InputError: it is several numbers, or out of the range.
    """
    values = np.ravel(given)
    value = float(values[0])
    if values.size != 1 or not (low < value if open_low else low <= value) or not value < high:
        bounds = f"{'(' if open_low else '['}{low:g}, {high:g})"
        raise InputError(f"{what} is {given}, expected one number in {bounds}")
    return value


@defence("label_smoothing", strength="share", tried=("0.1", "0.3", "0.6"))
def label_smoothing(share: float) -> Defence:
    """Spreads a share of every label evenly over all classes (Szegedy et al. 2016, section 7).

    Lowers attacks on the loss, and can raise those that compare with reference models.
    """
    return Defence(training={"smoothing": _number("label smoothing's share", share, 0, 1)})


@defence("confidence_penalty", strength="weight", tried=("0.1", "0.5", "1"))
def confidence_penalty(weight: float) -> Defence:
    """Takes the posterior's entropy, times a weight, off the loss (Pereyra et al. 2017, equation 2)."""
    return Defence(training={"penalty": _number("the confidence penalty's weight", weight, 0)})


@defence("hamp_training", strength="entropy[, weight]", tried=("0.3,0.01", "0.6,0.01", "0.9,0.01"))
def hamp_training(strength: float | tuple[float, float]) -> Defence:
    """HAMP's training alone (Chen & Pattabiraman 2024, section IV): its output step is left out.

    Args:
      strength: Share of the largest entropy that every soft label has; weight of the posterior's entropy,
        which is taken off the loss, 0 if left out.
    """
    level, *rest = np.ravel(strength)
    if len(rest) > 1:
        raise InputError(f"HAMP's strength is {strength}, expected one or two numbers")
    return Defence(
        training={
            "entropy": _number("HAMP's entropy", level, 0, 1),
            "penalty": _number("HAMP's weight", rest[0] if rest else 0.0, 0),
        }
    )


@defence("weight_decay", strength="penalty", tried=("1e-4", "5e-4", "2e-3"))
def weight_decay(penalty: float) -> Defence:
    """Adds a penalty on the sum of squared weights to the loss, beside the recipe's own `l2`."""
    return Defence(training={"decay": _number("weight decay's penalty", penalty, 0)})


@defence("early_stopping", strength="epochs", tried=("5", "10", "20"))
def early_stopping(epochs: float) -> Defence:
    """Leaves a model as it is after so many epochs of the recipe's, whose schedule stays."""
    count = _number("early stopping's number of epochs", epochs, 1, 2**24)
    return Defence(training={"last_epoch": float(int(count))})


@defence("relaxloss", strength="alpha", tried=("0.2", "0.5", "1"))
def relaxloss(alpha: float) -> Defence:
    """RelaxLoss (Chen, Yu & Fritz 2022, algorithm 1).

    While a batch's mean cross-entropy is at least alpha (nats), training goes on as usual; below it the
    step goes up the loss in even epochs, counted from zero, and in odd ones towards posteriors whose
    classes other than the true one are alike.
    """
    return Defence(training={"relax": _number("RelaxLoss's alpha", alpha, 0)})


@defence("mixup", strength="parameter of the beta distribution", tried=("0.2", "1"))
def mixup(parameter: float) -> Defence:
    """Mixes every record of a batch, encoded, with another by one share (Zhang et al. 2018, section 2)."""
    return Defence(training={"mixup": _number("mixup's parameter", parameter, 0, open_low=True)})


@defence("adversarial", strength="weight[, share]", tried=("1", "3", "10"))
def adversarial(strength: float | tuple[float, float]) -> Defence:
    """Adversarial regularisation (Nasr, Shokri & Houmansadr 2018).

    Args:
      strength: Weight of the adversary's gain in the loss (the authors' is 3 on Purchase-100); share of the
        training part that is kept for comparison with members, and not trained on: 0.2 if left out.
    """
    weight, *rest = np.ravel(strength)
    if len(rest) > 1:
        raise InputError(
            f"adversarial regularisation's strength is {strength}, expected one or two numbers"
        )
    share = _number(
        "adversarial regularisation's share", rest[0] if rest else 0.2, 0, 1, open_low=True
    )
    return Defence(
        training={"adversarial": _number("adversarial regularisation's weight", weight, 0)},
        held_back=share,
    )
