"""Canaries: records made easy to tell, planted in a bank's data before anything is trained.

An average over records hides those that lose most; a defence is held to the strongest records there are
(Aerni et al. 2024, arXiv 2404.17399; the kinds follow the authors' code).  Canaries take the place of
candidates, and like these each is in a random half of the models.

    clean                 as the candidate was
    mislabelled           with another class, drawn uniformly
    out_of_distribution   a random point (see `jleaks.data.random_points`) with a class drawn uniformly; the
                          authors take blank images, or those of another dataset
    near_duplicates       a copy of another candidate but for one of its numbers, with a class that is not
                          the other's; the authors copy the whole record
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from jleaks.data.dataset import Dataset
from jleaks.errors import InputError

if TYPE_CHECKING:
    from jleaks.data.tasks import Task

KINDS = ("clean", "mislabelled", "out_of_distribution", "near_duplicates")

# Of the candidates, so that a bank's models still learn their task.
_MOST = 0.25


def read(text: str) -> tuple[tuple[str, int], ...]:
    """Reads "KIND:COUNT,KIND:COUNT", every kind once.

    Raises:
      InputError: it is something else.
    """
    found = []
    for item in text.split(","):
        kind, _, count = item.strip().partition(":")
        if kind not in KINDS or not count.isdecimal() or int(count) < 2:
            raise InputError(
                f"canaries are {text}, expected KIND:COUNT, perhaps several with commas between them, each "
                f"of at least 2; kinds are {', '.join(KINDS)}"
            )
        found.append((kind, int(count)))
    if len({kind for kind, _ in found}) < len(found):
        raise InputError(f"canaries are {text}, expected every kind once")
    return tuple(found)


def problem(text: str, num_candidates: int) -> str | None:
    """Returns what is wrong with canaries among so many candidates, or None.

    Raises:
      InputError: the text cannot be read.
    """
    total = sum(count for _, count in read(text))
    if total <= _MOST * num_candidates:
        return None
    return (
        f"canaries are {text}, {total} of {num_candidates} candidates; expected at most "
        f"{int(_MOST * num_candidates)}, so that models still learn their task"
    )


def numbered(text: str, task: str, seed: int, num_candidates: int) -> Int[np.ndarray, "candidates"]:
    """Returns of every candidate the number of its kind among those of `text`, from 1; 0 for no canary."""
    order, start = _order(task, seed, num_candidates), 0
    found = np.zeros(num_candidates, np.int32)
    for number, (_, count) in enumerate(read(text), start=1):
        found[order[start : start + count]] = number
        start += count
    return found


def planted(
    data: Dataset, candidates: Int[np.ndarray, "candidates"], text: str, seed: int
) -> Dataset:
    """Returns a dataset with canaries in the place of some candidates.

    Args:
      data: Without any.
      candidates: Positions in the data.
      text: As of `read`.
      seed: Of the bank.
    """
    from jleaks.keys import Role, identity_generator

    task = data.task.name
    numbers = numbered(text, task, seed, len(candidates))
    # What near duplicates are copies of: the last of the order, which are no canaries.
    rest = candidates[_order(task, seed, len(candidates))[::-1]]
    features, labels = data.features.copy(), data.labels.copy()
    for number, (kind, _) in enumerate(read(text), start=1):
        at = candidates[numbers == number]
        generator = identity_generator(seed, task, Role.CANARIES, number)
        features[at], labels[at] = _MAKE[kind](generator, data, at, rest[: len(at)])
    return dataclasses.replace(data, features=features, labels=labels)


def _order(task: str, seed: int, num_candidates: int) -> Int[np.ndarray, "candidates"]:
    # A plan is made and described without JAX.
    from jleaks.keys import Role, identity_generator

    return identity_generator(seed, task, Role.CANARIES).permutation(num_candidates)


# From a generator, the data, positions of the canaries and those of as many other candidates to records
# and classes.
_Make = Callable[
    [np.random.Generator, Dataset, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]
]


def _other_class(generator: np.random.Generator, task: "Task", labels: np.ndarray) -> np.ndarray:
    return (labels + generator.integers(1, task.num_classes, len(labels))) % task.num_classes


def _clean(
    _: np.random.Generator, data: Dataset, at: np.ndarray, __: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    return data.features[at], data.labels[at]


def _mislabelled(
    generator: np.random.Generator, data: Dataset, at: np.ndarray, _: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    return data.features[at], _other_class(generator, data.task, data.labels[at])


def _out_of_distribution(
    generator: np.random.Generator, data: Dataset, at: np.ndarray, _: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    from jleaks.data import encodings

    encoding = encodings.find(data.task.encoding)
    points = encoding.points(generator, data.task, data.features.shape[1:], len(at))
    return points, generator.integers(0, data.task.num_classes, len(at))


def _near_duplicates(
    generator: np.random.Generator, data: Dataset, at: np.ndarray, others: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    copies = data.features[others].reshape(len(at), -1)
    rows, column = np.arange(len(at)), generator.integers(0, copies.shape[1], len(at))
    copies[rows, column] = data.features[at].reshape(len(at), -1)[rows, column]
    labels = _other_class(generator, data.task, data.labels[others])
    return copies.reshape(len(at), *data.features.shape[1:]), labels


_MAKE: dict[str, _Make] = {
    "clean": _clean,
    "mislabelled": _mislabelled,
    "out_of_distribution": _out_of_distribution,
    "near_duplicates": _near_duplicates,
}
