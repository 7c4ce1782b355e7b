"""Purchase: shopping histories as 600 binary features, in 2, 10, 20, 50 or 100 classes.

The 100 classes are published; the other class sets are made here, as in the paper, by k-means on the
rows.  Rows are scaled to length 1 first: plain k-means sorts shoppers by how much they buy and leaves
small classes.  Class sizes, smallest / median / largest, on the 41,548 rows of the stand-in (3 starts,
seed 0, scikit-learn 1.9):

    classes   plain rows                 length 1                   idf-weighted, length 1
          2   12,062 / 20,774 / 29,486   12,122 / 20,774 / 29,426   9,400 / 20,774 / 32,148
         10      318 /  2,902 /  9,135    1,939 /  3,485 /  8,559   1,023 /  1,752 / 20,830
         20      199 /  1,896 /  5,935      334 /  1,632 /  5,833     551 /  1,048 / 17,002
         50      129 /    584 /  3,651      203 /    679 /  3,193     269 /    635 /  8,797

With seed 1, 50 classes of plain rows include one of 11 rows; of rows of length 1, the smallest has
107.  The third recipe, that of the stand-in's own 100 classes, gathers up to half of all rows in one
class.
"""

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from jleaks.data.sources import binary_rows
from jleaks.data.sources.builder import RecordsBuilder
from jleaks.data.sources.download import Download
from jleaks.data.sources.raw import RawInput, find_files
from jleaks.data.tasks import TASKS, Source, Task
from jleaks.errors import InputError

_ARCHIVE = "dataset_purchase.tgz"
_MEMBER = "dataset_purchase"
_PUBLISHED_CLASSES = 100

KMEANS_SEED = 0
KMEANS_STARTS = 3
# A class must reach all four parts of the paper's split.
_SMALLEST_CLASS = 4


@dataclasses.dataclass(eq=False)
class PurchaseConfig(tfds.core.BuilderConfig):
    """A set of classes.

    Attributes:
      num_classes: 2, 10, 20 or 50 by k-means; 100 as published.
    """

    num_classes: int = _PUBLISHED_CLASSES


class Purchase(RecordsBuilder):
    """`dataset_purchase.tgz`: one file, `dataset_purchase`, of rows `class,0,1,...`."""

    NOTE = "The published rows, in order; k-means on rows of length 1."
    BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
        PurchaseConfig(name=f"purchase{k}", description=f"Purchase in {k} classes.", num_classes=k)
        for k in (2, 10, 20, 50, 100)
    ]
    HOMEPAGE = binary_rows.HOMEPAGE
    CITATION = binary_rows.CITATION
    DESCRIPTION = (
        "Which of 600 products each of 197,324 shoppers bought, from Kaggle's Acquire Valued "
        "Shoppers challenge (Shokri et al. 2017)."
    )
    RAW_FOLDERS = ("purchase", "purchase_standin")
    DOWNLOADS = (
        Download(
            "https://github.com/privacytrustlab/datasets/raw/master/dataset_purchase.tgz",
            # No SHA-256 is published; this is the id of the file in that repository's commit
            # 169de9de, from which git itself would detect another content.
            "git-blob:3efa7476ad5ed7ac3e558d28585a186b38fc5f19",
        ),
    )

    _details: dict[str, Any]

    @property
    def task(self) -> Task:
        """See base class."""
        return TASKS[self.builder_config.name]

    @property
    def parameters(self) -> dict[str, Any]:
        """See base class."""
        if self.task.num_classes == _PUBLISHED_CLASSES:
            return {"labels": "published"}
        return {
            "labels": "k-means on rows of length 1",
            "seed": KMEANS_SEED,
            "starts": KMEANS_STARTS,
        }

    @classmethod
    def find(cls, folder: Path) -> list[RawInput]:
        """See base class."""
        return find_files("purchase", folder, (_ARCHIVE,))

    def read(self, inputs: list[RawInput]) -> Iterator[tuple[np.ndarray, int]]:
        """See base class."""
        columns = self.task.feature_shape[0]
        features, labels = binary_rows.read_rows(
            inputs[0].paths[0], _MEMBER, columns, _PUBLISHED_CLASSES
        )
        if self.task.num_classes != _PUBLISHED_CLASSES and len(features):
            labels = cluster(features, self.task.num_classes)
        # k-means may differ between versions and machines; this tells whether it did.
        self._details = {
            "labels_sha256": hashlib.sha256(labels.astype("<i4").tobytes()).hexdigest()
        }
        yield from zip(features, labels.tolist(), strict=True)

    def source(self, num_records: int) -> Source:
        """Real only with exactly the published number of rows: a stand-in is never called real."""
        return "real" if num_records == self.task.num_records else "stand-in"

    def details(self) -> dict[str, Any]:
        """See base class."""
        return self._details


def cluster(features: np.ndarray, num_classes: int) -> np.ndarray:
    """Labels rows by k-means on the rows scaled to length 1.

    Args:
      features: [N, C] uint8 of 0 and 1.
      num_classes: K.

    Returns:
      [N] int32 in 0..K-1, classes numbered by falling size.

    Raises:
      InputError: a class is too small to be split in four.
    """
    import scipy.sparse
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import normalize

    if len(features) < num_classes:
        raise InputError(
            f"purchase{num_classes}: {len(features)} rows cannot make that many classes"
        )
    # About one cell in seventy is 1: sparse, a start takes a second or two instead of ten.
    rows = normalize(scipy.sparse.csr_matrix(features, dtype=np.float32))
    found = KMeans(num_classes, n_init=KMEANS_STARTS, random_state=KMEANS_SEED).fit(rows).labels_
    sizes = np.bincount(found, minlength=num_classes)
    if sizes.min() < _SMALLEST_CLASS:
        raise InputError(
            f"purchase{num_classes}: k-means left a class of {sizes.min()} rows, expected at least "
            f"{_SMALLEST_CLASS}"
        )
    rank = np.empty(num_classes, np.int32)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(num_classes)
    return rank[found]
