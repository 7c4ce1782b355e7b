"""Location: Foursquare check-ins in Bangkok as 446 binary features and 30 kinds of user."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jleaks.data.sources import binary_rows
from jleaks.data.sources.builder import RecordsBuilder
from jleaks.data.sources.download import Download
from jleaks.data.sources.raw import RawInput, find_files

_ARCHIVE = "dataset_location.tgz"
_MEMBER = "bangkok"


class Location(RecordsBuilder):
    """`dataset_location.tgz`: one file, `bangkok`, of rows `"class",0,1,...`."""

    NOTE = "The published rows, in order."
    TASK = "location"
    HOMEPAGE = binary_rows.HOMEPAGE
    CITATION = f"""{binary_rows.CITATION}
@article{{yang2016participatory,
  author = {{Dingqi Yang and Daqing Zhang and Bingqing Qu}},
  title = {{Participatory Cultural Mapping Based on Collective Behavior Data in Location-Based
    Social Networks}},
  journal = {{ACM Transactions on Intelligent Systems and Technology}},
  year = {{2016}}
}}"""
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
        columns, classes = self.task.feature_shape[0], self.task.num_classes
        features, labels = binary_rows.read_rows(inputs[0].paths[0], _MEMBER, columns, classes)
        yield from zip(features, labels.tolist(), strict=True)
