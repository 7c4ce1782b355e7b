"""From a model's answer to per-record statistics: all that attacks need and all that is kept.

Written for a batch of one model's logits; posteriors are never stored.  Every statistic is larger where
a record looks more like a member.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

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


@functools.cache
def signal_fn(top: int) -> Callable[[Array, Array], dict[str, Array]]:
    """Returns the function that keeps an answer's signals (one object per `top`: it keys programs).

    Its result, for logits [B, K] and labels [B]:
      top: [B, top] largest posteriors; statistics: [B, 3] in the order of `STATISTICS`;
      phi: [B] logit-scaled confidence in the true class; correct: [B] bool.
    """

    def keep(logits: Array, labels: Array) -> dict[str, Array]:
        return {
            "top": top_posteriors(logits, top),
            "statistics": confidence_statistics(logits),
            "phi": scaled_confidence(logits, labels),
            "correct": jnp.argmax(logits, -1) == labels,
        }

    return keep
