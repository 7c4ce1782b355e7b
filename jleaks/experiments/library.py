"""Trained models kept on disk, each found by the fingerprint of all that defines its weights.

Runs ask for models; whatever one of them has trained, the others find.  A model whose recipe, data and key
are equal is trained once, whoever asks, in whatever order, before or after a restart.  Several runs may use
one library at the same time: files appear whole, and who needs a model that another run is training waits.
Of several processes that train together, the first alone looks into the directory.

models/<fingerprint>.fleet.npz    trained models, stacked on axis 0: parameters, statistics; and of each its
                                  fingerprint, name and what it cost, by which it is found
answers/<fingerprint>.npz         what a forest answered to some records
fleets/<fingerprint>/             orbax: models in training, deleted when all of them are kept
fleets/<fingerprint>.seconds.json what training them has taken so far, likewise
training.lock                     one byte locked for every model in training
"""

import contextlib
import dataclasses
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jleaks import locks, npz
from jleaks.errors import InputError
from jleaks.experiments.library_files import (
    RETRAIN,
    Spent,
    flat,
    nested,
    read_kept,
    read_models,
    write_kept,
)
from jleaks.files import on_disk
from jleaks.fingerprint import fingerprint
from jleaks.training import cost as training_cost
from jleaks.training import divergence, epoch, processes
from jleaks.training.checkpoints import Store
from jleaks.training.execution import Execution
from jleaks.training.learner import State
from jleaks.training.preemption import StopSignal
from jleaks.training.progress import Progress
from jleaks.training.reporter import Reporter
from jleaks.training.trainer import FleetSpec, Trainer

# Host memory that the models of one fleet in training may take, optimiser state included.
_MOST_BYTES = 2 << 30


@dataclasses.dataclass(frozen=True)
class Cost:
    """What training took.

    Attributes:
      device_seconds: Wall time of the fleet times its devices, divided among its models.
      wall_seconds: Wall time of the fleet, that of interrupted processes included, divided among its
        models.
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
    """The models of one directory."""

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
        self.folder = on_disk(folder, "models_dir").absolute()
        self._execution, self._reporter, self.stop = execution, reporter, stop
        # What is known of the kept fleets: files read so far, and where in them each model is.
        self._read: set[Path] = set()
        self._index: dict[str, tuple[Path, int, dict[str, Any]]] = {}
        # Models trained by this process (the tests' and the log's word for "nothing was repeated"), and
        # the seconds that it took.
        self.num_trained, self.seconds_trained = 0, 0.0
        if not processes.is_first():
            return
        try:
            (self.folder / "models").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write to {self.folder}: {error.strerror}") from error

    def find(self, name: str) -> tuple[Path, int, dict[str, Any]] | None:
        """Returns where the model with this fingerprint is kept, or None.

        Returns:
          The file, the model's position on axis 0, and what was noted of it.

        Raises:
          InputError: a kept fleet is damaged.
        """
        if name not in self._index:
            self._refresh()
        return self._index.get(name)

    def _refresh(self) -> None:
        """Looks for fleets that were kept since."""
        if not processes.is_first():
            return
        for path in sorted(set((self.folder / "models").glob(f"*{_FLEET}")) - self._read):
            _, meta = read_kept(path, RETRAIN, only=())
            models = meta.get("models")
            if not isinstance(models, list) or not all(
                isinstance(model, dict) and isinstance(model.get("fingerprint"), str)
                for model in models
            ):
                raise npz.damaged(path, "it does not say which models it holds", RETRAIN)
            for row, model in enumerate(models):
                self._index.setdefault(model["fingerprint"], (path, row, model))
            self._read.add(path)

    def train(
        self, spec: FleetSpec, names: Sequence[str], sound: bool = False
    ) -> tuple[Trainer, State]:
        """Trains those models of a fleet that are not kept yet.

        Args:
          spec: The models, and all that defines their weights.
          names: Their fingerprints; equal ones are trained once.
          sound: Whether a model that diverged ends the run even where such are marked, because its
            answers could not be left out.

        Returns:
          A trainer with which the models can be asked, and their state, leaves [M, ...], without
          that of the optimiser.

        Raises:
          Preempted: a stop signal arrived; everything so far was saved.
          DivergedError: a loss was not finite, and models that diverge are not to be marked.
          InputError: a kept model is damaged.
        """
        trainer = None
        what = f"{spec.name} with models {fingerprint(*names)}"
        processes.same(what, "with the same datasets in --data_dir")
        if missing := processes.first(lambda: self._missing(names)):
            with self._alone([names[i] for i in missing]):
                # Another run may have trained some in the meantime.
                missing = processes.first(lambda: self._missing(names))
                trainer = self._fit_all(spec, names, missing)
        trainer = trainer or self._trainer(spec, self._reporter.progress)
        watched = 0 if spec.members.watched is None else spec.members.watched.shape[1]
        canary = spec.members.canary is not None
        template = epoch.template(spec.learner, spec.features, num_watched=watched, canary=canary)
        state = self.load(names, template)
        # Those that an earlier run marked; told by the state, which all processes have.
        strict = sound or self._execution.on_divergence == "stop"
        if strict and (marked := _diverged(spec, state)):
            raise divergence.error(list(marked.values()), may_mark=not sound)
        return trainer, state

    def has(self, names: Sequence[str]) -> bool:
        """Returns whether models with all of these fingerprints are kept."""
        return processes.first(lambda: not self._missing(names))

    def _missing(self, names: Sequence[str]) -> list[int]:
        """Returns the positions of models that are not kept, each fingerprint once."""
        first = {name: i for i, name in reversed(list(enumerate(names)))}
        self._refresh()
        return sorted(i for name, i in first.items() if name not in self._index)

    @contextlib.contextmanager
    def _alone(self, names: Sequence[str]) -> Iterator[None]:
        """Keeps other runs from training these models meanwhile; waits while one does."""
        if not processes.is_first():
            yield
            return
        reported = False

        def wait() -> None:
            nonlocal reported
            if not reported:
                reported = True
                self._reporter.line(f"waiting: another run trains models of {self.folder}")
            self.stop.check("another run trained")

        places = (int(fingerprint(name), 16) >> 2 for name in names)
        with locks.parts(self.folder / "training.lock", places, wait):
            yield

    def _fit_all(self, spec: FleetSpec, names: Sequence[str], missing: list[int]) -> Trainer | None:
        """Trains models in as few fleets as the host's memory takes.

        Returns:
          The trainer of all models, if one fleet held them.
        """
        if not missing:
            return None
        trainer = None
        size = _measured(spec)
        # Of all, not of those that are missing: whoever continues must find the fleets that were begun.
        most = _of_even_fleets(size, spec.num_models)
        per_record = size.flops_per_epoch / spec.members.indices.shape[1]
        for start in range(0, len(missing), most):
            at = np.array(missing[start : start + most])
            trainer = self._fit(take(spec, at), [names[i] for i in at], per_record)
        return trainer if spec.num_models == len(missing) <= most else None

    def _trainer(self, spec: FleetSpec, progress: Callable[[Progress], None]) -> Trainer:
        return Trainer(spec, self._execution, progress, self.stop, self._reporter.line)

    def _fit(self, spec: FleetSpec, names: list[str], flops_per_record: float) -> Trainer:
        """Trains a fleet of which no model is kept, and keeps them."""
        fleet = fingerprint(*sorted(names), digits=24)
        folder = self.folder / "fleets" / fleet
        spent = Spent(folder.with_suffix(".seconds.json"))

        def progress(p: Progress) -> None:
            spent.keep(p.seconds)
            self._reporter.progress(p)

        store = Store(folder, fleet, self._reporter.line)
        tick = time.monotonic()
        trainer = self._trainer(spec, progress)
        state = trainer.run(store)
        store.close()
        seconds = time.monotonic() - tick
        wall = spent.keep(seconds) / spec.num_models
        diverged = _diverged(spec, state)
        models = [
            {
                "fingerprint": name,
                "name": spec.names[i],
                **({"diverged": diverged[i][1:]} if i in diverged else {}),
                "cost": {
                    "device_seconds": wall * trainer.fleet.mesh.size,
                    "wall_seconds": wall,
                    "flops": flops_per_record
                    * int(spec.members.size[i])
                    * spec.learner.recipe.epochs,
                },
            }
            for i, name in enumerate(names)
        ]
        path = self.folder / "models" / f"{fleet}{_FLEET}"
        if processes.is_first():
            write_kept(path, flat(state._replace(opt_state=(), adversary={})), {"models": models})
            shutil.rmtree(folder, ignore_errors=True)
            spent.path.unlink(missing_ok=True)
        self.num_trained += spec.num_models
        self.seconds_trained += seconds
        self._reporter.line(f"{spec.name}: {spec.num_models} models trained in {seconds:.1f} s")
        return trainer

    def load(self, names: Sequence[str], template: State) -> State:
        """Reads kept models; each file once.

        Args:
          names: Their fingerprints.
          template: Shapes and types of one model's state.

        Returns:
          Their state without that of the optimiser, leaves [M, ...].

        Raises:
          InputError: one is not kept, or is damaged.
        """
        leaves = {
            name: np.empty((len(names), *like.shape), like.dtype)
            for name, like in flat(template).items()
        }
        return nested(
            processes.first_arrays(lambda: self._read_into(leaves, names, template), leaves)
        )

    def _read_into(
        self, leaves: dict[str, np.ndarray], names: Sequence[str], template: State
    ) -> dict[str, np.ndarray]:
        """Reads kept models into leaves [M, ...], each file once."""
        places: dict[Path, list[tuple[int, int]]] = {}
        for i, name in enumerate(names):
            if (found := self.find(name)) is None:
                raise InputError(f"{self.folder} has no model {name}")
            places.setdefault(found[0], []).append((i, found[1]))
        for path, pairs in places.items():
            arrays = read_models(path, flat(template))
            to, at = np.array(pairs).T
            for name, leaf in leaves.items():
                leaf[to] = arrays[name][at]
        return leaves

    def diverged(self, names: Iterable[str]) -> list[divergence.Divergence]:
        """Returns those of some kept models, by their fingerprints, whose training diverged.

        Raises:
          InputError: a model's note of it is damaged.
        """
        noted = []
        for name in dict.fromkeys(names):
            path, _, about = self.find(name) or (None, 0, {})
            if path is None or "diverged" not in about:
                continue
            try:
                step, epoch = map(int, about["diverged"])
            except (TypeError, ValueError) as error:
                raise npz.damaged(
                    path, f"where it diverged is {about['diverged']}", RETRAIN
                ) from error
            noted.append(divergence.Divergence(str(about.get("name")), step, epoch))
        return noted

    def cost(self, name: str) -> Cost:
        """Returns what training the model with this fingerprint took; the first process alone knows."""
        if not processes.is_first():
            return Cost(0.0, 0.0, None)
        found = self.find(name)
        if found is None:
            raise InputError(f"{self.folder} has no model {name}")
        path, _, about = found
        try:
            cost = Cost(**about["cost"])
            if not all(x is None or math.isfinite(x) for x in dataclasses.astuple(cost)):
                raise ValueError("not finite")
        except (KeyError, TypeError, ValueError) as error:
            raise npz.damaged(path, f"what it cost is {about.get('cost')}", RETRAIN) from error
        return cost


def _diverged(spec: FleetSpec, state: State) -> dict[int, divergence.Divergence]:
    """Returns those models of a fleet that have diverged, by position."""
    steps = np.asarray(spec.members.size) // spec.learner.recipe.batch_size
    return divergence.found(spec.names, np.asarray(state.bad_step), steps)


def _measured(spec: FleetSpec) -> training_cost.Cost:
    """Returns what training one model of a fleet takes."""
    shape = jax.ShapeDtypeStruct(spec.features.shape, spec.features.dtype)
    width, private = spec.members.indices.shape[1], spec.members.privacy is not None
    size = training_cost.measure(spec.learner, shape, width, private)
    more = spec.beside_bytes
    if spec.members.watched is not None:
        more += 4 * spec.learner.trace_points * spec.members.watched.shape[1]
    return dataclasses.replace(size, state_bytes=size.state_bytes + more)


def _of_even_fleets(size: training_cost.Cost, count: int) -> int:
    """Returns the models of one fleet: as few fleets as the host's memory allows, of about one size.

    A small last one would be compiled for, and would leave an accelerator idle.
    """
    most = max(1, _MOST_BYTES // max(size.state_bytes, 1))
    return -(-count // -(-count // most))


def models_per_fleet(spec: FleetSpec, count: int) -> int:
    """Returns how many of so many models like a fleet's are trained, and held in memory, at a time."""
    return _of_even_fleets(_measured(spec), count)


# Ends the name of a file that holds a fleet.
_FLEET = ".fleet.npz"


def take(spec: FleetSpec, at: np.ndarray) -> FleetSpec:
    """Returns the specification of some of the models."""
    return dataclasses.replace(
        spec,
        names=[spec.names[i] for i in at],
        members=jax.tree.map(lambda leaf: leaf[at], spec.members),
        key_data=spec.key_data[at],
        masks=None if spec.masks is None else spec.masks[at],
        begun=None if spec.begun is None else jax.tree.map(lambda leaf: leaf[at], spec.begun),
    )
