"""Random forests of a library: grown on the host; what they answered is all that is kept of them."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jleaks import npz
from jleaks.data.dataset import Dataset
from jleaks.experiments.library_files import read_kept, write_kept
from jleaks.experiments.subjects import Subject
from jleaks.fingerprint import fingerprint
from jleaks.models.forest import Forest, ForestRecipe


class Forests:
    """The forests of one process.

    Attributes:
      seconds: That growing each took, by its fingerprint.
    """

    def __init__(self, folder: Path, datasets: Callable[[str], Dataset]):
        """Takes where answers are kept, and where records come from."""
        self._folder, self._datasets = folder, datasets
        # A forest may take a gigabyte: only the last is at hand.
        self._last: tuple[str, Forest] | None = None
        self.seconds: dict[str, float] = {}

    def answers(
        self, name: str, subject: Subject, records: np.ndarray
    ) -> Float[np.ndarray, "records classes"]:
        """Returns a forest's answers, kept on disk; new questions grow it anew.

        Args:
          name: Its fingerprint.
          subject: The forest.
          records: [n, ...], as stored.

        Raises:
          InputError: answers that were kept cannot be used.
        """
        path = self._folder / f"{name}.{fingerprint(records, digits=24)}.npz"
        data = self._datasets(subject.task)
        if path.exists():
            shape = len(records), data.task.num_classes
            posteriors, self.seconds[name] = _read_answers(path, shape)
            return posteriors
        if self._last is None or self._last[0] != name:
            self._last = None
            tick = time.monotonic()
            self._last = name, _grown(subject, data)
            self.seconds[name] = time.monotonic() - tick
        posteriors = self._last[1].posteriors(records)
        write_kept(path, {"posteriors": posteriors}, {"seconds": self.seconds[name]})
        return posteriors


def _grown(subject: Subject, data: Dataset) -> Forest:
    assert isinstance(subject.recipe, ForestRecipe)
    return Forest.fit(
        subject.recipe,
        data.task.encoding,
        data.features,
        data.labels,
        subject.members,
        data.task.num_classes,
        subject.key_data,
    )


def _read_answers(path: Path, shape: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Returns what a forest answered, [n, K], and the seconds that growing it took.

    Raises:
      InputError: the file cannot be used.
    """
    remedy = "delete it to grow the forest again"
    arrays, meta = read_kept(path, remedy)
    posteriors, seconds = arrays.get("posteriors"), meta.get("seconds")
    if (
        arrays.keys() != {"posteriors"}
        or posteriors is None
        or posteriors.shape != shape
        or posteriors.dtype != np.float32
        or not ((posteriors >= 0) & (posteriors <= 1 + 1e-5)).all()
    ):
        raise npz.damaged(path, f"it does not hold posteriors of shape {shape}", remedy)
    if not isinstance(seconds, (int, float)) or not 0 <= seconds < float("inf"):
        raise npz.damaged(path, f"growing took {seconds} seconds", remedy)
    return posteriors, float(seconds)
