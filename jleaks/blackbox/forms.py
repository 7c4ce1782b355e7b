"""What answers are: posteriors, logits, labels or percent, as they came; and posteriors made of them."""

from collections.abc import Callable, Sequence

import numpy as np
import scipy.special
from jaxtyping import Bool, Float, Int

from jleaks.attacks import probabilities
from jleaks.blackbox.pace import Form
from jleaks.errors import InputError


def usable_rows(rows: Float[np.ndarray, "b w"], form: Form) -> Bool[np.ndarray, "b"]:
    """Returns of which records the numbers can be used: finite, and posteriors of about the usual sum."""
    good = np.isfinite(rows).all(1)
    if form in ("posteriors", "percent"):
        good &= (np.nan_to_num(rows, nan=-1) >= 0).all(1)
        if rows.shape[1] > 1 and good.any():
            sums = rows.sum(1)
            good &= np.abs(sums / np.median(sums[good]) - 1) <= 0.1
    return good


def posteriors_of(
    rows: Float[np.ndarray, "b w"],
    form: Form,
    num_classes: int | None,
    where: str,
    numbers: Sequence[int] | Int[np.ndarray, "b"],
) -> tuple[Float[np.ndarray, "b k"], probabilities.Form]:
    """Makes posteriors of what came.

    Args:
      rows: As they came, W being K or one.
      form: What they are.
      num_classes: K, if it is known; labels need it.
      where: Whose they are, for messages.
      numbers: What the records are called in messages.

    Returns:
      [B, K] float32, and how they were given.

    Raises:
      InputError: names the first record whose numbers cannot be used.
    """
    wide = rows.astype(np.float64)

    def name(i: int) -> str:
        return f"record {int(numbers[i])}"

    if form in ("logits", "labels"):
        for i in np.flatnonzero(~np.isfinite(wide).all(1))[:1]:
            raise InputError(f"{where}: {name(i)} has {wide[i].min():g}, expected {form}")
    if form == "logits":
        wide = scipy.special.softmax(wide, 1) if wide.shape[1] > 1 else scipy.special.expit(wide)
    elif form == "labels":
        wide = _one_hot(wide[:, 0], num_classes, where, name)
    elif form == "percent":
        wide = wide / 100
    try:
        found, read_as = probabilities.read(wide, where, name)
    except InputError as error:
        if form == "posteriors" and (wide < 0).any():
            raise InputError(f"{error} (--answers_are=logits, if that is what they are)") from error
        raise
    return found.astype(np.float32), read_as


def _one_hot(
    labels: np.ndarray, num_classes: int | None, where: str, name: Callable[[int], str]
) -> np.ndarray:
    if num_classes is None:
        raise InputError(f"{where} answers labels: --num_classes says of how many classes")
    for i in np.flatnonzero((labels % 1 != 0) | (labels < 0) | (labels >= num_classes))[:1]:
        raise InputError(
            f"{where}: {name(i)} has the label {labels[i]:g}, expected 0..{num_classes - 1}"
        )
    return np.eye(num_classes)[labels.astype(int)]
