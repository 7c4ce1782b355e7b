"""A dataset in memory: what every loader and every stand-in returns."""

import dataclasses
import hashlib

import numpy as np

from jleaks.data.tasks import Source, Task
from jleaks.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """All records of one task, as compact integers or float32 on the host.

    Attributes:
      task: What was known beforehand.
      source: "real", "own" (a user's own records), "stand-in" (real records standing in for a dataset
        that could not be had) or "synthetic".
      features: [N, ...] finite numbers of `task.feature_dtype`.
      labels: [N] int32 in 0..K-1.
    """

    task: Task
    source: Source
    features: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        name, n = self.task.name, len(self.features)
        if n == 0 or self.labels.shape != (n,):
            raise InputError(f"{name}: {n} records but labels of shape {self.labels.shape}")
        if self.features.dtype != np.dtype(self.task.feature_dtype):
            raise InputError(
                f"{name}: records are {self.features.dtype}, expected {self.task.feature_dtype}"
            )
        if self.features.ndim != 1 + len(self.task.feature_shape):
            raise InputError(
                f"{name}: a record has shape {self.features.shape[1:]}, "
                f"expected {len(self.task.feature_shape)} dimensions"
            )
        if self.features.dtype.kind == "f":
            for at in np.argwhere(~np.isfinite(self.features))[:1]:
                record, *column = at.tolist()
                raise InputError(
                    f"{name}: record {record} has {self.features[tuple(at)]} in column "
                    f"{', '.join(map(str, column))}, expected finite numbers"
                )
        if self.labels.min() < 0 or self.labels.max() >= self.task.num_classes:
            raise InputError(
                f"{name}: labels {self.labels.min()}..{self.labels.max()}, "
                f"expected 0..{self.task.num_classes - 1}"
            )

    @property
    def num_records(self) -> int:
        """Number of records N."""
        return len(self.features)

    def fingerprint(self) -> str:
        """Returns a hex SHA-256 over shapes, types and contents, part of the models' fingerprints.

        An encoding that a user's file registered enters by that file's contents.
        """
        # Whoever only reads datasets does without JAX.
        from jleaks.data.encodings import ENCODINGS

        digest = hashlib.sha256()
        for array in (self.features, self.labels):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        for made in ENCODINGS.digests(self.task.encoding).values():
            digest.update(made.encode())
        return digest.hexdigest()
