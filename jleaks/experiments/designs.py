"""How an experiment's rows are looked at: what is compared with what, its tables, its figures.

The report asks `design_of` and knows no experiment by name.  An experiment of one's own says its own:

@experiment(
    "width",
    question="Does a wider target leak more to a shadow of the paper's width?",
    design=Design(
        entries=("hidden",),
        heading="width",
        reference=128,
        figures=(Figure("curves", along="hidden", xlabel="Hidden units of the target"),),
    ),
)
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

from jleaks.experiments.claims import ATTACKS, Value, get_experiment, value_title

Kind = Literal[
    "bars", "curves", "classes", "transfer", "overfitting", "own", "points", "densities", "ratios"
]
TableKind = Literal["correlation", "transfer", "points"]

_MAIN = ("precision", "recall", "auc")


class Varied(Protocol):
    """Rows that are alike but for their seed: an attack, and what the experiment varies."""

    @property
    def attack(self) -> str:
        """One of `ATTACKS`."""

    def get(self, name: str, default: Value = None) -> Value:
        """Returns what is varied under `name`."""


def _joined(group: Varied, entries: tuple[str, ...]) -> Value:
    """Returns the one entry, or the titles of several."""
    if len(entries) == 1:
        return group.get(*entries)
    titles = (
        ATTACKS[group.attack] if e == "attack" else value_title(group.get(e)) for e in entries
    )
    return ", ".join(titles)


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of an experiment.

    Attributes:
      kind: What draws it.
      title: Its heading.
      metrics: The columns it shows.
      attack: Of this attack alone; None for all.
      where: Entries of the variant, which it shows if they are absent or hold these values.
      along: What lies along the x axis of curves: an entry of the variant, or a column.
      xlabel: Its name and unit.
      file: Its name.
      note: A sentence for its caption.
      by_kind: Whether bars of one task are parted by the target's kind of model.
      mark: A place of the x axis that gets a line.
      knee: Whether knees are ringed.
      hues: The entry of the variant that gives bars their colour; the others make it lighter.
    """

    kind: Kind
    title: str = ""
    metrics: tuple[str, ...] = _MAIN
    attack: str | None = None
    where: Mapping[str, Value] = dataclasses.field(default_factory=dict)
    along: str = ""
    xlabel: str = ""
    file: str = "figure.png"
    note: str = ""
    by_kind: bool = False
    mark: float | None = None
    knee: bool = False
    hues: str = ""

    def shows(self, group: Varied) -> bool:
        """Whether it is of a group."""
        wanted = all(group.get(name, value) == value for name, value in self.where.items())
        return wanted and self.attack in (None, group.attack)


@dataclasses.dataclass(frozen=True)
class Design:
    """How an experiment's rows are looked at.

    Attributes:
      entries: Entries of the variant that make the arm, or "attack"; rows that are alike in all others are
        compared.  Empty: nothing is compared.
      heading: What the arms are, in a table's title.
      reference: The arm that the others are compared with; None for the first in rank.
      arm_fn: The arm, None for rows that take no part.
      legend: What figures call an arm, where that is not its name.
      unit: What follows an arm's name.
      contrasted: The columns that are compared.
      only_last: Whether the table of contrasts shows the last arm alone.
      series: The entry whose values are columns of the table; None for a row per variant.
      series_metrics: The columns that such a table shows.
      averaged: Whether adversary 2 is averaged over its shadow tasks.
      tables: Tables that answer the question, before all others.
      rows_expected: Whether there must be rows.
      figures: Its figures.
    """

    entries: tuple[str, ...] = ()
    heading: str = ""
    reference: Value = None
    arm_fn: Callable[[Varied, tuple[str, ...]], Value] = _joined
    legend: Mapping[str, str] = dataclasses.field(default_factory=dict)
    unit: str = ""
    contrasted: tuple[str, ...] = (*_MAIN, "accuracy", "test_accuracy")
    only_last: bool = False
    series: str | None = None
    series_metrics: tuple[str, ...] = (*_MAIN, "accuracy", "test_accuracy")
    averaged: bool = False
    tables: tuple[TableKind, ...] = ()
    rows_expected: bool = True
    figures: tuple[Figure, ...] = ()

    def arm(self, group: Varied) -> Value:
        """Returns the arm of a group, None if it takes no part."""
        return self.arm_fn(group, self.entries)

    def arm_title(self, arm: Value) -> str:
        """Returns what a figure calls an arm."""
        return self.legend.get(title := value_title(arm), f"{title}{self.unit}")


def _adversary(group: Varied, _: tuple[str, ...]) -> Value:
    # Adversary 3 is represented by the statistic that the paper settles on.
    return ATTACKS[group.attack] if group.get("statistic", "maximum") == "maximum" else None


def _hyperparameters(group: Varied, entries: tuple[str, ...]) -> Value:
    return "same" if group.get("shadow") == "same" else _joined(group, entries)


def _kinds(group: Varied, _: tuple[str, ...]) -> Value:
    shadow = group.get("shadow")
    return "known" if shadow == group.get("target") else shadow


def _defence(group: Varied, _: tuple[str, ...]) -> Value:
    # Adversary 3 trains no shadow that could have the defence.
    defence, attacker = group.get("defence", "none"), group.get("attacker")
    if defence == "none" or attacker is None or group.attack == "adversary 3":
        return value_title(defence)
    return f"{value_title(defence)}, {value_title(attacker)} attacker"


_SETTLED = {"statistic": "maximum"}


def _asked_by(adversary: int) -> Design:
    """A target asked directly against the same one behind an endpoint."""
    title = (
        f"Adversary {adversary}: posteriors from the model itself and from behind a prediction API"
    )
    bars = Figure("bars", title, ("precision", "recall"), f"adversary {adversary}")
    legend = {"direct": "Asked directly", "HTTP": "Asked over HTTP"}
    return Design(("access",), "access", "direct", legend=legend, figures=(bars,))


_ADVERSARIES = Figure(
    "bars", "Precision and recall of the adversaries, per target task", ("precision", "recall")
)
_TRANSFER = "{} of the attack model when it is transferred between tasks"
_DEFENDED = "{} before and after the defence, and the target's accuracy"
_DEFENCE = Design(
    entries=("defence", "attacker"),
    heading="defence",
    reference="none",
    arm_fn=_defence,
    legend={"none": "no defence"},
    figures=(
        Figure(
            "bars",
            _DEFENDED.format("Adversary 1"),
            (*_MAIN, "test_accuracy"),
            "adversary 1",
            note="An aware attacker trains shadow models with the defence, a naive one without.",
        ),
        Figure(
            "bars",
            _DEFENDED.format("Adversary 3 (threshold on the maximum)"),
            (*_MAIN, "test_accuracy"),
            "adversary 3",
            _SETTLED,
            file="figure_adversary_3.png",
        ),
    ),
)

DESIGNS: dict[str, Design] = {
    "E1": Design(
        entries=("attack", "attack_model"),
        heading="attack and attack model",
        reference="Shokri et al., MLP",
        legend={
            "Adversary 1, MLP": "Adversary 1, one shadow model",
            "Shokri et al., MLP": "Shokri et al.",
        },
        figures=(
            Figure(
                "bars", "Adversary 1 against Shokri et al.", ("precision", "recall"),
                note="Attack models: MLP.", where={"attack_model": "mlp"},
            ),
        ),
    ),
    "E2": Design(tables=("correlation",), figures=(Figure("overfitting"),)),
    "E3": Design(
        entries=("epochs",),
        heading="epochs of the target",
        series_metrics=(*_MAIN, "train_accuracy", "test_accuracy"),
        figures=(
            Figure(
                "curves", "The attack against the target's epochs", (*_MAIN, "test_accuracy"),
                where=_SETTLED, along="epochs", xlabel="Epochs of the target",
            ),
        ),
    ),
    "E4": Design(figures=(Figure("classes", attack="adversary 1"),)),
    "E5": Design(
        entries=("top",),
        heading="number of posteriors",
        reference=3,
        unit=" of the posteriors",
        series_metrics=(*_MAIN, "accuracy", "tpr_at_fpr_0.01"),
        figures=(
            Figure(
                "bars",
                "Adversary 1 by the number of largest posteriors that it looks at",
                attack="adversary 1",
            ),
        ),
    ),
    "E6": Design(
        entries=("num_shadows",),
        heading="number of shadow models",
        reference=1,
        series_metrics=(
            *(*_MAIN, "tpr_at_fpr_0.01", "shadow_seconds", "shadow_wall_seconds"),
            *("shadow_flops", "attack_seconds"),
        ),
        figures=(
            Figure(
                "curves", "The attack against the number of shadow models", along="num_shadows",
                xlabel="Shadow models",
            ),
            Figure(
                "curves", "What shadow models cost and what they bring", along="shadow_seconds",
                xlabel="Device-seconds to train the shadow models",
                file="figure_cost.png", note="One point per number of shadow models.", knee=True,
            ),
        ),
    ),
    "E7": _asked_by(1),
    "E8": Design(
        entries=("shadow", "what"),
        heading="shadow's hyper-parameters",
        reference="same",
        arm_fn=_hyperparameters,
        legend={"same": "same as the target"},
        figures=(
            Figure(
                "bars",
                "Adversary 1 with a shadow model of other hyper-parameters than the target's",
                note="“all”: hidden units, epochs, learning rate and batch size together.",
                hues="what",
                attack="adversary 1",
            ),
        ),
    ),
    "E9": Design(
        entries=("shadow",),
        heading="kind of the shadow",
        reference="known",
        arm_fn=_kinds,
        legend={
            "known": "Kind known: a shadow of it",
            "combined": "Kind unknown: shadows of all kinds",
        },
        figures=(
            Figure(
                "bars", "Adversary 1 where the target's kind of classifier is known or not",
                by_kind=True, attack="adversary 1",
            ),
        ),
    ),
    "E10": Design(
        tables=("transfer",),
        figures=(
            Figure("transfer", _TRANSFER.format("Precision"), ("precision",)),
            Figure("transfer", _TRANSFER.format("Recall"), ("recall",), file="figure_recall.png"),
        ),
    ),
    "E11": Design(tables=("points",), rows_expected=False, figures=(Figure("points"),)),
    "E12": _asked_by(2),
    "E13": Design(
        entries=("statistic",),
        heading="statistic",
        reference="maximum",
        figures=(
            Figure(
                "bars",
                "Adversary 3: AUC of a threshold on one statistic of the target's posteriors",
                ("auc",),
                "adversary 3",
            ),
        ),
    ),
    "E14": Design(
        entries=("percentile",),
        heading="percentile t",
        reference=10,
        # A threshold moves along one ROC curve.
        contrasted=("precision", "recall", "accuracy", "test_accuracy"),
        series_metrics=("precision", "recall", "accuracy"),
        figures=(
            Figure(
                "curves",
                "Adversary 3 against the threshold: the maximum that the top t% of random points exceed",
                ("precision", "recall", "accuracy"),
                where=_SETTLED,
                along="percentile",
                xlabel="Percentile t (% of random points)",
                note="Vertical line: t = 10.",
                mark=10.0,
            ),
            Figure("densities", file="figure_densities.png"),
        ),
    ),
    "E15": Design(
        entries=("attack", "statistic"),
        heading="adversary",
        reference="Adversary 1",
        arm_fn=_adversary,
        legend={
            "Adversary 2": "Adversary 2, mean over shadow tasks",
            "Adversary 3": "Adversary 3, threshold on the maximum",
        },
        averaged=True,
        figures=(_ADVERSARIES,),
    ),
    "E16": _DEFENCE,
    "E17": Design(
        entries=("input_ratio", "hidden_ratio"),
        heading="dropout of input, hidden layer",
        reference="0, 0",
        # Of a grid of ratios the far corner says enough.
        only_last=True,
        figures=(
            Figure(
                "ratios",
                "The attack and the target's accuracy by the dropout of the target",
                ("precision", "recall", "test_accuracy"),
                where=_SETTLED,
                note="An aware attacker trains shadow models with the target's dropout, a naive one "
                "without.",
            ),
        ),
    ),
    "E18": _DEFENCE,
}  # fmt: skip

_OWN = Design(figures=(Figure("own", metrics=(*_MAIN, "test_accuracy")),))


def design_of(name: str) -> Design:
    """Returns how the rows of an experiment, the paper's or a user's, are looked at.

    Raises:
      InputError: there is no such experiment.
    """
    experiment = get_experiment(name)
    series = experiment.varies[0] if experiment.table == "series" else None
    design = experiment.design or DESIGNS.get(name, _OWN)
    return dataclasses.replace(design, series=series)


MAIN_JOB: dict[str, tuple[str, int]] = {
    "precision_recall.png": ("E15", 0),
    "transfer_precision.png": ("E10", 0),
    "transfer_recall.png": ("E10", 1),
    "overfitting.png": ("E2", 0),
    "statistics.png": ("E13", 0),
}
"""The figures of the main job, which is these experiments in one: whose they are, and which of theirs."""
