"""What happens to the answers of defended models, where it takes the models' own answers to know."""

from collections.abc import Sequence

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


def of_fleet(
    subjects: Sequence[Subject], trainer: Trainer, state: State, data: Dataset
) -> Answering | None:
    """Returns what happens to the answers of some of a fleet's models; None for nothing.

    Args:
      subjects: The models.
      trainer: Of their fleet.
      state: Of these models, leaves [P, ...].
      data: Of their task.

    Raises:
      InputError: see `jleaks.defences.defence.answering`.
      Preempted: a stop signal arrived.
    """

    def ask(count: int) -> np.ndarray:
        points = _points(data, count)
        on_devices = trainer.fleet.put_data(points, np.zeros(count, np.int32))
        rows = np.broadcast_to(np.arange(count), (len(subjects), count))
        return trainer.query(state, rows, posterior_signals, on_devices)["posteriors"]

    return defence.answering([subject.defence for subject in subjects], ask)


def of_one(subject: Subject, learner: Learner, state: State, data: Dataset) -> Answering | None:
    """Returns the same of one model whose state has no model axis.

    Raises:
      InputError: see `jleaks.defences.defence.answering`.
    """

    def ask(count: int) -> np.ndarray:
        return LearnerBox(learner, state).answer(_points(data, count))[None]

    return defence.answering([subject.defence], ask)


def _points(data: Dataset, count: int) -> np.ndarray:
    # Of no seed in particular: models of one fleet may have several.
    return random_points(data.task, 0, data.features.shape[1:], count)
