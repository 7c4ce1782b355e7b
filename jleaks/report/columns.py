"""The columns of every table and the quantities of every figure: names, and how they are written."""

import dataclasses
import math

GAP = "gap"
"""A column that is computed: the target's training minus its test accuracy."""


@dataclasses.dataclass(frozen=True)
class Column:
    """A number of a row.

    Attributes:
      name: The field of a row that holds it.
      title: What it is called in a sentence or beside an axis.
      head: The head of its column in a table; may have several lines.
      digits: Digits after the point; None for three significant ones, without an interval, of what was
        counted and not measured.
      scale: A table shows the value divided by it.
      least: The least value it can have.
      most: The largest value it can have.
    """

    name: str
    title: str
    head: str = ""
    digits: int | None = 3
    scale: float = 1.0
    least: float = 0.0
    most: float = 1.0

    @property
    def flat_head(self) -> str:
        """The head on one line."""
        return (self.head or self.title).replace("\n", " ")


_ALL = (
    Column("precision", "Precision"),
    Column("recall", "Recall"),
    Column("auc", "AUC"),
    Column("accuracy", "Balanced accuracy", "Balanced\naccuracy"),
    Column("balanced_accuracy", "Balanced accuracy", "Balanced\naccuracy"),
    Column("tpr_at_fpr_0.01", "TPR at 1% FPR", "TPR at\n1% FPR"),
    Column("tpr_at_fpr_0.001", "TPR at 0.1% FPR", "TPR at\n0.1% FPR"),
    Column("tpr_at_fpr_0.0001", "TPR at 0.01% FPR", "TPR at\n0.01% FPR"),
    Column("fpr_realised_0.01", "FPR realised at 1%"),
    Column("fpr_realised_0.001", "FPR realised at 0.1%"),
    Column("precision_shadow_cut", "Precision at the shadow's cut", "Precision,\nshadow's cut"),
    Column("recall_shadow_cut", "Recall at the shadow's cut", "Recall,\nshadow's cut"),
    Column(
        "accuracy_shadow_cut",
        "Balanced accuracy at the shadow's cut",
        "Accuracy,\nshadow's cut",
    ),
    Column("train_accuracy", "Target's train accuracy", "Target\ntrain acc."),
    Column("test_accuracy", "Target's test accuracy", "Target\ntest acc."),
    Column(GAP, "Train minus test accuracy of the target", least=-1.0),
    Column(
        "shadow_seconds",
        "Device-seconds to train the shadow models",
        "Shadow training,\ndevice-seconds",
        digits=1,
        most=math.inf,
    ),
    Column(
        "shadow_wall_seconds",
        "Seconds to train the shadow models",
        "Shadow training,\nwall seconds",
        digits=1,
        most=math.inf,
    ),
    Column(
        "shadow_flops",
        "TFLOP to train the shadow models",
        "Shadow training,\nTFLOP",
        digits=None,
        scale=1e12,
        most=math.inf,
    ),
    Column(
        "attack_seconds",
        "Device-seconds to train the attack model",
        "Attack training,\ndevice-seconds",
        digits=1,
        most=math.inf,
    ),
)

COLUMNS: dict[str, Column] = {column.name: column for column in _ALL}
"""All columns by name."""

CUT: tuple[str, ...] = ("precision_shadow_cut", "recall_shadow_cut", "accuracy_shadow_cut")
"""At the cut that separates the attack model's own rows best."""

OF_EXPERIMENTS: tuple[str, ...] = (
    *("precision", "recall", "auc", "accuracy", "tpr_at_fpr_0.01", "tpr_at_fpr_0.001"),
    *(*CUT, "train_accuracy", "test_accuracy", "shadow_seconds"),
)
"""The columns of a table of an experiment's attacks, those of them that are defined, in order."""

OF_RUNS: tuple[str, ...] = (
    *("precision", "recall", "auc", "accuracy", "tpr_at_fpr_0.01", "train_accuracy"),
    *("test_accuracy", *CUT),
)
"""The same of the main job, whose tables fit 160 characters."""

MAIN: tuple[str, ...] = ("precision", "recall", "auc")
"""What is looked at first."""
