"""Models whose training left the numbers: which they are, and what becomes of them.

A model has diverged once a step's loss, or what its last step left behind, is not finite.  By default that
ends the run; with `Execution.on_divergence` "mark" the others go on, whose numbers are the same either way.
A marked model's parameters become zero, so that whatever is computed of it is finite; results that it has a
part in are not: rows hold no numbers in their place, and banks leave it out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Int

from jleaks.errors import DivergedError
from jleaks.training.learner import State

# Models that a message names.
_NAMED = 3


class Divergence(NamedTuple):
    """Where a model's training left the numbers.

    Attributes:
      name: Of the model: task and seed among it.
      step: The first gradient step whose loss was not finite, from 0.
      epoch: The epoch that it belongs to, from 1.
    """

    name: str
    step: int
    epoch: int

    def __str__(self) -> str:
        return f"{self.name}: the loss is not finite at step {self.step} (epoch {self.epoch})"


def found(
    names: Sequence[str], bad_step: Int[np.ndarray, "models"], num_steps: Int[np.ndarray, "models"]
) -> dict[int, Divergence]:
    """Returns those of some models that have diverged, by their positions.

    Args:
      names: Of the models.
      bad_step: The first step of each whose loss was not finite; -1 for none.
      num_steps: Steps of each in an epoch.
    """
    return {
        int(i): Divergence(
            names[int(i)], int(bad_step[i]), int(bad_step[i]) // max(int(num_steps[i]), 1) + 1
        )
        for i in np.flatnonzero(bad_step >= 0)
    }


def error(diverged: Sequence[Divergence], may_mark: bool = True) -> DivergedError:
    """Returns the error that names models which have diverged.

    Args:
      diverged: At least one.
      may_mark: Whether the run could go on without them.
    """
    text = str(diverged[0])
    if others := diverged[1:]:
        named = ", ".join(one.name for one in others[:_NAMED])
        rest = "" if len(others) <= _NAMED else f" and {len(others) - _NAMED} more"
        text += f"; nor are those of {named}{rest}"
    otherwise = ", or go on without such models by --on_divergence=mark" if may_mark else ""
    return DivergedError(f"{text}; lower the learning rate{otherwise}")


def told(diverged: Sequence[Divergence]) -> list[str]:
    """Returns the lines that tell of marked models."""
    lines = [f"{one}; marked, its results are left out" for one in diverged[:_NAMED]]
    if len(diverged) > _NAMED:
        rest = len(diverged) - _NAMED
        lines.append(f"the losses of {rest} models more are not finite; marked as well")
    return lines


def not_finite(state: State) -> Bool[np.ndarray, "models"]:
    """Returns which of M models have parameters or running averages that are not finite."""
    leaves = jax.tree.leaves((state.params, state.averages))
    flags = [~np.isfinite(leaf).reshape(len(leaf), -1).all(1) for leaf in leaves]
    return np.logical_or.reduce(flags)


def clear(state: State, marked: Bool[np.ndarray, "models"]) -> None:
    """Makes zero, in place, what training has made of marked models, but for the step it failed at."""
    made = state.params, state.opt_state, state.averages, state.losses, state.trace
    for leaf in jax.tree.leaves(made):
        leaf[marked] = 0
