"""Own data of every kind in audits: what reaches fit and predict, and what is refused."""

import numpy as np
import pytest

from jleaks.auditing.audit import audit
from jleaks.auditing.files import Columns, read
from jleaks.errors import InputError

N = 120
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(N, 3)), RNG.integers(0, 3, N)
MEMBER = RNG.permutation(N) < N // 2
NAMES = np.array(["ant", "bee", "cat"])


@pytest.fixture
def frame():
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(
        {
            "size": X[:, 0],
            "legs": np.arange(N) % 7,
            "colour": np.array(["red", "green"])[np.arange(N) % 2],
            "wings": np.arange(N) % 3 == 0,
            "species": NAMES[Y],
            "trained_on": MEMBER,
            "side": np.where(X[:, 1] > 0, "left", "right"),
            "name": [f"r{i}" for i in range(N)],
        }
    )


COLUMNS = Columns("species", None, "name", ("side",))


@pytest.mark.parametrize("ending", ["csv", "tsv", "csv.gz", "parquet"])
def test_a_table_of_mixed_columns_is_a_data_frame_of_its_features(frame, tmp_path, ending):
    path = tmp_path / f"records.{ending}"
    if ending == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=True, sep="\t" if ending == "tsv" else ",")
    found = read(path, COLUMNS)
    assert list(found.data.columns) == ["size", "legs", "colour", "wings"]
    np.testing.assert_allclose(found.data["size"], X[:, 0])
    assert found.data["legs"].dtype.kind == "i"
    assert found.data["wings"].dtype == bool
    assert found.data["colour"].tolist()[:2] == ["red", "green"]
    np.testing.assert_array_equal(found.labels, NAMES[Y])
    np.testing.assert_array_equal(found.member, MEMBER)
    assert found.ids[3] == "r3"
    np.testing.assert_array_equal(found.groups["side"], frame["side"])
    told = " ".join(found.lines)
    assert "side tell groups apart and are no features" in told
    assert ("numbers the rows: left out" in told) == (ending != "parquet")
    kept = read(path, COLUMNS._replace(drop=("legs", "wings")))
    assert list(kept.data.columns) == ["size", "colour"]


def test_empty_cells_are_named(frame, tmp_path):
    path = tmp_path / "records.csv"
    holes = frame.copy()
    holes.loc[[5, 9], "size"] = np.nan
    holes.loc[7, "colour"] = None
    holes.loc[2, "side"] = None
    holes.to_csv(path, index=False)
    found = read(path, COLUMNS)
    assert np.isnan(found.data["size"][[5, 9]]).all()
    assert found.data["colour"].isna().sum() == 1
    assert found.groups["side"][2] == "(missing)"
    told = " ".join(found.lines)
    assert "column size is empty in 2 records, the first is record 5" in told
    for name in ("species", "trained_on", "name"):
        holes = frame.copy().astype(object)
        holes.loc[4, name] = None
        holes.to_csv(path, index=False)
        with pytest.raises(InputError, match=f"column {name} is empty in 1 records, .* record 4"):
            read(path, COLUMNS)


def test_members_and_others_in_two_files(frame, tmp_path):
    features = frame.drop(columns=["trained_on"])
    features[MEMBER].to_csv(tmp_path / "train.csv", index=False)
    features[~MEMBER].to_csv(tmp_path / "test.csv", index=False)
    found = read(tmp_path / "train.csv", COLUMNS, nonmembers=tmp_path / "test.csv")
    assert found.member.tolist() == [True] * (N // 2) + [False] * (N // 2)
    order = [*np.flatnonzero(MEMBER), *np.flatnonzero(~MEMBER)]
    np.testing.assert_allclose(found.data["size"], X[order, 0])
    assert found.ids.tolist() == [f"r{i}" for i in order]
    with pytest.raises(InputError, match="has no shoe, expected in members and others alike"):
        read(
            tmp_path / "train.csv",
            COLUMNS._replace(groups=("shoe",)),
            nonmembers=tmp_path / "test.csv",
        )
    features[~MEMBER].drop(columns=["legs"]).to_csv(tmp_path / "test.csv", index=False)
    with pytest.raises(InputError, match="has no column legs, which data has"):
        read(tmp_path / "train.csv", COLUMNS, nonmembers=tmp_path / "test.csv")


def test_an_npz_of_two_parts_knows_its_members(tmp_path):
    np.savez(
        tmp_path / "parts.npz",
        x_train=X[MEMBER], y_train=Y[MEMBER], x_test=X[~MEMBER], y_test=Y[~MEMBER],
    )  # fmt: skip
    found = read(tmp_path / "parts.npz")
    assert found.member.sum() == N // 2
    np.testing.assert_array_equal(found.data, np.concatenate([X[MEMBER], X[~MEMBER]]))


def write_images(folder, rows):
    from PIL import Image

    pixels = RNG.integers(0, 255, (len(rows), 4, 4, 3), np.uint8)
    for i, picture in zip(rows, pixels, strict=True):
        where = folder / NAMES[Y[i]]
        where.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(where / f"{i:03}.png")


def test_a_folder_of_images_and_a_list_of_members(tmp_path):
    pytest.importorskip("PIL")
    write_images(tmp_path / "all", range(N))
    listed = [f"{NAMES[Y[i]]}/{i:03}.png" for i in np.flatnonzero(MEMBER)]
    (tmp_path / "members.txt").write_text("\n".join(listed) + "\n")
    found = read(tmp_path / "all", Columns(member=str(tmp_path / "members.txt")))
    assert found.data.shape == (N, 4, 4, 3)
    assert sorted(found.ids[found.member].tolist()) == sorted(listed)
    assert found.labels[0] == found.ids[0].split("/")[0]
    with pytest.raises(InputError, match="which images was the model trained on"):
        read(tmp_path / "all")
    (tmp_path / "members.txt").write_text("ant/none.png\n")
    with pytest.raises(InputError, match=r"lists ant/none.png, which is no image in"):
        read(tmp_path / "all", Columns(member=str(tmp_path / "members.txt")))


def test_two_folders_of_images(tmp_path):
    pytest.importorskip("PIL")
    write_images(tmp_path / "train", np.flatnonzero(MEMBER))
    write_images(tmp_path / "test", np.flatnonzero(~MEMBER))
    found = read(tmp_path / "train", nonmembers=tmp_path / "test")
    assert (found.member.sum(), len(found.member), len(np.unique(found.ids))) == (N // 2, N, N)


def test_splits_that_tfds_prepared_tell_the_members(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")

    class Birds(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        # There are no files beside it.
        code_path = None

        def _info(self):
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict(
                    {
                        "x": tfds.features.Tensor(shape=(3,), dtype=np.float32),
                        "label": tfds.features.ClassLabel(num_classes=3),
                    }
                ),
                supervised_keys=("x", "label"),
            )

        def _split_generators(self, _):
            return {
                "train": self._generate_examples(MEMBER),
                "test": self._generate_examples(~MEMBER),
            }

        def _generate_examples(self, rows):
            for i in np.flatnonzero(rows).tolist():
                yield i, {"x": X[i].astype(np.float32), "label": int(Y[i])}

    Birds(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    for member in (None, "train"):
        found = read(tmp_path / "birds", Columns(member=member))
        assert found.data.shape == (N, 3)
        inside = {row.tobytes() for row in X[MEMBER].astype(np.float32)}
        assert [row.tobytes() in inside for row in found.data] == found.member.tolist()
    assert "members are those of train" in found.lines[-1]
    with pytest.raises(InputError, match=r"has the splits test, train: which of them"):
        read(tmp_path / "birds", Columns(member="validation"))


@pytest.mark.parametrize(
    ("name", "columns", "said"),
    [
        ("none.csv", Columns(), "does not exist"),
        ("words.doc", Columns(), "expected a .npz, .csv, .tsv or .parquet file, or a folder"),
        ("records.csv", COLUMNS._replace(member="was"), "has no array was"),
        ("records.csv", COLUMNS._replace(groups=("shoe",)), "has no shoe; it has size, legs"),
        ("records.csv", COLUMNS._replace(drop=("shoe",)), "has no column shoe to drop"),
        (
            "records.csv",
            COLUMNS._replace(features="x"),
            "no columns of which features could be one",
        ),
    ],
)
def test_what_cannot_be_read_is_one_line(frame, tmp_path, name, columns, said):
    frame.to_csv(tmp_path / "records.csv", index=False)
    (tmp_path / "words.doc").write_text("words")
    with pytest.raises(InputError) as error:
        read(tmp_path / name, columns)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


class Table:
    """A model of a data frame that remembers rows."""

    def __init__(self, data, labels):
        self.seen = {str(row): label for row, label in zip(rows(data), labels, strict=True)}
        self.classes_ = np.unique(labels)


def rows(data):
    if isinstance(data, dict):
        return list(zip(*(np.asarray(column).tolist() for column in data.values()), strict=True))
    return data.to_numpy().tolist() if hasattr(data, "to_numpy") else list(map(list, data))


def fit(data, labels):
    return Table(data, labels)


def predict(model, data):
    place = {name: i for i, name in enumerate(model.classes_.tolist())}
    found = np.full((len(rows(data)), len(place)), 1 / len(place))
    for i, row in enumerate(rows(data)):
        if str(row) in model.seen:
            found[i] = 0.05
            found[i, place[model.seen[str(row)]]] = 1 - 0.05 * (len(place) - 1)
    return found


GIVEN = {"fit": fit, "predict": predict, "num_shadows": 4, "num_processes": 1, "attacks": ["loss"]}


def test_a_path_in_place_of_records(frame, tmp_path):
    frame.to_csv(tmp_path / "records.csv", index=False)
    found = audit(tmp_path / "records.csv", "species", ids="name", groups=["side"], **GIVEN)
    assert found.records.ids[5] == "r5"
    assert {part.name for part in found.parts()["side"]} == {"left", "right"}
    assert found.tpr(0.01).mean == 1
    by_array = audit(tmp_path / "records.csv", "species", MEMBER, ids="name", **GIVEN)
    np.testing.assert_array_equal(by_array.scores, found.scores)
    other = frame.copy()
    other["size"] += 10
    other.to_csv(tmp_path / "other.csv", index=False)
    outside = audit(
        tmp_path / "records.csv", "species", ids="name", groups=["side"],
        shadow_data=tmp_path / "other.csv", **GIVEN,
    )  # fmt: skip
    assert "saw an audited one" in outside.about["attacker"]
    assert outside.tpr(0.01).mean == 1


class Source:
    """Random access, as a map-style dataset has it."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


@pytest.mark.parametrize(
    ("data", "labels"),
    [
        (Source(list(X)), NAMES[Y]),
        (Source(list(zip(X, Y.tolist(), strict=True))), None),
        (list(zip(X.tolist(), NAMES[Y].tolist(), strict=True)), None),
        (list(X), np.eye(3)[Y]),
        (X, Y.astype(float)),
        ({"a": X[:, 0], "b": NAMES[Y]}, Y),
    ],
)
def test_sources_and_labels_of_any_kind(data, labels):
    found = audit(data, labels, MEMBER, **GIVEN)
    assert found.tpr(0.01).mean == 1
    assert found.records.num_classes == 3


def test_items_that_are_no_pairs_are_named():
    with pytest.raises(InputError, match="item 0 of data is a float, expected"):
        audit(Source([1.0] * N), None, MEMBER, **GIVEN)


@pytest.mark.usefixtures("networks")
def test_networks_are_trained_on_mixed_columns(frame):
    import flax.linen as nn

    from jleaks.training.recipe import Recipe

    class Net(nn.Module):
        num_classes: int

        @nn.compact
        def __call__(self, x):
            # Two numbers, one boolean and a colour of two categories.
            assert x.shape[-1] == 5
            return nn.Dense(self.num_classes)(x)

    data = frame[["size", "legs", "wings", "colour"]]
    found = audit(
        data, frame["species"], MEMBER, network=Net, recipe=Recipe(epochs=1, batch_size=32),
        num_shadows=4, attacks=["loss"],
    )  # fmt: skip
    assert found.num_shadows == 4
    holes = data.copy()
    holes.loc[3, "size"] = np.nan
    with pytest.raises(InputError, match=r"cells are empty in 1 columns of numbers: size \(1\)"):
        audit(
            holes, frame["species"], MEMBER, network=Net, recipe=Recipe(epochs=1, batch_size=32),
            num_shadows=4, attacks=["loss"],
        )  # fmt: skip
