"""Perturbed copies of a record, for attacks that ask about each record several times.

Query 0 is always the record itself.  Images are shifted and mirrored (Carlini et al. 2022, section
VI-C); everything else gets Gaussian noise of growing size (Choquette-Choo et al. 2021, section 4.2).
A query perturbs every record of every model in the same way, so answers can be compared across models.
"""

import dataclasses
import itertools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from jleaks.data.tasks import Task
from jleaks.keys import Role, identity_key

_MAX_SHIFT = 2


@dataclasses.dataclass(frozen=True)
class Perturbation:
    """The queries of one bank; hashable, so that it can key compiled programs.

    Attributes:
      task: Name of the task; identifies the noise.
      kind: "shifts" (images [B, H, W, C]), "shifts and flips", or "noise" (any inputs).
      num_queries: Q, query 0 included.
      size: Noise only: length of the last query's noise relative to the record's own; query q has
        q / (Q - 1) of it.
    """

    task: str
    kind: Literal["shifts", "shifts and flips", "noise"]
    num_queries: int
    size: float = 2.0

    def inputs(self, query: Int[Array, ""], inputs: Float[Array, "batch ..."]) -> Array:
        """Returns the inputs of one query, perturbed."""
        if self.kind == "noise":
            flat = inputs.reshape(inputs.shape[0], -1)
            key = jax.random.fold_in(identity_key(0, self.task, Role.PERTURBATION), query)
            direction = jax.random.normal(key, flat.shape[1:])
            length = jnp.linalg.norm(flat, axis=-1, keepdims=True)
            scale = self.size * query / max(self.num_queries - 1, 1) / np.sqrt(flat.shape[1])
            return (flat + scale * length * direction).reshape(inputs.shape)
        flip, down, right = (jnp.asarray(column)[query] for column in np.transpose(self._moves()))
        batch, height, width, channels = inputs.shape
        inputs = jnp.where(flip == 1, inputs[:, :, ::-1], inputs)
        border = ((0, 0), (_MAX_SHIFT, _MAX_SHIFT), (_MAX_SHIFT, _MAX_SHIFT), (0, 0))
        padded = jnp.pad(inputs, border, mode="edge")
        start = (0, _MAX_SHIFT + down, _MAX_SHIFT + right, 0)
        return lax.dynamic_slice(padded, start, (batch, height, width, channels))

    def _moves(self) -> list[tuple[int, int, int]]:
        """Flip, shift down, shift right of each query: the smallest moves first."""
        reach = range(-_MAX_SHIFT, _MAX_SHIFT + 1)
        shifts = sorted(itertools.product(reach, reach), key=lambda s: (abs(s[0]) + abs(s[1]), s))
        flips = (0, 1) if self.kind == "shifts and flips" else (0,)
        return [(f, *shift) for shift in shifts for f in flips][: self.num_queries]

    @property
    def most_queries(self) -> int | None:
        """How many different queries there are, or None where there is no limit."""
        if self.kind == "noise":
            return None
        return (2 * _MAX_SHIFT + 1) ** 2 * (2 if self.kind == "shifts and flips" else 1)


def perturbation(task: Task, num_queries: int, size: float) -> Perturbation:
    """Returns the perturbation that suits a task (mirrored digits are not digits)."""
    if task.queries == "noise":
        return Perturbation(task.name, "noise", num_queries, size)
    return Perturbation(task.name, task.queries, num_queries)
