"""Subjects behind an endpoint (E7, E12): everything that the attacker learns comes through HTTP.

Each subject is served on the loopback interface while it is asked; its answers are kept on disk, so that
an interrupted experiment sends no record twice.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax

from jleaks.blackbox.about import About
from jleaks.blackbox.answers import Answers as KeptAnswers
from jleaks.blackbox.box import LearnerBox
from jleaks.blackbox.client import endpoint
from jleaks.blackbox.pace import Limits
from jleaks.blackbox.server import make_app, serving
from jleaks.experiments.answering import of_one
from jleaks.experiments.answers import Answers, from_posteriors
from jleaks.experiments.querier import Querier
from jleaks.experiments.subjects import AnySubject, Subject

# Records of one request.
_BATCH = 500


class Endpoint:
    """Asks networks through HTTP."""

    def __init__(self, querier: Querier, folder: Path):
        """Takes who trains the models, and where answers are kept."""
        self._querier, self._folder = querier, folder

    def ask(self, subjects: Sequence[AnySubject]) -> list[Answers]:
        """Returns each subject's whole posteriors of its members, then its others.

        Args:
          subjects: Networks.

        Raises:
          InputError: the server cannot be run.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        return [self._one(subject) for subject in subjects]

    def _one(self, subject: AnySubject) -> Answers:
        assert isinstance(subject, Subject)
        data = self._querier.datasets(subject.task)
        identity = self._querier.identity(dataclasses.replace(subject, null_order=None))
        learner = self._querier.fleet_spec([subject]).learner
        _, state = self._querier.train([subject])
        about = About(
            task=subject.task,
            num_classes=data.task.num_classes,
            shape=data.features.shape[1:],
            dtype=str(data.features.dtype),
            most_records=_BATCH,
            fingerprint=identity,
        )
        one = jax.tree.map(lambda leaf: leaf[0], state)
        answering = of_one(subject, learner, one, data, self._querier.learned)
        box = LearnerBox(learner, one, answering=answering)
        with (
            KeptAnswers(self._folder / "answers.sqlite") as kept,
            serving(make_app(box, about)) as url,
            endpoint(url, Limits(), kept) as remote,
        ):
            posteriors = remote.answer(data.features[subject.rows])
        found = from_posteriors(posteriors, data.labels[subject.rows])
        return self._querier.judged(subject, found)
