"""The twelve tasks of ML-Leaks: what each one's records look like and how the paper treats them.

A *task* is a dataset together with its set of classes: Purchase is one dataset and five tasks.
Source of sizes and preprocessing: Salem et al. 2019, section IV-A and the authors' released code.
"""

import dataclasses
from typing import Literal

from jleaks.errors import InputError
from jleaks.fields import Source as Source

Encoding = Literal["pixels", "binary", "terms", "mixed"]

# UCI Adult: columns 0..5 are numbers, columns 6..13 are codes of that many categories ('?', where
# the attribute has unknowns, is a category of its own).  The category lists are public
# (`adult.names`).
ADULT_NUMERIC = (
    "age",
    "fnlwgt",
    "education-num",
    "capital-gain",
    "capital-loss",
    "hours-per-week",
)
ADULT_CATEGORIES = {
    "workclass": 9,
    "education": 16,
    "marital-status": 7,
    "occupation": 15,
    "relationship": 6,
    "race": 5,
    "sex": 2,
    "native-country": 42,
}


@dataclasses.dataclass(frozen=True)
class Task:
    """What is known of a task before any record is read.

    Attributes:
      name: The name used in flags and result rows.
      title: The name used in figures.
      dataset: Name of the TFDS builder that prepares it.
      config: Configuration of that builder, or None.
      num_classes: Number of classes K; labels are 0..K-1.
      num_records: Records in the complete published dataset.
      feature_shape: Shape of one stored record.  Parameters of preparation (image size, number
        of terms) may change it; the prepared data then decides.
      feature_dtype: Storage type of a record: the smallest integers that hold it.
      encoding: How stored integers become network inputs (see `jleaks.data.encodings`).
      model: The paper's architecture for this task, "mlp" or "cnn".
      quarter: Records in each of the four parts of the paper's split (fewer if the data has
        fewer than four times as many).
    """

    name: str
    title: str
    dataset: str
    config: str | None
    num_classes: int
    num_records: int
    feature_shape: tuple[int, ...]
    feature_dtype: str
    encoding: Encoding
    model: Literal["mlp", "cnn"]
    quarter: int


def _purchase(num_classes: int) -> Task:
    return Task(
        name=f"purchase{num_classes}",
        title=f"Purchase-{num_classes}",
        dataset="purchase",
        config=f"purchase{num_classes}",
        num_classes=num_classes,
        num_records=197_324,
        feature_shape=(600,),
        feature_dtype="uint8",
        encoding="binary",
        model="mlp",
        quarter=10_005,
    )


_ALL = (
    Task("adult", "Adult", "adult", None, 2, 48_842, (14,), "int32", "mixed", "mlp", 12_210),
    Task(
        "cifar10", "CIFAR-10", "cifar10", None,
        10, 60_000, (32, 32, 3), "uint8", "pixels", "cnn", 10_520,
    ),
    Task(
        "cifar100", "CIFAR-100", "cifar100", None,
        100, 60_000, (32, 32, 3), "uint8", "pixels", "cnn", 10_500,
    ),
    Task("face", "Face", "face", None, 19, 1_867, (32, 32, 3), "uint8", "pixels", "cnn", 466),
    Task(
        "location", "Location", "location", None,
        30, 5_010, (446,), "uint8", "binary", "mlp", 1_252,
    ),
    Task("mnist", "MNIST", "mnist", None, 10, 70_000, (28, 28, 1), "uint8", "pixels", "cnn", 10_520),
    Task("news", "News", "news", None, 20, 18_846, (10_000,), "uint8", "terms", "mlp", 4_500),
    *(_purchase(k) for k in (2, 10, 20, 50, 100)),
)  # fmt: skip

TASKS: dict[str, Task] = {task.name: task for task in _ALL}


def get_task(name: str) -> Task:
    """Returns the task called `name`.

    Raises:
      InputError: there is no such task.
    """
    if name not in TASKS:
        raise InputError(f"unknown task {name!r}; allowed: all, {', '.join(TASKS)}")
    return TASKS[name]
