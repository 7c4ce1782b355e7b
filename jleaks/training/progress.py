"""How far the training of a fleet is: what a reader is told, and the state that a checkpoint is of."""

import contextlib
import dataclasses

import jax
import numpy as np

from jleaks.training.checkpoints import Store
from jleaks.training.fleet import Pack
from jleaks.training.learner import State


@dataclasses.dataclass(frozen=True)
class Progress:
    """What is known between two chunks.

    Attributes:
      fleet: Name of the fleet.
      done: Model-epochs behind, of `total`.
      total: Models times epochs.
      loss: Mean training loss of the current pack's last epoch.
      seconds: Since training began in this process.
      eta: Seconds that remain at the rate of training so far, compilation left out.
    """

    fleet: str
    done: int
    total: int
    loss: float
    seconds: float
    eta: float


@dataclasses.dataclass(eq=False)
class TrainingProgress:
    """How far the training of a fleet is.

    Attributes:
      state: Of every model, leaves [M, ...], on the host.
      epochs: [M] behind each model in `state`; packs on the devices may be further.
      store: Where checkpoints go, if anywhere.
      began: When, by the monotonic clock.
      trained: Seconds of it spent in training alone.
      before: Model-epochs that were behind then.
      saved: When the last checkpoint was saved.
      saving: Seconds that this took, waiting for the one before included.
      packing_reported: Whether the packing was reported.
    """

    state: State
    epochs: np.ndarray
    store: Store | None
    began: float
    before: int
    saved: float
    saving: float = 0.0
    trained: float = 0.0
    packing_reported: bool = False

    def keep(self, models: np.ndarray, part: State, epoch: int) -> None:
        """Takes over the state of some models after so many epochs."""
        write_models(self.state, models, part)
        self.epochs[models] = epoch

    def keep_last_epoch(self, models: np.ndarray, pack: Pack) -> None:
        """Takes over the last finished epoch of a pack whose buffers a failed call left alone."""
        if pack.epoch is not None:
            with contextlib.suppress(RuntimeError, MemoryError):
                self.keep(models, pack.fetch(), pack.epoch)


def write_models(state: State, models: slice | np.ndarray, part: State) -> None:
    """Writes the state of some models into the whole fleet's, in place."""
    for whole, new in zip(jax.tree.leaves(state), jax.tree.leaves(part), strict=True):
        whole[models] = new
