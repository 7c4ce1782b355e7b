"""Training a whole fleet on the host's side: packs, chunks of epochs, checkpoints, progress, stopping."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np

from jleaks.activity import doing
from jleaks.errors import InputError
from jleaks.training import adversarial, divergence, epoch, gradient_canary, packing, processes
from jleaks.training import private as private_lib
from jleaks.training.checkpoints import Store
from jleaks.training.executables import TooLargeError
from jleaks.training.execution import Execution
from jleaks.training.fleet import Answering, Fleet, Pack, SignalFn, make_mesh
from jleaks.training.learner import Data, Learner, Members, State
from jleaks.training.memory import available_memory, exhausted, readable
from jleaks.training.preemption import Preempted, StopSignal
from jleaks.training.progress import Progress, TrainingProgress, write_models

_T = TypeVar("_T")

# Checkpoints take at most one part in so many of the time.
_SAVING_SHARE = 20
# Records answered at a time when a trained model is queried.
_QUERY_BLOCK = 500
# Answers of one call on host devices, of all its models: a stop signal is looked for between calls.
_MOST_ANSWERS = 50_000
# The same of answers that each take a search.
_MOST_SEARCHES = 1_000


@dataclasses.dataclass(frozen=True, eq=False)
class FleetSpec:
    """Specification of one fleet: its models and everything that defines their weights.

    Attributes:
      name: Of the fleet, for messages.
      names: Identity of each model, for messages.
      learner: What they share.
      features: [N, ...] the dataset.
      labels: [N] its labels.
      members: Training parts, [M, n] indices and [M] counts.
      key_data: [M, 2] data of their PRNG keys.
      masks: Attack models only, [M, top].
      begun: Trained models, leaves [M, ...], from which these go on, by a fresh optimiser; None for random
        weights.
    """

    name: str
    names: list[str]
    learner: Learner
    features: np.ndarray
    labels: np.ndarray
    members: Members
    key_data: np.ndarray
    masks: np.ndarray | None = None
    begun: State | None = None

    @property
    def num_models(self) -> int:
        """M."""
        return len(self.names)

    @property
    def beside_bytes(self) -> int:
        """Of what a defence keeps beside one model: soft labels, reference records, an adversary."""
        own = self.members.soft_labels, self.members.reference
        kept = sum(leaf[0].size * leaf.dtype.itemsize for leaf in own if leaf is not None)
        if self.members.adversarial is not None:
            kept += adversarial.state_bytes(self.learner.num_classes)
        return kept


def _take(tree: _T, rows: slice | np.ndarray) -> _T:
    """Returns the models at `rows` of a stacked tree."""
    return jax.tree.map(lambda leaf: leaf[rows], tree)


def _alike(error: Exception) -> bool:
    """Whether memory ran out on all processes: programs are equal, but the others may have results."""
    return processes.count() == 1 or isinstance(error, TooLargeError)


class Trainer:
    """Trains the models of a fleet; keeps their whole state on the host, packs on the devices.

    Where memory runs out, packs become smaller and work continues from the host's state.
    """

    def __init__(
        self,
        spec: FleetSpec,
        execution: Execution,
        report: Callable[[Progress], None],
        stop: StopSignal,
        line: Callable[[str], None] = lambda _: None,
        memory: int | None = None,
    ):
        """Places the dataset on the devices and chooses a packing; trains nothing yet.

        Args:
          spec: The models, and all that defines their weights.
          execution: How to run them.
          report: Called between chunks.
          stop: Looked at between chunks.
          line: Called with one finished sentence: the packing once training starts, and whatever
            changes it.
          memory: Bytes of each device that may be taken; None for what is available.

        Raises:
          InputError: a dropout ratio is not in [0, 1), the network cannot be trained by DP-SGD but should
            be, a gradient canary is given without it, the execution cannot be used, there are not so many
            devices, or the dataset does not fit on one.
        """
        execution.validate()
        if spec.members.dropout is not None:
            for ratio in np.asarray(spec.members.dropout).flat:
                if not 0 <= ratio < 1:
                    raise InputError(
                        f"{spec.name}: a dropout ratio is {ratio:g}, expected numbers in [0, 1)"
                    )
        adversarial.check(spec.name, spec.members, spec.learner.recipe.batch_size)
        gradient_canary.check(spec.members)
        private = spec.members.privacy is not None
        if private:
            state = epoch.template(spec.learner, spec.features)
            private_lib.check(spec.learner, spec.members, state)
        self._spec, self._execution = spec, execution
        self._report, self._stop, self._line = report, stop, line
        self._mesh = make_mesh(execution.num_devices)
        data, width = Data(spec.features, spec.labels), spec.members.indices.shape[1]
        devices = list(self._mesh.devices.flat)
        self.packing = packing.choose(
            *(spec.learner, data, width, spec.num_models, devices, execution),
            memory=memory,
            private=private,
            beside_bytes=spec.beside_bytes,
        )
        if self.packing.data_bytes > self.packing.memory_bytes:
            raise InputError(
                f"{spec.name}: the dataset takes {readable(self.packing.data_bytes)} of each of "
                f"{self._mesh.size} devices, which have {readable(self.packing.memory_bytes)}"
            )
        self.fleet = self._make_fleet()
        self.data: Data = self.fleet.put_data(spec.features, spec.labels)
        self._block = spec.learner.records_per_block or _QUERY_BLOCK

    def _make_fleet(self) -> Fleet:
        limit, group = self.packing.limit_bytes, self.packing.models_per_vmap
        least = self.packing.models_per_call if self.packing.pads else 0
        return Fleet(self._spec.learner, self._mesh, group, limit, least)

    def _in_packs(
        self,
        count: int,
        work: Callable[[slice], _T],
        relieve: Callable[[Exception], None] | None = None,
    ) -> list[_T]:
        """Does something pack by pack, in smaller packs once memory runs out.

        Args:
          count: Number of models.
          work: Called with the models of a pack; called again if it runs out of memory.
          relieve: Called in between; None for smaller packs.

        Returns:
          What `work` returned, in order.

        Raises:
          InputError: memory runs out, and packs cannot or may not be smaller.
        """
        found: list[_T] = []
        at = 0
        while at < count:
            span = slice(at, min(at + self.packing.models_per_call, count))
            try:
                found.append(work(span))
            except (MemoryError, jax.errors.JaxRuntimeError) as error:
                if not exhausted(error):
                    raise
                if not _alike(error):
                    raise InputError(
                        f"{self._what(error)}; several processes cannot make packs smaller at once: say "
                        f"--models_per_call, below {self.packing.models_per_call}"
                    ) from error
                (relieve or self._back_off)(error)
            else:
                at = span.stop
        return found

    def _what(self, error: Exception) -> str:
        return f"{self._spec.name}: {(str(error) or 'out of memory').splitlines()[0]}"

    def _back_off(self, error: Exception) -> None:
        """Makes packs smaller after running out of memory, and says so."""
        before, found = self.packing, self.packing.smaller()
        if found is None:
            advice = before.advice(self._spec.learner)
            raise InputError(f"{self._what(error)}; {advice}") from error
        self._line(f"{self._what(error)}: {before.changes(found)}")
        self.packing = found
        self.fleet = self._make_fleet()

    def initial(self) -> State:
        """Returns the untrained state of every model, leaves [M, ...], on the host.

        Raises:
          InputError: memory ran out, or the host's would before all models are trained.
        """
        spec, count = self._spec, self._spec.num_models
        held, available = count * self.packing.state_bytes, available_memory()
        if held > available:
            raise InputError(
                f"{spec.name}: the host keeps the states of all {count} models, {readable(held)} of "
                f"{readable(available)} that it has: train fewer at a time"
            )
        states: list[State] = []

        def draw(pack: slice) -> None:
            part = self.fleet.init(
                self.data,
                _take(spec.members, pack),
                spec.key_data[pack],
                None if spec.masks is None else spec.masks[pack],
            )
            if not states:
                states.append(
                    jax.tree.map(lambda leaf: np.empty((count, *leaf.shape[1:]), leaf.dtype), part)
                )
            write_models(states[0], pack, part)

        self._in_packs(count, draw)
        if (begun := spec.begun) is None:
            return states[0]
        # Copies: training writes over them.
        params, statistics, averages = jax.tree.map(
            np.array, (begun.params, begun.statistics, begun.averages)
        )
        return states[0]._replace(params=params, statistics=statistics, averages=averages)

    def run(self, store: Store | None = None) -> State:
        """Trains every model to its last epoch, continuing from the store's latest checkpoint.

        Returns:
          The trained state, every leaf [M, ...], on the host.

        Raises:
          Preempted: a stop signal arrived; everything so far was saved.
          DivergedError: a loss was not finite, and models that diverge are not to be marked.
          InputError: the checkpoint does not fit, or memory ran out.
        """
        state, epochs = self.initial(), np.zeros(self._spec.num_models, np.int32)
        if store is not None and (found := store.restore(state)) is not None:
            state, epochs = found
        tick = time.monotonic()
        progress = TrainingProgress(state, epochs, store, tick, int(epochs.sum()), tick)
        with doing(f"training {self._spec.name}"):
            self._in_packs(len(epochs), lambda pack: self._train(progress, pack))
        self._settle(state)
        if store is not None:
            store.save(state, epochs)
        return state

    def _settle(self, state: State) -> None:
        """Marks, in trained models' state, those that have diverged, and clears them."""
        size, recipe = np.asarray(self._spec.members.size), self._spec.learner.recipe
        # On the host, and to be written.
        bad_step: Any = state.bad_step
        # The last step's loss does not tell what the step made.
        fresh = (bad_step < 0) & divergence.not_finite(state)
        last = recipe.epochs * (size // recipe.batch_size) - 1
        bad_step[fresh] = last[fresh]
        if found := self._diverged(slice(None), bad_step):
            for line in divergence.told(found):
                self._line(line)
            divergence.clear(state, bad_step >= 0)

    def _diverged(
        self, models: slice | np.ndarray, bad_step: np.ndarray
    ) -> list[divergence.Divergence]:
        """Returns those of some models that have diverged.

        Raises:
          DivergedError: there are some, and they are not to be marked.
        """
        spec = self._spec
        chosen = np.arange(spec.num_models)[models]
        steps = np.asarray(spec.members.size)[chosen] // spec.learner.recipe.batch_size
        found = list(divergence.found([spec.names[i] for i in chosen], bad_step, steps).values())
        if found and self._execution.on_divergence == "stop":
            raise divergence.error(found)
        return found

    def _train(self, progress: TrainingProgress, span: slice) -> None:
        """Trains the models of a pack to their last epoch."""
        epochs, num_epochs = progress.epochs[span], self._spec.learner.recipe.epochs
        # Where the packing changed since the checkpoint, the models that are behind catch up first.
        while (start := int(epochs.min())) < num_epochs:
            behind = np.flatnonzero(epochs == start) + span.start
            ceiling = int(min((e for e in epochs if e > start), default=num_epochs))
            pack = self._load(progress, behind)
            try:
                self._advance(progress, pack, behind, start, ceiling)
            except (MemoryError, jax.errors.JaxRuntimeError) as error:
                if exhausted(error) and _alike(error):
                    progress.keep_last_epoch(behind, pack)
                raise

    def _load(self, progress: TrainingProgress, models: np.ndarray) -> Pack:
        """Moves models onto the devices, once it is known what training them takes."""
        spec = self._spec
        parts = _take(progress.state, models), _take(spec.members, models), spec.key_data[models]
        whole = len(models) == self.packing.models_per_call
        try:
            counted = self.fleet.prepare(self.data, *parts).num_bytes
        except TooLargeError as error:
            if whole:
                self.packing = self.packing.counted(error.needed)
            raise
        if whole and counted is not None:
            self.packing = self.packing.counted(counted)
        if not progress.packing_reported:
            self._line(f"{spec.name}: {self.packing}")
            progress.packing_reported = True
        return self.fleet.load(*parts)

    def _advance(
        self, progress: TrainingProgress, pack: Pack, models: np.ndarray, start: int, ceiling: int
    ) -> None:
        """Trains a pack in chunks from epoch `start` to `ceiling`."""
        chunk, at = 1, start
        while at < ceiling:
            stop = min(at + chunk, ceiling)
            tick = time.monotonic()
            pack.fit(self.data, at, stop)
            now = time.monotonic()
            progress.trained += now - tick
            losses, bad = pack.losses()
            self._diverged(models, bad)
            # More seldom where saving takes long, unless every call is to be saved.
            rest = self._execution.checkpoint_seconds
            due = now - progress.saved >= (rest and max(rest, _SAVING_SHARE * progress.saving))
            # By the clock of one process: all go on alike.
            per_epoch, due = processes.numbers((now - tick) / (stop - at), due)[0].tolist()
            halted = self._stop.agreed()
            at = stop
            ahead = int((at - progress.epochs[models]).sum())
            whole = losses[bad < 0, at - 1]
            self._report_progress(progress, ahead, float(whole.mean()) if whole.size else math.nan)
            chunk = max(1, int(self._execution.chunk_seconds / max(per_epoch, 1e-6)))
            if halted or due or at == ceiling:
                progress.keep(models, pack.fetch(), at)
            if progress.store is not None and (halted or due):
                progress.store.save(progress.state, progress.epochs)
                progress.saved = time.monotonic()
                progress.saving = progress.saved - now
            if halted:
                if progress.store is not None:
                    progress.store.close()
                # Nobody leaves before it is saved.
                processes.barrier()
                done = int(progress.epochs.sum())
                raise Preempted(f"{self._spec.name}: stopped after {done} epochs")

    def query(
        self,
        state: State,
        rows: np.ndarray,
        keep: SignalFn,
        data: Data | None = None,
        answering: Answering | None = None,
    ) -> dict[str, np.ndarray]:
        """Asks trained models about records, pack by pack.

        Args:
          state: Of any models of the fleet, leaves [P, ...], on the host.
          rows: [P, n] positions of the records that each model is asked about.
          keep: What is kept of the answers.
          data: What `rows` point into; None for the fleet's own dataset.
          answering: What defended models answer in the place of their logits; None for undefended ones.

        Returns:
          The signals, each [P, n, ...], on the host.

        Raises:
          InputError: memory ran out.
          Preempted: a stop signal arrived; the same call asks again.
        """
        asked = self.data if data is None else data

        def ask(pack: slice) -> dict[str, np.ndarray]:
            own = answering and answering._replace(strength=answering.strength[pack])
            models, mine = _take(state, pack), rows[pack]
            found = []
            block, parts = self._in_parts(mine, own is not None and own.searches)
            for some in parts:
                if self._stop.agreed():
                    raise Preempted(f"stopped while {self._spec.name} answered")
                found.append(self.fleet.query(asked, models, some, keep, block, own))
            count = rows.shape[1]
            return {
                name: np.concatenate([part[name] for part in found], axis=1)[:, :count]
                for name in found[0]
            }

        with doing(f"asking {len(rows)} models of {self._spec.name} about {rows.shape[1]} records"):
            found = self._in_packs(len(rows), ask, self._ask_fewer)
        return {name: np.concatenate([pack[name] for pack in found]) for name in found[0]}

    def _in_parts(self, rows: np.ndarray, searches: bool) -> tuple[int, list[np.ndarray]]:
        """Cuts the records [P, n] of one pack into equal parts, the last one padded by its last record.

        Returns:
          How many records are computed at a time, and the parts.
        """
        count, block, most = rows.shape[1], self._block, _MOST_ANSWERS
        on_cpu = jax.default_backend() == "cpu"
        if searches and on_cpu:
            most = _MOST_SEARCHES
            block = min(block, max(1, most // len(rows)))
        whole = max(1, most // len(rows) // block) * block
        if not on_cpu or count <= whole:
            return block, [rows]
        padded = np.pad(rows, ((0, 0), (0, -count % whole)), mode="edge")
        return block, np.split(padded, padded.shape[1] // whole, axis=1)

    def _ask_fewer(self, error: Exception) -> None:
        """Asks about fewer records at a time after running out of memory, then in smaller packs."""
        block = max(self._block // 2, self._spec.learner.recipe.batch_size)
        if block >= self._block:
            self._back_off(error)
            return
        self._line(f"{self._what(error)}: records asked about at a time {self._block} -> {block}")
        self._block = block

    def _report_progress(self, progress: TrainingProgress, ahead: int, loss: float) -> None:
        """Reports progress; `ahead` model-epochs are behind the pack, but not yet in the host's state."""
        done, seconds = int(progress.epochs.sum()) + ahead, time.monotonic() - progress.began
        total = len(progress.epochs) * self._spec.learner.recipe.epochs
        eta = progress.trained / max(done - progress.before, 1) * (total - done)
        self._report(Progress(self._spec.name, done, total, loss, seconds, eta))
