"""Querying subjects: networks in the fleet, forests and composites on the host, all behind one function."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jleaks.attacks.signals import cross_entropy, posterior_signals, signal_fn
from jleaks.data.dataset import Dataset
from jleaks.data.random_points import random_points
from jleaks.data.tasks import get_task
from jleaks.defences.defence import (
    DEFENCES,
    CombineFn,
    answered_by,
    applied,
    fleet_kind,
)
from jleaks.defences.preliminary import Told
from jleaks.errors import InputError
from jleaks.experiments import preliminary
from jleaks.experiments.answering import of_fleet
from jleaks.experiments.answers import Answers, from_posteriors
from jleaks.experiments.forests import Forests
from jleaks.experiments.library import Cost, Library
from jleaks.experiments.subjects import AnySubject, Composed, Subject
from jleaks.fingerprint import fingerprint
from jleaks.models.forest import ForestRecipe
from jleaks.training import packing
from jleaks.training.execution import Execution
from jleaks.training.fleet import Answering, SignalFn
from jleaks.training.learner import Members, State
from jleaks.training.recipe import Recipe
from jleaks.training.trainer import FleetSpec, Trainer


class Querier:
    """Trains whatever is missing, and queries."""

    def __init__(
        self,
        library: Library,
        datasets: Callable[[str], Dataset],
        execution: Execution,
    ):
        """Takes where models are kept, where records come from, and how fast to go."""
        self.library, self.datasets, self._execution = library, datasets, execution
        self._digests: dict[str, str] = {}
        self._combined: dict[str, CombineFn] = {}
        self._forests = Forests(library.folder / "answers", datasets)
        # What defences learned of networks that they trained first, by the network and its defence.
        self._learned: dict[tuple[str, str], np.ndarray] = {}

    def name(self, subject: Subject) -> str:
        """Returns the fingerprint of a subject's weights."""
        task = get_task(subject.task)
        if task.name not in self._digests:
            self._digests[task.name] = self.datasets(task.name).fingerprint()
        return fingerprint(
            type(subject.recipe).__name__,
            subject.recipe,
            [task.encoding, task.num_classes, self._digests[task.name]],
            subject.members.astype(np.int32),
            subject.key_data,
            subject.defence.trained() if subject.defence else None,
            # What is kept beside the weights: others are known by what they were known by before.
            *(
                [subject.watch.points, subject.watch.records.astype(np.int32)]
                if subject.watch
                else ()
            ),
            *([subject.reference.astype(np.int32)] if subject.reference is not None else ()),
            digits=24,
        )

    def identity(self, subject: AnySubject) -> str:
        """Returns what tells subjects apart: equal ones answer alike, with the same truth about them."""
        if isinstance(subject, Composed):
            parts = " and ".join(map(self.name, subject.parts))
            strength = ", ".join(f"{value:g}" for value in np.ravel(subject.defence.strength))
            found = f"{subject.composite.kind} of {parts}, {strength}"
            digests = DEFENCES.digests(subject.defence.name)
            # A composite that jleaks made is known by its kind.
            of_user = "".join(f", {subject.defence} {digest}" for digest in digests.values())
            found += of_user
        else:
            found = self.name(subject)
        found += answered_by(subject.defence)
        return found if subject.null_order is None else f"{found}, told apart by a coin"

    def query(
        self,
        subjects: Sequence[AnySubject],
        rows: Sequence[Int[np.ndarray, "rows"]] | None = None,
        top: int | None = None,
    ) -> list[Answers]:
        """Queries each subject on its own list of records.

        Args:
          subjects: Targets and shadows of any tasks and kinds.
          rows: For each the positions of records; None for its members, then its others.
          top: How many of the largest posteriors are kept; None for whole posteriors.
        """
        rows = [subject.rows for subject in subjects] if rows is None else rows
        return self._ask(subjects, rows, top, None)

    def query_points(
        self, subjects: Sequence[AnySubject], points: Sequence[np.ndarray]
    ) -> list[Any]:
        """Returns the statistics [R, 3] of each subject's answers to random points [R, ...]."""
        rows = [np.arange(len(own)) for own in points]
        return [found.statistics for found in self._ask(subjects, rows, 1, points)]

    def signals(
        self, subjects: Sequence[Subject], rows: Int[np.ndarray, "rows"], keep: SignalFn
    ) -> dict[str, np.ndarray]:
        """Trains networks of one task and recipe and asks all of them about the same records.

        Args:
          subjects: M networks; all must be sound, for none could be left out.
          rows: [n] positions of the records.
          keep: What is kept of the answers.

        Returns:
          The signals, each [M, n, ...].

        Raises:
          DivergedError: a network's loss was not finite.
        """
        trainer, state = self.train(subjects, sound=True)
        asked = np.broadcast_to(rows, (len(subjects), len(rows)))
        return trainer.query(state, asked, keep, answering=self.answering(subjects, trainer, state))

    def train(self, subjects: Sequence[Subject], sound: bool = False) -> tuple[Trainer, State]:
        """Trains networks of one fleet, and before them whatever their defences train first.

        Args:
          subjects: The networks.
          sound: As of `Library.train`, which says what is returned.
        """
        names = [self.name(subject) for subject in subjects]
        spec = self.fleet_spec(subjects)
        soft = spec.members.soft_labels
        if soft is None:
            self._train_first(subjects)
        elif not self.library.has(names):
            for i, found in enumerate(self._told(subjects)):
                defence = subjects[i].defence
                assert defence is not None
                assert defence.preliminary is not None
                assert defence.preliminary.labels is not None
                soft[i, : len(subjects[i].members)] = defence.preliminary.labels(found)
        return self.library.train(spec, names, sound)

    def answering(
        self, subjects: Sequence[Subject], trainer: Trainer, state: State
    ) -> Answering | None:
        """Returns what happens to the answers of a fleet's networks (see `answering.of_fleet`)."""
        data = self.datasets(subjects[0].task)
        return of_fleet(subjects, trainer, state, data, self.learned)

    def learned(self, subjects: Sequence[Subject]) -> Float[np.ndarray, "subjects numbers"]:
        """Returns what the subjects' defences learn of networks that they train first, to answer by."""
        named = [(self.name(subject), str(subject.defence)) for subject in subjects]
        new = [i for i, name in enumerate(named) if name not in self._learned]
        for i, found in zip(new, self._told([subjects[i] for i in new]), strict=True):
            defence = subjects[i].defence
            assert defence is not None
            assert defence.preliminary is not None
            assert defence.preliminary.learn is not None
            self._learned[named[i]] = np.asarray(defence.preliminary.learn(found), np.float32)
        return np.stack([self._learned[name] for name in named])

    def _told(self, subjects: Sequence[Subject]) -> Iterator[Told]:
        """Trains what the subjects' defences train first; yields what it tells of one after another."""
        self._train_first(subjects)
        for subject in subjects:
            yield preliminary.told(subject, self._labels(subject), self.query)

    def _train_first(self, subjects: Sequence[Subject]) -> None:
        """Trains what the subjects' defences train first, in as few fleets as there can be."""
        first = [net for s in subjects for net in preliminary.networks(s, self._labels(s))]
        if first and not self.library.has([self.name(network) for network in first]):
            # What they answer could not be left out.
            self.train(first, sound=True)

    def _labels(self, subject: Subject) -> Int[np.ndarray, "members"]:
        return self.datasets(subject.task).labels[subject.members]

    def cost(self, subjects: Sequence[AnySubject]) -> Cost:
        """Returns what training all of these took; they were asked before."""
        total = Cost(0.0, 0.0, 0.0)
        for subject in subjects:
            for part in self._trained_for(subject):
                name = self.name(part)
                if isinstance(part.recipe, Recipe):
                    total = total + self.library.cost(name)
                else:
                    # Grown on the host, by all its cores: no device was used.
                    total = total + Cost(0.0, self._forests.seconds[name], None)
        return total

    def _ask(
        self,
        subjects: Sequence[AnySubject],
        rows: Sequence[np.ndarray],
        top: int | None,
        points: Sequence[np.ndarray] | None,
    ) -> list[Answers]:
        for task, name, strength in dict.fromkeys(
            (subject.task, subject.defence.name, subject.defence.strength)
            for subject in subjects
            if subject.defence is not None and subject.defence.answer is not None
        ):
            DEFENCES.find(name).check(strength, get_task(task).num_classes)
        found: list[Answers | None] = [None] * len(subjects)
        groups: dict[Any, list[int]] = {}
        for i, subject in enumerate(subjects):
            if isinstance(subject, Subject) and isinstance(subject.recipe, Recipe):
                key = (subject.task, subject.recipe, fleet_kind(subject.defence), len(rows[i]))
                groups.setdefault(key, []).append(i)
        for at in groups.values():
            own = None if points is None else [points[i] for i in at]
            networks = [s for i in at if isinstance(s := subjects[i], Subject)]
            answers = self._networks(networks, [rows[i] for i in at], top, own)
            for i, answer in zip(at, answers, strict=True):
                found[i] = answer
        self._train_networks_of([s for s in subjects if isinstance(s, Composed)])
        for i, subject in enumerate(subjects):
            if found[i] is None:
                records = None if points is None else points[i]
                found[i] = self.judged(subject, self._host(subject, rows[i], records))
        return [answer for answer in found if answer is not None]

    def _train_networks_of(self, composed: Sequence[Composed]) -> None:
        """Trains the networks of composites as fleets; they are then asked one by one."""
        groups: dict[Any, list[Subject]] = {}
        for part in (part for subject in composed for part in subject.parts):
            if isinstance(part.recipe, Recipe):
                key = part.task, part.recipe, fleet_kind(part.defence)
                groups.setdefault(key, []).append(part)
        for networks in groups.values():
            self.train(networks)

    def _trained_for(self, subject: AnySubject) -> Iterator[Subject]:
        """Yields all models that were trained for a subject."""
        for part in _parts(subject):
            yield part
            yield from preliminary.networks(part, self._labels(part))

    def judged(self, subject: AnySubject, answers: Answers) -> Answers:
        """Returns a subject's answers, as those of a marked model if one of its networks diverged."""
        networks = [part for part in _parts(subject) if isinstance(part.recipe, Recipe)]
        if not self.library.diverged(map(self.name, networks)):
            return answers
        return answers.marked()

    def fleet_spec(self, subjects: Sequence[Subject]) -> FleetSpec:
        """Lays out networks of one task and recipe as a fleet."""
        first = subjects[0]
        assert isinstance(first.recipe, Recipe)
        data = self.datasets(first.task)
        size = np.array([len(s.members) for s in subjects], np.int32)
        indices = np.zeros((len(subjects), size.max()), np.int32)
        for i, subject in enumerate(subjects):
            indices[i, : size[i]] = subject.members
        defences = [s.defence for s in subjects if s.defence is not None]
        # Of one fleet all are defended by the same fields, or none is.
        training: dict[str, np.ndarray] = {
            field: np.array([defence.training[field] for defence in defences], np.float32)
            for field in (defences[0].training if defences else ())
        }
        learner = packing.make_learner(
            first.recipe, data.task.encoding, data.task.num_classes, self._execution
        )
        if first.watch is not None:
            # Of one fleet all are watched at as many points.
            learner = dataclasses.replace(learner, trace_points=first.watch.points)
            training["watched"] = np.stack([s.watch.records for s in subjects if s.watch])
        if first.reference is not None:
            given = [s.reference for s in subjects if s.reference is not None]
            sizes = np.array([len(own) for own in given], np.int32)
            reference = np.zeros((len(given), sizes.max()), np.int32)
            for row, own in zip(reference, given, strict=True):
                row[: len(own)] = own
            training |= {"reference": reference, "reference_size": sizes}
        if "soft_labels" in fleet_kind(first.defence)[0]:
            # They are learned where networks are trained.
            shape = (*indices.shape, data.task.num_classes)
            training["soft_labels"] = np.zeros(shape, np.float32)
        return FleetSpec(
            name=first.task,
            names=[subject.name for subject in subjects],
            learner=learner,
            features=data.features,
            labels=data.labels,
            members=Members(indices, size, **training),
            key_data=np.stack([subject.key_data for subject in subjects]),
        )

    def _networks(
        self,
        subjects: Sequence[Subject],
        rows: Sequence[np.ndarray],
        top: int | None,
        points: Sequence[np.ndarray] | None,
    ) -> list[Answers]:
        trainer, state = self.train(subjects)
        keep: SignalFn = posterior_signals if top is None else signal_fn(top)
        indices = np.stack(rows).astype(np.int32)
        data = None
        if points is not None:
            count = len(points[0])
            data = trainer.fleet.put_data(
                np.concatenate(points), np.zeros(count * len(points), np.int32)
            )
            indices = np.arange(count * len(points), dtype=np.int32).reshape(-1, count)
        answers = trainer.query(
            *(state, indices, keep, data),
            self.answering(subjects, trainer, state),
        )
        for name, array in answers.items():
            for subject, values in zip(subjects, array, strict=True):
                if not np.isfinite(values).all():
                    raise InputError(
                        f"{subject.name}: what it answered is not finite ({name}); lower the learning rate"
                    )
        return [
            self.judged(
                subject,
                Answers(
                    answers["top"][i] if top is not None else None,
                    answers["posteriors"][i] if top is None else None,
                    answers["statistics"][i],
                    answers["correct"][i],
                    cross_entropy(answers["phi"][i]),
                ),
            )
            for i, subject in enumerate(subjects)
        ]

    def _host(
        self, subject: AnySubject, rows: np.ndarray, points: np.ndarray | None = None
    ) -> Answers:
        data = self.datasets(subject.task)
        features = data.features[rows] if points is None else points
        labels = data.labels[rows] if points is None else np.zeros(len(points), np.int32)
        if isinstance(subject, Subject):
            found = self._forests.answers(self.name(subject), subject, features)
        else:
            combine_fn = self._combine_fn(subject, data)
            found = combine_fn([self._part(part, rows, points) for part in subject.parts])
        if subject.defence is not None:
            found = applied(subject.defence, found)
        return from_posteriors(found, labels)

    def _part(self, part: Subject, rows: np.ndarray, points: np.ndarray | None) -> np.ndarray:
        """Returns what one part of a composite answers, [n, K]."""
        if isinstance(part.recipe, ForestRecipe):
            features = self.datasets(part.task).features[rows] if points is None else points
            return self._forests.answers(self.name(part), part, features)
        (found,) = self._ask([part], [rows], None, None if points is None else [points])
        return found.whole()

    def _combine_fn(self, subject: Composed, data: Dataset) -> CombineFn:
        """Returns what combines a composite's answers, which learns from those about the held records."""
        key = self.identity(subject)
        if key not in self._combined:
            answers = [self._part(part, subject.held, None) for part in subject.parts]
            labels = data.labels[subject.held]
            self._combined[key] = subject.composite.fit(answers, labels, data.task.num_classes)
        return self._combined[key]


def random_point_sets(
    datasets: Callable[[str], Dataset],
    subjects: Sequence[AnySubject],
    seeds: Sequence[int],
    count: int,
) -> list[np.ndarray]:
    """Returns adversary 3's random points [R, ...] for each subject, by its task and seed."""
    found = []
    for subject, seed in zip(subjects, seeds, strict=True):
        data = datasets(subject.task)
        found.append(random_points(data.task, seed, data.features.shape[1:], count))
    return found


def _parts(subject: AnySubject) -> tuple[Subject, ...]:
    """The models that were trained for a subject."""
    return subject.parts if isinstance(subject, Composed) else (subject,)
