"""A `Plan` is everything that defines the numbers; an `Execution` is everything that defines only speed.

The split is the contract of resuming: a run may continue on other hardware, with other packing and
chunks (another Execution), but never under another Plan; the fingerprint tells them apart.
"""

import dataclasses
import json
from typing import Annotated, Any, Literal

from jleaks.datasets.registry import TASKS, Task, get_task
from jleaks.errors import InputError
from jleaks.fields import (
    SOME,
    Augmentation,
    Count,
    Form,
    Level,
    Penalty,
    Percentile,
    Positive,
    Range,
    Ratio,
    Seconds,
    Share,
    problems,
)
from jleaks.fingerprint import FORMAT, fingerprint

# Of the operands of products; "default" is whatever is fast where it runs.
Precision = Literal["float32", "default", "tensorfloat32", "bfloat16"]

Model = Literal["mlp", "logistic", "cnn", "resnet18", "wrn28_2"]

# Of fully connected hidden layers.
Activation = Literal["tanh", "relu"]

# Networks that only images can go into.
IMAGE_MODELS = ("cnn", "resnet18", "wrn28_2")
# Networks that normalise a batch as a whole.
NORMALISED_MODELS = ("resnet18", "wrn28_2")

# More posteriors than these no task has.
_MOST_CLASSES = max(task.num_classes for task in TASKS.values())

# Scaled-down parts keep at least this many records: below, the gap between training and test
# accuracy no longer resembles the full task's.
MIN_QUARTER = 400


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How one model is trained (defaults: Salem et al. 2019, section IV-A and released code).

    Attributes:
      model: Network that is trained (see `jleaks.models`): "mlp" or "logistic"; of images also "cnn" (the
        paper's), "resnet18" or "wrn28_2".
      hidden: Widths of the MLP's hidden layers; other networks ignore them.
      epochs: Number of passes over the training part.
      batch_size: Number of records in a step; an epoch drops the incomplete last batch, as the released
        code does.
      learning_rate: Learning rate of the optimiser at the first step.
      l2: Penalty on the sum of squared weights (biases and batch normalisation excluded), part of the
        loss.  A weight decay of d, added to the gradient as PyTorch's SGD does, is l2 = d / 2.
      precision: Format of the operands of matrix products and convolutions, in training and queries; their
        sums, and everything else, are float32.  "float32"; "tensorfloat32" or "bfloat16", to which
        operands are rounded wherever it runs (see `jleaks.convolution`); or "default", the backend's own:
        float32 on CPUs, TF32 on recent GPUs.
      optimizer: Rule that makes updates of gradients: "adam", or "sgd" with `momentum`.
      momentum: Momentum of SGD; Adam ignores it.
      schedule: Course of the learning rate: "constant", or "cosine", which falls to zero over the model's
        own steps.
      loss: Loss that is minimised: "cross entropy" of the classes; or "quantile", the pinball loss of one
        output at level `quantile` on each model's own answers (Koenker & Bassett 1978).
      quantile: Level of the quantile loss.
      augmentation: Moves that are drawn at random for each image of a training batch (see
        `jleaks.augmentation`).
      activation: Activation of the MLP's hidden layers and of the CNN's fully connected one: "tanh" (the
        paper's) or "relu"; other networks ignore it.
    """

    model: Model = "mlp"
    hidden: tuple[Count, ...] = (128,)
    epochs: Count = 50
    batch_size: Count = 100
    learning_rate: Positive = 1e-3
    l2: Penalty = 1e-7
    precision: Precision = "float32"
    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: Ratio = 0.9
    schedule: Literal["constant", "cosine"] = "constant"
    loss: Literal["cross entropy", "quantile"] = "cross entropy"
    quantile: Level = 0.99
    augmentation: Augmentation = "none"
    activation: Activation = "tanh"

    def problems(self, what: str) -> list[str]:
        """Returns one sentence per value that cannot be trained with."""
        return problems(self, what)

    def misfits(self, task: Task) -> list[str]:
        """Returns one sentence per value that a task's records cannot be trained with."""
        found = []
        if self.loss != "cross entropy":
            found.append(
                f"loss is {self.loss}, but {task.name} has classes: expected cross entropy"
            )
        if task.encoding != "pixels":
            if self.model in IMAGE_MODELS:
                found.append(
                    f"model is {self.model}, but {task.name} has no images: expected mlp or logistic"
                )
            if self.augmentation != "none":
                found.append(
                    f"augmentation is {self.augmentation}, but {task.name} has no images: expected none"
                )
        elif task.name == "mnist" and self.augmentation == "flips and crops":
            found.append(
                f"augmentation is {self.augmentation}, but mirrored digits are no digits: expected "
                "crops or none for mnist"
            )
        return found


# Of attack models.  As the paper describes them (64 hidden units; released code: Adam 1e-2, batch 10, 50
# epochs, L2 1e-6), but ReLU in place of tanh and a rate that falls to zero: at a constant rate what an
# attack model says at its 0.5 cut depends on where the last step lies (docs/attack_recipes.md; others by
# name: `recipes.ATTACK_RECIPES`).
ATTACK_RECIPE = Recipe("mlp", (64,), 50, 10, 1e-2, 1e-6, schedule="cosine", activation="relu")


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that defines the numbers of a run.

    Attributes:
      tasks: Names of the tasks, in registry order.
      source: Where the records come from: "prepared" (from disk; real or stand-in, as the data says) or
        "synthetic".
      seeds: Numbers of independent repetitions, parallel to `tasks`: seeds 0..n-1 of each task.
      scale: Fraction of the paper's records per part, of which at least `MIN_QUARTER` are kept.
      target: Recipe of target and shadow models, but for their network.
      attack: Recipe of the attack models of adversaries 1 and 2.
      top: Number of the largest posteriors that an attack model sees (two where a task is binary).
      adversaries: Adversaries to run, some of 1, 2 and 3.
      num_random_points: Number of random queries from which adversary 3 takes its threshold.
      percentile: Adversary 3's t: its threshold is the statistic's value at the top t percent of the
        random queries.
      membership: Truth that attacks are held against: "true", or "shuffled" for the null check, in which
        members and non-members are told apart by a coin and every attack must fail.
      model: Network of target and shadow models; None for each task's own in the paper.
    """

    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    source: Literal["prepared", "synthetic"] = "synthetic"
    scale: Share = 1.0
    target: Recipe = Recipe()
    attack: Recipe = ATTACK_RECIPE
    top: Annotated[
        int, Range(f"at least 1 and at most {_MOST_CLASSES}", lambda n: 1 <= n <= _MOST_CLASSES)
    ] = 3
    adversaries: Annotated[tuple[Literal[1, 2, 3], ...], SOME] = (1, 2, 3)
    num_random_points: Annotated[Count, Range("at least 10", lambda n: n >= 10)] = 1000
    percentile: Percentile = 10.0
    membership: Literal["true", "shuffled"] = "true"
    model: Model | None = None

    def validate(self) -> "Plan":
        """Checks everything that can be known before any data is read.

        Returns:
          The plan itself.

        Raises:
          InputError: names every problem at once.
        """
        if found := problems(self):
            # Further checks take the types for granted.
            raise InputError("; ".join(found))
        if not self.tasks:
            found.append("no task was named")
        for name in self.tasks:
            task = get_task(name)
            found += self.recipe(task).misfits(task)
        if len(set(self.tasks)) != len(self.tasks):
            found.append(f"a task is named twice in {','.join(self.tasks)}")
        if len(self.seeds) != len(self.tasks):
            found.append(f"{len(self.seeds)} numbers of seeds for {len(self.tasks)} tasks")
        for name, n in zip(self.tasks, self.seeds, strict=False):
            if not 1 <= n < 2**31:
                found.append(f"num_seeds of {name} is {n}, expected at least 1 and below 2^31")
        if self.attack.model in IMAGE_MODELS:
            found.append(f"attack model is {self.attack.model}, expected mlp or logistic")
        if self.attack.augmentation != "none":
            found.append(f"attack augmentation is {self.attack.augmentation}, expected none")
        if self.attack.loss != "cross entropy":
            found.append(f"attack loss is {self.attack.loss}, expected cross entropy")
        if found:
            raise InputError("; ".join(found))
        return self

    def quarter(self, task: Task, num_records: int) -> int:
        """Returns q, the records in each part of a split of `num_records`.

        Raises:
          InputError: not even one batch of training records fits.
        """
        q = min(task.quarter, max(round(self.scale * task.quarter), MIN_QUARTER), num_records // 4)
        if q < self.target.batch_size:
            raise InputError(
                f"{task.name}: batch_size is {self.target.batch_size} but each part has only {q} of "
                f"{num_records} records; lower --batch_size"
            )
        if self.attack.batch_size > 2 * q:
            raise InputError(
                f"{task.name}: the attack's batch_size is {self.attack.batch_size} but it has only "
                f"{2 * q} rows to learn from; lower --attack_batch_size"
            )
        return q

    def size(self, task: Task, available: int) -> int:
        """Returns how many records of a task the run looks at.

        Args:
          task: One of the plan's.
          available: Records that there are (see `jleaks.datasets.origin`); of a synthetic stand-in the
            plan's share of them is made, always enough for four parts.
        """
        if self.source == "prepared":
            return available
        return max(round(self.scale * available), 4 * self.quarter(task, available))

    def recipe(self, task: Task) -> Recipe:
        """Returns the recipe of a task's target and shadow models."""
        return dataclasses.replace(self.target, model=self.model or task.model)

    def num_seeds(self, task: str) -> int:
        """Returns how many seeds a task of the plan has."""
        return self.seeds[self.tasks.index(task)]

    def as_dict(self) -> dict[str, Any]:
        """Returns the plan as JSON values (tuples become lists)."""
        return json.loads(json.dumps({"format": FORMAT, **dataclasses.asdict(self)}))

    def fingerprint(self) -> str:
        """Returns 16 hex digits that differ whenever the plan does."""
        return fingerprint("plan", self)


def differences(ours: dict[str, Any], theirs: dict[str, Any], prefix: str = "") -> list[str]:
    """Lists where two plans (as dicts) differ, one `name: theirs -> ours` per entry."""
    found = []
    for name in sorted(ours.keys() | theirs.keys()):
        new, old = ours.get(name), theirs.get(name)
        if isinstance(new, dict) and isinstance(old, dict):
            found += differences(new, old, f"{prefix}{name}.")
        elif new != old:
            found.append(f"{prefix}{name}: {old} -> {new}")
    return found


@dataclasses.dataclass(frozen=True)
class Execution:
    """Everything that defines only the speed.  None means: chosen automatically.

    Attributes:
      num_devices: Number of devices to spread models over.
      models_per_call: Number of models that one compiled call advances over all devices.
      models_per_vmap: Number of models of one device that advance in the same instruction (`vmap`); the
        others of a call wait their turn (`lax.map`).
      records_per_block: Number of records whose activations are alive at once: gradients of a batch are
        summed over blocks of this size, which keeps a CNN's working set in cache.
      convolution: Form in which convolutions are computed (see `jleaks.convolution`).
      kernels: Kernels that compute layers, gradients and optimiser on CPU devices: XLA's ("xla" or None),
        or jleaks' own ("host"), which the machine's C++ compiler builds once and `jleaks.host.library`
        loads.
      chunk_seconds: Length in seconds that one compiled call aims for; between calls come progress, the
        stop signal and checkpoints.
      checkpoint_seconds: Least time in seconds between two checkpoints of an unfinished fleet.
    """

    num_devices: Count | None = None
    models_per_call: Count | None = None
    models_per_vmap: Count | None = None
    records_per_block: Count | None = None
    convolution: Form | None = None
    kernels: Literal["xla", "host"] | None = None
    chunk_seconds: Seconds = 3.0
    checkpoint_seconds: Seconds = 60.0

    def validate(self) -> "Execution":
        """Checks the values.

        Returns:
          The execution itself.

        Raises:
          InputError: names every problem at once.
        """
        if found := problems(self):
            raise InputError("; ".join(found))
        return self
