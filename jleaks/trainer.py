"""Training a whole fleet on the host's side: packs, chunks of epochs, checkpoints, progress, stopping."""

import dataclasses
import time
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np

from jleaks import packing
from jleaks.checkpoints import Store
from jleaks.errors import InputError
from jleaks.fleet import Fleet, SignalFn, make_mesh
from jleaks.plan import Execution
from jleaks.preemption import Preempted, StopSignal
from jleaks.train import Data, Learner, Members, State

_T = TypeVar("_T")

# Records answered at a time when a trained model is queried.
_QUERY_BLOCK = 500


class DivergedError(RuntimeError):
    """A loss stopped being finite; the message names the model and the step."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """What is known between two chunks.

    Attributes:
      fleet: Name of the fleet.
      done: Model-epochs behind, of `total`.
      total: Models times epochs.
      loss: Mean training loss of the current pack's last epoch.
      seconds: Since training began in this process.
      eta: Seconds that remain at the rate so far.
    """

    fleet: str
    done: int
    total: int
    loss: float
    seconds: float
    eta: float


@dataclasses.dataclass(frozen=True, eq=False)
class Crew:
    """The models of one fleet: everything that defines their weights.

    Attributes:
      name: Of the fleet, for messages.
      names: Identity of each model, for messages.
      learner: What they share.
      features: [N, ...] the dataset.
      labels: [N] its labels.
      members: Training parts, [M, n] indices and [M] counts.
      words: [M, 2] key words.
      masks: Attack models only, [M, top].
    """

    name: str
    names: list[str]
    learner: Learner
    features: np.ndarray
    labels: np.ndarray
    members: Members
    words: np.ndarray
    masks: np.ndarray | None = None

    @property
    def num_models(self) -> int:
        """M."""
        return len(self.names)


def _take(tree: _T, rows: slice | np.ndarray) -> _T:
    """Returns the models at `rows` of a stacked tree."""
    return jax.tree.map(lambda leaf: leaf[rows], tree)


class Trainer:
    """Trains the models of a crew; keeps their whole state on the host, packs on the devices."""

    def __init__(
        self,
        crew: Crew,
        execution: Execution,
        report: Callable[[Progress], None],
        stop: StopSignal,
    ):
        """Places the dataset on the devices and chooses a packing; trains nothing yet.

        Args:
          crew: The models.
          execution: How to run them.
          report: Called between chunks.
          stop: Looked at between chunks.

        Raises:
          InputError: a dropout ratio is not in [0, 1), or there are not so many devices.
        """
        if crew.members.dropout is not None:
            for ratio in np.asarray(crew.members.dropout).flat:
                if not 0 <= ratio < 1:
                    raise InputError(
                        f"{crew.name}: a dropout ratio is {ratio:g}, expected numbers in [0, 1)"
                    )
        self._crew, self._execution = crew, execution
        self._report, self._stop = report, stop
        mesh = make_mesh(execution.num_devices)
        self.data: Data = Fleet(crew.learner, mesh).put_data(crew.features, crew.labels)
        self.packing = packing.choose(
            crew.learner,
            self.data,
            crew.members.indices.shape[1],
            crew.num_models,
            list(mesh.devices.flat),
            execution,
        )
        self.fleet = Fleet(crew.learner, mesh, self.packing.models_per_vmap)

    def _packs(self) -> list[slice]:
        size = self.packing.models_per_call
        return [slice(i, i + size) for i in range(0, self._crew.num_models, size)]

    def initial(self) -> State:
        """Returns the untrained state of every model, leaves [M, ...], on the host."""
        crew = self._crew
        parts = [
            self.fleet.init(
                self.data,
                _take(crew.members, pack),
                crew.words[pack],
                None if crew.masks is None else crew.masks[pack],
            )
            for pack in self._packs()
        ]
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)

    def run(self, store: Store | None = None) -> State:
        """Trains every model to its last epoch, continuing from the store's latest checkpoint.

        Returns:
          The trained state, every leaf [M, ...], on the host.

        Raises:
          Preempted: a stop signal arrived; everything so far was saved.
          DivergedError: a loss was not finite.
          InputError: the checkpoint does not fit.
        """
        crew, num_epochs = self._crew, self._crew.learner.recipe.epochs
        state, epochs = self.initial(), np.zeros(crew.num_models, np.int32)
        if store is not None and (found := store.restore(state)) is not None:
            state, epochs = found
        began, before = time.monotonic(), int(epochs.sum())
        saved = began
        for span in self._packs():
            if (epochs[span] == num_epochs).all():
                continue
            # Models of a pack advance together, so they are at the same epoch, unless the packing
            # changed since the checkpoint: then those behind catch up first.
            while (start := int(epochs[span].min())) < num_epochs:
                behind = np.flatnonzero(epochs[span] == start) + span.start
                ceiling = int(min((e for e in epochs[span] if e > start), default=num_epochs))
                pack = self.fleet.load(
                    _take(state, behind),
                    _take(crew.members, behind),
                    crew.words[behind],
                )
                chunk, at = 1, start
                while at < ceiling:
                    stop = min(at + chunk, ceiling)
                    tick = time.monotonic()
                    pack.fit(self.data, at, stop)
                    now = time.monotonic()
                    per_epoch = (now - tick) / (stop - at)
                    losses, bad = pack.losses()
                    if (bad >= 0).any():
                        first = int(np.flatnonzero(bad >= 0)[0])
                        raise DivergedError(
                            f"{crew.names[behind[first]]}: the loss is not finite at step "
                            f"{int(bad[first])} (epoch {stop}); lower the learning rate"
                        )
                    at = stop
                    epochs[behind] = at
                    self._tell(epochs, before, began, float(losses[:, at - 1].mean()))
                    # The first call also compiled, so the second is measured afresh.
                    chunk = (
                        1
                        if at == start + 1
                        else max(1, int(self._execution.chunk_seconds / max(per_epoch, 1e-6)))
                    )
                    halted = self._stop.received is not None
                    due = now - saved >= self._execution.checkpoint_seconds
                    if halted or due or at == ceiling:
                        _update(state, behind, pack.fetch())
                    if store is not None and (halted or due):
                        store.save(state, epochs)
                        saved = time.monotonic()
                    if halted:
                        if store is not None:
                            store.close()
                        raise Preempted(f"{crew.name}: stopped after {int(epochs.sum())} epochs")
        if store is not None:
            store.save(state, epochs)
        return state

    def query(
        self, state: State, rows: np.ndarray, keep: SignalFn, data: Data | None = None
    ) -> dict[str, np.ndarray]:
        """Asks trained models about records, pack by pack.

        Args:
          state: Of any models of the crew, leaves [P, ...], on the host.
          rows: [P, n] positions of the records that each model is asked about.
          keep: What is kept of the answers.
          data: What `rows` point into; None for the crew's own dataset.

        Returns:
          The signals, each [P, n, ...], on the host.
        """
        size = self.packing.models_per_call
        block = self._crew.learner.records_per_block or _QUERY_BLOCK
        data = self.data if data is None else data
        found = [
            self.fleet.query(
                data, _take(state, slice(i, i + size)), rows[i : i + size], keep, block
            )
            for i in range(0, len(rows), size)
        ]
        return {name: np.concatenate([pack[name] for pack in found]) for name in found[0]}

    def _tell(self, epochs: np.ndarray, before: int, began: float, loss: float) -> None:
        done, total = int(epochs.sum()), len(epochs) * self._crew.learner.recipe.epochs
        seconds = time.monotonic() - began
        eta = seconds / max(done - before, 1) * (total - done)
        self._report(Progress(self._crew.name, done, total, loss, seconds, eta))


def _update(state: State, rows: np.ndarray, part: State) -> None:
    """Writes a pack's state into the whole fleet's, in place."""
    for whole, new in zip(jax.tree.leaves(state), jax.tree.leaves(part), strict=True):
        whole[rows] = new
