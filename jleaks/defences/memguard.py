"""MemGuard (Jia et al. 2019): noise on answers that leaves an attack network undecided, within a budget.

The defender trains an attack network of its own on answers to members and to others.  A query's answer is
then moved, its largest class unchanged, to where that network sees neither (section 5.2, algorithm 1); with
the probability that keeps the expected distortion, an L1 distance of posteriors, within the budget (section
5.3, equation 14), the moved answer is given, otherwise the model's own.

Where the defender's own examples come from: the authors hold records back that the model is not trained
on.  Here two further networks, each trained on one random half of the training part, answer about both
halves, so that the model itself keeps all of its records and its accuracy.

What differs, too: the attack network has hidden layers of 64 and 32 units, the authors' 256, 128 and 64.
A search turns at kinks: answers that are computed in another batch may differ by some thousandths.
"""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int, UInt32

from jleaks.defences.defence import AnswerFn, Defence, defence
from jleaks.defences.order_hash import order_hash, scrambled
from jleaks.defences.preliminary import Preliminary, Told
from jleaks.errors import InputError

# The authors' (section 6.1): weight of the label's loss, first weight of the distortion's, by which it
# grows, steps of a search and their length.
_LABEL = 10.0
_DISTORTION = tuple(float(10.0**power) for power in range(-1, 6))
_STEPS = 300
_LENGTH = 0.1
_HIDDEN = (64, 32)
# What is added, steps of this search and searches that found something, and what the last of them found.
Search = tuple[Array, Array, Array, Array]
# Of the attack network's training.
_EPOCHS = 400
_RATE = 3e-3


class AttackNetwork(NamedTuple):
    """A fully connected network: of sorted posteriors, is this a member?

    Attributes:
      kernels: [inputs, outputs] of each layer.
      biases: [outputs].
    """

    kernels: tuple[Array, ...]
    biases: tuple[Array, ...]

    def __call__(self, posteriors: Float[Array, "*batch k"]) -> Float[Array, "*batch"]:
        """Returns the logarithm of the odds that these, in descending order, are answers to members."""
        x = posteriors
        for kernel, bias in zip(self.kernels[:-1], self.biases[:-1], strict=True):
            x = jax.nn.relu(x @ kernel + bias.reshape((1,) * (x.ndim - 1) + (-1,)))
        return (x @ self.kernels[-1])[..., 0] + self.biases[-1][0]


def _widths(num_classes: int) -> list[tuple[int, int]]:
    sizes = (num_classes, *_HIDDEN, 1)
    return list(itertools.pairwise(sizes))


def num_weights(num_classes: int) -> int:
    """Returns how many numbers an attack network is."""
    return sum((inputs + 1) * outputs for inputs, outputs in _widths(num_classes))


def packed(network: AttackNetwork) -> Float[np.ndarray, "weights"]:
    """Returns an attack network as numbers."""
    return np.concatenate([np.ravel(leaf) for leaf in (*network.kernels, *network.biases)])


def unpacked(numbers: Float[Array, "weights"], num_classes: int) -> AttackNetwork:
    """Returns the attack network that these numbers are."""
    shapes = [*_widths(num_classes), *((outputs,) for _, outputs in _widths(num_classes))]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    parts = [
        part.reshape(shape)
        for part, shape in zip(jnp.split(numbers, ends[:-1]), shapes, strict=True)
    ]
    half = len(parts) // 2
    return AttackNetwork(tuple(parts[:half]), tuple(parts[half:]))


@jax.jit
def _fit(
    posteriors: Float[Array, "answers k"], member: Bool[Array, "answers"], words: UInt32[Array, "2"]
) -> AttackNetwork:
    """Trains an attack network by Adam on all answers at once."""
    optimizer = optax.adam(_RATE)
    key = jax.random.wrap_key_data(words, impl="threefry2x32")
    ordered, widths = -jnp.sort(-posteriors), _widths(posteriors.shape[-1])
    kernels = tuple(
        jax.random.normal(jax.random.fold_in(key, i), shape) * jnp.float32(np.sqrt(2 / shape[0]))
        for i, shape in enumerate(widths)
    )
    network = AttackNetwork(kernels, tuple(jnp.zeros(outputs) for _, outputs in widths))

    def loss(network: AttackNetwork) -> Float[Array, ""]:
        logits = network(ordered)
        return optax.sigmoid_binary_cross_entropy(logits, member.astype(jnp.float32)).mean()

    def step(carry: tuple[AttackNetwork, Any], _: None) -> tuple[tuple[AttackNetwork, Any], None]:
        network, state = carry
        updates, state = optimizer.update(jax.grad(loss)(network), state)
        return (optax.apply_updates(network, updates), state), None

    (network, _), _ = lax.scan(step, (network, optimizer.init(network)), None, length=_EPOCHS)
    return network


def _halves(
    labels: Int[np.ndarray, "members"], key_data: UInt32[np.ndarray, "2"]
) -> Bool[np.ndarray, "networks members"]:
    first = np.random.default_rng(key_data).permutation(len(labels)) < len(labels) // 2
    return np.stack([first, ~first])


def _learn(told: Told) -> Float[np.ndarray, "weights"]:
    """Trains the defender's attack network on both networks' answers to both halves."""
    k = told.posteriors.shape[-1]
    posteriors, member = told.posteriors.reshape(-1, k), told.trained.reshape(-1)
    return packed(jax.tree.map(np.asarray, _fit(posteriors, member, told.key_data)))


def noise(network: AttackNetwork, logits: Float[Array, "k"]) -> Float[Array, "k"]:
    """Searches the smallest change of an answer by which an attack network changes its mind (algorithm 1).

    The weight of the distortion grows until a search ends without such a change; what the one before it
    found counts.  As the authors', the search leaves the classes in the order of the own answer.

    Args:
      network: The defender's.
      logits: [K] of the model, in descending order.

    Returns:
      [K] what is added to the logits; zeros where nothing was found that leaves the largest class the
      largest.
    """
    own = jax.nn.softmax(logits)
    before = network(own)
    weights = jnp.array(_DISTORTION, jnp.float32)

    def loss(e: Array, weight: Array) -> tuple[Array, Array]:
        moved = logits + e
        posteriors = jax.nn.softmax(moved)
        decided = network(posteriors)
        behind = moved[1:].max() - moved[0]
        distance = jnp.abs(posteriors - own).sum()
        found = jnp.abs(decided) + _LABEL * jax.nn.relu(behind) + weight * distance
        return found, (behind <= 0) & (before * decided <= 0)

    def unfinished(state: Search) -> Array:
        _, steps, searches, _ = state
        return (steps <= _STEPS) & (searches < len(_DISTORTION))

    def step(state: Search) -> Search:
        e, steps, searches, best = state
        u, done = jax.grad(loss, has_aux=True)(e, weights[searches])
        nearer = e - _LENGTH * u / jnp.maximum(jnp.linalg.norm(u), 1e-12)
        return (
            jnp.where(done, 0.0, nearer),
            jnp.where(done, 0, steps + 1),
            searches + done,
            jnp.where(done, e, best),
        )

    zeros = jnp.zeros_like(logits)
    return lax.while_loop(unfinished, step, (zeros, jnp.int32(0), jnp.int32(0), zeros))[-1]


def share_moved(
    before: Float[Array, ""], after: Float[Array, ""], distance: Float[Array, ""], budget: Any
) -> Float[Array, ""]:
    """Returns the probability with which the moved answer is given (equation 14).

    Args:
      before: Log odds of the attack network, of the own answer.
      after: The same of the moved one.
      distance: L1 between the two.
      budget: Largest expected distance.
    """
    closer = jnp.abs(jax.nn.sigmoid(after) - 0.5) < jnp.abs(jax.nn.sigmoid(before) - 0.5)
    return jnp.where(closer, jnp.minimum(budget / jnp.maximum(distance, 1e-12), 1.0), 0.0)


def guarded(network: AttackNetwork, budget: Any) -> AnswerFn:
    """Returns what happens to answers.

    Args:
      network: The defender's.
      budget: Largest expected L1 distance between what is answered and the model's own posteriors.
    """

    def one(logits: Float[Array, "k"]) -> Float[Array, "k"]:
        order = jnp.argsort(-logits)
        ordered = logits[order]
        added, own = noise(network, ordered), jax.nn.softmax(ordered)
        moved = jax.nn.softmax(ordered + added)
        after = network(-jnp.sort(-moved))
        share = share_moved(network(own), after, jnp.abs(moved - own).sum(), budget)
        # One coin a question, however often it is asked: by the order of the classes, and where these are
        # few by what the largest posterior is about.
        about = jnp.round(own[0] * 1000).astype(jnp.uint32)
        coin = scrambled(order_hash(order) + about * np.uint32(40503)) >> 8
        heads = coin.astype(jnp.float32) < share * jnp.float32(1 << 24)
        return logits + jnp.where(heads, added, 0.0)[jnp.argsort(order)]

    def answer(logits: Float[Array, "*batch k"]) -> Float[Array, "*batch k"]:
        flat = logits.reshape(-1, logits.shape[-1])
        return jax.vmap(one)(flat).reshape(logits.shape)

    return answer


@defence("memguard", strength="budget", tried=("0.1", "0.5", "1"))
def memguard(strength: Any) -> Defence:
    """Moves answers to where an attack network of the defender's is undecided.

    Args:
      strength: Largest expected L1 distance between answers and the model's own posteriors, from 0 to 2.

    Raises:
      InputError: it is out of range.
    """
    if not isinstance(strength, jax.Array | jax.core.Tracer):
        budget = float(np.ravel(strength)[0])
        if np.size(strength) != 1 or not 0 <= budget <= 2:
            raise InputError(f"MemGuard's budget is {strength}, expected one number in [0, 2]")

    def answer(logits: Float[Array, "*batch k"]) -> Float[Array, "*batch k"]:
        numbers = jnp.ravel(jnp.asarray(strength))
        if numbers.size != 1 + num_weights(logits.shape[-1]):
            raise InputError(
                f"MemGuard's budget is {strength}, expected one number, behind which the defender's "
                "attack network stands"
            )
        return guarded(unpacked(numbers[1:], logits.shape[-1]), numbers[0])(logits)

    return Defence(
        answer=answer,
        preliminary=Preliminary(_halves, learn=_learn, numbers=num_weights),
        searches=True,
    )
