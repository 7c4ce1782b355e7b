"""Location: Foursquare check-ins in Bangkok as 446 binary features and 30 kinds of user."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from jleaks.data.sources.archive import read_members
from jleaks.data.sources.binary_rows import parse_rows
from jleaks.data.sources.builder import RecordsBuilder
from jleaks.data.sources.download import Download
from jleaks.data.sources.raw import RawInput, find_files
from jleaks.errors import InputError

_ARCHIVE = "dataset_location.tgz"
_MEMBER = "bangkok"


class Location(RecordsBuilder):
    """`dataset_location.tgz`: one file, `bangkok`, of rows `"class",0,1,...`."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "The published rows, in order."}
    TASK = "location"
    HOMEPAGE = "https://github.com/privacytrustlab/datasets"
    CITATION = """\
@inproceedings{shokri2017membership,
  author = {Reza Shokri and Marco Stronati and Congzheng Song and Vitaly Shmatikov},
  title = {Membership Inference Attacks Against Machine Learning Models},
  booktitle = {IEEE Symposium on Security and Privacy},
  year = {2017}
}
@article{yang2016participatory,
  author = {Dingqi Yang and Daqing Zhang and Bingqing Qu},
  title = {Participatory Cultural Mapping Based on Collective Behavior Data in Location-Based
    Social Networks},
  journal = {ACM Transactions on Intelligent Systems and Technology},
  year = {2016}
}"""
    DESCRIPTION = (
        "Users' visits to regions and types of place in Bangkok: 5,010 users, 446 binary features, "
        "30 classes found by clustering (Shokri et al. 2017)."
    )
    RAW_FOLDERS = ("location",)
    DOWNLOADS = (
        Download(
            "https://github.com/privacytrustlab/datasets/raw/master/dataset_location.tgz",
            "sha256:927203f85a868f8ee17a0ded1dc61699efe602167beabe34fbf45b4b1de94b33",
        ),
    )

    @classmethod
    def find(cls, folder: Path) -> list[RawInput]:
        """See base class."""
        return find_files(cls.TASK, folder, (_ARCHIVE,))

    def read(self, inputs: list[RawInput]) -> Iterator[tuple[np.ndarray, int]]:
        """See base class."""
        path = inputs[0].paths[0]
        contents = read_members(path, lambda name: name == _MEMBER)
        if _MEMBER not in contents:
            raise InputError(f"{path}: no member {_MEMBER!r}")
        features, labels = parse_rows(
            contents[_MEMBER],
            f"{path}, {_MEMBER}",
            self.task.feature_shape[0],
            self.task.num_classes,
        )
        yield from zip(features, labels.tolist(), strict=True)
