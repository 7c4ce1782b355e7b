"""What a black box is: something that answers posteriors for records.  Nothing else of it is looked at."""

import functools
from collections.abc import Callable
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
) -> tuple[Float[np.ndarray, "batch k"], Form]:
    """Checks what a black box answered.

    Args:
      answer: What should be [B, K] posteriors: as `jleaks.attacks.probabilities.read` takes them.
      num_records: B; None for any number.
      num_classes: K; None if any number will do.
      where: Who answered, for messages.

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

    found, form = probabilities.read(array, where, lambda i: f"record {i}")
    return found.astype(np.float32), form


def check_answer(
    answer: Any, num_records: int, num_classes: int, where: str
) -> Float[np.ndarray, "batch k"]:
    """Returns the posteriors of one batch; see `read_answer`."""
    return read_answer(answer, num_records, num_classes, where)[0]


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
        fn, strengths = (None, None) if answering is None else answering[:2]
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
