"""The audited model and its shadows: trained and asked by their owner's code, or known by their answers."""

import dataclasses
import functools
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from jleaks.auditing.answers import Signals, read_answers, signals_of
from jleaks.auditing.fleet import train_fleet
from jleaks.auditing.records import Records, take
from jleaks.auditing.shadows import (
    FitFn,
    PredictFn,
    Shadows,
    fit_once,
    seed_globally,
    train_shadows,
)
from jleaks.errors import InputError
from jleaks.models.own_network import load_network, register_network
from jleaks.training.execution import Execution
from jleaks.training.recipe import Recipe


class Answered(NamedTuple):
    """What the audited model and its shadows answered about all records.

    Attributes:
      own: Of the audited model.
      shadows: Of its shadows.
      seconds: That the audited model took to train, where it was, and to answer.
      notes: What a reader must be told.
    """

    own: Signals
    shadows: Shadows
    seconds: float
    notes: list[str]


@dataclasses.dataclass(frozen=True, eq=False)
class Models:
    """How an audit's models are made; the arguments of `jleaks.auditing.audit.audit`.

    Attributes:
      records: What models are asked about, and trained on.
      num_audited: The first so many records are audited; shadows are trained on the others, if there are.
      fit: (records, labels) -> model; None where nothing is trained by it.
      predict: (model, records) -> posteriors.
      recipe: How a network is trained, for a fleet of them; None for other models.
      target: The audited model; None where it is to be trained, or has answered.
      answers: What it answered, about all records or the audited ones.
      shadow_answers: For each shadow that is there already, (what it answered, what it trained on).
      seed: Of training.
      num_processes: How many shadows `fit` trains at once.
      execution: How fast networks train.
      tell: Receives lines of progress.
    """

    records: Records
    num_audited: int
    fit: FitFn | None
    predict: PredictFn | None
    recipe: Recipe | None
    target: Any
    answers: Any
    shadow_answers: Sequence[tuple[Any, Any]]
    seed: int
    num_processes: int | None
    execution: Execution | None
    tell: Callable[[str], None]

    @property
    def can_train(self) -> bool:
        """Whether shadows can be trained."""
        return self.recipe is not None or (self.fit is not None and self.predict is not None)

    def answered(
        self, member: Bool[np.ndarray, "shadows records"], folder: str | os.PathLike[str]
    ) -> Answered:
        """Trains shadows, or finds those that are kept, and asks all models.

        Args:
          member: Which records each shadow is trained on; none where shadows have answered.
          folder: Where models, or their answers, are kept.

        Raises:
          InputError: a function fails, or what was answered cannot be read.
        """
        if self.recipe is not None:
            return self._fleet(self.recipe, member, folder)
        own, seconds, notes = self._known
        if self.shadow_answers:
            shadows = _read_shadows(self.shadow_answers, self.records)
        elif self.fit is not None and self.predict is not None and len(member):
            shadows = train_shadows(
                self.fit,
                self.predict,
                self.records,
                member,
                folder,
                seed=self.seed,
                num_processes=self.num_processes,
                tell=self.tell,
            )
        else:
            shadows = Shadows(np.zeros((0, self.records.num_records), bool), [], 0.0, 0)
        return Answered(own, shadows, seconds, notes)

    @property
    def knows_others(self) -> bool:
        """Whether the audited model has answered, or can, about records that are not audited."""
        return self.answers is None or len(np.asarray(self.answers)) > self.num_audited

    @functools.cached_property
    def _known(self) -> tuple[Signals, float, list[str]]:
        """What the audited model answered, unless a fleet is to find out."""
        tick = time.monotonic()
        if self.answers is not None:
            return self._read(self.answers), time.monotonic() - tick, []
        given, names, notes = self._target_answers()
        posteriors = read_answers(given, names, self.records, "the audited model")
        return signals_of(posteriors, self.records.labels), time.monotonic() - tick, notes

    def _read(self, answers: Any) -> Signals:
        """Reads answers; where those about other records are unknown, nobody looks at them."""
        if self.knows_others:
            found = read_answers(answers, None, self.records, "the audited model")
            return signals_of(found, self.records.labels)
        audited = self.records.first(self.num_audited)
        found = read_answers(answers, None, audited, "the audited model")
        rest = self.records.num_records - self.num_audited
        return {
            name: np.concatenate([values, np.zeros(rest, values.dtype)])
            for name, values in signals_of(found, audited.labels).items()
        }

    def _fleet(
        self, recipe: Recipe, member: np.ndarray, folder: str | os.PathLike[str]
    ) -> Answered:
        """Trains networks as a fleet: shadows, and the audited one unless it has answered."""
        notes: list[str] = []
        if self.answers is None:
            notes.append("no answers were given: the audited network was trained on the members")
            member = np.concatenate([self.records.member[None], member])
        found = train_fleet(
            self.records,
            recipe,
            member,
            folder,
            seed=self.seed,
            execution=self.execution,
            tell=self.tell,
        )
        signals = found.signals
        if self.answers is None:
            own, signals, member = signals[0], signals[1:], member[1:]
        else:
            own = self._read(self.answers)
            notes.append(
                "the audited network is known by posteriors, its shadows by logits: where it is all but "
                "certain, its answers are told apart less finely than theirs, which weakens attacks"
            )
        return Answered(own, Shadows(member, signals, found.seconds, found.num_trained), 0.0, notes)

    def _target_answers(self) -> tuple[Any, np.ndarray | None, list[str]]:
        """Asks the audited model, which is trained if there is none; returns its columns' names, too."""
        records, target, notes = self.records, self.target, []
        assert self.predict is not None
        if target is None:
            assert self.fit is not None
            notes.append(
                "no target was given: the audited model was trained by fit, on the members"
            )
            rows = np.flatnonzero(records.member)
            own_seed = seed_globally(self.seed, 2**31 - 1)
            target = _called(
                "fit",
                fit_once,
                self.fit,
                take(records.data, rows),
                records.own_labels(rows),
                own_seed,
            )
        given = _called("predict", self.predict, target, records.data)
        if hasattr(given, "detach"):
            given = given.detach().cpu()
        names = getattr(target, "classes_", None)
        return np.asarray(given), None if names is None else np.asarray(names), notes


def network_recipe(network: Any, recipe: Recipe | None) -> Recipe:
    """Returns how a network is trained; the network is registered if it is not yet.

    Args:
      network: A flax module's class, linen or nnx, as "nets.py:Net" or by its registered name.
      recipe: All but the network; None for the default.
    """
    if isinstance(network, str):
        name = load_network(network) if ":" in network else network
    else:
        name = str(getattr(network, "__name__", type(network).__name__))
        register_network(name, network)
    return dataclasses.replace(recipe or Recipe(), model=name)


def _called(what: str, fn: Callable[..., Any], *arguments: Any) -> Any:
    """Calls the owner's code; what it raises becomes one line."""
    try:
        return fn(*arguments)
    except InputError:
        raise
    # A script that calls sys.exit() has not finished our work.
    except (Exception, SystemExit) as error:
        said = " ".join(str(error).split())[:300]
        raise InputError(f"{what} raised {type(error).__name__}: {said}") from error


def _read_shadows(shadow_answers: Sequence[tuple[Any, Any]], records: Records) -> Shadows:
    signals, members = [], []
    for i, (given, trained_on) in enumerate(shadow_answers):
        whose = f"shadow {i}"
        posteriors = read_answers(given, None, records, whose)
        signals.append(signals_of(posteriors, records.labels))
        flags = np.asarray(trained_on)
        if flags.shape != (records.num_records,):
            raise InputError(
                f"{whose}: member has shape {flags.shape}, expected one for each of "
                f"{records.num_records} records"
            )
        members.append(flags.astype(bool))
    return Shadows(np.stack(members), signals, 0.0, 0)
