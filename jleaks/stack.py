"""The signals of all tasks and seeds in one set of arrays, so that one compiled call evaluates them all."""

import dataclasses

import numpy as np
from jaxtyping import Float

from jleaks.keys import Role, identity_generator
from jleaks.signals import cross_entropy


@dataclasses.dataclass(frozen=True, eq=False)
class TaskSignals:
    """What the target and shadow models of one task answered, for S seeds.

    Roles on axis 1: target, shadow.  Membership on axis 2: member, non-member of that model.

    Attributes:
      task: Its name.
      num_classes: K.
      top: [S, 2, 2, q, top] largest posteriors.
      statistics: [S, 2, 2, q, 3] in the order of `signals.STATISTICS`.
      phi: [S, 2, 2, q] logit-scaled confidence in the true class.
      correct: [S, 2, 2, q] whether the prediction was right.
      random: [S, R, 3] the target's statistics on random points.
    """

    task: str
    num_classes: int
    top: Float[np.ndarray, "seeds 2 2 records top"]
    statistics: Float[np.ndarray, "seeds 2 2 records 3"]
    phi: Float[np.ndarray, "seeds 2 2 records"]
    correct: np.ndarray
    random: Float[np.ndarray, "seeds points 3"]

    def accuracy(self) -> Float[np.ndarray, "seeds 2 2"]:
        """Returns the accuracy of each seed's target and shadow on members and non-members."""
        return self.correct.mean(-1)

    def loss(self) -> Float[np.ndarray, "seeds 2 2"]:
        """Returns the mean cross-entropy (nats) of each seed's target and shadow on both sides."""
        return cross_entropy(self.phi).mean(-1)

    def shuffled(self) -> "TaskSignals":
        """Returns the same answers with membership drawn by a coin: every attack must fail on it."""

        def mix(values: np.ndarray) -> np.ndarray:
            out = values.copy()
            for seed in range(values.shape[0]):
                # The same draw for every signal.
                generator = identity_generator(seed, self.task, Role.SPLIT, 1)
                for role in range(2):
                    both = out[seed, role].reshape(-1, *out.shape[4:])
                    order = generator.permutation(len(both))
                    out[seed, role] = both[order].reshape(out[seed, role].shape)
            return out

        return dataclasses.replace(
            self,
            top=mix(self.top),
            statistics=mix(self.statistics),
            phi=mix(self.phi),
            correct=mix(self.correct),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Stack:
    """All tasks (T) and seeds (S) padded to one shape; `counts` and `seeds` say what is real.

    Attributes:
      tasks: [T] names.
      num_classes: [T] K of each.
      seeds: [T] seeds each task has, at most S.
      counts: [T] records in each part, at most n.
      top: [T, S, 2, 2, n, top]; roles and membership as in `TaskSignals`.
      statistics: [T, S, 2, 2, n, 3].
      random: [T, S, R, 3].
    """

    tasks: list[str]
    num_classes: list[int]
    seeds: list[int]
    counts: np.ndarray
    top: Float[np.ndarray, "tasks seeds 2 2 records top"]
    statistics: Float[np.ndarray, "tasks seeds 2 2 records 3"]
    random: Float[np.ndarray, "tasks seeds points 3"]


def stack(parts: list[TaskSignals]) -> Stack:
    """Pads and stacks the signals of all tasks."""

    def pad(name: str) -> np.ndarray:
        arrays = [getattr(part, name) for part in parts]
        shape = np.max([a.shape for a in arrays], axis=0)
        out = np.zeros((len(arrays), *shape), np.float32)
        for i, a in enumerate(arrays):
            out[i][tuple(map(slice, a.shape))] = a
        return out

    return Stack(
        tasks=[part.task for part in parts],
        num_classes=[part.num_classes for part in parts],
        seeds=[part.top.shape[0] for part in parts],
        counts=np.array([part.top.shape[3] for part in parts], np.int32),
        top=pad("top"),
        statistics=pad("statistics"),
        random=pad("random"),
    )
