"""From a model's answer to per-record statistics: all that attacks need and all that is kept.

Written for a batch of one model's logits; posteriors are never stored.  Every statistic is larger where
a record looks more like a member.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from jleaks.attacks.hop_skip_jump import distances
from jleaks.data.perturbations import Perturbation
from jleaks.keys import Role, identity_key
from jleaks.training.fleet import PredictFn, SignalFn, Signals

# Adversary 3's statistics, in the order of the last axis of `Signals["statistics"]`
# (Salem et al. 2019, section VI; entropy enters negated, so that larger means member).
STATISTICS = ("maximum", "standard deviation", "entropy")


def top_posteriors(logits: Float[Array, "batch k"], top: int) -> Float[Array, "batch top"]:
    """The `top` largest posteriors in descending order, zeros beyond the number of classes."""
    posteriors = jax.nn.softmax(logits)
    found = min(top, logits.shape[-1])
    return jnp.pad(lax.top_k(posteriors, found)[0], ((0, 0), (0, top - found)))


def confidence_statistics(logits: Float[Array, "batch k"]) -> Float[Array, "batch 3"]:
    """Maximum, standard deviation and negative entropy (nats) of the posterior."""
    log_p = jax.nn.log_softmax(logits)
    p = jnp.exp(log_p)
    # p log p -> 0 as p -> 0, also where log p has run to minus infinity.
    terms = jnp.where(p > 0, p * log_p, 0.0)
    return jnp.stack([p.max(-1), p.std(-1), terms.sum(-1)], axis=-1)


def scaled_confidence(
    logits: Float[Array, "batch k"], labels: Int[Array, "batch"]
) -> Float[Array, "batch"]:
    """Phi = log p_y - log(1 - p_y), from logits (Carlini et al. 2022, section IV-C)."""
    true = jnp.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
    is_true = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)
    others = jnp.where(is_true, -jnp.inf, logits)
    return true - jax.nn.logsumexp(others, axis=-1)


def modified_entropy(
    logits: Float[Array, "batch k"], labels: Int[Array, "batch"]
) -> Float[Array, "batch"]:
    """(1 - p_y) log p_y + sum over i != y of p_i log(1 - p_i) (Song & Mittal 2021, equation 6).

    The sign is such that larger means likelier a member.  Computed from logits: log(1 - p) of the
    largest posterior comes from the other classes, where subtracting from one would lose it.
    """
    log_p = jax.nn.log_softmax(logits)
    p = jnp.exp(log_p)
    is_largest = jax.nn.one_hot(jnp.argmax(logits, -1), logits.shape[-1], dtype=bool)
    rest = jax.nn.logsumexp(jnp.where(is_largest, -jnp.inf, log_p), axis=-1, keepdims=True)
    log_rest = jnp.where(is_largest, rest, jnp.log1p(-jnp.where(is_largest, 0.0, p)))
    is_true = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)
    terms = jnp.where(is_true, jnp.exp(log_rest) * log_p, p * log_rest)
    return terms.sum(-1)


def cross_entropy(phi: Float[np.ndarray, "*records"]) -> Float[np.ndarray, "*records"]:
    """Minus the log of the true class's posterior (nats, float64), from phi: log(1 + exp(-phi))."""
    return np.logaddexp(0, -np.asarray(phi, np.float64))


@functools.cache
def signal_fn(top: int) -> SignalFn:
    """Returns the function that keeps the main job's signals (one object per `top`: it keys programs).

    Its result, for a batch of B records:
      top: [B, top] largest posteriors; statistics: [B, 3] in the order of `STATISTICS`;
      phi: [B] logit-scaled confidence in the true class; correct: [B] bool.
    """

    def keep(predict_fn: PredictFn, inputs: Array, labels: Array) -> Signals:
        logits = predict_fn(inputs)
        return {
            "top": top_posteriors(logits, top),
            "statistics": confidence_statistics(logits),
            "phi": scaled_confidence(logits, labels),
            "correct": jnp.argmax(logits, -1) == labels,
        }

    return keep


def posterior_signals(predict_fn: PredictFn, inputs: Array, labels: Array) -> Signals:
    """What attacks on whole posteriors keep of a batch of B records.

    posteriors: [B, K] in the order of classes; statistics: [B, 3] in the order of `STATISTICS`;
    phi: [B] logit-scaled confidence in the true class; correct: [B] bool.
    """
    logits = predict_fn(inputs)
    return {
        "posteriors": jax.nn.softmax(logits),
        "statistics": confidence_statistics(logits),
        "phi": scaled_confidence(logits, labels),
        "correct": jnp.argmax(logits, -1) == labels,
    }


def membership_margin(predict_fn: PredictFn, inputs: Array, labels: Array) -> Signals:
    """What is kept of an attack model's answers: `margin` [B], the logit of "member" less the other.

    It ranks like the posterior of "member" but does not saturate; zero is the 0.5 cut.
    """
    del labels
    logits = predict_fn(inputs)
    return {"margin": logits[:, 1] - logits[:, 0]}


@functools.cache
def bank_signal_fn(temperature: float, perturbation: Perturbation, boundary: int = 0) -> SignalFn:
    """Returns the function that keeps a bank's signals (cached: the object keys programs).

    Its result, for a batch of B records and Q queries:
      phi: [B, Q] logit-scaled confidence; correct: [B, Q] bool; and of query 0 alone, each [B]:
      phi_t (logits divided by `temperature`), mentr, maximum, entropy; and, with a budget of queries for
      it, boundary, how far the label's is (`jleaks.attacks.hop_skip_jump`).
    """

    def keep(predict_fn: PredictFn, inputs: Array, labels: Array) -> Signals:
        logits = predict_fn(inputs)

        def ask(query: Array) -> tuple[Array, Array]:
            found = predict_fn(perturbation.inputs(query, inputs))
            return scaled_confidence(found, labels), jnp.argmax(found, -1) == labels

        phi = scaled_confidence(logits, labels)[:, None]
        correct = (jnp.argmax(logits, -1) == labels)[:, None]
        if perturbation.num_queries > 1:
            others = lax.map(ask, jnp.arange(1, perturbation.num_queries))
            phi = jnp.concatenate([phi, others[0].T], axis=1)
            correct = jnp.concatenate([correct, others[1].T], axis=1)
        statistics = confidence_statistics(logits)
        found = {}
        if boundary:
            key = identity_key(0, perturbation.task, Role.PERTURBATION, 1)
            found["boundary"] = distances(predict_fn, inputs, labels, key, boundary)
        return found | {
            "phi": phi,
            "correct": correct,
            "phi_t": scaled_confidence(logits / temperature, labels),
            "mentr": modified_entropy(logits, labels),
            "maximum": statistics[:, 0],
            "entropy": statistics[:, 2],
        }

    return keep
