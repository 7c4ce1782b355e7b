"""Own data: the same records from every source, what is concluded from them, and what is refused."""

import dataclasses
import gzip
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import scipy.sparse
from PIL import Image
from raw_files import write_location

from jleaks.data import load, own, prepare
from jleaks.data.dataset import Dataset
from jleaks.data.origin import num_records, records
from jleaks.data.random_points import random_points
from jleaks.data.tasks import Task, get_task, register, task_from_arrays
from jleaks.errors import InputError


def numbers(count=40, seed=0):
    rng = np.random.default_rng(seed)
    # Three digits: the same decimal numbers in text and in float64.
    return rng.normal(3, 20, (count, 3)).round(3), rng.integers(0, 3, count)


def write_csv(path, header, rows, delimiter=","):
    lines = [delimiter.join(header), *(delimiter.join(map(str, row)) for row in rows)]
    content = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def write_table(path, columns):
    pa.parquet.write_table(pa.table(columns), path)
    return path


def same(one, other):
    np.testing.assert_array_equal(one.features, other.features)
    np.testing.assert_array_equal(one.labels, other.labels)
    assert (one.encoding, one.classes, one.ranges, one.digest) == (
        other.encoding,
        other.classes,
        other.ranges,
        other.digest,
    )


class Items:
    """A map-style dataset."""

    def __init__(self, features, labels):
        self.pairs = list(zip(features, labels, strict=True))

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, i):
        return self.pairs[i]


class Frame:
    """A data frame, as far as anybody needs one."""

    def __init__(self, values):
        self.values, self.columns = values, list(values)

    def __getitem__(self, name):
        return self.values[name]


def test_every_source_of_numbers_gives_the_same_dataset(tmp_path):
    x, y = numbers()
    names = ["age", "height", "weight"]
    rows = [(*row, label) for row, label in zip(x, y, strict=True)]
    columns = {name: x[:, i] for i, name in enumerate(names)} | {"kind": y}
    np.savez(tmp_path / "a.npz", X=x, targets=y, other=np.arange(3))
    np.savez(tmp_path / "b.npz", mine=x, yours=y, x=x, data=x)
    np.savez(tmp_path / "c.npz", x_train=x[:30], y_train=y[:30], x_test=x[30:], y_test=y[30:])
    kind = {"label": "kind"}
    found = [
        own.read("a", tmp_path / "a.npz"),
        own.read("b", tmp_path / "b.npz", label="yours", features="mine"),
        own.read("c", str(tmp_path / "c.npz")),
        own.read("d", write_csv(tmp_path / "d.csv", [*names, "kind"], rows), **kind),
        own.read("e", write_csv(tmp_path / "e.csv", [*names, "kind"], rows, ";"), **kind),
        own.read("f", write_csv(tmp_path / "f.tsv", [*names, "kind"], rows, "\t"), **kind),
        own.read("g", write_csv(tmp_path / "g.csv.gz", [*names, "kind"], rows), **kind),
        own.read("h", write_table(tmp_path / "h.parquet", columns), **kind),
        own.read("i", write_table(tmp_path / "i.pq", {"vector": x.tolist(), "label": y.tolist()})),
        own.read("j", (x, y)),
        own.read("k", (x.tolist(), [f"{label}" for label in y])),
        own.read("l", (x, np.eye(3)[y])),
        own.read("m", (x, y[:, None].astype(np.float64))),
        own.read("n", {"x": x, "y": y}),
        own.read("o", columns, **kind),
        own.read("p", Items(x, y)),
        own.read("q", lambda: (x, y)),
        own.read("r", (scipy.sparse.csr_array(x), y)),
        own.read("s", [{"data": a, "label": b, "id": 0} for a, b in zip(x, y, strict=True)]),
        own.read("t", Frame(columns), **kind),
    ]
    for other in found[1:]:
        same(found[0], other)
    np.testing.assert_array_equal(found[0].features, x.astype(np.float32))
    np.testing.assert_array_equal(found[0].labels, y)
    assert (found[0].encoding, found[0].classes) == ("real", ("0", "1", "2"))
    assert found[0].digest != own.read("a", (x + 0.5, y)).digest
    assert found[0].digest != own.read("a", (x, (y + 1) % 3)).digest


def test_a_table_of_numbers_and_text_becomes_columns(tmp_path):
    count = 60
    rng = np.random.default_rng(1)
    city = rng.choice(["Rome", "Oslo", "Kyiv"], count)
    city[0] = ""
    plan, age = rng.choice(["a", "b"], count), rng.integers(18, 90, count)
    active, left = rng.random(count) < 0.5, rng.choice(["no", "yes"], count)
    header = ["Unnamed: 0", "age", "city", "plan", "active", "left"]
    rows = list(zip(range(count), age, city, plan, active, left, strict=True))
    path = write_csv(tmp_path / "churn.csv", header, rows)
    found = own.read("churn", path, "left")
    columns = dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
    columns["city"][0] = None
    del columns["Unnamed: 0"]
    lists = dict(columns)
    columns["plan"] = pa.array(columns["plan"]).dictionary_encode()
    same(found, own.read("churn", write_table(tmp_path / "churn.parquet", columns), "left"))
    same(found, own.read("churn", {k: np.array(v, object) for k, v in lists.items()}, "left"))
    cities = ["(missing)", "Kyiv", "Oslo", "Rome"]
    codes = [cities.index(c or "(missing)") for c in city]
    expected = np.stack([age, active, codes, plan == "b"], axis=1)
    np.testing.assert_array_equal(found.features, expected)
    np.testing.assert_array_equal(found.labels, left == "yes")
    assert found.encoding == "columns-4.2"
    assert found.ranges == ((age.min(), age.max()), (0, 1))
    told = "\n".join(found.lines)
    assert "60 records of 4 columns (2 numbers, 2 categorical)" in told
    assert "column Unnamed: 0 numbers the rows: left out" in told
    assert "column city is empty in 1 records: category (missing)" in told
    assert "classes in sorted order: no = 0, yes = 1" in told
    fewer = own.read("churn", path, "left", drop=("city", "Unnamed: 0"))
    np.testing.assert_array_equal(fewer.features, expected[:, [0, 1, 3]])
    assert fewer.encoding == "columns-2"


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([-1, 1, 1, -1], ("-1", "1")),
        ([7.0, 3.0, 3.0, 7.0], ("3", "7")),
        ([True, False, True, False], ("0", "1")),
        (["10", "9", "9", "10"], ("9", "10")),
        (["b", "a", " b ", "a"], ("a", "b")),
        ([2**40, 5, 5, 2**40], ("5", str(2**40))),
        ([[0, 1, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0]], ("0", "1")),
    ],
)
def test_classes_are_numbered_in_sorted_order(labels, names):
    found = own.read("t", (np.arange(8.0).reshape(4, 2), labels))
    assert found.classes == names
    assert sorted(found.labels.tolist()) == [0, 0, 1, 1]
    shown = [str(v).strip().removesuffix(".0") for v in np.asarray(labels).ravel()[:4]]
    if np.ndim(labels) == 1 and labels[0] is not True:
        assert [names[i] for i in found.labels] == shown


def test_classes_of_one_record_are_told():
    labels = [0] * 5 + [1] * 5 + [2]
    found = own.read("t", (np.arange(11.0), labels))
    assert "1 of 3 classes have one record only (2)" in found.lines[-1]


@pytest.mark.parametrize(
    ("features", "encoding", "dtype", "stored"),
    [
        (np.eye(4), "binary", "uint8", np.eye(4)),
        (np.eye(4) > 0, "binary", "uint8", np.eye(4)),
        (np.eye(4) * 2, "real", "float32", np.eye(4) * 2),
        (np.eye(4, dtype=np.int64) - 1, "real", "float32", np.eye(4) - 1),
        (np.arange(4), "real", "float32", np.arange(4)[:, None]),
    ],
)
def test_encodings_follow_the_records(features, encoding, dtype, stored):
    found = own.read("t", (features, [0, 1, 0, 1]))
    assert (found.encoding, found.features.dtype) == (encoding, dtype)
    np.testing.assert_array_equal(found.features, stored)


def images(low, high, dtype, shape=(4, 12, 12, 3)):
    values = np.random.default_rng(0).uniform(low, high, shape)
    values.flat[:2] = low, high
    return values.astype(dtype)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (images(0, 255, np.uint8), lambda x: x),
        (images(0, 255, np.int64), lambda x: x),
        (images(0, 255, np.float32), lambda x: x),
        (images(0, 1, np.float64), lambda x: x * 255),
        (images(-1, 1, np.float64), lambda x: (x + 1) * 127.5),
        (images(0, 16, np.float64), lambda x: x / 16 * 255),
        (images(-2, 3, np.float64), lambda x: (x + 2) * 51),
        (images(0, 1, np.float64, (4, 3, 12, 12)), lambda x: np.moveaxis(x, 1, -1) * 255),
        (images(0, 255, np.uint8, (4, 12, 12)), lambda x: x[..., None]),
    ],
)
def test_images_are_levels_with_channels_last(array, expected):
    task = Task("t", data=(array, [0, 1, 0, 1])).read()
    assert (task.encoding, task.model, task.queries) == ("pixels", "cnn", "shifts and flips")
    assert dataclasses.replace(task, mirrored=False).queries == "shifts"
    np.testing.assert_allclose(task.records.features, expected(array), rtol=1e-6, atol=1e-4)
    points = random_points(task, 0, task.feature_shape, 50)
    assert (points.dtype, points.min(), points.max()) == (task.feature_dtype, 0, 255)


def test_small_images_go_into_the_mlp():
    assert Task("t", data=(images(0, 16, float, (4, 8, 8)), [0, 1, 0, 1])).read().model == "mlp"


def test_a_folder_of_images(tmp_path):
    arrays = images(0, 255, np.uint8, (6, 5, 7, 3))
    for i, array in enumerate(arrays):
        folder = tmp_path / "pets" / ("cat" if i < 3 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        # The first is grey.
        Image.fromarray(array[..., 0] if i == 0 else array).save(folder / f"{i}.png")
    (tmp_path / "pets" / "cat" / "notes.txt").write_text("")
    found = own.read("pets", tmp_path / "pets")
    arrays[0] = arrays[0, :, :, :1]
    np.testing.assert_array_equal(found.features, arrays)
    np.testing.assert_array_equal(found.labels, [0, 0, 0, 1, 1, 1])
    assert found.classes == ("cat", "dog")
    told = "\n".join(found.lines)
    assert "grey and coloured" in told
    assert "1 files that are no images" in told
    with pytest.raises(InputError, match=r"CLASS/IMAGE\.png\); name one of .*pets"):
        own.read("pets", tmp_path)
    Image.fromarray(arrays[1][:4]).save(tmp_path / "pets" / "cat" / "9.png")
    with pytest.raises(InputError, match=r"9\.png is 7 x 4 pixels, 0\.png is 7 x 5"):
        own.read("pets", tmp_path / "pets")
    (tmp_path / "pets" / "cat" / "9.png").write_bytes(b"x")
    with pytest.raises(InputError, match=r"9\.png is no image"):
        own.read("pets", tmp_path / "pets")


def test_numbers_that_float32_would_round_away_are_moved():
    seconds = 1.7e9 + np.arange(50.0)
    found = own.read("t", (np.stack([seconds, np.arange(50.0)], 1), np.arange(50) % 2))
    np.testing.assert_array_equal(np.diff(found.features[:, 0]), 1)
    np.testing.assert_array_equal(found.features[:, 1], np.arange(50))
    assert "1 columns are stored less the middle of their range" in found.lines[1]


GOOD = "a,b,y\n" + "".join(f"{i},{i % 7},{i % 2}\n" for i in range(10))


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (GOOD, {"label": "z"}, "has no column z for labels; it has a, b, y"),
        (
            GOOD.replace("y", "kind"),
            {},
            "which column holds the classes? Name it with --label=COLUMN",
        ),
        (GOOD, {"drop": ("c",)}, "has no column c to drop; it has a, b, y"),
        (GOOD, {"features": "a"}, "is a table, of which features says nothing"),
        (GOOD.replace("3,3,1", "3,,1"), {}, "empty in 1 columns of numbers: b (1); fill them"),
        (
            GOOD.replace("3,3,1", "3,3,"),
            {},
            "column y is empty in 1 records, the first is record 3",
        ),
        (GOOD.replace("3,3,1", "3,inf,1"), {}, "record 3, column b is inf"),
        (GOOD.replace("3,3,1", "3,1e300,1"), {}, "column b reaches from 0 to 1e+300"),
        (GOOD.replace("3,3,1", "3,3"), {}, "cannot be read as csv"),
        (GOOD.replace("a,b,y", "a,a,y"), {}, "two columns called a"),
        (GOOD.replace("a,b,y\n", ""), {}, "line 1 is numbers, no header"),
        ("a,b,y\n", {}, "has a header and no records"),
        ("", {}, "begins with an empty line"),
        ("a,b,y\n1,2,0\n1,2,1\n1,3,0\n", {}, "has 3 records, expected at least 4"),
        (GOOD, {"label": "a"}, "10 records have 10 different labels"),
        (GOOD.replace(",1\n", ",0\n"), {}, "all labels are 0"),
        (GOOD.replace("3,3,1", "3,3,0.5"), {}, "record 3 has label 0.5"),
        (GOOD.replace("3,3,1", "3, ,1"), {}, "most are numbers, but record 3 has ''"),
        (GOOD, {"encoding": "pixels"}, "expected height, width and channels"),
        (GOOD, {"encoding": "binary"}, "record 2, column a is 2.0, expected zeros and ones"),
        (GOOD.replace(",b,", ",when,").replace("3,3,1", "3,2020-01-01,1"), {}, "different values"),
        ("y\n0\n1\n0\n1\n", {}, "has no columns but y"),
        (
            "name,y\n" + "".join(f"p{i},{i % 2}\n" for i in range(10)),
            {},
            "column name is text with 10 different values in 10 records (is it an identifier?)",
        ),
        (
            "day,y\n" + "".join(f"2020-01-0{i + 1},{i % 2}\n" for i in range(9)),
            {},
            "expected numbers, booleans or text; turn it into numbers or leave it out with --drop=day",
        ),
        ("c,y\n" + "u,0\nv,1\n" * 5, {"encoding": "real"}, "columns c are text"),
    ],
)
def test_tables_are_refused_in_one_line(tmp_path, text, arguments, message):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(message)) as error:
        own.read("t", path, **arguments)
    assert "t.csv" in str(error.value)
    assert "\n" not in str(error.value)


X, Y = np.arange(20.0).reshape(10, 2), np.arange(10) % 2
NAN = X.copy()
NAN[4, 1] = np.nan


@pytest.mark.parametrize(
    ("data", "arguments", "message"),
    [
        ("missing.csv", {}, "missing.csv does not exist"),
        ((NAN, Y), {}, "record 4, column 1 is nan, expected finite numbers (1 of 10 records"),
        ((X, Y[:9]), {}, "10 records but 9 labels"),
        ((X.astype(str), Y), {}, "expected numbers"),
        ((X + 1j, Y), {}, "expected numbers"),
        ((X[:, :0], Y), {}, "records have shape (10, 0)"),
        ((X, np.where(Y, np.nan, 0)), {}, "5 records have no label (nan), the first is record 1"),
        ((X, X), {}, "the labels of record 1 are no one-hot row"),
        ((X, np.zeros((10, 2, 2))), {}, "labels have shape (10, 2, 2)"),
        ((X, ["a", None] * 5), {}, "record 1 has no label"),
        ((X, Y), {"encoding": "terms"}, None),
        ((X - 1, Y), {"encoding": "terms"}, "record 0, column 0 is -1.0, expected counts"),
        ((X * 1e300, Y), {"encoding": "mine"}, "record 0, column 1 is inf, expected finite"),
        ((np.where(X == 3, [[np.inf, -np.inf]], X), Y), {}, "record 1, column 1 is -inf"),
        ((X, Y), {"encoding": "mixed"}, "encoding mixed is none of plain numbers"),
        ((np.zeros((10, 6, 7, 9)), Y), {}, "expected 1 to 4 channels"),
        ((np.full((10, 6, 6), 7), Y), {}, "all pixels of all images are 7"),
        ({"x": X, "y": Y[:9]}, {}, "x has 10 records but y has 9 labels"),
        ({"u": X, "y": Y}, {}, "has none of them; it has u, y: name the one that is meant"),
        ({"x": X, "data": X, "y": Y}, {}, "has 2 of them"),
        ({"x": X, "y": Y}, {"label": "z"}, "has no array z"),
        (Items([X[0], X[1, :1]], [0, 1]), {}, "record 1 has shape (1,), record 0 has (2,)"),
        ([1, 2], {}, "item 0 is a int, expected (record, label)"),
        (7, {}, "data is a int"),
        ((X, Y), {"label": "y"}, "t is records and labels, of which label says nothing"),
    ],
)
def test_python_data_is_refused_in_one_line(data, arguments, message):
    if message is None:
        assert own.read("t", data, **arguments).features.dtype == np.uint8
        return
    with pytest.raises(InputError, match=re.escape(message)):
        own.read("t", data, **arguments)


def test_an_npz_says_which_arrays_it_has(tmp_path):
    np.savez(tmp_path / "t.npz", mine=X, y=Y)
    with pytest.raises(InputError, match=r"t\.npz: has none of them; it has mine, y: .*--features"):
        own.read("t", tmp_path / "t.npz")
    (tmp_path / "t.bin").write_bytes(b"")
    with pytest.raises(InputError, match=r"own data is a \.npz, \.csv, \.tsv or \.parquet file"):
        own.read("t", tmp_path / "t.bin")


def test_a_task_knows_what_its_records_say(tasks):
    x, y = numbers()
    task_from_arrays("mine", x, y, title="Mine")
    task = get_task("mine")
    assert (task.title, task.num_classes, task.num_records, task.quarter) == ("Mine", 3, 40, 10)
    assert (task.feature_shape, task.feature_dtype, task.queries) == ((3,), "float32", "noise")
    # Read once; registered anew, it is read anew.
    assert get_task("mine") is task
    # jleaks registers for the file that asks it to.
    assert tasks.origin("mine").path == __file__
    assert tasks.origin("location") is None
    assert tasks["mine"].records is None
    task_from_arrays("mine", x[:20], y[:20])
    assert get_task("mine").num_records == 20
    for origin in ("synthetic", "prepared"):
        assert num_records("mine", origin, None) == 20
        data = records("mine", origin, None, 5)
        assert (data.source, data.num_records) == ("own", 20)
    with pytest.raises(InputError, match="task 'location' is jleaks's already"):
        task_from_arrays("location", x, y)
    with pytest.raises(InputError, match="task 'none' has no data"):
        register(Task("none"))
    task_from_arrays("odd", x, y, encoding="odd")
    with pytest.raises(InputError, match="unknown encoding 'odd'"):
        num_records("odd", "synthetic", None)


@pytest.mark.usefixtures("tasks")
def test_random_points_lie_within_the_columns():
    x, y = numbers(400)
    task_from_arrays("mine", x, y)
    points = random_points(get_task("mine"), 0, (3,), 2000)
    assert points.dtype == np.float32
    low, high = x.min(0), x.max(0)
    # Uniform: mean in the middle, 5.5 standard deviations of it.
    assert (points >= low - 1e-3).all()
    assert (points <= high + 1e-3).all()
    assert (abs(points.mean(0) - (low + high) / 2) < 5.5 * (high - low) / np.sqrt(12 * 2000)).all()


@pytest.mark.usefixtures("tasks")
def test_records_that_are_not_finite_are_no_dataset():
    task_from_arrays("mine", *numbers())
    task = get_task("mine")
    features = task.records.features.copy()
    features[7, 2] = np.inf
    with pytest.raises(InputError, match="mine: record 7 has inf in column 2, expected finite"):
        Dataset(task, "own", features, task.records.labels)


def test_a_folder_that_tfds_prepared(tmp_path, rng):
    write_location(tmp_path / "raw", rng)
    prepare(["location"], tmp_path / "data", tmp_path / "raw", report=lambda _: None)
    known = load("location", tmp_path / "data")
    for folder in (tmp_path / "data" / "location", tmp_path / "data" / "location" / "1.0.0"):
        found = own.read("mine", folder)
        np.testing.assert_array_equal(found.features, known.features)
        np.testing.assert_array_equal(found.labels, known.labels)
        assert (found.encoding, len(found.classes)) == ("binary", 30)
        assert "records are features, labels label, of 1 splits (records)" in found.lines[1]
    with pytest.raises(
        InputError, match="Name them with --features and --label, of features, label"
    ):
        own.read("mine", folder, label="class")
    for path in folder.glob("*.array_record*"):
        path.write_bytes(b"x")
    with pytest.raises(InputError, match="cannot be read as a dataset of TFDS"):
        own.read("mine", folder)
