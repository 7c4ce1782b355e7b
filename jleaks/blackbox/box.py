"""What a black box is: something that answers posteriors for records.  Nothing else of it is looked at."""

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from jleaks.attacks import probabilities
from jleaks.attacks.probabilities import Form
from jleaks.errors import InputError
from jleaks.training.fleet import Answering, DefendFn
from jleaks.training.learner import Learner, State


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


def read_answer(
    answer: Any,
    num_records: int | None,
    num_classes: int | None,
    where: str,
    numbers: Sequence[int] | np.ndarray | None = None,
) -> tuple[Float[np.ndarray, "batch k"], Form]:
    """Checks what a black box answered.

    Args:
      answer: What should be [B, K] posteriors: as `jleaks.attacks.probabilities.read` takes them.
      num_records: B; None for any number.
      num_classes: K; None if any number will do.
      where: Who answered, for messages.
      numbers: [B] what the records are called in messages; None for 0..B-1.

    Returns:
      The posteriors, float32, and how they were given.  They are not divided by their sums: that is for
      whoever has all of them.

    Raises:
      InputError: names the first record whose posteriors cannot be used, and what was answered.
    """
    classes = "at least 2" if num_classes is None else num_classes
    expected = f"expected [{num_records or 'N'} records, {classes} classes]"
    array = probabilities.as_array(answer, where, f"posteriors ({expected})")
    if not probabilities.is_number(array):
        raise InputError(f"{where}: posteriors are {array.dtype}, expected numbers")
    if array.ndim != 2 or num_records not in (None, len(array)):
        raise InputError(f"{where}: posteriors have shape {array.shape}, {expected}")
    width = array.shape[1]
    # A binary model with one output answers the posterior of class 1 alone.
    if width == 0 or (
        num_classes is not None and width != num_classes and (width, num_classes) != (1, 2)
    ):
        raise InputError(f"{where}: {width} posteriors for each record, {expected}")

    def name(i: int) -> str:
        return f"record {i if numbers is None else int(numbers[i])}"

    found, form = probabilities.read(array, where, name)
    return found.astype(np.float32), form


def check_answer(
    answer: Any,
    num_records: int | None,
    num_classes: int | None,
    where: str,
    numbers: Sequence[int] | np.ndarray | None = None,
    notes: list[str] | None = None,
) -> Float[np.ndarray, "batch k"]:
    """Returns the posteriors of one batch of several; see `read_answer`.

    Args:
      answer: What should be [B, K] posteriors.
      num_records: B; None for any number.
      num_classes: K; None if any number will do.
      where: Who answered, for messages.
      numbers: [B] what the records are called in messages; None for 0..B-1.
      notes: Receives what a reader must be told of how they were given, each sentence once.

    Raises:
      InputError: names the first record whose posteriors cannot be used, and what was answered.
    """
    found, form = read_answer(answer, num_records, num_classes, where, numbers)
    if notes is not None:
        # Whether they are divided by their sums is decided when all are there.
        told = form._replace(deviation=0.0).lines(where)
        notes.extend(line for line in told if line not in notes)
    return found


class CallableBox:
    """A function as a black box.

    Attributes:
      notes: What a reader must be told of how its posteriors were given.
    """

    def __init__(
        self, fn: Callable[[np.ndarray], Any], num_classes: int | None, batch: int | None, name: str
    ):
        if batch is not None and batch < 1:
            raise InputError(f"batch is {batch}, expected at least 1")
        self._fn, self._num_classes, self._batch, self._name = fn, num_classes, batch, name
        self.notes: list[str] = []

    def answer(self, records: Num[np.ndarray, "batch ..."]) -> Float[np.ndarray, "batch k"]:
        """Calls the function batch by batch and checks each answer."""
        size, found = self._batch or max(len(records), 1), []
        for start in range(0, len(records), size):
            part = records[start : start + size]
            numbers = np.arange(start, start + len(part))
            found.append(
                check_answer(
                    *(self._call(part), len(part), self._num_classes, self._name, numbers),
                    self.notes,
                )
            )
            # Not told beforehand, the number of classes is that of the first answer.
            self._num_classes = found[-1].shape[1]
        if not found:
            raise InputError(f"{self._name}: there are no records to ask about")
        return np.concatenate(found)

    def _call(self, records: np.ndarray) -> Any:
        try:
            return self._fn(records)
        # Whatever a user's function raises.
        except Exception as error:
            raise InputError(
                f"{self._name} failed on {len(records)} records: {_said(error)}"
            ) from error


def callable_box(
    fn: Callable[[np.ndarray], Any],
    num_classes: int | None = None,
    batch: int | None = None,
    name: str = "callable",
) -> CallableBox:
    """Returns a function as a black box; each of its answers is checked.

    Args:
      fn: From [B, ...] stored records to [B, K] posteriors, as anything NumPy can read.
      num_classes: K; None for that of the first answer.
      batch: The largest B it is called with; None for all records at once.
      name: Of the function, for messages.

    Raises:
      InputError: `batch` is below one.
    """
    return CallableBox(fn, num_classes, batch, name)


def load_callable(path: str) -> Callable[[np.ndarray], Any]:
    """Imports a function named on a command line.

    Args:
      path: "module:function"; the function may be an attribute of an attribute.

    Raises:
      InputError: there is no such module or function.
    """
    module_name, _, name = path.partition(":")
    if not module_name or not name or path.startswith("."):
        raise InputError(f"{path!r} is not a function's path, expected module:function")
    try:
        found: Any = importlib.import_module(module_name)
    # Whatever a user's module does on import, leaving the process among it.
    except (Exception, SystemExit) as error:
        raise InputError(f"cannot import {module_name} of {path}: {_said(error)}") from error
    try:
        for part in name.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise InputError(f"{module_name} has no {name}: {error}") from error
    if not callable(found):
        raise InputError(f"{path} is a {type(found).__name__}, expected a function")
    return found


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


@functools.cache
def _posteriors_program(
    learner: Learner, defend_fn: DefendFn | None
) -> Callable[[State, Array, Array | None], Array]:
    def answer(state: State, records: Array, strength: Array | None) -> Array:
        logits = learner.logits(state, records)
        if defend_fn is not None:
            assert strength is not None
            logits = defend_fn(strength, logits)
        return jax.nn.softmax(logits)

    return jax.jit(answer)


class LearnerBox:
    """A trained model as a black box."""

    def __init__(
        self,
        learner: Learner,
        state: State,
        block: int = 250,
        answering: Answering | None = None,
    ):
        """Puts the model on the device.

        Args:
          learner: Of the model.
          state: Trained, of this one model (no model axis).
          block: Records answered at a time; shorter batches are padded, so that there is one
            compiled program.
          answering: What a defended model answers in the place of its logits, strength [1, ...].
        """
        self._block = block
        fn, strengths = (None, None) if answering is None else answering
        self._program = _posteriors_program(learner, fn)
        self._strength = None if strengths is None else jnp.asarray(strengths[0])
        self._num_classes = learner.num_classes
        self._state = jax.device_put(state)

    def answer(self, records: Num[np.ndarray, "batch ..."]) -> Float[np.ndarray, "batch k"]:
        """Answers posteriors, block by block."""
        found = []
        for start in range(0, len(records), self._block):
            part = records[start : start + self._block]
            missing = self._block - len(part)
            padded = np.concatenate([part, np.repeat(part[-1:], missing, 0)]) if missing else part
            answer = self._program(self._state, jnp.asarray(padded), self._strength)
            found.append(np.asarray(answer)[: len(part)])
        if not found:
            return np.zeros((0, self._num_classes), np.float32)
        return np.concatenate(found)
