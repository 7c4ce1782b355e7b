"""CIFAR-10 and CIFAR-100: 60,000 colour images each, 32 x 32, read from the binary distributions.

A record is its label bytes (CIFAR-10: the class; CIFAR-100: superclass, then class), then the red,
green and blue planes.  The distribution may be its archive or the folder unpacked from it, and may
hold fewer batches or shorter ones.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from jleaks.data.sources.archive import read_members
from jleaks.data.sources.builder import RecordsBuilder
from jleaks.data.sources.download import Download
from jleaks.data.sources.raw import RawInput, missing_input
from jleaks.errors import InputError

_CITATION = """\
@techreport{krizhevsky2009learning,
  author = {Alex Krizhevsky},
  title = {Learning Multiple Layers of Features from Tiny Images},
  institution = {University of Toronto},
  year = {2009}
}"""
_HOMEPAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"


class _Cifar(RecordsBuilder):
    """The binary format of both datasets.

    Class attributes:
      FOLDER: The folder in the archive.
      BATCHES: Its batch files, in the order in which they are read.
      LABEL_BYTES: Label bytes of a record, the last of which is the label used.
    """

    FOLDER: ClassVar[str]
    BATCHES: ClassVar[tuple[str, ...]]
    LABEL_BYTES: ClassVar[int]

    HOMEPAGE = _HOMEPAGE
    CITATION = _CITATION

    @classmethod
    def find(cls, folder: Path) -> list[RawInput]:
        """See base class."""
        for inner in (folder / cls.FOLDER, folder):
            there = [name for name in cls.BATCHES if (inner / name).is_file()]
            if there:
                return [RawInput(name, (inner / name,)) for name in there]
        archive = folder / cls.DOWNLOADS[0].file_name
        if archive.is_file():
            return [RawInput(archive.name, (archive,))]
        raise missing_input(
            cls.TASK, folder, f"{archive.name} or {cls.FOLDER} with any of {', '.join(cls.BATCHES)}"
        )

    def read(self, inputs: list[RawInput]) -> Iterator[tuple[np.ndarray, int]]:
        """See base class."""
        if inputs[0].name in self.BATCHES:
            for raw in inputs:
                yield from self._parse(raw.paths[0].read_bytes(), str(raw.paths[0]))
            return
        path = inputs[0].paths[0]
        members = [f"{self.FOLDER}/{name}" for name in self.BATCHES]
        contents = read_members(path, lambda name: name in members)
        if not contents:
            raise InputError(f"{path}: none of {', '.join(members)}")
        for name in members:
            if name in contents:
                yield from self._parse(contents.pop(name), f"{path}, {name}")

    def _parse(self, content: bytes, where: str) -> Iterator[tuple[np.ndarray, int]]:
        height, width, channels = self.task.feature_shape
        size = self.LABEL_BYTES + math.prod(self.task.feature_shape)
        if not content or len(content) % size:
            raise InputError(
                f"{where}: {len(content)} bytes, expected a multiple of the {size} of a record"
            )
        records = np.frombuffer(content, np.uint8).reshape(-1, size)
        labels = records[:, self.LABEL_BYTES - 1]
        if labels.max() >= self.task.num_classes:
            i = int(labels.argmax())
            raise InputError(
                f"{where}, record {i}: label {labels[i]}, expected 0..{self.task.num_classes - 1}"
            )
        planes = records[:, self.LABEL_BYTES :].reshape(-1, channels, height, width)
        yield from zip(np.moveaxis(planes, 1, -1), labels.tolist(), strict=True)


class Cifar10(_Cifar):
    """`cifar-10-binary.tar.gz` or the folder `cifar-10-batches-bin`."""

    NOTE = "Training batches, then the test batch, as uint8 [32, 32, 3]."
    TASK = "cifar10"
    DESCRIPTION = "60,000 colour images of 32 x 32 pixels in 10 classes."
    RAW_FOLDERS = ("cifar10",)
    FOLDER = "cifar-10-batches-bin"
    BATCHES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
    LABEL_BYTES = 1
    # Checksum as in TFDS's catalogue.
    DOWNLOADS = (
        Download(
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    )

    @property
    def class_names(self) -> tuple[str, ...]:
        """See base class."""
        return (
            "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
        )  # fmt: skip


class Cifar100(_Cifar):
    """`cifar-100-binary.tar.gz` or the folder `cifar-100-binary`; labels are the 100 fine ones."""

    NOTE = "Training images, then test images, as uint8 [32, 32, 3]."
    TASK = "cifar100"
    DESCRIPTION = "60,000 colour images of 32 x 32 pixels in 100 classes."
    RAW_FOLDERS = ("cifar100",)
    FOLDER = "cifar-100-binary"
    BATCHES = ("train.bin", "test.bin")
    LABEL_BYTES = 2
    # Checksum as in TFDS's catalogue.
    DOWNLOADS = (
        Download(
            "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            "sha256:58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        ),
    )
