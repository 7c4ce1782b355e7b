"""What the paper's experiments are called, what each asks, and what the paper says.

Salem et al., ML-Leaks, NDSS 2019 (arXiv 1806.01246).  A figure that was read in a source is
"reported" and labelled S; one that was not read again is "about", "recalled" and labelled m.
"""

import dataclasses
from typing import Any, Literal

from jleaks.errors import InputError


@dataclasses.dataclass(frozen=True)
class Claim:
    """One statement of the paper.

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


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One experiment of the paper.

    Attributes:
      alias: Its name in flags, one word.
      title: Its heading.
      question: One sentence.
      claims: What the paper says; empty where nothing is known.
    """

    alias: str
    title: str
    question: str
    claims: tuple[Claim, ...] = ()

    @property
    def claim(self) -> str:
        """All claims as one text."""
        if not self.claims:
            return "No figure of the paper is at hand."
        text = "; ".join(map(str, self.claims))
        return f"{text[0].upper()}{text[1:]}."


EXPERIMENTS: dict[str, Experiment] = {
    "E1": Experiment(
        "shokri",
        "Adversary 1 against Shokri et al.",
        "Is one shadow model and one attack model on the three largest posteriors as good as many "
        "shadow models and one attack model per class?",
        (
            Claim(
                "precision/recall on CIFAR-100",
                "0.95/0.95 of adversary 1 against 0.95/0.94 of Shokri et al.",
                "S",
            ),
            Claim("precision on MNIST", "about 0.6", "S"),
            Claim("precision/recall on Purchase-100", "0.86/0.86", "m"),
            Claim("precision and recall on Adult", "0.5", "m"),
        ),
    ),
    "E2": Experiment(
        "overfitting",
        "Overfitting against attack",
        "Are the targets that overfit most the ones that leak most?",
        (
            Claim("", "a strong correlation", "S"),
            Claim("train minus test accuracy on Adult", "2%", "m"),
            Claim("train minus test accuracy on Purchase-100", "35%", "m"),
        ),
    ),
    "E3": Experiment(
        "epochs",
        "The target's epochs",
        "Does a target leak more the longer it is trained?",
        (Claim("", "the attack grows stronger with the epochs", "S"),),
    ),
    "E4": Experiment(
        "classes",
        "The number of classes",
        "Does a target with more classes leak more?",
        (Claim("", "more classes, stronger attack", "S"),),
    ),
    "E5": Experiment(
        "posteriors",
        "The number of posteriors",
        "How many of the largest posteriors does the attack model need?",
        (Claim("", "little effect; three is the best choice overall", "m"),),
    ),
    "E6": Experiment(
        "shadows",
        "The number of shadow models",
        "What do more shadow models than one bring, and what do they cost?",
        (Claim("1 to 10 shadow models", "no significant difference", "S"),),
    ),
    "E7": Experiment(
        "api",
        "A target behind a prediction API",
        "Does the attack work when target and shadow can only be asked over the network?",
        (
            Claim("precision/recall on Purchase-100", "0.90/0.89", "m"),
            Claim("precision/recall on Location", "0.89/0.86", "m"),
        ),
    ),
    "E8": Experiment(
        "hyperparameters",
        "A shadow with other hyper-parameters",
        "Must the shadow model share the target's hyper-parameters?",
        (
            Claim("precision/recall on Purchase-100, half the target's", "0.86/0.83", "m"),
            Claim("precision/recall on Purchase-100, double the target's", "0.82/0.80", "m"),
        ),
    ),
    "E9": Experiment(
        "kinds",
        "The target's kind, known or not",
        "Can shadows of several kinds together replace the knowledge of the target's kind?",
        (
            Claim("precision/recall, MLP", "0.86/0.86 known, 0.88/0.85 combining", "m"),
            Claim(
                "precision/recall, logistic regression",
                "0.90/0.88 known, 0.89/0.86 combining",
                "m",
            ),
            Claim("precision/recall, random forest", "1.0/1.0 known, 0.94/0.93 combining", "m"),
        ),
    ),
    "E10": Experiment(
        "transfer",
        "Data transferring",
        "Does an attack model learned on a shadow of one task work on the targets of another?",
        (
            Claim("precision/recall, News to CIFAR-100", "0.94/0.93", "S"),
            Claim("precision, Face to CIFAR-10", "0.75", "S"),
        ),
    ),
    "E11": Experiment(
        "tsne",
        "Why attacks transfer",
        "Do the members of two tasks look alike in their three largest posteriors?",
        (Claim("", "one boundary parts members and non-members of both sets", "m"),),
    ),
    "E12": Experiment(
        "transfer_api",
        "Data transferring behind a prediction API",
        "Does data transferring work when the target can only be asked over the network?",
    ),
    "E13": Experiment(
        "statistics",
        "Adversary 3: which statistic",
        "Which statistic of the posteriors tells members best without any training?",
        (Claim("", "the maximum is best or equal to the best", "m"),),
    ),
    "E14": Experiment(
        "threshold",
        "Adversary 3: the threshold",
        "Which share of random points, asked without labels, gives a good threshold?",
        (Claim("", "the top 10% of random points (t = 10) work everywhere", "m"),),
    ),
    "E15": Experiment(
        "adversaries",
        "The three adversaries side by side",
        "What does each assumption that an adversary gives up cost?",
        (Claim("", "adversary 3 loses some precision", "S"),),
    ),
    "E16": Experiment(
        "dropout",
        "Defence: dropout",
        "Does dropout in the target stop the attacks, also those of who knows of it, and what does "
        "it cost?",
        (
            Claim("precision of adversary 1 on CIFAR-100", "0.95 before, 0.60 after", "m"),
            Claim("target's accuracy on CIFAR-100", "21% before, 23% after", "m"),
        ),
    ),
    "E17": Experiment(
        "dropout_grid",
        "Defence: the dropout ratios",
        "How do attack and accuracy move with the dropout of the input and the hidden layer?",
        (Claim("", "the attack falls as the ratios rise", "m"),),
    ),
    "E18": Experiment(
        "stacking",
        "Defence: model stacking",
        "Does a stack of models trained on separate parts stop the attacks, also those of who knows "
        "of it, and what does it cost?",
        (Claim("adversary 1 on CIFAR-100", "falls by over 30%", "S"),),
    ),
}

SCALES: tuple[str, ...] = ("smoke", "small", "paper")

ATTACKS: dict[str, str] = {
    "adversary 1": "Adversary 1",
    "adversary 2": "Adversary 2",
    "adversary 3": "Adversary 3",
    "shokri": "Shokri et al.",
}
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


def get_experiment(name: str) -> Experiment:
    """Returns the experiment called `name`, for example "E6".

    Raises:
      InputError: there is no such experiment.
    """
    if name not in EXPERIMENTS:
        raise InputError(f"unknown experiment {name!r}; allowed: {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name]
