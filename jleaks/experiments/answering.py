"""What happens to the answers of defended models, where it takes the models' own answers to know."""

from collections.abc import Callable, Sequence

import numpy as np

from jleaks.attacks.signals import posterior_signals
from jleaks.blackbox.box import LearnerBox
from jleaks.data.dataset import Dataset
from jleaks.data.random_points import random_points
from jleaks.defences import defence
from jleaks.experiments.subjects import Subject
from jleaks.training.fleet import Answering
from jleaks.training.learner import Learner, State
from jleaks.training.trainer import Trainer

# Returns what the defences of some subjects learned of networks that they trained first, [P, numbers].
LearnedFn = Callable[[Sequence[Subject]], np.ndarray]


def of_fleet(
    subjects: Sequence[Subject],
    trainer: Trainer,
    state: State,
    data: Dataset,
    learned_fn: LearnedFn,
) -> Answering | None:
    """Returns what happens to the answers of some of a fleet's models; None for nothing.

    Args:
      subjects: The models.
      trainer: Of their fleet.
      state: Of these models, leaves [P, ...].
      data: Of their task.
      learned_fn: Where defences train networks first.

    Raises:
      InputError: see `jleaks.defences.defence.answering`.
      Preempted: a stop signal arrived.
    """

    def ask(count: int) -> np.ndarray:
        points = _points(data, count)
        on_devices = trainer.fleet.put_data(points, np.zeros(count, np.int32))
        rows = np.broadcast_to(np.arange(count), (len(subjects), count))
        return trainer.query(state, rows, posterior_signals, on_devices)["posteriors"]

    defences = [subject.defence for subject in subjects]
    return defence.answering(defences, ask, lambda: learned_fn(subjects))


def of_one(
    subject: Subject, learner: Learner, state: State, data: Dataset, learned_fn: LearnedFn
) -> Answering | None:
    """Returns the same of one model whose state has no model axis.

    Raises:
      InputError: see `jleaks.defences.defence.answering`.
    """

    def ask(count: int) -> np.ndarray:
        return LearnerBox(learner, state).answer(_points(data, count))[None]

    return defence.answering([subject.defence], ask, lambda: learned_fn([subject]))


def _points(data: Dataset, count: int) -> np.ndarray:
    # Of no seed in particular: models of one fleet may have several.
    return random_points(data.task, 0, data.features.shape[1:], count)
