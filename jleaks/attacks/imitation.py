"""IMIA: a target is compared with models that imitate it (imitative membership inference, zealscott/IMIA).

An *imitator* is trained on the attacker's records, after a while of ordinary training towards what the
target answers about them: about a record that it did not see it answers as the target would, were the
record not among its members (OUT).  How the target answers about members (IN) is told by models that went
on from the same start with cross-entropy alone, on *pivots*.  Of a score two means are all; so few models
are enough.

As the authors' code has it (`attacks/imiaadaptive.py`, `attacks/imianonadaptive.py`, `util_imitation.py`);
the paper (December 2025) could be read in summaries alone.  They write the confidence over the runner-up,
which is what is taken here; the code sums over the other classes as LiRA does.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jleaks.training.fleet import PredictFn, Signals


def margin(logits: Float[Array, "batch k"], labels: Int[Array, "batch"]) -> Float[Array, "batch"]:
    """Phi = log p_y - log of the largest posterior of another class, from logits."""
    true = jnp.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
    is_true = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)
    return true - jnp.where(is_true, -jnp.inf, logits).max(-1)


def margins(predict_fn: PredictFn, inputs: Array, labels: Array) -> Signals:
    """What is kept of an imitator's answers to B records: `margin` [B]."""
    return {"margin": margin(predict_fn(inputs), labels)}


def log_posteriors(predict_fn: PredictFn, inputs: Array, labels: Array) -> Signals:
    """What is imitated of a target's answers to B records: `margin` [B], `logs` [B, K] log posteriors."""
    logits = predict_fn(inputs)
    return {"margin": margin(logits, labels), "logs": jax.nn.log_softmax(logits)}


def score(
    phi: Float[np.ndarray, "records"],
    inside: Float[np.ndarray, "records"],
    outside: Float[np.ndarray, "records"],
) -> Float[np.ndarray, "records"]:
    """(phi - OUT)^2 - (phi - IN)^2; 0 where IN is below OUT, which tells nothing.

    Args:
      phi: The target's margins.
      inside: What imitators' tell of members.
      outside: And of others.
    """
    return np.where(inside < outside, 0.0, (phi - outside) ** 2 - (phi - inside) ** 2)


def means_of(
    margins: Float[np.ndarray, "models records"], chosen: Bool[np.ndarray, "models records"]
) -> Float[np.ndarray, "records"]:
    """The mean over each record's own models; of each there is at least one."""
    return np.where(chosen, margins, 0).sum(0) / chosen.sum(0)


def pivots(
    losses: Float[np.ndarray, "records"],
    labels: Int[np.ndarray, "records"],
    num_classes: int,
    share: float = 0.5,
) -> Int[np.ndarray, "pivots"]:
    """Returns the positions of the records that stand for members: of each class those of least loss.

    Args:
      losses: The target's, on the attacker's records.
      labels: Their classes.
      num_classes: K.
      share: Of all records, as many from every class, or all that it has.
    """
    each = int(share * len(labels) / num_classes)
    of_class = (np.flatnonzero(labels == k) for k in range(num_classes))
    return np.concatenate([at[np.argsort(losses[at], kind="stable")[:each]] for at in of_class])


def class_medians(
    margins: Float[np.ndarray, "models pivots"],
    labels: Int[np.ndarray, "pivots"],
    num_classes: int,
) -> Float[np.ndarray, "classes"]:
    """What models answer about pivots they trained on, the median of each class; of all for one without.

    Args:
      margins: Of the models that went on with cross-entropy.
      labels: The pivots' classes.
      num_classes: K.
    """
    found = np.full(num_classes, np.median(margins))
    for k in np.unique(labels):
        found[k] = np.median(margins[:, labels == k])
    return found
