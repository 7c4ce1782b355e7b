"""ONE model: what training changes of it, what it learns from, and what all models of a fleet share."""

import dataclasses
import functools
from typing import Any, NamedTuple

from jaxtyping import Array, Float, Int, Num

from jleaks.arrays import AnyArray
from jleaks.data import encodings
from jleaks.errors import refuse
from jleaks.fields import Count, Form, Number, problems
from jleaks.models import networks
from jleaks.models.convolution import Precision
from jleaks.models.kernels import XLA, Descend, Kernels
from jleaks.models.registry import NETWORKS, Network
from jleaks.training.objective import Mixed, Objective
from jleaks.training.recipe import Recipe

PyTree = Any


class State(NamedTuple):
    """Everything of one model that training changes or that querying needs.

    Attributes:
      params: The network's parameters.
      opt_state: Adam's moments and step count.
      statistics: The encoding's, fitted on the model's own training part.
      losses: [E] mean cross-entropy of each epoch so far, zero where still to come.
      bad_step: Index of the first step whose loss was not finite, or -1.
      averages: Running means and variances of batch normalisation, by which the network is queried;
        an empty dict for networks without it.
      trace: "loss", [P, n] cross-entropies of the watched records at P points of training, zero where still
        to come; of a model with a gradient canary, or without one beside such, "canary" and "others", its
        score so far (see `jleaks.training.gradient_canary`); an empty dict where nothing is kept.
      adversary: "params" and "opt_state" of what adversarial regularisation trains along; an empty dict
        without it.
    """

    params: PyTree
    opt_state: PyTree
    statistics: encodings.Statistics
    losses: Float[Array, "epochs"]
    bad_step: Int[Array, ""]
    averages: PyTree
    trace: PyTree
    adversary: PyTree


class Members(NamedTuple):
    """The training part of one model (or, stacked, of many).

    Attributes:
      indices: [n] int32 positions in the dataset; entries beyond `size` are padding.
      size: How many are valid.
      answers: [n] what a quantile regression learns of each of these records; None otherwise.
      dropout: [2] shares of the network's inputs and of its hidden activations that a training step
        drops, in [0, 1); None for training without dropout.
      privacy: [3] noise multiplier, clipping norm and sampling rate of DP-SGD (see
        `jleaks.training.private`); None for training without it.
      smoothing, entropy, penalty, decay, relax: [] of a loss that is changed (see
        `jleaks.training.objective.Objective`); None for one that is not.
      mixup: [] both parameters of the beta distribution that mixup's shares are drawn from; None without.
      soft_labels: [n, K] posteriors that are learned of these records in the place of their classes; of the
        recipe's loss "imitation" the log posteriors that are learned beside them; None for classes alone.
      adversarial: [] weight of the adversary that trains along (see `jleaks.training.adversarial`); None
        for none.
      reference: [r] positions of the records it compares members with, in any order; entries beyond
        `reference_size` are padding.
      reference_size: How many are valid.
      last_epoch: [] epochs after which the model stays as it is; None for all of the recipe's.
      watched: [n] positions of records whose loss is kept over the training; None for none.
      canary: [] 1 where a canary gradient is inserted into the steps of DP-SGD, 0 where it is looked for in
        vain (see `jleaks.training.gradient_canary`); None where it is not looked for.
    """

    indices: Int[AnyArray, "*models members"]
    size: Int[AnyArray, "*models"]
    answers: Float[AnyArray, "*models members"] | None = None
    dropout: Float[AnyArray, "*models 2"] | None = None
    privacy: Float[AnyArray, "*models 3"] | None = None
    smoothing: Float[AnyArray, "*models"] | None = None
    entropy: Float[AnyArray, "*models"] | None = None
    penalty: Float[AnyArray, "*models"] | None = None
    decay: Float[AnyArray, "*models"] | None = None
    relax: Float[AnyArray, "*models"] | None = None
    mixup: Float[AnyArray, "*models"] | None = None
    soft_labels: Float[AnyArray, "*models members k"] | None = None
    adversarial: Float[AnyArray, "*models"] | None = None
    reference: Int[AnyArray, "*models reference"] | None = None
    reference_size: Int[AnyArray, "*models"] | None = None
    last_epoch: Float[AnyArray, "*models"] | None = None
    watched: Int[AnyArray, "*models watched"] | None = None
    canary: Float[AnyArray, "*models"] | None = None


class Data(NamedTuple):
    """A dataset on the device, shared by all models: stored features [N, ...], labels [N] int32."""

    features: Num[AnyArray, "records ..."]
    labels: Int[AnyArray, "records"]


class Factors(NamedTuple):
    """What dropout multiplies by in one step: 0, or 1 / (1 - ratio) for what is kept.

    Attributes:
      inputs: [B, ...] of the encoded inputs.
      hidden: [B, width] of each hidden layer that may drop.
    """

    inputs: Array
    hidden: tuple[Array, ...]


class Batch(NamedTuple):
    """What one step learns from; every leaf but the key has the batch's records on axis 0.

    Attributes:
      records: [B, ...] stored records.
      labels: [B] classes, or what a quantile regression learns.
      factors: Of dropout, if there is any.
      key: Of this step, for a network that draws random numbers of its own (whose batches are never split).
      objective: What is changed of the loss; None for nothing.
      mixed: What mixup mixes the records with; None without.
    """

    records: Array
    labels: Array
    factors: Factors | None = None
    key: Array | None = None
    objective: Objective | None = None
    mixed: Mixed | None = None


@dataclasses.dataclass(frozen=True)
class Learner:
    """What is the same for all models of a fleet; hashable, so that it can key compiled programs.

    Attributes:
      recipe: How each model is trained.
      encoding: Name of the encoding (see `jleaks.data.encodings`).
      num_classes: K.
      form: How convolutions are computed (speed only).
      records_per_block: Records whose activations are alive at once (speed only); None for whole
        batches.
      kernels: What computes layers, gradients, order and optimiser (speed only).
      trace_points: Points of the training, evenly spaced over its epochs, after which the loss of watched
        records is kept.
      rounds_once: Whether kernels are rounded to a narrow format as they are updated, not in every
        product that takes them (speed only); for networks all of whose kernels products take.
    """

    recipe: Recipe
    encoding: encodings.Name
    num_classes: Count
    form: Form = "native"
    records_per_block: Count | None = None
    kernels: Kernels = XLA
    trace_points: Number = 0
    rounds_once: bool = False
    # What the recipe's network is: programs of one that was registered anew are not its own.
    _network: Network | None = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        # Whoever trains needs one of these: a recipe that no plan has validated ends here.
        model = getattr(self.recipe, "model", None)
        found = NETWORKS.get(model) if isinstance(model, str) else None
        object.__setattr__(self, "_network", found)
        refuse(problems(self))

    @property
    def network(self) -> Network:
        """What the registry holds under the recipe's name of its network."""
        assert self._network is not None
        return self._network

    @property
    def num_blocks(self) -> int:
        """Blocks per batch: the smallest divisor of the batch that respects the block size."""
        batch = self.recipe.batch_size
        block = min(self.records_per_block or batch, batch)
        return next(n for n in range(-(-batch // block), batch + 1) if batch % n == 0)

    @functools.cached_property
    def module(self) -> networks.Module:
        """The network's module."""
        named = self.recipe.precision
        precision: Precision = None if named == "default" else named
        how = networks.Computing(self.form, precision, self.kernels)
        return self.network.make(self.num_classes, self.recipe, how)

    @property
    def _descend(self) -> Descend | None:
        """The kernel for all layers, if the network is nothing but such, one after another."""
        return self.module.how.layers.descend if self.network.layers == "dense" else None

    @property
    def reads_bytes(self) -> bool:
        """Whether the first layer's kernel takes records as they are stored, zeros and ones."""
        return self._descend is not None and self.encoding == "binary"

    @property
    def descend(self) -> Descend | None:
        """The kernel of a layer's gradient and the optimiser's step in one, where a step can be such."""
        return self._descend if self.recipe.optimizer == "adam" and self.num_blocks == 1 else None

    def encode(
        self, state: State, records: Num[AnyArray, "batch ..."]
    ) -> Float[Array, "batch ..."]:
        """Turns stored records into one model's network inputs."""
        return encodings.encode(self.encoding, state.statistics, records)

    def predict(self, state: State, inputs: Float[Array, "batch ..."]) -> Float[Array, "batch k"]:
        """Queries one model on network inputs; returns logits."""
        return self.module.apply({"params": state.params, "batch_stats": state.averages}, inputs)

    def inputs(self, state: State, batch: Batch) -> tuple[Array, tuple[Array, ...] | None]:
        """Returns a network's inputs in training, and what its hidden activations are multiplied by."""
        if batch.factors is None and batch.mixed is None:
            return batch.records if self.reads_bytes else self.encode(state, batch.records), None
        inputs = self.encode(state, batch.records)
        if (mixed := batch.mixed) is not None:
            share = mixed.share.reshape(-1, *(1,) * (inputs.ndim - 1))
            inputs = share * inputs + (1 - share) * self.encode(state, mixed.records)
        if batch.factors is None:
            return inputs, None
        return inputs * batch.factors.inputs, batch.factors.hidden

    def apply(self, state: State, batch: Batch) -> tuple[Float[Array, "batch k"], PyTree]:
        """Applies the network to a batch as in training: logits, and the running averages after it."""
        inputs, hidden = self.inputs(state, batch)
        logits, updated = self.module.apply(
            {"params": state.params, "batch_stats": state.averages},
            inputs,
            networks.Training(hidden, batch.key),
            mutable=["batch_stats"],
        )
        return logits, updated.get("batch_stats", {})

    def logits(self, state: State, records: Num[AnyArray, "batch ..."]) -> Float[Array, "batch k"]:
        """Queries one model on stored records."""
        return self.predict(state, self.encode(state, records))
