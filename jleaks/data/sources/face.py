"""Face: photos of the 19 people of Labeled Faces in the Wild who have more than 40 of them."""

import dataclasses
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from jleaks.data.sources.archive import read_members
from jleaks.data.sources.builder import RecordsBuilder
from jleaks.data.sources.download import Download
from jleaks.data.sources.raw import RawInput, missing_input
from jleaks.errors import InputError

DEFAULT_SIZE = 32
# In the deep-funneled photos (250 x 250) the middle half reaches from forehead to chin.
DEFAULT_CROP = 0.5

# Paper: "people with more than 40 photos".
_MANY = 40
_FOLDER = "lfw-deepfunneled"
_ARCHIVE = "lfw-deepfunneled.tgz"
_PHOTO = re.compile(r"(?P<person>[^/]+)/(?P=person)_\d{4}\.jpg")
# Some tools unpack an archive into a folder of its name, or pack such a folder.
_PACKED = re.compile(rf"(?:{_FOLDER}/){{1,2}}({_PHOTO.pattern})")


@dataclasses.dataclass(eq=False)
class FaceConfig(tfds.core.BuilderConfig):
    """How a photo becomes a record.

    Attributes:
      size: Height and width of a record, in pixels.
      crop: Side of the centred square that is kept, as a fraction of the photo's, in (0, 1].
    """

    size: int = DEFAULT_SIZE
    crop: float = DEFAULT_CROP


def face_config(size: int, crop: float) -> FaceConfig:
    """Returns the configuration with these parameters, named after them.

    Raises:
      InputError: no photo can be cropped or scaled like that.
    """
    if not 1 <= size <= 250:
        raise InputError(f"face_size {size}, expected 1..250 pixels")
    if not 0 < crop <= 1:
        raise InputError(f"face_crop {crop:g}, expected a fraction in (0, 1]")
    return FaceConfig(
        name=f"size{size}_crop{crop:g}",
        description=f"The centred {crop:g} of each side, scaled to {size} x {size}.",
        size=size,
        crop=crop,
    )


class Face(RecordsBuilder):
    """`lfw-deepfunneled.tgz` or its folder: `<Person>/<Person>_0001.jpg` and so on.

    People may also be one folder deeper, in another `lfw-deepfunneled`.
    """

    NOTE = "People in alphabetical order, each one's photos by number."
    BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
        face_config(DEFAULT_SIZE, DEFAULT_CROP)
    ]
    TASK = "face"
    HOMEPAGE = "http://vis-www.cs.umass.edu/lfw/"
    CITATION = """\
@inproceedings{huang2012learning,
  author = {Gary B. Huang and Marwan Mattar and Honglak Lee and Erik Learned-Miller},
  title = {Learning to Align from Scratch},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2012}
}
@techreport{huang2007labeled,
  author = {Gary B. Huang and Manu Ramesh and Tamara Berg and Erik Learned-Miller},
  title = {Labeled Faces in the Wild: A Database for Studying Face Recognition in Unconstrained
    Environments},
  institution = {University of Massachusetts, Amherst},
  year = {2007}
}"""
    DESCRIPTION = (
        "Labeled Faces in the Wild, deep-funneled: the 1,867 photos of the 19 people with more than "
        "40 photos; who is it?"
    )
    RAW_FOLDERS = ("face", "lfw")
    DOWNLOADS = (
        Download(
            "http://vis-www.cs.umass.edu/lfw/lfw-deepfunneled.tgz",
            # No SHA-256 is published; this MD5 is torchvision's.
            "md5:68331da3eb755a505a502b5aacb3c201",
        ),
    )

    @property
    def record_shape(self) -> tuple[int, ...]:
        """See base class."""
        return (self.builder_config.size, self.builder_config.size, 3)

    @property
    def parameters(self) -> dict[str, Any]:
        """See base class."""
        return {"size": self.builder_config.size, "crop": self.builder_config.crop}

    @classmethod
    def find(cls, folder: Path) -> list[RawInput]:
        """See base class."""
        outer = folder if folder.name == _FOLDER else folder / _FOLDER
        if outer.is_dir():
            inner, found = outer, _photos(outer)
            if not found:
                inner, found = outer / _FOLDER, _photos(outer / _FOLDER)
            if not found:
                raise InputError(f"{cls.TASK}: no <Person>/<Person>_0001.jpg below {outer}")
            photos = _by_person(found)
            _check_people(photos, inner)
            return [RawInput(_FOLDER, tuple(inner / name for names in photos for name in names))]
        archive = folder / _ARCHIVE
        if archive.is_file():
            return [RawInput(_ARCHIVE, (archive,))]
        raise missing_input(cls.TASK, folder, f"{_ARCHIVE} or the folder {_FOLDER}")

    def read(self, inputs: list[RawInput]) -> Iterator[tuple[np.ndarray, int]]:
        """See base class."""
        if inputs[0].name == _FOLDER:
            people = sorted({path.parent.name for path in inputs[0].paths})
            for path in inputs[0].paths:
                yield self._decode(path.read_bytes(), str(path)), people.index(path.parent.name)
            return
        archive = inputs[0].paths[0]
        contents = {}
        for name, content in read_members(
            archive, lambda name: bool(_PACKED.fullmatch(name))
        ).items():
            match = _PACKED.fullmatch(name)
            assert match is not None
            contents[match[1]] = content, name
        if not contents:
            raise InputError(f"{archive}: no {_FOLDER}/<Person>/<Person>_0001.jpg in it")
        photos = _by_person(contents)
        _check_people(photos, archive)
        for label, names in enumerate(photos):
            for name in names:
                photo, packed = contents[name]
                yield self._decode(photo, f"{archive}, {packed}"), label

    def _decode(self, content: bytes, where: str) -> np.ndarray:
        from PIL import Image

        size, crop = self.builder_config.size, self.builder_config.crop
        try:
            # Only the format of the distribution: Pillow's other decoders need not see the bytes.
            with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
                width, height = image.size
                margin_x, margin_y = (1 - crop) / 2 * width, (1 - crop) / 2 * height
                box = (margin_x, margin_y, width - margin_x, height - margin_y)
                scaled = image.convert("RGB").resize((size, size), Image.Resampling.LANCZOS, box)
                return np.asarray(scaled, np.uint8)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(f"{where}: not a complete JPEG image ({error})") from error


def _photos(folder: Path) -> list[str]:
    """Returns the photos in people's folders as `<Person>/<Person>_0001.jpg`."""
    names = (
        path.relative_to(folder).as_posix() for path in folder.glob("*/*.jpg") if path.is_file()
    )
    return [name for name in names if _PHOTO.fullmatch(name)]


def _by_person(names: Iterable[str]) -> list[list[str]]:
    """Sorts `<Person>/<Person>_0001.jpg` names; returns those of each person with many photos."""
    photos = defaultdict(list)
    for name in names:
        if match := _PHOTO.fullmatch(name):
            photos[match["person"]].append(name)
    return [sorted(photos[person]) for person in sorted(photos) if len(photos[person]) > _MANY]


def _check_people(photos: list[list[str]], where: Path) -> None:
    num_people = 19
    if len(photos) != num_people:
        raise InputError(
            f"{where}: {len(photos)} people with more than {_MANY} photos, expected {num_people}"
        )
