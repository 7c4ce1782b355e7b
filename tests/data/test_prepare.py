"""Preparing once, atomically; reading back; and what a user is told when it cannot be done."""

import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from raw_files import faces, write_adult, write_location, write_mnist, write_purchase, write_tar

from jleaks import data as data_lib
from jleaks.errors import InputError


def _quiet(_):
    pass


@pytest.fixture
def raw(tmp_path, rng):
    """One folder with a folder for each of four datasets, as their packed copies are restored."""
    write_location(tmp_path / "raw" / "location", rng)
    write_mnist(tmp_path / "raw" / "mnist", rng)
    write_purchase(tmp_path / "raw" / "purchase_standin", rng)
    write_adult(tmp_path / "raw" / "adult")
    return tmp_path / "raw"


@pytest.fixture
def data(tmp_path, raw):
    """Location prepared."""
    data_lib.prepare(["location"], tmp_path / "data", raw, report=_quiet)
    return tmp_path / "data"


def test_prepares_several_tasks_and_reports_each(tmp_path, raw):
    lines = []
    done = data_lib.prepare(
        ["mnist", "purchase100", "adult"], tmp_path / "data", raw, report=lines.append
    )
    assert [one.description["num_records"] for one in done] == [17, 200, 2]
    assert all(one.fresh for one in done)
    assert lines[1].startswith("mnist: 17 records, 10 classes of 1 to 2, real, prepared in ")
    assert lines[3].startswith(
        "purchase100: 200 records, 100 classes of 2 to 2, stand-in (labels published), prepared in "
    )


def test_a_second_call_does_nothing_quickly(data, raw):
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*") if path.is_file()}
    lines = []
    start = time.monotonic()
    (one,) = data_lib.prepare(["location"], data, raw, report=lines.append)
    assert time.monotonic() - start < 0.5
    assert not one.fresh
    assert lines == ["location: 60 records, 30 classes of 2 to 2, real, already prepared"]
    after = {path: path.stat().st_mtime_ns for path in data.rglob("*") if path.is_file()}
    assert {p: t for p, t in after.items() if p.suffix != ".lock"} == {
        p: t for p, t in before.items() if p.suffix != ".lock"
    }
    # Nor does it need the raw files any more.
    shutil.rmtree(raw / "location")
    assert not data_lib.prepare(["location"], data, raw, report=_quiet)[0].fresh
    assert not data_lib.prepare(["location"], data, report=_quiet)[0].fresh


def test_describes_without_reading(data, raw):
    description = data_lib.describe("location", data)
    assert description["num_records"] == 60
    assert description["source"] == "real"
    assert description["class_sizes"] == [2] * 30
    assert description["feature_shape"] == [446]
    archive = raw / "location" / "dataset_location.tgz"
    (raw_input,) = description["inputs"]
    assert raw_input["name"] == archive.name
    assert raw_input["bytes"] == archive.stat().st_size
    assert len(raw_input["sha256"]) == 64
    shutil.rmtree(data / "location" / "1.0.0", ignore_errors=True)
    with pytest.raises(InputError, match="damaged"):
        data_lib.describe("location", data)


def test_prepared_data_can_be_moved(data, tmp_path):
    fingerprint = data_lib.load("location", data).fingerprint()
    data.rename(tmp_path / "elsewhere")
    assert data_lib.load("location", tmp_path / "elsewhere").fingerprint() == fingerprint


def test_importing_and_describing_need_neither_tfds_nor_jax(data):
    code = (
        "import sys; from jleaks import data; data.describe('location', sys.argv[1]);"
        "sys.exit(any(name in sys.modules for name in ('tensorflow_datasets', 'jax', 'sklearn')))"
    )
    assert subprocess.run([sys.executable, "-c", code, data], check=False).returncode == 0


def test_parameters_have_their_own_records(tmp_path, raw):
    write_tar(
        raw / "face" / "lfw-deepfunneled.tgz",
        {f"lfw-deepfunneled/{name}": content for name, content in faces().items()},
    )
    data = tmp_path / "data"
    for size, fresh in ((8, True), (6, True), (8, False)):
        (one,) = data_lib.prepare(["face"], data, raw, face_size=size, report=_quiet)
        assert one.fresh == fresh
        assert data_lib.load("face", data).features.shape == (779, size, size, 3)
        assert data_lib.describe("face", data)["parameters"] == {"size": size, "crop": 0.5}


def test_other_raw_files_than_before_are_not_ignored(data, raw, rng):
    write_location(raw / "location", rng, num=90)
    with pytest.raises(InputError, match=r"was prepared from other files .*dataset_location.tgz"):
        data_lib.prepare(["location"], data, raw, report=_quiet)
    shutil.rmtree(data / "location")
    assert data_lib.prepare(["location"], data, raw, report=_quiet)[0].fresh
    assert data_lib.describe("location", data)["num_records"] == 90


def test_one_dataset_folder_as_raw_dir(tmp_path, raw):
    data_lib.prepare(["mnist"], tmp_path / "data", raw / "mnist", report=_quiet)
    assert data_lib.load("mnist", tmp_path / "data").num_records == 17


def test_a_task_that_fails_does_not_stop_the_others(tmp_path, raw):
    (raw / "location" / "dataset_location.tgz").unlink()
    lines = []
    with pytest.raises(InputError, match="1 of 2 tasks not prepared: location"):
        data_lib.prepare(["location", "mnist"], tmp_path / "data", raw, report=lines.append)
    assert lines[0].startswith(f"location: not prepared: {raw}")
    assert data_lib.load("mnist", tmp_path / "data").num_records == 17


def test_what_a_killed_call_left_is_removed(data, raw):
    unfinished = data / "location" / "incomplete.ABC_1.0.0"
    shutil.move(data / "location" / "1.0.0", unfinished)
    assert data_lib.prepare(["location"], data, raw, report=_quiet)[0].fresh
    assert not unfinished.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tasks": ["locatoin"]}, "unknown task 'locatoin'; allowed: all, adult"),
        ({"raw_dir": "nowhere"}, "raw_dir nowhere is not a folder"),
        ({"num_terms": -1}, "num_terms -1"),
        ({"face_size": 1000}, "face_size 1000"),
    ],
)
def test_bad_arguments(tmp_path, raw, arguments, message):
    arguments = {"tasks": ["location"], "raw_dir": raw} | arguments
    with pytest.raises(InputError, match=message):
        data_lib.prepare(data_dir=tmp_path / "data", report=_quiet, **arguments)


def test_a_data_dir_that_cannot_be_written(tmp_path, raw):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*taken: "):
        data_lib.prepare(["location"], tmp_path / "taken", raw, report=_quiet)


def test_a_full_disk_is_one_line(tmp_path, raw, monkeypatch):
    from jleaks.data.sources.location import Location

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Location, "download_and_prepare", full)
    with pytest.raises(InputError, match=r"location: cannot write below .*No space left on device"):
        data_lib.prepare(["location"], tmp_path / "data", raw, report=_quiet)


def test_data_that_is_not_prepared(tmp_path):
    command = f"python -m launch.prepare --tasks=cifar10 --data_dir={tmp_path}"
    for read in (data_lib.load, data_lib.describe):
        with pytest.raises(InputError, match=f"not prepared in {tmp_path}; run: {command}"):
            read("cifar10", tmp_path)


def _damage_shard(data):
    (shard,) = data.glob("location/1.0.0/*array_record*")
    content = bytearray(shard.read_bytes())
    # The first block holds records; zeros are not padding there.
    content[1000:1100] = bytes(100)
    shard.write_bytes(content)


def _cut_shard(data):
    (shard,) = data.glob("location/1.0.0/*array_record*")
    shard.write_bytes(shard.read_bytes()[:50_000])


def _remove_shard(data):
    (shard,) = data.glob("location/1.0.0/*array_record*")
    shard.unlink()


def _wrong_sizes(data):
    path = data / "location" / "1.0.0" / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata["class_sizes"][:2] = [1, 3]
    path.write_text(json.dumps(metadata))


def _other_task(data):
    path = data / "location" / "1.0.0" / "metadata.json"
    path.write_text(path.read_text().replace("location", "mnist"))


def _empty(name):
    return lambda data: (data / name).write_text("")


@pytest.mark.parametrize(
    "damage",
    [
        _damage_shard,
        _cut_shard,
        _remove_shard,
        _wrong_sizes,
        _other_task,
        _empty("location.json"),
        _empty("location/1.0.0/metadata.json"),
        _empty("location/1.0.0/dataset_info.json"),
        _empty("location/1.0.0/features.json"),
    ],
)
def test_damaged_data_is_one_line(data, damage):
    damage(data)
    with pytest.raises(InputError, match=r"location: prepared data in .* is damaged") as caught:
        data_lib.load("location", data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(
            (lambda m, name=name: m.pop(name), f"{name} is None, expected a ")
            for name in (
                *("task", "num_records", "class_sizes", "source", "feature_shape"),
                *("feature_dtype", "parameters", "details", "inputs", "versions"),
            )
        ),
        (lambda m: m.update(task=["location"]), "task is ['location'], expected a str"),
        (lambda m: m.update(feature_shape=[446.0]), "feature_shape is [446.0], expected 1 lengths"),
        (lambda m: m.update(feature_shape=[-446]), "feature_shape is [-446], expected 1 lengths"),
        (lambda m: m.update(feature_shape=[446, 1]), "expected 1 lengths"),
        # NumPy would repeat such records 446 times.
        (lambda m: m.update(feature_shape=[1]), "a record is uint8 (446,)"),
        (lambda m: m.update(feature_shape=[10**12]), "a record is|Unable to allocate"),
        (lambda m: m.update(feature_dtype="uint9"), "feature_dtype is 'uint9', expected uint8"),
        (lambda m: m.update(feature_dtype="float64"), "feature_dtype is 'float64', expected uint8"),
        (lambda m: m.update(class_sizes=[60]), "class_sizes are [60], expected 30 counts"),
        (lambda m: m.update(class_sizes=[2] * 29 + ["2"]), "expected 30 counts"),
        (lambda m: m.update(class_sizes=[-2, 6] + [2] * 28), "expected 30 counts"),
        (lambda m: m.update(num_records=61), "num_records is 61, expected 60"),
        (
            lambda m: m.update(num_records=30 * 10**12, class_sizes=[10**12] * 30),
            "60 records, expected 30000000000000",
        ),
        (lambda m: m.update(num_records=0, class_sizes=[0] * 30), "num_records is 0, expected 1"),
        (
            lambda m: m.update(source="web"),
            "source is 'web', expected one of real, own, stand-in, synth",
        ),
        (lambda m: m.update(inputs=[3]), "inputs have 3, expected name, bytes and sha256"),
    ],
)
def test_descriptions_of_something_else_are_one_line(data, change, message):
    path = data / "location" / "1.0.0" / "metadata.json"
    metadata = json.loads(path.read_text())
    change(metadata)
    path.write_text(json.dumps(metadata))
    with pytest.raises(InputError) as caught:
        data_lib.load("location", data)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"location: prepared data in {data}")
    assert any(one in text for one in message.split("|")), text


@pytest.mark.parametrize("text", ["null", "[]", "3", "[" * 100_000])
@pytest.mark.parametrize("name", ["location.json", "location/1.0.0/metadata.json"])
def test_descriptions_that_are_none_are_one_line(data, name, text):
    (data / name).write_text(text)
    with pytest.raises(InputError, match=r"location: prepared data in .* is damaged"):
        data_lib.describe("location", data)


def test_preparing_over_damaged_data_says_so(data, raw):
    (data / "location" / "1.0.0" / "dataset_info.json").write_text("{")
    with pytest.raises(InputError, match=r"location: prepared data in .* is damaged"):
        data_lib.prepare(["location"], data, raw, report=_quiet)


def test_two_processes_prepare_one_after_the_other(tmp_path, raw):
    command = [
        sys.executable, "-m", "launch.prepare", "--tasks=location,purchase100",
        f"--data_dir={tmp_path / 'data'}", f"--raw_dir={raw}",
    ]  # fmt: skip
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted("already prepared" in output for output in outputs) == [False, True]
    assert data_lib.load("location", tmp_path / "data").num_records == 60


def test_launcher(launch, tmp_path, raw):
    finished = launch(
        "launch.prepare", "--tasks=location", f"--data_dir={tmp_path / 'data'}", f"--raw_dir={raw}"
    )
    assert finished.returncode == 0
    assert finished.stderr == ""
    assert "location: 60 records, 30 classes of 2 to 2, real, prepared in" in finished.stdout
    np.testing.assert_equal(data_lib.load("location", tmp_path / "data").num_records, 60)


def test_launcher_refuses_in_one_line(launch, tmp_path, raw):
    finished = launch(
        "launch.prepare", "--tasks=face", f"--data_dir={tmp_path / 'data'}", f"--raw_dir={raw}"
    )
    assert finished.returncode == 2
    assert finished.stderr.startswith("error: face: ")
    assert finished.stderr.count("\n") == 1
