"""Fleets: one recipe, many models, trained side by side from arrays."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jleaks.attacks.signals import posterior_signals
from jleaks.data import encodings
from jleaks.errors import InputError
from jleaks.keys import Role, identity_key
from jleaks.training import packing
from jleaks.training.execution import Execution
from jleaks.training.fleet import stack_key_data
from jleaks.training.learner import Members, State
from jleaks.training.preemption import StopSignal
from jleaks.training.recipe import Recipe
from jleaks.training.trainer import FleetSpec, Trainer


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedFleet:
    """M trained models, stacked.

    Attributes:
      state: Parameters and what else training made; every leaf [M, ...].
      trainer: What asks them.
    """

    state: State
    trainer: Trainer

    @property
    def params(self) -> Any:
        """Parameters; every leaf [M, ...]."""
        return self.state.params

    @property
    def diverged(self) -> Bool[np.ndarray, "models"]:
        """Which models diverged, where the execution marks such; their parameters are zero."""
        return np.asarray(self.state.bad_step) >= 0

    @property
    def losses(self) -> Float[np.ndarray, "models epochs"]:
        """Mean training loss of every epoch."""
        return np.asarray(self.state.losses)

    def posteriors(self, records: np.ndarray) -> Float[np.ndarray, "models records classes"]:
        """Asks every model about records [n, ...], stored as those it was trained on."""
        num_models, count = len(self.losses), len(records)
        data = self.trainer.fleet.put_data(records, np.zeros(count, np.int32))
        rows = np.broadcast_to(np.arange(count, dtype=np.int32), (num_models, count))
        return self.trainer.query(self.state, rows, posterior_signals, data)["posteriors"]


def train_fleet(
    records: np.ndarray,
    labels: Int[np.ndarray, "records"],
    member: Bool[np.ndarray, "models records"],
    *,
    recipe: Recipe | None = None,
    encoding: str = "real",
    num_classes: int | None = None,
    seed: int = 0,
    execution: Execution | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> TrainedFleet:
    """Trains M models side by side, each on its own records.

    Model i's weights depend on recipe, records, `seed` and i alone, not on how many others there are.

    Args:
      records: [N, ...] stored records, one dataset for all models.
      labels: [N] classes 0..K-1.
      member: [M, N] which records each model trains on; at least a batch each.
      recipe: How each is trained; None for the paper's MLP.
      encoding: What makes network inputs of stored records: "real" (standardised by each model's own
        training part), "binary", "pixels" or another registered one (`jleaks.data.encodings`).
      num_classes: K; None for the largest label and one.
      seed: Of all models' keys.
      execution: How fast.
      tell: Receives lines of progress.

    Raises:
      InputError: shapes do not fit, or the recipe cannot be trained on the records.
      DivergedError: a model's loss was not finite, and the execution does not mark such models.
    """
    recipe, execution = recipe or Recipe(), (execution or Execution()).validate()
    records, labels, member = np.asarray(records), np.asarray(labels), np.asarray(member)
    n = len(records)
    if labels.shape != (n,) or member.ndim != 2 or member.shape[1] != n or member.dtype != bool:
        raise InputError(
            f"{n} records, labels of shape {labels.shape} and member of shape {member.shape} and type "
            f"{member.dtype}; expected [records, ...], [records] and booleans [models, records]"
        )
    encodings.find(encoding)
    if records.dtype == np.float64:
        records = records.astype(np.float32)
    sizes = member.sum(1).astype(np.int32)
    if sizes.min() < recipe.batch_size:
        raise InputError(
            f"model {int(sizes.argmin())} has {sizes.min()} records but batch_size is {recipe.batch_size}"
        )
    indices = np.zeros((len(member), sizes.max()), np.int32)
    for row, flags, size in zip(indices, member, sizes, strict=True):
        row[:size] = np.flatnonzero(flags)
    keys = [identity_key(seed, "fleet", Role.BANK_MODEL, i) for i in range(len(member))]
    spec = FleetSpec(
        name="fleet",
        names=[f"model {i}" for i in range(len(member))],
        learner=packing.make_learner(
            recipe, encoding, num_classes or int(labels.max()) + 1, execution
        ),
        features=records,
        labels=labels.astype(np.int32),
        members=Members(indices, sizes),
        key_data=stack_key_data(keys),
    )
    with StopSignal() as stop:
        trainer = Trainer(
            spec, execution, lambda p: tell(f"{p.done}/{p.total} model-epochs"), stop, tell
        )
        return TrainedFleet(trainer.run(), trainer)
