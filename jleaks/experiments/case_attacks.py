"""The registry of case attacks: what each needs of an attacker, and how it scores a target's records.

(Attacks on banks have a registry of their own, `jleaks.attacks.registry`: their scores are one matrix
product for all targets.)
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from jleaks.experiments.answers import Answers
from jleaks.experiments.case import Access, Case
from jleaks.experiments.context import Job
from jleaks.registry import Registry


@dataclasses.dataclass(frozen=True, eq=False)
class Answered:
    """What the subjects of some cases answered; a key's first part is a subject's identity.

    Attributes:
      rows: By identity and access, about members, then others.
      random: By identity, the statistics [R, 3] of the answers to random points.
    """

    rows: dict[tuple[str, Access], Answers] = dataclasses.field(default_factory=dict)
    random: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def target(self, job: Job[Any], case: Case) -> Answers:
        """Returns what a case's target answered."""
        return self.rows[job.querier.identity(case.target), case.access]

    def shadows(self, job: Job[Any], case: Case) -> tuple[Answers, ...]:
        """Returns what each of a case's shadows answered."""
        identity = job.querier.identity
        return tuple(self.rows[identity(s), case.shadow_access] for s in case.shadows)


@dataclasses.dataclass(frozen=True, eq=False)
class Attack:
    """One attack with its scores of the target's records.

    Attributes:
      case: Who attacks whom.
      target: What the target answered.
      shadows: What each shadow answered.
      scores: [n + m] of members, then others; larger means likelier a member.
      threshold: From which score a record is called a member.
      cut: The same as the attack model's own rows choose it (see `metrics.OwnRows`); NaN for none.
      learned: Fingerprints of its attack models.
      varies: What tells it from other attacks of its case.
      fields: Row fields that the attack itself knows.
    """

    case: Case
    target: Answers
    shadows: tuple[Answers, ...]
    scores: np.ndarray
    threshold: float
    cut: float = math.nan
    learned: tuple[str, ...] = ()
    varies: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fields: dict[str, Any] = dataclasses.field(default_factory=dict)

    def diverged(self, job: Job[Any]) -> list[str]:
        """Returns the names of the models that it rests on and that diverged: its numbers mean nothing."""
        pairs = (
            (self.case.target, self.target),
            *zip(self.case.shadows, self.shadows, strict=True),
        )
        subjects = [subject.name for subject, answers in pairs if answers.diverged]
        return [*subjects, *(one.name for one in job.querier.library.diverged(self.learned))]


# From a run, cases of this kind of attack, what their subjects answered and what reported lines begin with
# to the attacks of each case, in order.
ScoreFn = Callable[[Job[Any], Sequence[Case], Answered, str], list[list[Attack]]]


@dataclasses.dataclass(frozen=True, eq=False)
class CaseAttack:
    """One kind of attack on a target by what its shadows, or random points, teach.

    Attributes:
      name: In cases and rows.
      title: In tables and figures.
      score: Scores all cases at once, so that their attack models train as few fleets.  Attacks that share
        it are scored together.
      shadows: Shadow models that it needs: of the target's own task, of another, or none.
      random_points: Whether it asks the target about random points.
      labels: Whether the attacker must know the records' classes.
      posteriors: Whether it looks at the largest posteriors or at all; all are asked for task by task.
    """

    name: str
    title: str
    score: ScoreFn
    shadows: Literal["own task", "other task", "none"] = "none"
    random_points: bool = False
    labels: bool = False
    posteriors: Literal["largest", "all"] = "largest"


CASE_ATTACKS: Registry[CaseAttack] = Registry("case attack", marks="_-. ")
