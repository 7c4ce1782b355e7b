"""What our TFDS builders share: one split of compact integer records that describes itself.

Records are `Tensor` features stored as bytes, not `Image` features: preparing the latter needs
TensorFlow, and so do the catalogue's own builders.  Importing this module imports TFDS.
"""

import abc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from jleaks.data.sources.download import Download
from jleaks.data.sources.raw import RawInput
from jleaks.data.tasks import TASKS, Source, Task
from jleaks.errors import InputError
from jleaks.versions import installed

# All published records in one split: which of them are members is this project's own decision.
# TFDS reserves the name "all" for the union of all splits, so `split="all"` reads it too.
SPLIT = "records"

_PACKAGES = ("jleaks", "numpy", "pillow", "scikit-learn", "tensorflow-datasets")


class _Info(tfds.core.DatasetInfo):
    """TFDS's description of a dataset, without its look into TFDS's own bucket."""

    def initialize_from_bucket(self) -> None:
        """Does nothing: none of ours is there, and asking leaves temporary folders behind."""


class RecordsBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Prepares a dataset from its official distribution in `dl_manager.manual_dir`.

    Class attributes:
      TASK: Name of the task prepared.
      HOMEPAGE, CITATION, DESCRIPTION: Of the published dataset.
      NOTE: Which records there are, and in which order.
      RAW_FOLDERS: Names of the dataset's folder among those of others, the preferred one first.
      DOWNLOADS: Canonical addresses of the distribution.
      CONSTANT_BECAUSE: What makes records of one value throughout, in which there is nothing to see.
    """

    VERSION = tfds.core.Version("1.0.0")
    TASK: ClassVar[str]
    NOTE: ClassVar[str] = ""
    HOMEPAGE: ClassVar[str]
    CITATION: ClassVar[str]
    DESCRIPTION: ClassVar[str]
    RAW_FOLDERS: ClassVar[tuple[str, ...]]
    DOWNLOADS: ClassVar[tuple[Download, ...]]
    CONSTANT_BECAUSE: ClassVar[str] = "the files may be damaged or of another dataset"

    # TFDS looks for checksum files beside a builder's code, with a package it does not depend on.
    # Ours are in DOWNLOADS.
    code_path = None

    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put the files of the official distribution into manual_dir."

    def __init_subclass__(cls) -> None:
        # Registered names are global, and TFDS's catalogue has a mnist of its own.
        super().__init_subclass__(skip_registration=True)  # type: ignore[call-arg]
        cls.RELEASE_NOTES = {str(cls.VERSION): cls.NOTE}

    @classmethod
    @abc.abstractmethod
    def find(cls, folder: Path) -> list[RawInput]:
        """Finds the official files in `folder`, in the order in which they are read.

        Raises:
          InputError: a file is missing.
        """

    @abc.abstractmethod
    def read(self, inputs: list[RawInput]) -> Iterator[tuple[np.ndarray, int]]:
        """Yields every record and its label, in a stable order.

        Args:
          inputs: What `find` returned.

        Yields:
          A record of `record_shape` and the task's `feature_dtype`, and its label 0..K-1.

        Raises:
          InputError: a file is not in the official format.
        """

    @property
    def task(self) -> Task:
        """The task that is prepared."""
        return TASKS[self.TASK]

    @property
    def record_shape(self) -> tuple[int, ...]:
        """Shape of one stored record."""
        return self.task.feature_shape

    @property
    def parameters(self) -> dict[str, Any]:
        """What defines the records beyond the raw files."""
        return {}

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of labels 0..K-1, if they have names."""
        return None

    def source(self, num_records: int) -> Source:  # noqa: ARG002
        """Whether the raw files were the published dataset, judged by the number of records."""
        return "real"

    def details(self) -> dict[str, Any]:
        """Facts found while reading that are worth recording."""
        return {}

    def _info(self) -> tfds.core.DatasetInfo:
        task = self.task
        label = (
            tfds.features.ClassLabel(names=self.class_names)
            if self.class_names
            else tfds.features.ClassLabel(num_classes=task.num_classes)
        )
        return _Info(
            builder=self,
            description=self.DESCRIPTION,
            homepage=self.HOMEPAGE,
            citation=self.CITATION,
            features=tfds.features.FeaturesDict(
                {
                    "features": tfds.features.Tensor(
                        shape=self.record_shape,
                        dtype=np.dtype(task.feature_dtype),
                        # As bytes: otherwise every number becomes a 64-bit integer of a protocol
                        # buffer, which writes and reads about ten times slower.
                        encoding=tfds.features.Encoding.BYTES,
                    ),
                    "label": label,
                }
            ),
            supervised_keys=("features", "label"),
            # The published order stays; `jleaks.data.splits` does the shuffling.
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        inputs = self.find(Path(dl_manager.manual_dir))
        return {SPLIT: self._generate_examples(inputs)}

    def _generate_examples(self, inputs: list[RawInput]) -> Iterator[tuple[int, dict[str, Any]]]:
        class_sizes = [0] * self.task.num_classes
        num_zero = num_constant = 0
        for index, (features, label) in enumerate(self.read(inputs)):
            class_sizes[label] += 1
            first = features.flat[0]
            # A record of one number is nothing only if that is zero.
            if (first == 0 or features.size > 1) and (features == first).all():
                num_constant += 1
                num_zero += first == 0
            yield index, {"features": features, "label": label}
        num_records = sum(class_sizes)
        if num_records == 0:
            raise InputError(f"{self.task.name}: {inputs[0].name} holds no records")
        # TFDS writes the metadata after the last record, within the same atomic rename.
        self.info.metadata.update(
            task=self.task.name,
            num_records=num_records,
            class_sizes=class_sizes,
            num_constant=num_constant,
            num_zero=int(num_zero),
            source=self.source(num_records),
            feature_shape=list(self.record_shape),
            feature_dtype=self.task.feature_dtype,
            parameters=self.parameters,
            details=self.details(),
            inputs=[
                {"name": raw.name, "bytes": raw.size(), "sha256": raw.sha256()} for raw in inputs
            ],
            versions=installed(_PACKAGES),
        )
