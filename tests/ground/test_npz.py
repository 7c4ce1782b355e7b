"""npz files of our own: whole or not at all; whatever else lies there is one line."""

import struct
import zipfile

import numpy as np
import pytest

from jleaks import npz
from jleaks.errors import InputError
from jleaks.files import replace_file

ARRAYS = {"x": np.arange(6.0).reshape(2, 3), "y": np.array([True, False])}


def refused(path):
    with pytest.raises(InputError) as caught:
        npz.load(path, "delete it")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    return str(caught.value)


def test_what_was_saved_comes_back(tmp_path):
    path = npz.save(tmp_path / "new" / "a.npz", ARRAYS, {"n": 1, "names": ["b"]})
    arrays, meta = npz.load(path, "")
    assert meta == {"n": 1, "names": ["b"]}
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
    assert npz.load(npz.save(path, ARRAYS), "")[1] == {}
    assert [p.name for p in path.parent.iterdir()] == ["a.npz"]


def member(path, name, content, **how):
    with zipfile.ZipFile(path, "w", **how) as file:
        file.writestr(name, content)


def header(shape):
    text = repr({"descr": "<f8", "fortran_order": False, "shape": shape}).encode()
    text += b" " * (118 - len(text)) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def test_files_made_to_harm_are_one_line(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(b"PK\x03\x04 nothing")
    assert f"{path} is damaged (" in refused(path)
    with path.open("wb") as file:
        np.save(file, ARRAYS["x"])
    assert "is damaged" in refused(path)
    # A header that asks for 18 TB; one that is no header.
    member(path, "x.npy", header((1500, 1500, 1000, 1000)))
    assert "is damaged" in refused(path)
    member(path, "x.npy", b"\x93NUMPY\x01\x00\x10\x00__import__('os')")
    assert "is damaged" in refused(path)
    # Encrypted, and of a compression that nobody knows.
    for at, value in ((6, 1), (8, 99)):
        npz.save(path, ARRAYS)
        content = bytearray(path.read_bytes())
        central = content.index(b"PK\x01\x02")
        content[at] = value
        content[central + at + 2] = value
        path.write_bytes(content)
        assert "is damaged" in refused(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", header((0,)))
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("x.npy", header((0,)))
    assert "two arrays have one name" in refused(path)
    np.savez(path, x=np.array([object()], object))
    assert "is damaged" in refused(path)
    (tmp_path / "folder.npz").mkdir()
    assert "is damaged" in refused(tmp_path / "folder.npz")
    assert refused(tmp_path / "none.npz") == f"{tmp_path / 'none.npz'} does not exist"


def test_a_failure_to_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = npz.save(tmp_path / "a.npz", ARRAYS)
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(InputError, match=r"cannot write .*a.npz: No space left on device"):
        npz.save(path, ARRAYS)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_what_is_there_already_is_not_written_again(tmp_path):
    path = replace_file(tmp_path / "a.txt", b"one")
    before = path.stat()
    assert replace_file(path, b"one") == path
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    replace_file(path, b"two")
    assert path.read_bytes() == b"two"


def test_maps_are_what_was_saved_and_are_checked(tmp_path):
    large = np.arange(30_000.0, dtype=np.float32).reshape(3, -1)
    np.save(tmp_path / "z.npy", large[:, ::2])
    path = npz.save(
        tmp_path / "a.npz",
        {**ARRAYS, "none": np.empty((0, 3))},
        {"n": 1},
        {"z": tmp_path / "z.npy"},
    )
    for read in (npz.load, npz.mapped):
        arrays, meta = read(path, "")
        assert meta == {"n": 1}
        np.testing.assert_array_equal(arrays["x"], ARRAYS["x"])
        np.testing.assert_array_equal(arrays["z"], large[:, ::2])
        assert arrays["none"].shape == (0, 3)
    assert isinstance(arrays["z"], np.memmap)
    assert not arrays["z"].flags.writeable
    compressed = tmp_path / "b.npz"
    np.savez_compressed(compressed, **ARRAYS)
    np.testing.assert_array_equal(npz.mapped(compressed, "")[0]["x"], ARRAYS["x"])
    content = bytearray(path.read_bytes())
    content[content.find(large[1, 4000].tobytes() + large[1, 4002].tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"z.npy is not what was written"):
        npz.mapped(path, "delete it")
    with pytest.raises(InputError, match="does not exist"):
        npz.mapped(tmp_path / "none.npz", "")
