"""What an experiment is, and the registry of all: the paper's and a user's alike.

@experiment("width", question="Does a wider target leak more to a shadow of the paper's width?")
def width(run):
    for task, seed in run.draws():
        for hidden in (32, 128, 512):
            target = run.target(task, seed, hidden=(hidden,))
            yield Case("adversary 1", target, [run.shadow(task, seed)], {"hidden": hidden})
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jleaks.errors import InputError
from jleaks.experiments.case import Case
from jleaks.registry import Registry

# Experiments are listed without JAX.
if TYPE_CHECKING:
    from jleaks.experiments.context import Context
    from jleaks.experiments.designs import Design
    from jleaks.rows import Row

CasesFn = Callable[["Context"], Iterable[Case]]


@dataclasses.dataclass(frozen=True)
class Claim:
    """One statement of a paper.

    Attributes:
      about: What it is about; "" if the statement says so itself.
      value: A figure ("0.95/0.95") or a statement in words.
      label: "S": read in a source.  "m": recalled, not read again.
    """

    about: str
    value: str
    label: Literal["S", "m"]

    def __str__(self) -> str:
        start = f"{self.about}: " if self.about else ""
        if self.label == "S":
            return f"{start}{self.value}, reported [S]"
        # A recalled figure is never exact.
        near = "about " if self.value[:1].isdigit() else ""
        return f"{start}{near}{self.value}, recalled [m]"


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
    """One experiment: from a run to cases; rows, table, figure and intervals follow.

    Attributes:
      name: In flags and rows, and of the folder of its results.
      alias: Its name in flags, one word; "" for none.
      title: Its heading.
      question: One sentence.
      cases: Says who attacks whom; pure, nothing is trained yet.
      claims: What a paper says; empty where nothing is known.
      varies: What its cases vary, the first along the axis of figures; () to read it from the cases.
      tasks: Tasks that it was made for, in its order; None for all of a plan's.
      further: Rows beside those of its cases, from a run; None for none.
      by_task: Whether tasks are asked one after another, where the answers of all take much memory.
      table: "attacks": a row for each attack; "series": the values of what varies across.
      files: Leaves files beside its rows, for its figures: takes the run and the folder; None for none.
      design: What its rows are compared by, its tables and figures (`jleaks.experiments.designs.Design`);
        None for a figure of the metrics against what varies.
    """

    name: str
    alias: str
    title: str
    question: str
    cases: CasesFn
    claims: tuple[Claim, ...] = ()
    varies: tuple[str, ...] = ()
    tasks: tuple[str, ...] | None = None
    further: "Callable[[Context], Sequence[Row]] | None" = None
    by_task: bool = False
    table: Literal["attacks", "series"] = "attacks"
    files: "Callable[[Context, Path], None] | None" = None
    design: "Design | None" = None

    @property
    def claim(self) -> str:
        """All claims as one text."""
        if not self.claims:
            return "No figure of the paper is at hand."
        text = "; ".join(map(str, self.claims))
        return f"{text[0].upper()}{text[1:]}."


# What a run keeps beside the folders of its experiments.
_BESIDE = ("models", "fleets", "answers")

EXPERIMENTS: Registry[Experiment] = Registry("experiment", ("all",))


def experiment(
    name: str, *, question: str, title: str = "", alias: str = "", **fields: Any
) -> Callable[[CasesFn], Experiment]:
    """Registers a function from a run to cases as an experiment.

    Args:
      name: In flags and rows.
      question: What it asks, one sentence.
      title: Its heading; "" for its name.
      alias: A second name in flags.
      **fields: Other attributes of `Experiment`.

    Raises:
      InputError: a name is someone else's, or that of what lies beside the experiment's folder; a series
        has nothing that varies.
    """

    def register(cases: CasesFn) -> Experiment:
        if name in _BESIDE:
            raise InputError(f"experiment {name!r}: a run's {name} lie there; choose another name")
        others = {other: e for other, e in EXPERIMENTS.items() if other != name}
        aliases = {e.alias: other for other, e in others.items() if e.alias}
        for given in (name, alias):
            if given in aliases or (given == alias and given in others):
                whose = aliases.get(given, given)
                raise InputError(f"experiment {name!r}: {given!r} is a name of {whose} already")
        if fields.get("table") == "series" and not fields.get("varies"):
            raise InputError(f"experiment {name!r}: a series needs varies, what its cases vary")
        made = Experiment(name, alias, title or name, question, cases, **fields)
        return EXPERIMENTS.register(name, made)

    return register


def get_experiment(name: str) -> Experiment:
    """Returns the experiment called `name`, for example "E6".

    Raises:
      InputError: there is no such experiment.
    """
    return EXPERIMENTS.find(name)


def resolve(names: Sequence[str]) -> list[str]:
    """Returns the experiments that names and aliases stand for, in the order of the registry.

    Raises:
      InputError: a name is unknown.
    """
    by_alias = {e.alias: name for name, e in EXPERIMENTS.items() if e.alias}
    found = set()
    for given in names:
        if given == "all":
            found |= set(EXPERIMENTS)
            continue
        options = (given, given.upper(), by_alias.get(given, ""))
        name = next((name for name in options if name in EXPERIMENTS), None)
        if name is None:
            raise InputError(
                f"unknown experiment {given!r}; allowed: all, "
                f"{', '.join((*EXPERIMENTS, *by_alias))}"
            )
        found.add(name)
    return [name for name in EXPERIMENTS if name in found]
