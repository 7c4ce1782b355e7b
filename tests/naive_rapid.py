"""RAPID as a loop in float64: two features, a network of 64 ReLU units, Adam step by step.

From jleaks come the weights before the first step and the order of the records, which are drawn by the
key; all arithmetic is here.
"""

import functools

import jax.numpy as jnp
import numpy as np
from naive_bank import NaiveBank, log_p, side

from jleaks.attacks.rapid import learner_of
from jleaks.keys import Role, identity_key
from jleaks.training import epoch
from jleaks.training.learner import Data, Members


def features(bank: NaiveBank, model: int, refs: list[int]) -> np.ndarray:
    """Minus the loss, and how much more the OUT references lose; over all pairs where a record has none."""
    N, phi = len(bank.labels), bank.phi[0]
    everywhere = [log_p(phi[m, z]) for z in range(N) for m in side(bank, refs, z, False)]
    if not everywhere:
        raise ValueError("rapid needs a side that is empty for all records")
    found = np.zeros((N, 2))
    for x in range(N):
        others = [log_p(phi[m, x]) for m in side(bank, refs, x, False)] or everywhere
        found[x] = log_p(phi[model, x]), log_p(phi[model, x]) - np.mean(others)
    return found


@functools.cache
def drawn(count: int, size: int):
    """The weights before the first step, and the order of each epoch's records."""
    learner, key = learner_of(count), identity_key(0, "rapid", Role.ATTACK)
    members = Members(jnp.arange(count), jnp.int32(size))
    data = Data(jnp.zeros((count, 2)), jnp.zeros(count, jnp.int32))
    state = epoch.init(learner, data, members, key, jnp.ones(2))
    weights = [
        np.asarray(state.params[f"Dense_{i}"][name], np.float64)
        for i in range(2)
        for name in ("kernel", "bias")
    ]
    orders = [
        np.asarray(epoch.shuffled(learner, members, key, jnp.int32(e)))
        for e in range(learner.recipe.epochs)
    ]
    return weights, orders, learner.recipe


def train(x: np.ndarray, y: np.ndarray, positions: np.ndarray):
    """Adam on the mean cross-entropy and an L2 penalty, at a rate that falls to zero like a cosine."""
    start, orders, recipe = drawn(len(x), max(len(positions), learner_of(len(x)).recipe.batch_size))
    w = [part.copy() for part in start]
    m, v = [np.zeros_like(part) for part in w], [np.zeros_like(part) for part in w]
    size, batch = max(len(positions), recipe.batch_size), recipe.batch_size
    total, t = len(orders) * (size // batch), 0
    for order in orders:
        for i in range(size // batch):
            rows = positions[order[i * batch : (i + 1) * batch] % len(positions)]
            hidden = np.maximum(x[rows] @ w[0] + w[1], 0)
            logits = hidden @ w[2] + w[3]
            post = np.exp(logits - np.logaddexp.reduce(logits, 1)[:, None])
            error = (post - np.eye(2)[y[rows].astype(int)]) / batch
            back = error @ w[2].T * (hidden > 0)
            grads = [x[rows].T @ back, back.sum(0), hidden.T @ error, error.sum(0)]
            for k in (0, 2):
                grads[k] = grads[k] + 2 * recipe.l2 * w[k]
            rate = recipe.learning_rate * 0.5 * (1 + np.cos(np.pi * t / total))
            t += 1
            for k, g in enumerate(grads):
                m[k] = 0.9 * m[k] + 0.1 * g
                v[k] = 0.999 * v[k] + 0.001 * g**2
                step = m[k] / (1 - 0.9**t) / (np.sqrt(v[k] / (1 - 0.999**t)) + 1e-8)
                w[k] -= rate * step
    return w


def rapid(bank, target, refs, shadow_index, shadow_refs) -> np.ndarray:
    """The logit of "member" less the other's, of a network that learned from the shadow's records."""
    if not shadow_refs:
        raise ValueError("rapid needs a shadow with references")
    own, asked = features(bank, shadow_index, shadow_refs), features(bank, target, refs)
    told = np.flatnonzero(bank.candidates)
    mean, spread = own[told].mean(0), own[told].std(0)
    own, asked = (own - mean) / spread, (asked - mean) / spread
    w = train(own, bank.member[shadow_index], told)
    logits = np.maximum(asked @ w[0] + w[1], 0) @ w[2] + w[3]
    return logits[:, 1] - logits[:, 0]
