"""Every official format, read from tiny hand-made files, and every way in which one can be wrong."""

import gzip
import os
import shutil
import tarfile

import numpy as np
import pytest
from raw_files import (
    ADULT_ROW,
    cifar_records,
    faces,
    idx,
    jpeg,
    rows,
    write_adult,
    write_location,
    write_mnist,
    write_purchase,
    write_tar,
)

from jleaks import data as data_lib
from jleaks.data.tasks import ADULT_CATEGORIES
from jleaks.errors import InputError


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder


@pytest.fixture
def read(tmp_path, raw):
    """Prepares one task from `raw` and loads it."""

    def prepare_and_load(task, **parameters):
        data_lib.prepare([task], tmp_path / "data", raw, report=lambda _: None, **parameters)
        return data_lib.load(task, tmp_path / "data")

    return prepare_and_load


@pytest.fixture
def refuses(read, tmp_path):
    """Expects one line that says what is wrong, and nothing left behind."""

    def check(task, message, **parameters):
        with pytest.raises(InputError, match=message) as caught:
            read(task, **parameters)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "data" / f"{task}.json").exists()
        assert not list((tmp_path / "data").rglob("*array_record*"))

    return check


# --- MNIST


def test_mnist(raw, read, rng):
    images, labels = write_mnist(raw, rng)
    dataset = read("mnist")
    np.testing.assert_array_equal(dataset.features, images[..., None])
    np.testing.assert_array_equal(dataset.labels, labels)
    assert dataset.source == "real"


_TRAIN_IMAGES = "train-images-idx3-ubyte.gz"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (_TRAIN_IMAGES, idx(np.zeros(12)), "magic number 0x00000801, expected 0x00000803"),
        (_TRAIN_IMAGES, idx(np.zeros((12, 27, 28))), r"images of \(27, 28\) pixels"),
        (_TRAIN_IMAGES, idx(np.zeros((12, 28, 28)))[:-1], "9423 bytes, expected 9424 for 12"),
        (_TRAIN_IMAGES, idx(np.zeros((11, 28, 28))), "12 labels for the 11 images"),
        (_TRAIN_IMAGES, b"\0\0\x08", "3 bytes, expected a header of 16"),
        (
            "t10k-labels-idx1-ubyte.gz",
            idx([1, 2, 3, 4, 10]),
            "t10k-labels.*label 10, expected 0..9",
        ),
    ],
)
def test_mnist_refuses(raw, refuses, rng, name, content, message):
    write_mnist(raw, rng)
    (raw / name).write_bytes(gzip.compress(content))
    refuses("mnist", message)


def test_mnist_refuses_missing_and_truncated_files(raw, refuses, rng):
    write_mnist(raw, rng)
    whole = (raw / _TRAIN_IMAGES).read_bytes()
    (raw / _TRAIN_IMAGES).write_bytes(whole[: len(whole) // 2])
    refuses("mnist", f"{_TRAIN_IMAGES}: not a complete gzip file")
    (raw / _TRAIN_IMAGES).write_bytes(b"not gzip")
    refuses("mnist", f"{_TRAIN_IMAGES}: 8 bytes, expected a header of 16")
    (raw / _TRAIN_IMAGES).unlink()
    refuses("mnist", f"does not hold {_TRAIN_IMAGES}")


def _unpacked(path):
    path.with_name(path.name.removesuffix(".gz")).write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()


def _dotted(path):
    path.rename(path.with_name(path.name.replace("-idx", ".idx")))


def _unpacked_and_dotted(path):
    _unpacked(path)
    _dotted(path.with_name(path.name.removesuffix(".gz")))


def _unpacked_under_its_old_name(path):
    path.write_bytes(gzip.decompress(path.read_bytes()))


@pytest.mark.parametrize(
    "change", [_unpacked, _dotted, _unpacked_and_dotted, _unpacked_under_its_old_name]
)
def test_mnist_as_it_lies_on_disks(raw, read, rng, change):
    images, labels = write_mnist(raw, rng)
    # Each file by itself: nobody unpacks all four alike.
    for path in sorted(raw.iterdir())[1:]:
        change(path)
    dataset = read("mnist")
    np.testing.assert_array_equal(dataset.features, images[..., None])
    np.testing.assert_array_equal(dataset.labels, labels)


# --- CIFAR


def test_cifar10_folder_with_fewer_batches(raw, read, rng):
    folder = raw / "cifar-10-batches-bin"
    folder.mkdir()
    test, test_images = cifar_records(rng, [9, 0], 1)
    batch, images = cifar_records(rng, [3, 1, 4], 1)
    (folder / "test_batch.bin").write_bytes(test)
    (folder / "data_batch_4.bin").write_bytes(batch)
    dataset = read("cifar10")
    np.testing.assert_array_equal(dataset.features, np.concatenate([images, test_images]))
    assert dataset.labels.tolist() == [3, 1, 4, 9, 0]


def test_cifar100_archive_uses_fine_labels(raw, read, rng):
    train, images = cifar_records(rng, [99, 5], 2)
    test, test_images = cifar_records(rng, [42], 2)
    # Test before train: the order of reading is not the archive's.
    write_tar(
        raw / "cifar-100-binary.tar.gz",
        {
            "cifar-100-binary/test.bin": test,
            "cifar-100-binary/train.bin": train,
            "cifar-100-binary/fine_label_names.txt": b"apple\n",
        },
    )
    dataset = read("cifar100")
    np.testing.assert_array_equal(dataset.features, np.concatenate([images, test_images]))
    assert dataset.labels.tolist() == [99, 5, 42]


def test_cifar_refuses(raw, refuses, rng):
    refuses("cifar10", "does not hold cifar-10-binary.tar.gz or cifar-10-batches-bin with any of")
    content, _ = cifar_records(rng, [3, 10], 1)
    (raw / "test_batch.bin").write_bytes(content)
    refuses("cifar10", "test_batch.bin, record 1: label 10, expected 0..9")
    (raw / "test_batch.bin").write_bytes(content[:-1])
    refuses("cifar10", "6145 bytes, expected a multiple of the 3073 of a record")
    (raw / "test_batch.bin").write_bytes(b"")
    refuses("cifar10", "0 bytes, expected a multiple")
    write_tar(raw / "cifar-100-binary.tar.gz", {"other/train.bin": content})
    refuses("cifar100", "none of cifar-100-binary/train.bin, cifar-100-binary/test.bin")


# --- Archives


def _link(name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (tarfile.TarInfo("../outside"), "'../outside' points outside its folder"),
        (tarfile.TarInfo("/etc/outside"), "'/etc/outside' points outside its folder"),
        (tarfile.TarInfo("a/../../outside"), "points outside its folder"),
        (_link("bangkok", "/etc/passwd"), "is a link or device"),
        (_link("other", "bangkok", tarfile.LNKTYPE), "is a link or device"),
        (_link("pipe", "", tarfile.FIFOTYPE), "is a link or device"),
    ],
)
def test_archive_members_that_leave_the_folder_are_refused(raw, refuses, rng, extra, message):
    content, _ = rows(rng, [1], 446)
    write_tar(raw / "dataset_location.tgz", {"bangkok": content}, [extra])
    refuses("location", message)


def test_damaged_archives_are_refused(raw, refuses, rng):
    write_location(raw, rng)
    path = raw / "dataset_location.tgz"
    whole = path.read_bytes()
    for content in (
        b"",
        b"hello",
        whole[: len(whole) // 2],
        whole[:-4],
        gzip.compress(b"x" * 2000),
    ):
        path.write_bytes(content)
        refuses("location", r"dataset_location.tgz: not a complete .tar.gz archive")
    # The last eight bytes are checksum and size of the content.
    path.write_bytes(whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:])
    refuses("location", r"not a complete .tar.gz archive \(CRC check failed")


# --- Location and Purchase


def test_location(raw, read, rng):
    features, classes = write_location(raw, rng)
    dataset = read("location")
    np.testing.assert_array_equal(dataset.features, features)
    np.testing.assert_array_equal(dataset.labels, classes - 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda text: text.replace(b'"2"', b'"31"'),
            "bangkok, line 2: class '\"31\"', expected 1..30",
        ),
        (lambda text: text.replace(b'"2"', b'"0"'), "line 2: class '\"0\"'"),
        (lambda text: text.replace(b'"2"', b"two"), "line 2: class 'two'"),
        (lambda text: text.replace(b'"2",', b'"2",0,'), "line 2: 448 columns, expected 447"),
        (lambda text: text.replace(b'"2",1', b'"2"'), "line 2: 446 columns, expected 447"),
        (lambda text: text.replace(b'"2",1', b'"2",2'), "line 2: value '2', expected 0 or 1"),
        (lambda text: text.replace(b'"2",1,', b'"2",10,'), "line 2: value '10', expected 0 or 1"),
        (lambda text: text.replace(b'"2",1,', b'"2",1;'), "line 2: 446 columns, expected 447"),
        (lambda text: text.replace(b'"2"', b'\n"2"'), "line 2: class ''"),
        (lambda _: b"", "holds no records"),
    ],
)
def test_location_refuses(raw, refuses, rng, change, message):
    content, _ = rows(rng, [1, 2, 3], 446)
    write_tar(raw / "dataset_location.tgz", {"bangkok": change(content)})
    refuses("location", message)


def test_location_refuses_another_archive(raw, refuses, rng):
    write_tar(raw / "dataset_location.tgz", {"rows": rows(rng, [1], 446)[0]})
    refuses("location", "no member 'bangkok'")


def test_purchase100_has_published_labels_and_is_never_called_real(raw, read, rng):
    features, classes = write_purchase(raw, rng)
    dataset = read("purchase100")
    np.testing.assert_array_equal(dataset.features, features)
    np.testing.assert_array_equal(dataset.labels, classes - 1)
    assert dataset.source == "stand-in"


def test_purchase_of_the_published_size_is_real():
    from jleaks.data.sources.purchase import Purchase

    builder = object.__new__(Purchase)
    builder._builder_config = Purchase.builder_configs["purchase10"]
    assert builder.source(197_324) == "real"
    assert builder.source(197_323) == "stand-in"


def test_purchase2_finds_the_two_kinds_of_shopper(raw, read, rng):
    _, features = rows(rng, [1] * 90, 600)
    # Two thirds buy from the first half of the products, one third from the second.
    features[:60, 300:] = 0
    features[60:, :300] = 0
    lines = [f"1,{','.join(map(str, row.tolist()))}\n" for row in features]
    write_tar(raw / "dataset_purchase.tgz", {"dataset_purchase": "".join(lines).encode()})
    assert read("purchase2").labels.tolist() == [0] * 60 + [1] * 30


def test_purchase_refuses_classes_that_are_too_small(raw, refuses, rng):
    _, features = rows(rng, [1] * 40, 600)
    features[:38, 300:] = 0
    features[38:, :300] = 0
    lines = [f"1,{','.join(map(str, row.tolist()))}\n" for row in features]
    write_tar(raw / "dataset_purchase.tgz", {"dataset_purchase": "".join(lines).encode()})
    refuses("purchase2", "k-means left a class of 2 rows, expected at least 4")
    refuses("purchase50", "40 rows cannot make that many classes")


# --- Adult


def test_adult(raw, read):
    write_adult(raw)
    dataset = read("adult")
    assert dataset.features.dtype == np.int32
    assert dataset.features.tolist() == [
        [39, 77516, 13, 2174, 0, 40, 5, 0, 2, 8, 3, 0, 1, 0],
        [25, 226802, 7, 0, 3, 41, 8, 2, 2, 14, 1, 4, 0, 41],
    ]
    assert dataset.labels.tolist() == [0, 1]


def test_adult_categories_are_as_many_as_the_encodings_expect():
    from jleaks.data.sources.adult import CATEGORIES

    assert {name: len(set(values)) for name, values in CATEGORIES.items()} == ADULT_CATEGORIES


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("State-gov", "King", "adult.data, line 2: workclass 'King', expected one of Private"),
        ("Male", "?", "line 2: sex '\\?', expected one of Female, Male"),
        ("39", "old", "line 2: age 'old', expected a whole number"),
        ("39", "4294967335", "line 2: age '4294967335', expected a whole number"),
        ("39", "9" * 5000, "line 2: age '99999"),
        ("2174, ", "", "line 2: 14 columns, expected 15"),
        ("<=50K", "50K", "line 2: label '50K', expected <=50K or >50K"),
    ],
)
def test_adult_refuses(raw, refuses, before, after, message):
    write_adult(raw, f"{ADULT_ROW}\n{ADULT_ROW.replace(before, after)}\n")
    refuses("adult", message)


def test_adult_refuses_missing_files(raw, refuses):
    write_adult(raw)
    (raw / "adult.test").unlink()
    refuses("adult", "does not hold adult.test")


# --- Face


def test_face_from_folder_and_archive(raw, read, tmp_path):
    photos = faces()
    folder = raw / "lfw-deepfunneled"
    # A folder holds hard links only, for speed.
    contents = {}
    for name, content in photos.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content in contents:
            os.link(contents[content], path)
        else:
            path.write_bytes(content)
            contents[content] = path
    dataset = read("face", face_size=8, face_crop=0.5)
    assert dataset.features.shape == (19 * 41, 8, 8, 3)
    np.testing.assert_array_equal(dataset.labels, np.repeat(np.arange(19), 41))
    # The crop leaves the frame outside; JPEG blurs a little of it into the colour.
    expected = np.array([10 * 3 + 20, 90, 200])
    assert abs(dataset.features[3 * 41].astype(int) - expected).max() < 25

    archive = tmp_path / "archive" / "lfw-deepfunneled.tgz"
    write_tar(archive, {f"lfw-deepfunneled/{name}": photos[name] for name in reversed(photos)})
    data_lib.prepare(
        ["face"], tmp_path / "other", archive.parent, face_size=8, report=lambda _: None
    )
    again = data_lib.load("face", tmp_path / "other")
    assert again.fingerprint() == dataset.fingerprint()

    # One folder deeper, on disk and in the archive.
    deeper = tmp_path / "deeper" / "lfw-deepfunneled"
    deeper.mkdir(parents=True)
    folder.rename(deeper / "lfw-deepfunneled")
    packed = tmp_path / "packed" / "lfw-deepfunneled.tgz"
    twice = "lfw-deepfunneled/lfw-deepfunneled"
    write_tar(packed, {f"{twice}/{name}": content for name, content in photos.items()})
    for i, place in enumerate((deeper.parent, deeper, packed.parent)):
        data = tmp_path / f"data {i}"
        data_lib.prepare(["face"], data, place, face_size=8, report=lambda _: None)
        assert data_lib.load("face", data).fingerprint() == dataset.fingerprint()


def test_face_refuses(raw, refuses):
    refuses("face", "does not hold lfw-deepfunneled.tgz or the folder lfw-deepfunneled")
    (raw / "lfw-deepfunneled").mkdir()
    refuses("face", "no <Person>/<Person>_0001.jpg below .*lfw-deepfunneled")
    (raw / "lfw-deepfunneled" / "Somebody").mkdir()
    (raw / "lfw-deepfunneled" / "Somebody" / "Somebody_0001.jpg").write_bytes(b"")
    refuses("face", "lfw-deepfunneled: 0 people with more than 40 photos, expected 19")
    shutil.rmtree(raw / "lfw-deepfunneled")
    write_tar(raw / "lfw-deepfunneled.tgz", {"lfw/Somebody/Somebody_0001.jpg": b""})
    refuses("face", "no lfw-deepfunneled/<Person>/<Person>_0001.jpg in it")
    photos = {f"lfw-deepfunneled/{name}": content for name, content in faces().items()}
    name = "lfw-deepfunneled/Person_07/Person_07_0003.jpg"
    whole = jpeg((1, 2, 3))
    for damaged in (whole[: len(whole) // 2], b"GIF89a", b""):
        write_tar(raw / "lfw-deepfunneled.tgz", photos | {name: damaged})
        refuses("face", "Person_07_0003.jpg: not a complete JPEG image")
    refuses("face", "face_size 0, expected 1..250", face_size=0)
    refuses("face", "face_crop 1.5, expected a fraction", face_crop=1.5)


# --- News


def _post(body, header="From: somebody\nSubject: secretheader"):
    return f"{header}\n\n{body}".encode("latin-1")


def _news(posts):
    """An archive's files with one post for every group and `posts` on top."""
    from jleaks.data.sources.news import GROUPS

    files = {f"20news-bydate-test/{group}/9": _post("filler") for group in GROUPS}
    return files | posts


def test_news_counts_terms_by_spread(raw, read):
    write_tar(
        raw / "20news-bydate.tar.gz",
        _news(
            {
                "20news-bydate-test/sci.space/1": _post("moon " * 300 + "rocket the"),
                "20news-bydate-train/sci.space/2": _post("Rocket rocket zebra"),
                "20news-bydate-train/sci.med/1": _post(">quoted rocket\nApple"),
                "20news-bydate-train/alt.atheism/7": _post("", header="Subject: nothing more"),
            }
        ),
    )
    dataset = read("news", num_terms=4)
    # filler occurs in 20 posts, rocket in 2, apple, moon and zebra in 1: ties are alphabetical.
    assert dataset.features.shape == (24, 4)
    # Training posts come first.
    assert dataset.features[:3].tolist() == [[0, 0, 0, 0], [0, 0, 1, 0], [0, 2, 0, 0]]
    assert dataset.labels[:3].tolist() == [0, 13, 14]
    space = dataset.features[3:][dataset.labels[3:] == 14]
    assert space.tolist() == [[0, 1, 0, 255], [1, 0, 0, 0]]
    description = data_lib.describe("news", raw.parent / "data")
    assert description["parameters"] == {"num_terms": 4}


@pytest.mark.parametrize("ends", ["\r\n", "\r"])
def test_news_packed_elsewhere_has_other_line_ends(raw, read, tmp_path, ends):
    posts = _news(
        {
            "20news-bydate-test/sci.space/1": _post(
                "moon rocket\n>quoted moon\nrocket\n\n--\nme moon"
            ),
            "20news-bydate-train/sci.med/1": _post("apple"),
        }
    )
    write_tar(raw / "20news-bydate.tar.gz", posts)
    wanted = read("news", num_terms=4)
    elsewhere = tmp_path / "elsewhere"
    posts = {name: post.replace(b"\n", ends.encode()) for name, post in posts.items()}
    write_tar(elsewhere / "20news-bydate.tar.gz", posts)
    data_lib.prepare(["news"], tmp_path / "other", elsewhere, num_terms=4, report=lambda _: None)
    found = data_lib.load("news", tmp_path / "other")
    assert found.fingerprint() == wanted.fingerprint()
    assert found.features.any(1).all()


def test_carriage_returns_within_lines_are_the_posts_own():
    from jleaks.data.sources.news import unix_lines

    assert unix_lines("From: a\n\nb\r\nc\rd\n") == "From: a\n\nb\r\nc\rd\n"


def test_records_with_nothing_in_them_are_counted_and_many_are_a_warning(raw, tmp_path):
    # A post without a blank line is all header.
    empty = {f"20news-bydate-train/sci.med/{i}": b"From: a" for i in range(3)}
    lines = []
    for name, count in (("few", 2), ("many", 3)):
        posts = _news(dict(list(empty.items())[:count]))
        write_tar(raw / "20news-bydate.tar.gz", posts)
        data_lib.prepare(["news"], tmp_path / name, raw, num_terms=1, report=lines.append)
        description = data_lib.describe("news", tmp_path / name)
        assert (description["num_constant"], description["num_zero"]) == (count, count)
        assert (
            f", {count} ({100 * count / (20 + count):.1f}%) all zeros, prepared in"
            in lines[1 if name == "few" else 3]
        )
    warnings = [line for line in lines if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert warnings[0].startswith(
        "warning: news: 3 of 23 records have one value throughout: posts without a body"
    )


def test_an_image_of_one_colour_is_counted(raw, tmp_path, rng):
    content, _ = cifar_records(rng, [3, 1, 4], 1)
    grey = bytes([5]) + bytes([128]) * 3072
    (raw / "test_batch.bin").write_bytes(content + grey)
    told = []
    data_lib.prepare(["cifar10"], tmp_path / "data", raw, report=told.append)
    assert ", 1 (25.0%) of one value throughout, 0 all zeros, prepared in" in told[1]
    assert told[2].startswith(
        "warning: cifar10: 1 of 4 records have one value throughout: the files"
    )


def test_no_warning_for_a_few_records_with_nothing_in_them(raw, tmp_path, rng):
    classes = np.arange(60) % 30 + 1
    text, _ = rows(rng, classes, 446)
    lines = text.splitlines()
    for count, is_told in ((0, False), (6, False), (7, True)):
        for i in range(count):
            lines[i] = b'"%d",' % classes[i] + b",".join([b"0"] * 446)
        write_tar(raw / "dataset_location.tgz", {"bangkok": b"\n".join(lines)})
        told = []
        data_lib.prepare(["location"], tmp_path / f"data {count}", raw, report=told.append)
        assert (f"{count} ({count / 0.6:.1f}%) all zeros" in told[1]) == (count > 0)
        assert [line.startswith("warning: location: 7 of 60") for line in told[2:]] == [
            True
        ] * is_told


def test_news_refuses(raw, refuses):
    path = raw / "20news-bydate.tar.gz"
    write_tar(path, _news({}))
    refuses("news", "num_terms 5, but the posts hold only 1 terms", num_terms=5)
    refuses("news", "num_terms 0, expected at least 1", num_terms=0)
    write_tar(path, _news({"20news-bydate-train/alt.jleaks/1": b"\n\nhello"}))
    refuses("news", "post 20news-bydate-train/alt.jleaks/1 of an unknown group")
    files = _news({})
    del files["20news-bydate-test/sci.med/9"]
    write_tar(path, files)
    refuses("news", "no posts of sci.med")
    write_tar(path, dict.fromkeys(_news({}), b"\n\nthe"))
    refuses("news", "the posts hold no terms")


@pytest.mark.parametrize(
    "post",
    [
        "",
        "no header",
        "From: a\n\nbody\n\n-- \nsignature",
        "From: a\n\nbody\n---\nsignature\n\n\n",
        "From: a\n\n---\nsignature only",
        "From: a\n\nIn article <1> b writes:\n> quote\n| quote\nanswer\nQuoted from\n c wrote: x\nend",
        "From: a\n\n\n\n  \n",
        "From: a\n\nx said:\ny\n\nz",
    ],
)
def test_news_strips_as_scikit_learn_does(post):
    from sklearn.datasets import _twenty_newsgroups as reference

    from jleaks.data.sources import news

    assert news.strip_header(post) == reference.strip_newsgroup_header(post)
    assert news.strip_footer(post) == reference.strip_newsgroup_footer(post)
    assert news.strip_quotes(post) == reference.strip_newsgroup_quoting(post)
    body = reference.strip_newsgroup_header(post)
    assert news.strip(post) == reference.strip_newsgroup_quoting(
        reference.strip_newsgroup_footer(body)
    )
