"""MNIST: 70,000 handwritten digits, 28 x 28 grey."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jleaks.data.sources.archive import read_whole
from jleaks.data.sources.builder import RecordsBuilder
from jleaks.data.sources.download import Download
from jleaks.data.sources.raw import RawInput, find_files
from jleaks.errors import InputError

_MIRROR = "https://storage.googleapis.com/cvdf-datasets/mnist/"


class Mnist(RecordsBuilder):
    """Four idx files, in gzip or unpacked: images and labels of training and test set.

    Their names may have a dot in place of the second hyphen: `train-images.idx3-ubyte`.
    """

    NOTE = "Training images, then test images, as uint8 [28, 28, 1]."
    TASK = "mnist"
    HOMEPAGE = "http://yann.lecun.com/exdb/mnist/"
    CITATION = """\
@article{lecun1998gradient,
  author = {Yann LeCun and L{\\'e}on Bottou and Yoshua Bengio and Patrick Haffner},
  title = {Gradient-Based Learning Applied to Document Recognition},
  journal = {Proceedings of the IEEE},
  year = {1998}
}"""
    DESCRIPTION = "Handwritten digits: 70,000 grey images of 28 x 28 pixels in 10 classes."
    RAW_FOLDERS = ("mnist",)
    # Address and checksums as in TFDS's catalogue; the homepage no longer serves the files.
    DOWNLOADS = (
        Download(
            f"{_MIRROR}train-images-idx3-ubyte.gz",
            "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        Download(
            f"{_MIRROR}train-labels-idx1-ubyte.gz",
            "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
        Download(
            f"{_MIRROR}t10k-images-idx3-ubyte.gz",
            "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        Download(
            f"{_MIRROR}t10k-labels-idx1-ubyte.gz",
            "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    )

    @classmethod
    def find(cls, folder: Path) -> list[RawInput]:
        """See base class."""
        names = [
            next((name for name in _spellings(file.file_name) if (folder / name).is_file()), None)
            or file.file_name
            for file in cls.DOWNLOADS
        ]
        return find_files(cls.TASK, folder, tuple(names))

    def read(self, inputs: list[RawInput]) -> Iterator[tuple[np.ndarray, int]]:
        """See base class."""
        rows, columns, _ = self.task.feature_shape
        paths = [raw.paths[0] for raw in inputs]
        for image_path, label_path in (paths[:2], paths[2:]):
            images = _read_idx(image_path, (rows, columns))
            labels = _read_idx(label_path, ())
            if len(images) != len(labels):
                raise InputError(
                    f"{label_path}: {len(labels)} labels for the {len(images)} images of "
                    f"{image_path.name}"
                )
            if labels.max(initial=0) >= self.task.num_classes:
                raise InputError(f"{label_path}: label {labels.max()}, expected 0..9")
            yield from zip(images[..., None], labels.tolist(), strict=True)


def _spellings(name: str) -> list[str]:
    """Returns the names under which an official file may lie on disk, the official one first."""
    stem = name.removesuffix(".gz")
    dotted = stem.replace("-idx", ".idx")
    return [name, stem, f"{dotted}.gz", dotted]


def _read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Reads unsigned bytes [N, *shape]: magic number, dimensions, all big-endian, then the data."""
    content = read_whole(path)
    ndim = 1 + len(shape)
    magic, header = 0x0800 + ndim, 4 + 4 * ndim
    if len(content) < header:
        raise InputError(f"{path}: {len(content)} bytes, expected a header of {header}")
    found, count, *dimensions = np.frombuffer(content, ">u4", 1 + ndim).tolist()
    if found != magic:
        raise InputError(f"{path}: magic number {found:#010x}, expected {magic:#010x}")
    if tuple(dimensions) != shape:
        raise InputError(f"{path}: images of {tuple(dimensions)} pixels, expected {shape}")
    expected = header + count * math.prod(shape)
    if len(content) != expected:
        raise InputError(f"{path}: {len(content)} bytes, expected {expected} for {count} records")
    return np.frombuffer(content, np.uint8, offset=header).reshape((count, *shape))
