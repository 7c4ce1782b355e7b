"""Synthetic stand-ins: the twelve tasks without a download.  Called synthetic wherever they are shown.

Each has its task's shapes, storage types, kinds of feature, classes and (scalable) sizes, and is just
hard enough that the paper's network overfits it roughly as it overfits the real set: classes overlap,
and some labels are wrong, which can only be memorised.  `docs/synthetic.md` has the measured
train and test accuracies beside those of the real sets.
"""

import dataclasses
import math

import numpy as np

from jleaks.data.dataset import Dataset
from jleaks.data.tasks import ADULT_CATEGORIES, TASKS, Task
from jleaks.errors import InputError
from jleaks.keys import Role, identity_generator

# Records per draw of the generator, to bound its memory.
_BLOCK = 4096
# Of a stand-in, a byte or four each: beyond it a count is a slip of the keyboard.
_MOST_NUMBERS = 1 << 32


@dataclasses.dataclass(frozen=True)
class Difficulty:
    """How hard a stand-in is.

    Attributes:
      signal: How far apart the classes are: larger is easier.
      label_noise: Share of records whose label is drawn afresh.
      skew: Exponent of the class sizes: 0 is balanced, 1 is Zipf's law.
      positive: Share of the second of two classes, in place of `skew`; None for what that says.
    """

    signal: float
    label_noise: float = 0.0
    skew: float = 0.0
    positive: float | None = None


# Found by training on them: chosen to bring the gap between training and test accuracy near the
# real set's at the scale of `make run` (docs/synthetic.md).
DIFFICULTY = {
    "adult": Difficulty(0.6, label_noise=0.05, positive=0.24),
    "cifar10": Difficulty(0.22),
    "cifar100": Difficulty(0.4),
    "face": Difficulty(0.35, skew=0.7),
    "location": Difficulty(0.75, skew=0.3),
    "mnist": Difficulty(1.0, label_noise=0.005),
    "news": Difficulty(1.0),
    "purchase2": Difficulty(0.65),
    "purchase10": Difficulty(0.68),
    "purchase20": Difficulty(0.84),
    "purchase50": Difficulty(1.08),
    "purchase100": Difficulty(1.5),
}


def _labels(task: Task, count: int, generator: np.random.Generator) -> np.ndarray:
    weights = np.arange(1, task.num_classes + 1) ** -DIFFICULTY[task.name].skew
    labels = generator.choice(task.num_classes, count, p=weights / weights.sum())
    # Every class occurs, as in every real set.
    labels[: task.num_classes] = np.arange(min(task.num_classes, count))
    return labels


def _upsampled(coarse: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear interpolation of [..., h, w, c] images: objects are smooth, noise is not."""
    for axis, size in ((-3, height), (-2, width)):
        have = coarse.shape[axis]
        at = np.linspace(0, have - 1, size, dtype=np.float32)
        low = np.minimum(at.astype(int), have - 2)
        shape = [1] * coarse.ndim
        shape[axis] = size
        share = (at - low).reshape(shape)
        coarse = (1 - share) * coarse.take(low, axis) + share * coarse.take(low + 1, axis)
    return coarse


def _images(task: Task, labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A smooth pattern per class plus a smooth pattern per image plus grain."""
    height, width, channels = task.feature_shape
    signal = DIFFICULTY[task.name].signal
    coarse = (task.num_classes, 6, 6, channels)
    prototypes = _upsampled(generator.standard_normal(coarse, np.float32), height, width)
    out = np.empty((len(labels), *task.feature_shape), np.uint8)
    for start in range(0, len(labels), _BLOCK):
        block = labels[start : start + _BLOCK]
        scene = generator.standard_normal((len(block), 8, 8, channels), np.float32)
        grain = generator.standard_normal((len(block), *task.feature_shape), np.float32)
        image = signal * prototypes[block] + _upsampled(scene, height, width) + 0.25 * grain
        out[start : start + _BLOCK] = np.clip(128 + 48 * image, 0, 255).astype(np.uint8)
    return out


def _bits(task: Task, labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Each class has its own rates of ones around rates common to all; features are sparse."""
    (width,) = task.feature_shape
    signal = DIFFICULTY[task.name].signal
    base = generator.normal(-2.5, 1.0, width)
    rates = base + signal * generator.standard_normal((task.num_classes, width))
    rates = (1 / (1 + np.exp(-rates))).astype(np.float32)
    out = np.empty((len(labels), width), np.uint8)
    for start in range(0, len(labels), _BLOCK):
        block = labels[start : start + _BLOCK]
        out[start : start + _BLOCK] = (
            generator.random((len(block), width), np.float32) < rates[block]
        )
    return out


def _terms(task: Task, labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Posts of varying length drawn from a Zipf vocabulary, tilted towards each class's topics."""
    (width,) = task.feature_shape
    signal = DIFFICULTY[task.name].signal
    zipf = np.log(1.0 / np.arange(2, width + 2))
    tilt = signal * generator.standard_normal((task.num_classes, width))
    cumulative = np.exp(zipf + tilt).cumsum(1)
    cumulative /= cumulative[:, -1:]
    lengths = np.maximum(generator.lognormal(3.6, 0.9, len(labels)), 1).astype(int)
    out = np.zeros((len(labels), width), np.uint8)
    for record, (label, length) in enumerate(zip(labels, lengths, strict=True)):
        words = np.searchsorted(cumulative[label], generator.random(min(length, 400)))
        np.add.at(out[record], np.minimum(words, width - 1), 1)
    return out


def _people(task: Task, labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Adult's columns: numbers whose means, and categories whose odds, depend on the class."""
    signal = DIFFICULTY[task.name].signal
    n = len(labels)
    shift = signal * (labels - 0.25)
    age = np.clip(38 + 6 * shift + 13 * generator.standard_normal(n), 17, 90)
    weight = np.clip(generator.lognormal(12.0, 0.5, n), 12_285, 1_490_400)
    education = np.clip(10 + 2 * shift + 2.5 * generator.standard_normal(n), 1, 16)
    gain = np.where(generator.random(n) < 0.06 + 0.08 * labels, generator.lognormal(8.5, 1, n), 0)
    loss = np.where(generator.random(n) < 0.04, generator.normal(1_870, 380, n), 0)
    hours = np.clip(40 + 4 * shift + 12 * generator.standard_normal(n), 1, 99)
    numbers = [age, weight, education, np.clip(gain, 0, 99_999), np.clip(loss, 0, 4_356), hours]
    codes = []
    for size in ADULT_CATEGORIES.values():
        odds = generator.normal(0, 1.5, size) + signal * generator.standard_normal((2, size))
        cumulative = np.exp(odds).cumsum(1)
        draw = generator.random(n) * cumulative[labels, -1]
        codes.append((draw[:, None] > cumulative[labels]).sum(1))
    return np.stack(numbers + codes, axis=1).astype(np.int32)


_MAKERS = {"pixels": _images, "binary": _bits, "terms": _terms, "mixed": _people}


def synthetic(name: str, num_records: int | None = None) -> Dataset:
    """Makes the synthetic stand-in of a task, the same for all seeds of a plan.

    Args:
      name: Of the task.
      num_records: N; None for as many as the real set has.

    Returns:
      A dataset whose `source` is "synthetic".

    Raises:
      InputError: the task has no stand-in, or one of more bytes than anybody means.
    """
    if name not in DIFFICULTY:
        raise InputError(
            f"{name} has no synthetic stand-in; expected one of {', '.join(DIFFICULTY)}"
        )
    task = TASKS[name]
    count = num_records or task.num_records
    size = count * math.prod(task.feature_shape)
    if size > _MOST_NUMBERS:
        raise InputError(
            f"{count} records of {name} were asked for, {size:,} numbers; a stand-in has "
            f"{_MOST_NUMBERS:,} at most"
        )
    generator = identity_generator(0, name, Role.SYNTHETIC)
    labels = _labels(task, count, generator)
    if (positive := DIFFICULTY[name].positive) is not None:
        labels = (generator.random(count) < positive).astype(labels.dtype)
    features = _MAKERS[task.encoding](task, labels, generator)
    wrong = generator.random(count) < DIFFICULTY[name].label_noise
    labels = np.where(wrong, generator.integers(0, task.num_classes, count), labels)
    return Dataset(task, "synthetic", features, labels.astype(np.int32))
