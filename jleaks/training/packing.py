"""How many models go into one call, and how many of them into one instruction.

On CPU the models of a device take turns unless they are so small that several stay in cache together:
what a model keeps (parameters, two Adam moments) and works with (gradient, activations) must be found
there at every step.  On accelerators as many models as fit in memory advance together, up to a limit (on
TPUs: as many as fit in a core's own memory); those that convolve take turns, or they would be grouped
convolutions.

What a pack takes of a device is predicted from the traced gradient of one model, and counted by XLA once
the program is compiled, before anything is moved.  A pack that is too large is halved.
"""

import dataclasses

import jax

from jleaks import settings
from jleaks.data import encodings
from jleaks.errors import InputError
from jleaks.fields import Form
from jleaks.models import kernels
from jleaks.training import processes
from jleaks.training.cost import measure
from jleaks.training.execution import Execution
from jleaks.training.learner import Data, Learner
from jleaks.training.memory import device_memory, readable
from jleaks.training.recipe import Recipe

# Of one core's fast memory, what models that advance together may take: a CPU's cache, the memory in which
# XLA:TPU keeps a loop's state (docs/accelerators.md).
_CACHE_BYTES = {"cpu": 1 << 20, "tpu": 90_000_000}
_MAX_GROUP = 256
# A device's sustained rate in a training step, for guessing how long an epoch takes before the first
# one has run: only the order of magnitude matters.
_FLOPS_PER_SECOND = {"cpu": 4e10, "gpu": 1e13, "tpu": 1e13}
# What one more compilation costs an accelerator at least: a smaller last pack is padded to the others'
# size where training its surplus models takes less.
_COMPILE_SECONDS = 10.0
# Host devices share memory with everything else that the machine does.
_MEMORY_SHARE = {"cpu": 0.6}
_ACCELERATOR_SHARE = 0.85


def _even(total: int, most: int) -> int:
    """Returns the size of the largest part when `total` is split as evenly as parts of `most` allow."""
    return -(-total // -(-total // most))


@dataclasses.dataclass(frozen=True)
class Packing:
    """What was chosen and why, for the log and the result rows.

    Attributes:
      models_per_call: P, over all devices.
      models_per_vmap: Models of one device that advance in the same instruction.
      per_call_reason: What bounds P: "number of models", "chunk length", "memory" or "user".
      per_vmap_reason: What bounds the models that advance together: "models per call", "cache",
        "convolutions", "branches", "largest group", "memory" or "user".
      num_models: M, of the fleet.
      num_devices: That they are spread over.
      state_bytes: Of one model between two steps: parameters, optimiser state, statistics, running
        averages, positions of its training part.
      activation_bytes: Of one model within a step: activations, gradient.
      bytes_per_model: Both.
      data_bytes: Of the dataset, which is on every device.
      call_bytes: Of one device while a call trains, the dataset included.
      compiled: Whether `call_bytes` and `activation_bytes` are XLA's count for the compiled program;
        if not, they are predicted.
      budget_bytes: Of one device, what a call should not exceed.
      memory_bytes: Of one device, what was available.
      pads: Whether smaller packs are padded to this size, so that they run the same program.
    """

    models_per_call: int
    models_per_vmap: int
    per_call_reason: str
    per_vmap_reason: str
    num_models: int
    num_devices: int
    state_bytes: int
    activation_bytes: int
    bytes_per_model: int
    data_bytes: int
    call_bytes: int
    compiled: bool
    budget_bytes: int
    memory_bytes: int
    pads: bool = False

    @property
    def per_device(self) -> int:
        """Models of one call on one device."""
        return -(-self.models_per_call // self.num_devices)

    @property
    def limit_bytes(self) -> int:
        """What a call may take of a device: all of it where nothing is left to choose."""
        return self.memory_bytes if self._halved() is None else self.budget_bytes

    def _advancing(self, per_device: int, group: int) -> tuple[int, int]:
        """Returns the bytes of states and of activations for so many models on a device."""
        if per_device > group:
            # Those that take turns are read from one stack of states and written to another.
            padded = -(-per_device // group) * group
            return (2 * padded + group) * self.state_bytes, group * self.activation_bytes
        return per_device * self.state_bytes, per_device * self.activation_bytes

    def with_models(self, per_call: int, per_vmap: int) -> "Packing":
        """Returns this packing with other numbers of models, its bytes predicted."""
        per_vmap = min(per_vmap, -(-per_call // self.num_devices))
        taken = sum(self._advancing(-(-per_call // self.num_devices), per_vmap))
        return dataclasses.replace(
            self,
            models_per_call=per_call,
            models_per_vmap=per_vmap,
            call_bytes=self.data_bytes + taken,
            compiled=False,
            pads=self.pads and per_call == self.models_per_call,
        )

    def counted(self, call_bytes: int) -> "Packing":
        """Returns this packing with what XLA counted for its program, by which others are predicted."""
        states, _ = self._advancing(self.per_device, self.models_per_vmap)
        advancing = min(self.per_device, self.models_per_vmap)
        activations = max(0, call_bytes - self.data_bytes - states) // advancing
        return dataclasses.replace(
            self,
            activation_bytes=activations,
            bytes_per_model=self.state_bytes + activations,
            call_bytes=call_bytes,
            compiled=True,
        )

    def _halved(self) -> "Packing | None":
        """Returns the next smaller packing; None where one model at a time, or the user, forbids it."""
        count, group = self.per_device, self.models_per_vmap
        groups_free = self.per_vmap_reason != "user"
        fewer_groups = groups_free and group > 1
        fewer_calls = self.per_call_reason != "user" and count > (1 if groups_free else group)
        if fewer_groups and fewer_calls and count > group:
            # Turns cost a second stack of states; models that all advance together stay together.
            states, activations = self._advancing(count, group)
            fewer_calls = states > activations
            fewer_groups = not fewer_calls
        if not (fewer_groups or fewer_calls):
            return None
        per_call = self.models_per_call
        if fewer_calls:
            most = max(count // 2, 1 if groups_free else group)
            count = _even(-(-self.num_models // self.num_devices), most)
            per_call = min(self.num_models, count * self.num_devices)
        if groups_free:
            group = _even(count, min(count, group // 2 if fewer_groups else group))
        return dataclasses.replace(
            self.with_models(per_call, group),
            per_call_reason="memory" if fewer_calls else self.per_call_reason,
            per_vmap_reason="memory" if fewer_groups else self.per_vmap_reason,
        )

    def smaller(self) -> "Packing | None":
        """Returns the next smaller packing that is predicted to fit, or the smallest of all.

        Half as many models advance together, or take their turn in a call, again and again until the
        prediction fits.

        Returns:
          The packing; None if one model of each device already has it to itself, or if the user's
          numbers leave nothing to change.
        """
        found = self._halved()
        return None if found is None else found.fitting()

    def fitting(self) -> "Packing":
        """Returns this packing if it is predicted to fit, otherwise the next smaller that is."""
        found = self
        while found.call_bytes > found.limit_bytes and (half := found._halved()) is not None:
            found = half
        return found

    def changes(self, other: "Packing") -> str:
        """Says in which numbers of models another packing differs."""
        return ", ".join(
            f"{name} {getattr(self, name)} -> {getattr(other, name)}"
            for name in ("models_per_call", "models_per_vmap")
            if getattr(self, name) != getattr(other, name)
        )

    def advice(self, learner: Learner) -> str:
        """Says in one line what the user can do about a packing that may not shrink."""
        stated = {
            name: getattr(self, name)
            for name, reason in (
                ("models_per_call", self.per_call_reason),
                ("models_per_vmap", self.per_vmap_reason),
            )
            if reason == "user"
        }
        free = dataclasses.replace(
            self, per_call_reason="memory", per_vmap_reason="memory"
        ).smaller()
        if stated and free is not None and free.call_bytes <= free.limit_bytes:
            given = ", ".join(f"{name} is {value}" for name, value in stated.items())
            fits = ", ".join(f"{name}={getattr(free, name)}" for name in stated)
            return f"{given}: {fits} is predicted to fit"
        batch = learner.recipe.batch_size
        block, ways = batch // learner.num_blocks, [f"a batch_size below {batch}"]
        if learner.network.splits and block > 1:
            ways.insert(0, f"records_per_block below {block}")
        if self.num_devices > 1 and jax.default_backend() == "cpu":
            ways.append(f"num_devices below {self.num_devices}, which share the machine's memory")
        return f"even one model on each device is too much: try {', or '.join(ways)}"

    def __str__(self) -> str:
        """Says what was chosen, why, and what it takes, in one line."""
        where = "a device" if self.num_devices == 1 else f"each of {self.num_devices} devices"
        return (
            f"{self.models_per_call} of {self.num_models} models per call ({self.per_call_reason}), "
            f"{self.models_per_vmap} per instruction ({self.per_vmap_reason}); "
            f"{readable(self.state_bytes)} of state and {readable(self.activation_bytes)} of "
            f"activations per model; {readable(self.call_bytes)} of {readable(self.budget_bytes)} on "
            f"{where} ({'counted' if self.compiled else 'predicted'})"
        )


def make_learner(
    recipe: Recipe,
    encoding: encodings.Name,
    num_classes: int,
    execution: Execution,
    platform: str | None = None,
) -> Learner:
    """Returns the learner of a fleet, its form of convolution and its blocks chosen by platform.

    Args:
      recipe: How each model is trained.
      encoding: What makes network inputs of stored records.
      num_classes: K.
      execution: The user's choices, None where automatic.
      platform: Of the devices, as JAX calls it; None for those that are there.

    Raises:
      InputError: the recipe cannot be trained with, `execution` splits batches that are taken as a
        whole or asks for kernels that are not there, or JAX is set to other numbers.
    """
    settings.check()
    execution.validate()
    learner = Learner(recipe, encoding, num_classes)
    if execution.records_per_block is not None and not learner.network.splits:
        raise InputError(
            f"records_per_block is {execution.records_per_block}, but {recipe.model} takes every batch "
            "as a whole: leave it unset"
        )
    platform = platform or jax.default_backend()
    small = learner.network.layers == "small convolutions"
    chosen = kernels.choose(execution.kernels, platform)
    block = execution.records_per_block
    if block is None and small and platform == "cpu":
        block = chosen.cnn_block
    # On a GPU the paper's CNNs train faster together, as products, than one after another in cuDNN's
    # kernels (docs/accelerators.md); a residual network's products would not fit, nor a TPU's.
    automatic: Form = "products" if platform == "cpu" else "native"
    if platform == "gpu" and small:
        automatic = "columns"
    form = execution.convolution or automatic
    once = platform != "cpu" and learner.network.layers != "other"
    once &= recipe.precision == "tensorfloat32"
    return dataclasses.replace(
        learner, form=form, records_per_block=block, kernels=chosen, rounds_once=once
    )


def choose(
    learner: Learner,
    data: Data,
    num_members: int,
    num_models: int,
    devices: list[jax.Device],
    execution: Execution,
    memory: int | None = None,
    private: bool = False,
    beside_bytes: int = 0,
) -> Packing:
    """Chooses a packing by prediction; what `execution` states is taken as it is.

    Args:
      learner: What the models share.
      data: Their dataset, of which only shapes and types matter.
      num_members: Records in one model's training part.
      num_models: M, models in the fleet.
      devices: The devices they are spread over.
      execution: The user's choices, None where automatic.
      memory: Bytes of each device, the dataset's included; None for what is available now.
      private: Whether they are trained by DP-SGD.
      beside_bytes: Of what a defence keeps beside one model (see `FleetSpec.beside_bytes`).
    """
    cost = measure(learner, data.features, num_members, private)
    platform = devices[0].platform
    if memory is None:
        # Of other processes' devices nothing is known here; the least of all counts.
        own = [device for device in devices if device.process_index == processes.index()]
        memory = device_memory(own[0], len(own))
        if platform == "cpu":
            # The host's own state of every model, and a checkpoint's copy.
            memory = max(0, memory - 2 * num_models * cost.state_bytes // len(own))
        memory = int(processes.numbers(memory).min())
    share = -(-num_models // len(devices))
    group, group_reason = _MAX_GROUP, "largest group"
    cache = _CACHE_BYTES.get(platform, 1 << 50)
    if (in_cache := max(1, cache // (cost.state_bytes + cost.activation_bytes))) < group:
        group, group_reason = in_cache, "cache"
    if platform != "cpu" and cost.convolves:
        # Together they would be grouped convolutions, whose gradients cuDNN has no good kernels for.
        group, group_reason = 1, "convolutions"
    if private and learner.descend is not None:
        # Together they would take both ways of a branch, of which one alone is fast.
        group, group_reason = 1, "branches"
    if execution.models_per_vmap is not None:
        group, group_reason = execution.models_per_vmap, "user"
    seconds = cost.flops_per_epoch / _FLOPS_PER_SECOND.get(platform, 1e12)
    turns = max(1, int(execution.chunk_seconds / max(seconds * group, 1e-9)))
    count, call_reason = share, "number of models"
    if group * turns < share:
        count, call_reason = _even(share, group * turns), "chunk length"
    per_call = min(num_models, count * len(devices))
    if execution.models_per_call is not None:
        per_call, call_reason = min(num_models, execution.models_per_call), "user"
        count = -(-per_call // len(devices))
    if group_reason != "user":
        if count <= group:
            group, group_reason = count, "models per call"
        group = _even(count, group)
    # Positions of the training part, their number, two words of key data.
    state_bytes = cost.state_bytes + 4 * (num_members + 3) + beside_bytes
    share_of_memory = _MEMORY_SHARE.get(platform, _ACCELERATOR_SHARE)
    surplus = -num_models % per_call
    lost = surplus / len(devices) * seconds * learner.recipe.epochs
    chosen = Packing(
        models_per_call=per_call,
        models_per_vmap=group,
        per_call_reason=call_reason,
        per_vmap_reason=group_reason,
        num_models=num_models,
        num_devices=len(devices),
        state_bytes=state_bytes,
        activation_bytes=cost.activation_bytes,
        bytes_per_model=state_bytes + cost.activation_bytes,
        data_bytes=sum(leaf.size * leaf.dtype.itemsize for leaf in data),
        call_bytes=0,
        compiled=False,
        budget_bytes=int(share_of_memory * memory),
        memory_bytes=memory,
        pads=platform != "cpu" and surplus > 0 and lost < _COMPILE_SECONDS,
    )
    return chosen.with_models(per_call, group).fitting()
