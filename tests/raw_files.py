"""Tiny hand-made files in the official formats."""

import gzip
import io
import struct
import tarfile

import numpy as np
from PIL import Image


def write_tar(path, files, extra=()):
    """Writes a gzipped tar of `files` (name to bytes) and `extra` members (TarInfo, without data)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in extra:
            tar.addfile(info)
    return path


def idx(array):
    """An idx file of unsigned bytes."""
    array = np.asarray(array, np.uint8)
    header = struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape)
    return header + array.tobytes()


def write_mnist(folder, rng, train=12, test=5):
    """Writes the four files; returns images [N, 28, 28] and labels [N] of both parts."""
    folder.mkdir(parents=True, exist_ok=True)
    images = rng.integers(0, 256, (train + test, 28, 28), np.uint8)
    labels = (np.arange(train + test) % 10).astype(np.uint8)
    for part, span in (("train", slice(train)), ("t10k", slice(train, None))):
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images[span])))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels[span])))
    return images, labels


def cifar_records(rng, labels, label_bytes):
    """Returns the records' bytes and the images [N, 32, 32, 3] they hold."""
    planes = rng.integers(0, 256, (len(labels), 3, 32, 32), np.uint8)
    head = np.full((len(labels), label_bytes), 7, np.uint8)
    head[:, -1] = labels
    content = np.hstack([head, planes.reshape(len(labels), -1)]).tobytes()
    return content, planes.transpose(0, 2, 3, 1)


def rows(rng, classes, num_columns, quoted=True):
    """Returns text of Shokri et al.'s format and the features it holds."""
    features = rng.integers(0, 2, (len(classes), num_columns), np.uint8)
    # Nobody buys nothing.
    features[:, 0] = 1
    mark = '"' if quoted else ""
    lines = [
        f"{mark}{label}{mark},{','.join(map(str, row.tolist()))}\n"
        for label, row in zip(classes, features, strict=True)
    ]
    return "".join(lines).encode(), features


def write_location(folder, rng, num=60):
    """Writes the archive; returns features [N, 446] and classes [N] counted from 1."""
    classes = np.arange(num) % 30 + 1
    content, features = rows(rng, classes, 446)
    write_tar(folder / "dataset_location.tgz", {"bangkok": content})
    return features, classes


def write_purchase(folder, rng, num=200):
    """Writes the archive; returns features [N, 600] and classes [N] counted from 1."""
    classes = np.arange(num) % 100 + 1
    content, features = rows(rng, classes, 600, quoted=False)
    write_tar(folder / "dataset_purchase.tgz", {"dataset_purchase": content})
    return features, classes


def jpeg(color, size=(50, 50)):
    """A JPEG of one color with a black frame of a fifth of each side."""
    image = Image.new("RGB", size)
    width, height = size
    image.paste(color, (width // 5, height // 5, width - width // 5, height - height // 5))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=95)
    return out.getvalue()


def faces(num_people=19):
    """Photos by name: 41 of each person, and 40 of one whom that does not suffice."""
    photos = {}
    for person in range(num_people):
        content = jpeg((10 * person + 20, 90, 200))
        for number in range(1, 42):
            photos[f"Person_{person:02d}/Person_{person:02d}_{number:04d}.jpg"] = content
    for number in range(1, 41):
        photos[f"Few/Few_{number:04d}.jpg"] = photos["Person_00/Person_00_0001.jpg"]
    return photos


ADULT_ROW = (
    "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male, "
    "2174, 0, 40, United-States, <=50K"
)
ADULT_UNKNOWN = (
    "25, ?, 226802, 11th, 7, Never-married, ?, Own-child, Black, Female, 0, 3, 41, ?, >50K"
)


def write_adult(
    folder, data=f"{ADULT_ROW}\n\n", test=f"|1x3 Cross validator\n{ADULT_UNKNOWN}.\n\n"
):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adult.data").write_text(data)
    (folder / "adult.test").write_text(test)


def write_all(folder, rng):
    """Writes every dataset, each to its own folder as a whole `raw_dir` has them."""
    from jleaks.data.sources.news import GROUPS

    write_location(folder / "location", rng, 600)
    write_mnist(folder / "mnist", rng)
    # Baskets of 100 kinds: k-means finds no class of few.
    kinds = rng.integers(0, 2, (100, 600), np.uint8)
    lines = [f"{i % 100 + 1},{','.join(map(str, kinds[i % 100].tolist()))}\n" for i in range(1000)]
    content = {"dataset_purchase": "".join(lines).encode()}
    write_tar(folder / "purchase_standin" / "dataset_purchase.tgz", content)
    write_adult(folder / "adult")
    (folder / "cifar10").mkdir()
    (folder / "cifar10" / "test_batch.bin").write_bytes(cifar_records(rng, range(10), 1)[0])
    train, test = (cifar_records(rng, range(100), 2)[0] for _ in range(2))
    packed = {"cifar-100-binary/train.bin": train, "cifar-100-binary/test.bin": test}
    write_tar(folder / "cifar100" / "cifar-100-binary.tar.gz", packed)
    photos = {f"lfw-deepfunneled/{name}": content for name, content in faces().items()}
    write_tar(folder / "face" / "lfw-deepfunneled.tgz", photos)
    # As many terms as are kept.
    words = " ".join("".join("abcdefghijk"[int(d)] for d in f"{i:05d}") for i in range(10_000))
    post = f"From: somebody\n\n{words}".encode()
    posts = {
        f"20news-bydate-{part}/{group}/1": post for part in ("train", "test") for group in GROUPS
    }
    write_tar(folder / "news" / "20news-bydate.tar.gz", posts)
