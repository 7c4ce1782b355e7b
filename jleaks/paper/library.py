"""Trained models kept on disk, each found by the fingerprint of all that defines its weights.

Experiments ask for models; whatever one of them has trained, the others find.  A model whose recipe, data
and key are equal is trained once, whichever experiment asks, in whatever order, before or after a restart.

models/<fingerprint>.npz          a trained model: parameters, statistics, what it cost, its fingerprint
answers/<fingerprint>.npz         what a forest answered to some records, likewise
fleets/<fingerprint>/             orbax: models in training, deleted when all of them are kept
"""

import dataclasses
import math
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from jleaks import npz, packing, train
from jleaks.checkpoints import Store
from jleaks.errors import InputError
from jleaks.fingerprint import fingerprint
from jleaks.learner import State
from jleaks.plan import Execution
from jleaks.preemption import StopSignal
from jleaks.reporter import Reporter
from jleaks.trainer import Crew, Trainer

# Host memory that the models of one fleet in training may take, optimiser state included.
_MOST_BYTES = 2 << 30


@dataclasses.dataclass(frozen=True)
class Cost:
    """What training took.

    Attributes:
      device_seconds: Wall time of the fleet times its devices, divided among its models.
      wall_seconds: Wall time of the fleet, divided among its models.
      flops: Of all gradient steps, as XLA counts them; None where it was not counted.
    """

    device_seconds: float
    wall_seconds: float
    flops: float | None

    def __add__(self, other: "Cost") -> "Cost":
        known = self.flops is not None and other.flops is not None
        return Cost(
            self.device_seconds + other.device_seconds,
            self.wall_seconds + other.wall_seconds,
            (self.flops or 0.0) + (other.flops or 0.0) if known else None,
        )


class Library:
    """The models of one directory.  Several runs may use it, one at a time."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        execution: Execution,
        reporter: Reporter,
        stop: StopSignal,
    ):
        """Opens the directory, creating it if need be.

        Args:
          folder: Where the models are.
          execution: How fast to train those that are missing.
          reporter: Where to tell what is going on.
          stop: Looked at while training.

        Raises:
          InputError: the directory cannot be written.
        """
        self.folder = Path(folder).absolute()
        self._execution, self._reporter, self._stop = execution, reporter, stop
        # Models trained by this process; the tests' and the log's word for "nothing was repeated".
        self.num_trained = 0
        try:
            (self.folder / "models").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write to {self.folder}: {error.strerror}") from error

    def path(self, name: str) -> Path:
        """Where the model with this fingerprint is kept."""
        return self.folder / "models" / f"{name}.npz"

    def train(self, crew: Crew, names: Sequence[str]) -> tuple[Trainer, State]:
        """Trains those models of a crew that are not kept yet.

        Args:
          crew: The models.
          names: Their fingerprints; equal ones are trained once.

        Returns:
          A trainer with which the models can be asked, and their state, leaves [M, ...], without
          that of the optimiser.

        Raises:
          Preempted: a stop signal arrived; everything so far was saved.
          DivergedError: a loss was not finite.
          InputError: a kept model is damaged.
        """
        first = {name: i for i, name in reversed(list(enumerate(names)))}
        missing = [i for name, i in first.items() if not self.path(name).exists()]
        missing.sort()
        width = crew.members.indices.shape[1]
        size = packing.measure(crew.learner, _shape(crew), width)
        most = max(1, _MOST_BYTES // max(size.state_bytes, 1))
        for start in range(0, len(missing), most):
            at = np.array(missing[start : start + most])
            self._fit(take(crew, at), [names[i] for i in at], size.flops_per_epoch / width)
        trainer = Trainer(crew, self._execution, self._reporter.progress, self._stop)
        template = train.template(crew.learner, crew.features)
        states = [self._load(self.path(name), template) for name in names]
        return trainer, jax.tree.map(lambda *leaves: np.stack(leaves), *states)

    def _fit(self, crew: Crew, names: list[str], flops_per_record: float) -> None:
        """Trains a crew of which no model is kept, and keeps them."""
        fleet = fingerprint(*sorted(names), digits=24)
        store = Store(self.folder / "fleets" / fleet, fleet, self._reporter.line)
        tick = time.monotonic()
        trainer = Trainer(crew, self._execution, self._reporter.progress, self._stop)
        state = trainer.run(store)
        store.close()
        wall = (time.monotonic() - tick) / crew.num_models
        epochs = crew.learner.recipe.epochs
        for i, name in enumerate(names):
            cost = Cost(
                device_seconds=wall * trainer.fleet.mesh.size,
                wall_seconds=wall,
                flops=flops_per_record * int(crew.members.size[i]) * epochs,
            )
            model = jax.tree.map(lambda leaf, i=i: leaf[i], state._replace(opt_state=()))
            self._keep(self.path(name), model, crew.names[i], cost)
        shutil.rmtree(self.folder / "fleets" / fleet, ignore_errors=True)
        self.num_trained += crew.num_models
        self._reporter.line(
            f"{crew.name}: {crew.num_models} models trained in {wall * crew.num_models:.1f} s"
        )

    def _keep(self, path: Path, state: State, name: str, cost: Cost) -> None:
        """Writes one model, whole or not at all."""
        write_kept(path, _flat(state), {"name": name, "cost": dataclasses.asdict(cost)})

    def _load(self, path: Path, template: State) -> State:
        """Reads one model.

        Args:
          path: Where it is kept.
          template: Shapes and types of its state.
        """
        arrays, _ = read_kept(path, _RETRAIN)
        expected = _flat(template)
        if arrays.keys() != expected.keys():
            raise npz.damaged(
                path, f"it has {_named(arrays)}, this model has {_named(expected)}", _RETRAIN
            )
        for name, like in expected.items():
            found = arrays[name]
            if found.shape != like.shape or found.dtype != like.dtype:
                what = f"{found.dtype} {found.shape}, expected {like.dtype} {like.shape}"
                raise npz.damaged(path, f"{name} is {what}", _RETRAIN)
            if not np.isfinite(found).all():
                raise npz.damaged(path, f"{name} is not finite", _RETRAIN)
        fields: dict[str, Any] = {"opt_state": ()}
        for field in State._fields:
            own = {
                tuple(key.split("/")[1:]): leaf
                for key, leaf in arrays.items()
                if key.split("/")[0] == field
            }
            if field != "opt_state":
                fields[field] = own[()] if () in own else traverse_util.unflatten_dict(own)
        return State(**fields)

    def cost(self, name: str) -> Cost:
        """Returns what training the model with this fingerprint took."""
        path = self.path(name)
        _, meta = read_kept(path, _RETRAIN)
        try:
            cost = Cost(**meta["cost"])
            if not all(x is None or math.isfinite(x) for x in dataclasses.astuple(cost)):
                raise ValueError("not finite")
        except (KeyError, TypeError, ValueError) as error:
            raise npz.damaged(path, f"what it cost is {meta.get('cost')}", _RETRAIN) from error
        return cost


_RETRAIN = "delete it to train again"


def _flat(state: State) -> dict[str, Any]:
    """Returns the leaves of a model by path, without those of its optimiser."""
    return {
        "/".join((field, *key)): leaf
        for field, value in state._asdict().items()
        if field != "opt_state"
        for key, leaf in (
            traverse_util.flatten_dict(value) if isinstance(value, dict) else {(): value}
        ).items()
    }


def _named(arrays: Mapping[str, Any]) -> str:
    return ", ".join(name for name in sorted(arrays) if name.startswith("params/")) or "no layers"


def _shape(crew: Crew) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(crew.features.shape, crew.features.dtype)


def take(crew: Crew, at: np.ndarray) -> Crew:
    """Returns the crew of some of the models."""
    return dataclasses.replace(
        crew,
        names=[crew.names[i] for i in at],
        members=jax.tree.map(lambda leaf: leaf[at], crew.members),
        words=crew.words[at],
        masks=None if crew.masks is None else crew.masks[at],
    )


def write_kept(path: Path, arrays: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Writes what is kept under a fingerprint, which is the file's name; the file holds it as well.

    Raises:
      InputError: it cannot be written.
    """
    npz.save(
        path,
        {name: np.asarray(array) for name, array in arrays.items()},
        {"fingerprint": path.stem, **meta},
    )


def read_kept(path: Path, remedy: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads what is kept under a fingerprint.

    Args:
      path: Whose name is the fingerprint.
      remedy: What to do about a file that cannot be used.

    Raises:
      InputError: it is missing or damaged, or the file of another fingerprint.
    """
    arrays, meta = npz.load(path, remedy)
    if "fingerprint" not in meta:
        raise InputError(f"{path} does not hold its fingerprint (an earlier version's?); {remedy}")
    if meta["fingerprint"] != path.stem:
        raise InputError(f"{path} holds {meta['fingerprint']!r:.40}, another fingerprint; {remedy}")
    return arrays, meta
