"""What training defences change of a step's loss; their strengths are data of each record of a batch.

Label smoothing (Szegedy et al. 2016, section 7), the confidence penalty (Pereyra et al. 2017, equation 2),
HAMP's high-entropy soft labels (Chen & Pattabiraman 2024, section IV-A), RelaxLoss (Chen, Yu & Fritz 2022,
algorithm 1), mixup (Zhang et al. 2018), distillation (Hinton et al. 2015, at a temperature of one) and a
penalty on squared weights.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int


class Mixed(NamedTuple):
    """What the records of a batch are mixed with.

    Attributes:
      records: [B, ...] each record's partner, stored.
      labels: [B] the partners' classes.
      share: [B] weight of the record itself, in [0, 1]; its partner has the rest.
    """

    records: Array
    labels: Int[Array, "batch"]
    share: Float[Array, "batch"]


class Objective(NamedTuple):
    """What is changed of the loss; None for what is not.

    Attributes:
      smoothing: [B] share of the target that is spread evenly over all classes, in [0, 1).
      entropy: [B] share of the largest entropy, log K, that a soft label has, in [0, 1): its true class
        has the most that this allows, all others the same.
      penalty: [B] weight of the posterior's entropy, which is taken off the loss.
      decay: [B] weight of the sum of squared weights, biases excluded.
      relax: [B] RelaxLoss's alpha (nats): while the batch's mean loss is below it, the loss is not
        followed any further down.
      even: [B] whether the epoch is even, counted from zero: RelaxLoss then goes up, otherwise it flattens
        posteriors.
      soft_labels: [B, K] posteriors that are learned in the place of the classes.
      adversarial: [B] weight of the adversary's gain (see `jleaks.training.adversarial`).
    """

    smoothing: Float[Array, "batch"] | None = None
    entropy: Float[Array, "batch"] | None = None
    penalty: Float[Array, "batch"] | None = None
    decay: Float[Array, "batch"] | None = None
    relax: Float[Array, "batch"] | None = None
    even: Bool[Array, "batch"] | None = None
    soft_labels: Float[Array, "batch k"] | None = None
    adversarial: Float[Array, "batch"] | None = None


def soft_share(level: Float[Array, "batch"], num_classes: int) -> Float[Array, "batch"]:
    """Returns the smoothing at which a label's entropy is `level` times log K.

    The entropy of (1 - s) onehot + s / K rises with s from 0 to log K: thirty halvings find it.
    """
    k = num_classes

    def entropy(s: Array) -> Array:
        true, other = 1 - s + s / k, s / k
        return -(true * jnp.log(true) + (k - 1) * jnp.where(other > 0, other * jnp.log(other), 0))

    def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) / 2
        below = entropy(middle) < level * math.log(k)
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    low, high = lax.fori_loop(0, 30, halve, (jnp.zeros_like(level), jnp.ones_like(level)))
    return (low + high) / 2


def changed(
    objective: Objective,
    logits: Float[Array, "batch k"],
    labels: Int[Array, "batch"],
    losses: Float[Array, "batch"],
) -> Float[Array, "batch"]:
    """Returns each record's loss in the place of its cross-entropy, weights' and adversaries' left out.

    Args:
      objective: What is changed.
      logits: Answers to the whole batch, if it relaxes, or to some of it.
      labels: Classes.
      losses: Cross-entropies.
    """
    if objective.soft_labels is not None:
        losses = -(objective.soft_labels * jax.nn.log_softmax(logits)).sum(-1)
    if objective.smoothing is not None:
        losses = _smoothed(logits, losses, objective.smoothing)
    if objective.entropy is not None:
        losses = _smoothed(logits, losses, soft_share(objective.entropy, logits.shape[-1]))
    if objective.penalty is not None:
        logs = jax.nn.log_softmax(logits)
        losses = losses + objective.penalty * (jnp.exp(logs) * logs).sum(-1)
    if objective.relax is not None:
        assert objective.even is not None
        away = jnp.where(objective.even, -losses, _flattened(logits, labels))
        losses = jnp.where(lax.stop_gradient(losses).mean() >= objective.relax, losses, away)
    return losses


def imitated(
    objective: Objective, logits: Float[Array, "batch k"], losses: Float[Array, "batch"]
) -> Float[Array, "batch"]:
    """Returns what one who imitates a model loses, its cross-entropy on the classes the other half of it.

    Half the squared difference of the log posteriors, the mean over classes (IMIA, zealscott/IMIA, its
    `imitate_out_train`, which takes logits in their place; a black box answers posteriors).

    Args:
      objective: Its soft labels are the imitated model's log posteriors.
      logits: Answers to some records.
      losses: Cross-entropies of these.
    """
    assert objective.soft_labels is not None
    apart = (jax.nn.log_softmax(logits) - objective.soft_labels) ** 2
    return (apart.mean(-1) + losses) / 2


def _smoothed(logits: Array, losses: Array, share: Array) -> Array:
    """Cross-entropy with (1 - s) onehot + s / K."""
    return (1 - share) * losses - share * jax.nn.log_softmax(logits).mean(-1)


def _flattened(logits: Array, labels: Array) -> Array:
    """Cross-entropy with the model's own posterior of the true class, all others sharing the rest alike."""
    logs = jax.nn.log_softmax(logits)
    own = jnp.take_along_axis(logs, labels[:, None], 1)[:, 0]
    kept = lax.stop_gradient(jnp.exp(own))
    others = (logs.sum(-1) - own) / (logits.shape[-1] - 1)
    return -kept * own - (1 - kept) * others
