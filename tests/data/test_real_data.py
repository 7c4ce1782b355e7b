"""The real datasets, restored from the packed copies beside the checkout: counts and exact values."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jleaks import data

_RESTORE = Path(__file__).parents[2].parent / "shared" / "data" / "restore.py"

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not _RESTORE.is_file(), reason="no packed datasets beside the checkout"),
]


@pytest.fixture(scope="session")
def raw_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("raw")


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def real(raw_dir, data_dir):
    """Restores, prepares and loads one task, each once a session."""

    def get(task, packed):
        subprocess.run(
            [sys.executable, _RESTORE, raw_dir, "--only", packed], check=True, capture_output=True
        )
        data.prepare([task], data_dir, raw_dir, report=lambda _: None)
        dataset = data.load(task, data_dir)
        description = data.describe(task, data_dir)
        assert dataset.source == description["source"]
        assert np.bincount(dataset.labels).tolist() == description["class_sizes"]
        return dataset, description

    return get


def test_location(real):
    dataset, description = real("location", "location")
    assert dataset.features.shape == (5010, 446)
    assert (min(description["class_sizes"]), max(description["class_sizes"])) == (97, 308)
    # The first published row: `"13",0,1,0,1,0,...`.
    assert dataset.labels[0] == 12
    assert np.flatnonzero(dataset.features[0])[:6].tolist() == [1, 3, 22, 24, 26, 27]
    assert description["inputs"] == [
        {
            "name": "dataset_location.tgz",
            "bytes": 287_293,
            "sha256": "927203f85a868f8ee17a0ded1dc61699efe602167beabe34fbf45b4b1de94b33",
        }
    ]


def test_adult(real):
    from jleaks.data.sources.adult import Adult

    dataset, description = real("adult", "adult")
    assert dataset.features.shape == (48_842, 14)
    assert np.bincount(dataset.labels[:32_561]).tolist() == [24_720, 7_841]
    assert np.bincount(dataset.labels[32_561:]).tolist() == [12_435, 3_846]
    # 39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male,
    # 2174, 0, 40, United-States
    assert dataset.features[0].tolist() == [39, 77_516, 13, 2_174, 0, 40, 5, 0, 2, 8, 3, 0, 1, 0]
    unknown = (dataset.features[:, [6, 9, 13]] == [8, 14, 41]).any(1)
    assert (unknown[:32_561].sum(), unknown[32_561:].sum()) == (2_399, 1_221)
    # The packed copies are the very files that would be downloaded.
    assert [f"sha256:{raw['sha256']}" for raw in description["inputs"]] == [
        download.checksum for download in Adult.DOWNLOADS
    ]


def test_face(real):
    dataset, description = real("face", "lfw")
    assert dataset.features.shape[0] == 1_867
    # Alphabetical: Ariel_Sharon, Arnold_Schwarzenegger, Colin_Powell, ..., Vladimir_Putin.
    assert description["class_sizes"] == [
        77, 42, 236, 121, 530, 109, 44, 71, 52, 55, 42, 53, 60, 41, 41, 48, 52, 144, 49,
    ]  # fmt: skip
    (folder,) = description["inputs"]
    assert folder["sha256"] == "00b8251b9193d267bf4186aab06f2b147c983a90594e0bc0bd1581b7bde0ffea"
    # Faces are lit: a crop that missed them would be darker.
    assert 80 < dataset.features.mean() < 150


def test_purchase_stand_in_is_called_one(real):
    dataset, description = real("purchase100", "purchase_standin")
    assert dataset.source == "stand-in"
    assert dataset.features.shape == (41_548, 600)
    assert dataset.features.sum(1).min() == 5
    assert round(float(dataset.features.sum(1).mean()), 1) == 8.1
    sizes = description["class_sizes"]
    assert (sizes[0], sizes[-1], int(np.median(sizes))) == (1_715, 171, 361)


def test_purchase_k_means_leaves_usable_classes(real):
    dataset, description = real("purchase20", "purchase_standin")
    sizes = description["class_sizes"]
    assert sizes == sorted(sizes, reverse=True)
    # Each part of the paper's split sees a good many of each class.
    assert min(sizes) > 100
    # Identical rows have the same class.
    _, first, inverse = np.unique(dataset.features, axis=0, return_index=True, return_inverse=True)
    np.testing.assert_array_equal(dataset.labels[first][inverse], dataset.labels)


def test_news(real):
    dataset, description = real("news", "news")
    assert dataset.features.shape == (18_846, 10_000)
    assert np.bincount(dataset.labels[:11_314], minlength=20).tolist() == [
        480, 584, 591, 590, 578, 593, 585, 594, 598, 597, 600, 595, 591, 594, 593, 599, 546, 564,
        465, 377,
    ]  # fmt: skip
    # Columns by falling number of posts, counts clipped.
    num_posts = (dataset.features > 0).sum(0)
    assert (np.diff(num_posts) <= 0).all()
    assert num_posts[-1] >= 10
    assert dataset.features.max() == 255
    # Posts that were all quotation and signature stay, as empty rows.
    empty = (dataset.features == 0).all(1).sum()
    assert 400 < empty < 700
    assert len(description["details"]["vocabulary_sha256"]) == 64


def test_mnist(real):
    dataset, _ = real("mnist", "mnist")
    assert dataset.features.shape == (70_000, 28, 28, 1)
    assert np.bincount(dataset.labels[:60_000]).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert np.bincount(dataset.labels[60_000:]).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    # The published training images, behind their header of 16 bytes.
    header = bytes.fromhex("00000803 0000ea60 0000001c 0000001c")
    digest = hashlib.sha256(header + dataset.features[:60_000].tobytes()).hexdigest()
    assert digest == "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"


def test_cifar10(real):
    dataset, description = real("cifar10", "cifar10")
    assert dataset.features.shape == (42_080, 32, 32, 3)
    assert description["class_sizes"] == [4_208] * 10
    # Back to the first batch's records: label, then planes.
    planes = dataset.features[:10_000].transpose(0, 3, 1, 2).reshape(10_000, -1)
    batch = np.hstack([dataset.labels[:10_000, None].astype(np.uint8), planes])
    digest = hashlib.sha256(batch.tobytes()).hexdigest()
    assert digest == "bed7f51f6d8223a6f04c158727e5a5ddd506eb3b481a4f31b4bb622845861e70"
    assert description["inputs"][0]["sha256"] == digest
