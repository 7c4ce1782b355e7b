"""Tasks: what each one's records look like, and where they come from.

A *task* is a dataset together with its set of classes: Purchase is one dataset and five tasks.  The twelve
of ML-Leaks are registered here like anybody's; sizes and preprocessing as in Salem et al. 2019, section
IV-A and the authors' released code.  A task with `data` brings its own records:

    TASKS.register("churn", Task("churn", data="churn.parquet", label="left"))
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

from jleaks.data import own
from jleaks.errors import InputError
from jleaks.fields import Source as Source
from jleaks.fingerprint import fingerprint
from jleaks.registry import Registry

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
# Of Adult's numbers in the published data, in column order.
_ADULT_RANGES = ((17, 90), (12_285, 1_490_400), (1, 16), (0, 99_999), (0, 4_356), (1, 99))

# The paper's CNN halves an image twice around a 5x5 convolution without padding.
_LEAST_CNN_SIDE = 12


@dataclasses.dataclass(frozen=True)
class Task:
    """What is known of a task.

    Of own data, name and `data` are enough: what is not given is read off the records, by `get_task`.

    Attributes:
      name: Name used in flags and result rows.
      title: Name used in figures; the name itself by default.
      dataset: Name of the TFDS builder that prepares it; "" for own data.
      config: Configuration of that builder, or None.
      num_classes: Number of classes K; labels are 0..K-1.
      num_records: Number of records in the complete published dataset.
      feature_shape: Shape of one stored record; three lengths (height, width, channels) make it an image.
        Parameters of preparation (image size, number of terms) may change it; the prepared data then
        decides.
      feature_dtype: Storage type of a record: the smallest integers that hold it, or float32.
      encoding: Name of the encoding that makes network inputs of records (see `jleaks.data.encodings`).
      model: The paper's architecture for this task, "mlp" or "cnn"; of own data by default "cnn" of
        images that it can take, else "mlp".
      quarter: Number of records in each of the four parts of the paper's split (fewer if the data has
        fewer than four times as many); 0 for as many as there are.
      mirrored: Whether an image mirrored left to right is one of the same kind (a mirrored digit is not).
      ranges: Least and largest value of each number of a record, for adversary 3's random points; empty
        where the encoding knows them.
      data: Own records, in place of a prepared dataset: whatever `jleaks.data.own.read` takes.
      label: Of own data, the column or array that holds the classes.
      features: Of own data in an npz, the array that holds the records.
      drop: Of own data in a table, the columns that are left out.
      records: Own records once they were read (by `get_task`).
    """

    name: str
    title: str = ""
    dataset: str = ""
    config: str | None = None
    num_classes: int = 0
    num_records: int = 0
    feature_shape: tuple[int, ...] = ()
    feature_dtype: str = ""
    encoding: str = ""
    model: Any = None
    quarter: int = 0
    mirrored: bool = True
    ranges: tuple[tuple[float, float], ...] = dataclasses.field(default=(), repr=False)
    data: Any = dataclasses.field(default=None, compare=False, repr=False)
    label: str | None = None
    features: str | None = None
    drop: tuple[str, ...] = ()
    records: own.Records | None = dataclasses.field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.title:
            object.__setattr__(self, "title", self.name)

    @property
    def has_images(self) -> bool:
        """Whether a record is an image, [height, width, channels]."""
        return len(self.feature_shape) == 3

    @property
    def queries(self) -> Literal["shifts", "shifts and flips", "noise"]:
        """What perturbs a record that is asked about several times (see `jleaks.data.perturbations`)."""
        if not self.has_images:
            return "noise"
        return "shifts and flips" if self.mirrored else "shifts"

    def read(self) -> "Task":
        """Returns the task with its own records and all that they say of it.

        Raises:
          InputError: the data cannot be read or used.
        """
        records = own.read(
            self.name, self.data, self.label, self.features, self.drop, self.encoding or None
        )
        count, *shape = records.features.shape
        is_large = len(shape) == 3 and min(shape[:2]) >= _LEAST_CNN_SIDE
        return dataclasses.replace(
            self,
            num_classes=len(records.classes),
            num_records=count,
            feature_shape=tuple(shape),
            feature_dtype=records.features.dtype.name,
            encoding=records.encoding,
            model=self.model or ("cnn" if is_large else "mlp"),
            quarter=self.quarter or count // 4,
            ranges=self.ranges or records.ranges,
            records=records,
        )


TASKS: Registry[Task] = Registry("task", besides=("all",))


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


for _task in (
    Task(
        "adult", "Adult", "adult", None,
        2, 48_842, (14,), "int32", "mixed", "mlp", 12_210, ranges=_ADULT_RANGES,
    ),
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
    Task(
        "mnist", "MNIST", "mnist", None,
        10, 70_000, (28, 28, 1), "uint8", "pixels", "cnn", 10_520, mirrored=False,
    ),
    Task("news", "News", "news", None, 20, 18_846, (10_000,), "uint8", "terms", "mlp", 4_500),
    *(_purchase(k) for k in (2, 10, 20, 50, 100)),
):  # fmt: skip
    TASKS.register(_task.name, _task)

PAPER_TASKS: tuple[str, ...] = tuple(TASKS)
"""Names of the paper's twelve: what "all" means, whatever else is registered."""

# Own tasks that were read, beside what was registered.
_READ: dict[str, tuple[Task, Task]] = {}


def get_task(name: str) -> Task:
    """Returns the task called `name`; of own data, reads its records the first time.

    Raises:
      InputError: there is no such task, or its own data cannot be read or used.
    """
    registered = TASKS.find(name)
    if registered.data is None:
        return registered
    if name not in _READ or _READ[name][0] is not registered:
        _READ[name] = registered, registered.read()
    return _READ[name][1]


def own_digests(names: Any, stated: Sequence[str] = ()) -> tuple[str, ...]:
    """Returns "NAME=DIGEST" of each task that brings its own data.

    The digest is of the records and of everything else in the task, and in a user's encoding, that
    defines numbers.

    Args:
      names: Names of tasks, a sequence; what is none is left out: plans hand over what they were given
        before they hold it to their annotations.
      stated: Entries that are taken over as they are, such as those of a plan on disk.

    Raises:
      InputError: own data cannot be read or used.
    """
    found = []
    for name in names if isinstance(names, (tuple, list)) else ():
        # Whoever holds a plan to its annotations comes later.
        if not isinstance(name, str) or name not in TASKS or TASKS[name].data is None:
            continue
        entry = next((entry for entry in stated if entry.partition("=")[0] == name), None)
        found.append(entry or f"{name}={_digest(get_task(name))}")
    return tuple(found)


def _digest(task: Task) -> str:
    # Plans of the paper's tasks are made and described without JAX.
    from jleaks.data.encodings import ENCODINGS

    assert task.records is not None
    return fingerprint(
        task.records.digest,
        [task.model, task.quarter, task.mirrored, task.ranges],
        ENCODINGS.digests(task.encoding),
    )


def check_digests(stated: Sequence[str]) -> None:
    """Checks that own tasks have the data that a plan was made for.

    Raises:
      InputError: one has other data now.
    """
    for entry in stated:
        name, _, digest = entry.partition("=")
        if name in TASKS and (now := _digest(get_task(name))) != digest:
            raise InputError(
                f"{name}: its data is {now} now, was {digest} when the plan was made; bring the former "
                "data, or run it anew in another --workdir"
            )


def register(task: Task) -> Task:
    """Registers a task under its name.

    Raises:
      InputError: it has no data, or the name is someone else's.
    """
    if task.data is None and not task.dataset:
        raise InputError(f"task {task.name!r} has no data; expected data=FILE, arrays or a folder")
    return TASKS.register(task.name, task)


def task_from_arrays(
    name: str,
    features: Any,
    labels: Any,
    *,
    title: str = "",
    encoding: str = "",
    model: str | None = None,
    mirrored: bool = True,
) -> Task:
    """Registers a task of arrays.

    Args:
      name: Name of the task.
      features: [N, ...] records: numbers [N, d], or images [N, height, width] or [N, height, width,
        channels].
      labels: [N] classes as whole numbers or text, or [N, K] one-hot.
      title: Name used in figures.
      encoding: Name of an encoding; "" to choose one by the records.
      model: Network of the task; None to choose by the records.
      mirrored: Whether a mirrored image is one of the same kind.

    Returns:
      The task; its arrays are looked at when a run needs it.
    """
    return register(
        Task(
            name,
            title,
            encoding=encoding,
            model=model,
            mirrored=mirrored,
            data=(features, labels),
        )
    )
