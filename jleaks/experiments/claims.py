"""What experiments, attacks and the values of what varies are called in reports."""

from collections.abc import Iterator, Mapping
from typing import Any

from jleaks.experiments import cases, paper  # noqa: F401 - what they register
from jleaks.experiments.case_attacks import CASE_ATTACKS
from jleaks.experiments.experiment import EXPERIMENTS, Claim, Experiment, get_experiment

__all__ = ["ATTACKS", "EXPERIMENTS", "VARIANTS", "Claim", "Experiment", "get_experiment"]


class _Titles(Mapping[str, str]):
    """What case attacks are called, those that are registered later included."""

    def __getitem__(self, name: str) -> str:
        return CASE_ATTACKS[name].title

    def __iter__(self) -> Iterator[str]:
        return iter(CASE_ATTACKS)

    def __len__(self) -> int:
        return len(CASE_ATTACKS)


ATTACKS: Mapping[str, str] = _Titles()
"""The attacks of a row and what they are called, in the order of reports."""

VARIANTS: dict[str, str] = {
    "attack_model": "Attack model",
    "epochs": "Epochs",
    "top": "Posteriors",
    "num_shadows": "Shadow models",
    "access": "Access",
    "target": "Target's kind",
    "what": "Hyper-parameter",
    "shadow": "Shadow",
    "statistic": "Statistic",
    "percentile": "Percentile t",
    "defence": "Defence",
    "attacker": "Attacker",
    "input_ratio": "Input dropout",
    "hidden_ratio": "Hidden dropout",
}
"""What a row's `variant` may vary, and the heads of the columns, in the order of reports."""


def variant_title(name: str) -> str:
    """Returns the head of the column of what a variant varies."""
    return VARIANTS.get(name) or name.replace("_", " ").capitalize()


def variant_rank(name: str) -> tuple[int, str]:
    """Returns the sort key of what a variant varies: in the order of reports, others after them."""
    names = list(VARIANTS)
    return (names.index(name) if name in names else len(names), name)


# Values in words, in the order of reports.
_WORDS: dict[str, str] = {
    "mlp": "MLP",
    "logistic": "logistic regression",
    "forest": "random forest",
    "cnn": "CNN",
    "combined": "combined",
    "direct": "direct",
    "http": "HTTP",
    "hidden": "hidden units",
    "epochs": "epochs",
    "learning_rate": "learning rate",
    "batch_size": "batch size",
    "half": "half",
    "same": "same",
    "double": "double",
    "maximum": "maximum",
    "standard deviation": "standard deviation",
    "entropy": "entropy",
    "none": "none",
    "dropout": "dropout",
    "stacking": "stacking",
    "naive": "naive",
    "aware": "aware",
    "all": "all",
}

Value = float | str | None


def value_title(value: Value) -> str:
    """Returns what a value of a variant is called; "-" for none."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return _WORDS.get(value, value)
    return f"{value:g}"


def value_rank(value: Value) -> tuple[Any, ...]:
    """Returns the sort key of a value: absent, numbers, words in the order of reports."""
    if value is None:
        return (0,)
    if isinstance(value, str):
        words = list(_WORDS)
        return (2, words.index(value) if value in words else len(words), value)
    return (1, value)
