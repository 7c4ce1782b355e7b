"""What an attack on a bank is: its scores, where they are cut, and what an attacker must have to run it."""

import dataclasses
from collections.abc import Callable
from typing import Literal, NamedTuple

from jaxtyping import Array

from jleaks.attacks.options import Options
from jleaks.attacks.reference_statistics import ReferenceStatistics
from jleaks.metrics.roc import Ranked, best_threshold
from jleaks.models.kernels import XLA, Kernels

Needs = Literal["none", "out", "proxies and out", "in and out"]


class Records(NamedTuple):
    """The N records that one model's scores are of.

    Attributes:
      labels: [N] true classes.
      valid: [N] False for padding.
      candidate: [N] False for padding and for the population, which is held out from all models.
      num_classes: K.
      kernels: What ranks them.
    """

    labels: Array
    valid: Array
    candidate: Array
    num_classes: int
    kernels: Kernels = XLA


class ShadowScores(NamedTuple):
    """One shadow's scores; the attacker knows who is a member of it.

    Attributes:
      scores: [N] of its records.
      member: [N] who is a member.
      ranked: The audited ones, ranked.
      records: What they are.
    """

    scores: Array
    member: Array
    ranked: Ranked
    records: Records


# From the statistics to raw scores [T, N]; of an attack with variants to what these share [C, T, N].
Score = Callable[[ReferenceStatistics, Options], Array]
# From one model's raw scores of all its records [N] to its scores [N].
Finish = Callable[[Array, Records, Options], Array]
# From what is learned from, of a target and of its shadow [C, N] each, the shadow's members [N], which of
# its records tell [N], and what computes, to scores of both, [N] each.
Learn = Callable[[Array, Array, Array, Array, Kernels], tuple[Array, Array]]
# From one target's scores [N] to its scores beside those of a shadow [N].
Relative = Callable[[Array, Records, ShadowScores], Array]
# From a shadow's scores to the score from which a record is called a member.
Threshold = Callable[[ShadowScores], Array]


@dataclasses.dataclass(frozen=True)
class Variants:
    """Forms of one attack: the one with the largest AUC on a shadow, whose membership the attacker knows.

    Attributes:
      values: From the options to the number of each form; of equally good ones the first is taken.
      default: From the options to the form where there is no shadow.
      form: From what the forms share [C, N] and the number of one to raw scores [N], of one target.
      names: What numbers are called in rows, if not by themselves.
    """

    values: Callable[[Options], tuple[float, ...]]
    default: Callable[[Options], float]
    form: Callable[[Array, Array], Array]
    names: tuple[str, ...] | None = None

    def name(self, value: float) -> str | float:
        """Returns what one form is called in rows."""
        return round(float(value), 6) if self.names is None else self.names[int(value)]


class Ending(NamedTuple):
    """What makes scores and a threshold of raw scores; attacks that share it are evaluated together."""

    finish: Finish | None
    relative: Relative | None
    threshold: Threshold | float
    variants: Variants | None
    learn: Learn | None


def best_on_shadow(shadow: ShadowScores) -> Array:
    """The threshold with the largest balanced accuracy on the shadow (Song & Mittal 2021, section 3.2)."""
    return best_threshold(shadow.ranked)


@dataclasses.dataclass(frozen=True)
class Attack:
    """One attack.

    Attributes:
      name: Used in flags and rows.
      title: Used in tables and figures.
      source: Where it was published.
      score: From the statistics to raw scores [T, N], larger for likelier members; with `variants`, to
        what its forms share [C, T, N]; with `learn`, to what it learns from [C, T, N].
      references: Which references it looks at: none, OUT, OUT and what those that trained on other records
        answer about these (proxies), or IN and OUT.
      labels: Whether it must know a record's true class.
      queries: "one" query per record or "all" that the bank has.
      signals: Arrays that the bank must have besides phi.
      finish: What turns one model's raw scores into scores, once all its records have one; None: nothing.
      relative: What sets a target's scores beside those of its shadow, without which the attack cannot be
        run; None: nothing.
      threshold: From the same attack's scores on a shadow to the threshold for precision and recall; or
        the threshold itself, where it is stated beforehand.
      variants: Forms among which a shadow decides, for each target.
      learn: What learns on each target's shadow to make scores, without which the attack cannot be run;
        None: nothing is learned.
    """

    name: str
    title: str
    source: str
    score: Score
    references: Needs = "none"
    labels: bool = True
    queries: Literal["one", "all"] = "one"
    signals: tuple[str, ...] = ()
    finish: Finish | None = None
    relative: Relative | None = None
    threshold: Threshold | float = best_on_shadow
    variants: Variants | None = None
    learn: Learn | None = None

    @property
    def ending(self) -> Ending:
        """What comes after raw scores."""
        return Ending(self.finish, self.relative, self.threshold, self.variants, self.learn)

    @property
    def needs_shadow(self) -> bool:
        """Whether there are no scores without a shadow, whose membership the attacker knows."""
        return self.relative is not None or self.learn is not None


def stored(name: str) -> Score:
    """Returns the score that is a signal of the bank as it stands."""
    return lambda statistics, _: statistics.own(name)


def plain(fn: Callable[[ReferenceStatistics], Array]) -> Score:
    """Returns the score of a function that has no options."""
    return lambda statistics, _: fn(statistics)
