"""What a black box is: something that answers posteriors for records.  Nothing else of it is looked at."""

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from jleaks.errors import InputError
from jleaks.learner import Learner, State

# How far the posteriors of one record may be from summing to one: endpoints print few digits.
SUM_TOLERANCE = 1e-3


@runtime_checkable
class BlackBox(Protocol):
    """Answers posteriors; a file's answers, a function, a trained model or an endpoint stand behind it."""

    def answer(self, records: Num[np.ndarray, "batch ..."]) -> Float[np.ndarray, "batch k"]:
        """Answers the posteriors of a batch of stored records.

        Args:
          records: [B, ...] in the storage format of the dataset: uint8 pixels, 0/1, Adult's numbers
            and codes, term counts.

        Returns:
          [B, K] float32, finite, not negative, summing to one.
        """
        ...


def check_answer(
    answer: Any,
    num_records: int | None,
    num_classes: int | None,
    where: str,
    numbers: Sequence[int] | np.ndarray | None = None,
) -> Float[np.ndarray, "batch k"]:
    """Checks what a black box answered.

    Args:
      answer: What should be [B, K] posteriors.
      num_records: B; None for any number.
      num_classes: K; None if any number of at least two will do.
      where: Who answered, for messages.
      numbers: [B] what the records are called in messages; None for 0..B-1.

    Returns:
      The posteriors, float32.

    Raises:
      InputError: names the first record whose posteriors cannot be used, and what was answered.
    """
    classes = "at least 2" if num_classes is None else num_classes
    expected = f"expected [{num_records or 'N'} records, {classes} classes]"
    try:
        array = np.asarray(answer)
    except ValueError:
        raise InputError(f"{where}: posteriors of unequal lengths, {expected}") from None
    if array.dtype.kind not in "fiu":
        raise InputError(f"{where}: posteriors are {array.dtype}, expected numbers")
    if array.ndim != 2 or num_records not in (None, len(array)):
        raise InputError(f"{where}: posteriors have shape {array.shape}, {expected}")
    if array.shape[1] != num_classes and (num_classes is not None or array.shape[1] < 2):
        raise InputError(f"{where}: {array.shape[1]} posteriors for each record, {expected}")

    wide = array.astype(np.float64)
    finite = np.all(np.isfinite(wide), axis=1)
    sums = np.where(np.isfinite(wide), wide, 0).sum(1)
    bad = ~finite | np.any(wide < 0, axis=1) | (np.abs(sums - 1) > SUM_TOLERANCE)
    if bad.any():
        first = int(np.argmax(bad))
        row, record = wide[first], first if numbers is None else int(numbers[first])
        if not finite[first]:
            got = f"has {row[~np.isfinite(row)][0]}, expected finite numbers"
        elif (row < 0).any():
            got = f"has {row.min():.6g}, expected numbers >= 0"
        else:
            got = f"sums to {sums[first]:.6g}, expected 1 within {SUM_TOLERANCE:g}"
        raise InputError(f"{where}: the posterior of record {record} {got}")
    return array.astype(np.float32)


class _CallableBox:
    """A function as a black box."""

    def __init__(
        self, fn: Callable[[np.ndarray], Any], num_classes: int | None, batch: int | None, name: str
    ):
        self._fn, self._num_classes, self._batch, self._name = fn, num_classes, batch, name

    def answer(self, records: Num[np.ndarray, "batch ..."]) -> Float[np.ndarray, "batch k"]:
        """Calls the function batch by batch and checks each answer."""
        size, found = self._batch or max(len(records), 1), []
        for start in range(0, len(records), size):
            part = records[start : start + size]
            numbers = np.arange(start, start + len(part))
            found.append(
                check_answer(self._fn(part), len(part), self._num_classes, self._name, numbers)
            )
            # Not told beforehand, the number of classes is that of the first answer.
            self._num_classes = found[-1].shape[1]
        if not found:
            raise InputError(f"{self._name}: there are no records to ask about")
        return np.concatenate(found)


def callable_box(
    fn: Callable[[np.ndarray], Any],
    num_classes: int | None = None,
    batch: int | None = None,
    name: str = "callable",
) -> BlackBox:
    """Returns a function as a black box; each of its answers is checked.

    Args:
      fn: From [B, ...] stored records to [B, K] posteriors, as anything NumPy can read.
      num_classes: K; None for that of the first answer.
      batch: The largest B it is called with; None for all records at once.
      name: Of the function, for messages.
    """
    return _CallableBox(fn, num_classes, batch, name)


def load_callable(path: str) -> Callable[[np.ndarray], Any]:
    """Imports a function named on a command line.

    Args:
      path: "module:function"; the function may be an attribute of an attribute.

    Raises:
      InputError: there is no such module or function.
    """
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise InputError(f"{path!r} is not a function's path, expected module:function")
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(f"cannot import {module_name} of {path}: {error}") from error
    try:
        for part in name.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise InputError(f"{module_name} has no {name}: {error}") from error
    if not callable(found):
        raise InputError(f"{path} is a {type(found).__name__}, expected a function")
    return found


@functools.cache
def _posteriors_program(learner: Learner) -> Callable[[State, Array], Array]:
    return jax.jit(lambda state, records: jax.nn.softmax(learner.logits(state, records)))


class LearnerBox:
    """A trained model as a black box."""

    def __init__(self, learner: Learner, state: State, block: int = 250):
        """Puts the model on the device.

        Args:
          learner: Of the model.
          state: Trained, of this one model (no model axis).
          block: Records answered at a time; shorter batches are padded, so that there is one
            compiled program.
        """
        self._learner, self._block = learner, block
        self._state = jax.device_put(state)

    def answer(self, records: Num[np.ndarray, "batch ..."]) -> Float[np.ndarray, "batch k"]:
        """Answers posteriors, block by block."""
        program, found = _posteriors_program(self._learner), []
        for start in range(0, len(records), self._block):
            part = records[start : start + self._block]
            missing = self._block - len(part)
            padded = np.concatenate([part, np.repeat(part[-1:], missing, 0)]) if missing else part
            found.append(np.asarray(program(self._state, jnp.asarray(padded)))[: len(part)])
        if not found:
            return np.zeros((0, self._learner.num_classes), np.float32)
        return np.concatenate(found)
