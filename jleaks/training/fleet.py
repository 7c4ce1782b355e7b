"""Many models, many devices: the only file that knows of either.

Everything is written for one model elsewhere; here the model axis is added (`vmap` for models that
advance together, `lax.map` for models that take turns) and spread over a one-dimensional device mesh
with `shard_map`.  Inside the mapped function each device holds whole models and never talks to another.
`check_vma=False` is essential: with the default, arrays created inside (a bias of zeros) count as
replicated, and their gradients are silently summed over devices, coupling models that must be
independent.
"""

import collections
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jaxtyping import Array, Float, Int, UInt32

from jleaks import keys, settings
from jleaks.errors import InputError
from jleaks.keys import Key
from jleaks.training import epoch as epoch_lib
from jleaks.training import processes
from jleaks.training.executables import Executable, ready
from jleaks.training.learner import Data, Learner, Members, State
from jleaks.training.placement import (
    MODEL,
    SHARED,
    fetch,
    padded_size,
    put_models,
    put_shared,
)

# How often each program was traced, by name.  Tests hold it to the number of distinct shapes.
TRACES: collections.Counter[str] = collections.Counter()


Signals = dict[str, Array]
# Network inputs of a batch to logits.
PredictFn = Callable[[Array], Array]
# From a model's strength of defence and its logits to what it answers.
DefendFn = Callable[[Array, Array], Array]
# What is kept of a batch: (predict_fn, inputs [B, ...], labels [B]) -> signals, each [B, ...].
SignalFn = Callable[[PredictFn, Array, Array], Signals]


class Answering(NamedTuple):
    """What happens to the answers of defended models before anyone sees them.

    Attributes:
      fn: Of one model; pure, and the same object on every call (it keys the compiled program).
      strength: [P, ...] of each model.
      searches: Whether every answer takes a search, as long as thousands of the model's own.
    """

    fn: DefendFn
    strength: Float[np.ndarray, "models *strength"]
    searches: bool = False


def make_mesh(num_devices: int | None = None) -> Mesh:
    """Returns a one-dimensional mesh over the first `num_devices` devices (None: all of them).

    Raises:
      InputError: there are not that many devices, or none, or other processes' among them, or JAX is
        set to compute other numbers.
    """
    settings.check()
    if jax.process_count() != processes.count():
        raise InputError(
            f"JAX was started as {jax.process_count()} processes that share their devices, and jleaks "
            "does not know of it: leave that to `jleaks sweep` or `jleaks bank`, or start each by itself, "
            "with a --workdir of its own"
        )
    # Those of one process side by side.
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    count = len(devices) if num_devices is None else num_devices
    if processes.count() > 1 and count < len(devices):
        raise InputError(
            f"num_devices is {count}, {processes.count()} processes use all that they have, "
            f"{len(devices)}: leave it unset"
        )
    if count > len(devices):
        raise InputError(f"num_devices is {count}, JAX sees {len(devices)} ({devices[0].platform})")
    return Mesh(np.array(devices[:count]), ("model",), axis_types=(AxisType.Auto,))


def stack_key_data(keys: list[Key]) -> UInt32[np.ndarray, "models 2"]:
    """Returns the raw data of typed keys, stacked, the form in which a fleet keeps them."""
    return np.stack([np.asarray(jax.random.key_data(key)) for key in keys])


def over_models(fn: Callable[..., Any], group: int, *stacked: Any) -> Any:
    """Applies `fn` to every model: `group` of them at a time under vmap, groups in turn."""
    count = jax.tree.leaves(stacked)[0].shape[0]
    if group >= count:
        return jax.vmap(fn)(*stacked)
    if group == 1:
        return lax.map(lambda one: fn(*one), stacked)
    return lax.map(lambda one: fn(*one), stacked, batch_size=group)


def spread(
    name: str, device_fn: Callable[..., Any], mesh: Mesh, specs: tuple[Any, ...], **jit: Any
) -> Any:
    """Compiles a function that runs on every device's own models.

    Args:
      name: Counted in `TRACES` whenever the function is traced.
      device_fn: Sees each stacked argument's local models; returns arrays stacked likewise.
      mesh: The devices.
      specs: For each argument "models" (stacked on axis 0, spread), "shared" (on every device), or what
        JAX calls its specs.
      **jit: Options of `jax.jit`.
    """

    def device(*args: Any) -> Any:
        TRACES[name] += 1
        return device_fn(*args)

    mapped = jax.shard_map(
        device,
        mesh=mesh,
        in_specs=tuple(
            {"models": MODEL, "shared": SHARED}[spec] if isinstance(spec, str) else spec
            for spec in specs
        ),
        out_specs=MODEL,
        check_vma=False,
    )
    return jax.jit(mapped, **jit)


@functools.cache
def _programs(learner: Learner, mesh: Mesh, group: int) -> dict[str, Any]:
    """Builds the programs of one kind of fleet."""

    def init(data: Data, members: Members, key_data: Array, masks: Array | None) -> State:
        def one(members: Members, key_data: Array, mask: Array | None) -> State:
            return epoch_lib.init(learner, data, members, keys.wrap(key_data), mask)

        return over_models(one, group, members, key_data, masks)

    def fit(
        state: State, data: Data, members: Members, key_data: Array, start: Array, stop: Array
    ) -> State:
        def one(state: State, members: Members, key_data: Array) -> State:
            key = keys.wrap(key_data)
            return epoch_lib.fit(learner, data, members, key, state, start, stop)

        return over_models(one, group, state, members, key_data)

    return {
        "init": spread("init", init, mesh, ("shared", "models", "models", "models")),
        "fit": spread(
            "fit",
            fit,
            mesh,
            ("models", "shared", "models", "models", "shared", "shared"),
            donate_argnums=0,
        ),
    }


@functools.cache
def _query_program(
    learner: Learner,
    mesh: Mesh,
    group: int,
    block: int,
    signal_fn: SignalFn,
    defend_fn: DefendFn | None,
) -> Callable[..., Signals]:
    def query(state: State, data: Data, indices: Array, strength: Array | None) -> Signals:
        num_records = indices.shape[1]
        num_blocks = -(-num_records // block)

        def one(state: State, indices: Array, strength: Array | None) -> Signals:
            predict_fn: PredictFn = functools.partial(learner.predict, state)
            if defend_fn is not None:
                predict_fn = functools.partial(_defended, predict_fn, defend_fn, strength)
            padded = jnp.pad(indices, (0, num_blocks * block - num_records), mode="edge")

            def kept(rows: Array) -> Signals:
                inputs = learner.encode(state, data.features[rows])
                return signal_fn(predict_fn, inputs, data.labels[rows])

            blocks = lax.map(kept, padded.reshape(num_blocks, block))
            return jax.tree.map(
                lambda a: a.reshape(num_blocks * block, *a.shape[2:])[:num_records], blocks
            )

        return over_models(one, group, state, indices, strength)

    return spread("query", query, mesh, ("models", "shared", "models", "models"))


def _defended(predict_fn: PredictFn, fn: DefendFn, strength: Array | None, inputs: Array) -> Array:
    assert strength is not None
    return fn(strength, predict_fn(inputs))


class Fleet:
    """Compiled operations on packs of models that share a learner and a dataset.

    A *pack* is the P models of one call.  P may be anything: it is padded to a multiple of devices
    times group by repeating the last model, and the surplus is cut off again.
    """

    def __init__(
        self,
        learner: Learner,
        mesh: Mesh,
        group: int = 1,
        limit: int | None = None,
        least: int = 0,
    ):
        """Prepares the programs; nothing is compiled until they are called.

        Args:
          learner: What all models share.
          mesh: Devices to spread the models over.
          group: Models of one device that advance in the same instruction.
          limit: Bytes of each device that a call may take, the dataset's included; None for any.
          least: Models that smaller packs are padded to, so that they run the same programs.
        """
        self.least = least
        self.learner = learner
        self.mesh = mesh
        self.group = group
        self.limit = limit

    def put_data(self, features: np.ndarray, labels: np.ndarray) -> Data:
        """Places a dataset on every device, once, in its compact integer form."""
        data = Data(features, np.asarray(labels, np.int32))
        return put_shared(data, self.mesh)

    def _put(self, pack: Any) -> tuple[Any, int]:
        return put_models(pack, self.mesh, self.group, self.least)

    def _like(self, pack: Any) -> Any:
        """Returns what `_put` would make of a pack, shapes alone."""
        sharding = NamedSharding(self.mesh, MODEL)
        count = jax.tree.leaves(pack)[0].shape[0]
        size = padded_size(count, self.mesh, self.group, self.least)
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                (size, *leaf.shape[1:]), leaf.dtype, sharding=sharding
            ),
            pack,
        )

    def init(
        self,
        data: Data,
        members: Members,
        key_data: UInt32[np.ndarray, "models 2"],
        masks: Float[np.ndarray, "models top"] | None = None,
    ) -> State:
        """Returns the untrained state of a pack, on the host, every leaf [P, ...].

        Raises:
          TooLargeError: the program takes more than the limit.
        """
        program = _programs(self.learner, self.mesh, self.group)["init"]
        pack = members, key_data, masks
        executable = ready("init", program, (data, *self._like(pack)), self.limit)
        pack, count = self._put(pack)
        return fetch(executable.call(data, *pack), count)

    def load(
        self, state: State, members: Members, key_data: UInt32[np.ndarray, "models 2"]
    ) -> "Pack":
        """Moves a pack of models onto the devices for training."""
        (state, members, key_data), count = self._put((state, members, key_data))
        return Pack(self, state, members, key_data, count)

    def prepare(
        self, data: Data, state: State, members: Members, key_data: UInt32[np.ndarray, "models 2"]
    ) -> Executable:
        """Compiles the training program for a pack of this shape, without moving the pack.

        Args:
          data: The dataset, on the devices.
          state: Every leaf [P, ...].
          members: Training parts of the pack.
          key_data: The key data of each.

        Returns:
          The program, which says what a call will take of each device.

        Raises:
          TooLargeError: that is more than the limit.
        """
        return self.training(data, *self._like((state, members, key_data)))

    def training(self, data: Data, state: Any, members: Any, key_data: Any) -> Executable:
        """Returns the training program compiled for a pack on the devices, or for its shapes."""
        program = _programs(self.learner, self.mesh, self.group)["fit"]
        bounds = np.int32(0), np.int32(0)
        return ready("fit", program, (state, data, members, key_data, *bounds), self.limit)

    def query(
        self,
        data: Data,
        state: State,
        indices: Int[np.ndarray, "models records"],
        signal_fn: SignalFn,
        block: int,
        answering: Answering | None = None,
    ) -> dict[str, np.ndarray]:
        """Asks every model of a pack about its own list of records.

        Args:
          data: The dataset the indices point into.
          state: Trained models, every leaf [P, ...].
          indices: [P, n] records to ask model i about.
          signal_fn: From a function that answers logits [B, K], a batch of network inputs and their
            labels [B] to what is kept; pure, and the same object on every call (it keys the
            compiled program).
          block: Records answered at a time.
          answering: What happens to the logits that `signal_fn` sees; None for nothing.

        Returns:
          What `signal_fn` returned, each leaf [P, n, ...], on the host.

        Raises:
          TooLargeError: the program takes more than the limit.
        """
        indices = np.asarray(indices, np.int32)
        executable = self.asking(data, state, indices, signal_fn, block, answering)
        strength = None if answering is None else answering.strength
        (state, *others), count = self._put((state, indices, strength))
        return fetch(executable.call(state, data, *others), count)

    def asking(
        self,
        data: Data,
        state: State,
        indices: Any,
        signal_fn: SignalFn,
        block: int,
        answering: Answering | None = None,
    ) -> Executable:
        """Returns the program of `query` compiled for arguments like these, of which shapes matter."""
        fn, strength = (None, None) if answering is None else answering[:2]
        program = _query_program(self.learner, self.mesh, self.group, block, signal_fn, fn)
        like, *others = self._like((state, indices, strength))
        return ready("query", program, (like, data, *others), self.limit)


class Pack:
    """Models on the devices, in training.

    Attributes:
      epoch: How many epochs are behind them; None before the first call.
    """

    def __init__(self, fleet: Fleet, state: State, members: Members, key_data: Any, count: int):
        """Made by `Fleet.load`."""
        self._fleet = fleet
        self._state = state
        self._members = members
        self._key_data = key_data
        self._count = count
        self.epoch: int | None = None

    def fit(self, data: Data, start: int, stop: int) -> None:
        """Trains every model from epoch `start` up to, not including, epoch `stop`; waits for it.

        Raises:
          TooLargeError: the program takes more than the fleet's limit.
        """
        executable = self._fleet.training(data, self._state, self._members, self._key_data)
        bounds = np.int32(start), np.int32(stop)
        self._state = executable.call(self._state, data, self._members, self._key_data, *bounds)
        jax.block_until_ready(self._state)
        self.epoch = stop

    def losses(self) -> tuple[Float[np.ndarray, "models epochs"], Int[np.ndarray, "models"]]:
        """Returns each model's loss per epoch and its first non-finite step (or -1)."""
        return fetch((self._state.losses, self._state.bad_step), self._count)

    def fetch(self) -> State:
        """Returns the pack's state on the host, every leaf [P, ...]."""
        return fetch(self._state, self._count)

    def compiled_text(self, data: Data) -> str:
        """Returns the optimised HLO of the training program (to prove it has no collectives)."""
        executable = self._fleet.training(data, self._state, self._members, self._key_data)
        return executable.call.as_text() or ""
