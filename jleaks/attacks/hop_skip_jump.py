"""Distance to the decision boundary by HopSkipJump: labels alone, each query chosen by the answers before.

Choquette-Choo et al. 2021, section 4.3: a model's own records lie further from where its label changes.
The distance, in the Euclidean norm of the network's inputs, is that of HopSkipJump (Chen, Jordan &
Wainwright 2020, algorithm 2): from a point that is labelled otherwise, bisect towards the record; there,
estimate the boundary's normal from the labels of points around it (their equation 16, with the baseline of
section III-C); step along it, halving the step until the label is wrong; bisect again.

Otherwise than there: the start is the nearest of some points around the record, not a uniform image;
directions are the same for all records and models, so that answers can be compared; every record is asked
about as often, whatever it is answered; the radius of the points around is the distance over the number of
inputs, as theirs, but no less than 1/256 of it, which is what so few bisections can tell.  Points are not
cut to where records may lie: an endpoint may refuse some of them.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jleaks.attacks.attack import Attack, stored

# Points tried for a start, the farthest at so many times the record's own length.
_STARTS, _FARTHEST = 16, 8.0
_BISECTIONS, _HALVINGS = 12, 8
# Points around the boundary in the first round; in round t so many times the root of t.
_AROUND = 30
# Of the distance, the radius of the points around at least.
_LEAST_RADIUS = 1 / 256


def rounds(budget: int) -> tuple[int, ...]:
    """Returns how many points around the boundary each round asks about, all within a budget of queries."""
    found: list[int] = []
    while asked(found) + (one := round(_AROUND * math.sqrt(len(found) + 1))) + _rest() <= budget:
        found.append(one)
    return tuple(found)


def asked(points: list[int] | tuple[int, ...]) -> int:
    """Returns how many queries about each record that is, the record itself included."""
    return 1 + _STARTS + _BISECTIONS + sum(points) + len(points) * _rest()


def _rest() -> int:
    return _HALVINGS + _BISECTIONS


LEAST_QUERIES = 1 + _STARTS + _BISECTIONS + _AROUND + _rest()
"""Of a record, for one round."""


def distances(
    predict_fn: Callable[[Array], Array],
    inputs: Float[Array, "batch ..."],
    labels: Int[Array, "batch"],
    key: jax.Array,
    budget: int,
) -> Float[Array, "batch"]:
    """Returns how far each record is from the nearest point found that is not labelled as its class.

    Args:
      predict_fn: From network inputs to logits, of which the largest alone is looked at.
      inputs: B records.
      labels: Their true classes.
      key: Of the directions, the same for all records.
      budget: Queries about each record, `LEAST_QUERIES` or more.

    Returns:
      Distances; 0 for a record that is itself labelled wrongly, the farthest that was tried where no start
      was found.
    """
    x = inputs.reshape(len(inputs), -1)
    size, points = x.shape[1], rounds(budget)
    length = jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), 1.0)

    def wrong(at: Float[Array, "batch size"]) -> Bool[Array, "batch 1"]:
        label = jnp.argmax(predict_fn(at.reshape(inputs.shape)), -1)
        return (label != labels)[:, None]

    def direction(*number: Array | int) -> Float[Array, "size"]:
        own = key
        for part in number:
            own = jax.random.fold_in(own, part)
        drawn = jax.random.normal(own, (size,))
        return drawn / jnp.linalg.norm(drawn)

    def start(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        at, found = carry
        there = x + _FARTHEST * (k + 1) / _STARTS * length * direction(0, k)
        now = wrong(there) & ~found
        return jnp.where(now, there, at), found | now

    def bisected(at: Array) -> Array:
        def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            right, other = ends
            middle = (right + other) / 2
            is_wrong = wrong(middle)
            return jnp.where(is_wrong, right, middle), jnp.where(is_wrong, middle, other)

        return lax.fori_loop(0, _BISECTIONS, halve, (x, at))[1]

    def apart(at: Array) -> Float[Array, "batch 1"]:
        return jnp.linalg.norm(at - x, axis=1, keepdims=True)

    def normal(t: Array, at: Array) -> Array:
        """The direction in which labels are wrong, from those around the boundary."""
        count = jnp.array(points)[t]
        radius = apart(at) * max(1 / size, _LEAST_RADIUS)

        def add(b: Array, sums: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            own = direction(1, t, b)
            sign = jnp.where(wrong(at + radius * own), 1.0, -1.0)
            return sums[0] + sign * own, sums[1] + own, sums[2] + sign

        zero = jnp.zeros_like(x), jnp.zeros(size), jnp.zeros((len(x), 1))
        signed, plain, total = lax.fori_loop(0, count, add, zero)
        mean = total / count
        # Where all answers are alike there is no baseline to take off.
        found = jnp.where(jnp.abs(mean) == 1, signed, signed - mean * plain)
        return found / jnp.maximum(jnp.linalg.norm(found, axis=1, keepdims=True), 1e-30)

    def jump(t: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        at, best = carry
        towards, step = normal(t, at), apart(at) / jnp.sqrt(t + 1.0)

        def halve(h: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            chosen, found = carry
            there = at + step * 0.5**h * towards
            now = wrong(there) & ~found
            return jnp.where(now, there, chosen), found | now

        there, _ = lax.fori_loop(0, _HALVINGS, halve, (at, jnp.zeros((len(x), 1), bool)))
        at = bisected(there)
        return at, jnp.minimum(best, apart(at))

    is_wrong = wrong(x)
    at, found = lax.fori_loop(0, _STARTS, start, (x, jnp.zeros((len(x), 1), bool)))
    at = bisected(at)
    _, best = lax.fori_loop(0, len(points), jump, (at, apart(at)))
    best = jnp.where(found, best, _FARTHEST * length)
    return jnp.where(is_wrong, 0.0, best)[:, 0]


ENTRIES = (
    Attack(
        "hop_skip_jump", "Label only, HopSkipJump", "Choquette-Choo et al. 2021", stored("boundary"),
        signals=("boundary",),
    ),
)  # fmt: skip
