"""Rows on disk: read back as written, or one line that names file and line."""

import gzip

import pytest

from jleaks import json_lines
from jleaks.errors import InputError

ROWS = [{"a": 1, "b": None, "c": "Güte"}, {"a": 0.1, "d": {"e": [1, 2]}}]


def test_what_is_read_is_what_was_written(tmp_path):
    path = json_lines.write(tmp_path / "new" / "rows.jsonl", ROWS)
    assert json_lines.read(path) == ROWS
    path.write_bytes(b"\n" + path.read_bytes() + b"\n \n")
    assert json_lines.read(path) == ROWS
    assert [number for number, _ in json_lines.numbered(path)] == [2, 3]
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert json_lines.read(packed) == ROWS


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_lacks_are_not_written(tmp_path, value):
    path = json_lines.write(tmp_path / "rows.jsonl", ROWS)
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_lines.write(path, [*ROWS, {"a": value}])
    assert json_lines.read(path) == ROWS
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.jsonl", b'{"a": 1}\n{"a": ', r"rows\.jsonl:2: not JSON \(.* at column 7\)"),
        ("rows.jsonl", b'\n{"a": "\xff"}', r"rows\.jsonl:2: not UTF-8 text"),
        ("rows.jsonl", b"3\n", r"rows\.jsonl:1: expected an object of JSON, got 3"),
        ("rows.jsonl", b"[" * 100_000, r"rows\.jsonl:1: not JSON of ours \(nested"),
        ("rows.jsonl.gz", b'{"a": 1}', r"cannot read .*rows\.jsonl\.gz: Not a gzipped file"),
        ("rows.jsonl.gz", gzip.compress(b"{}" * 9, mtime=0)[:-9], r"cannot read .*rows\.jsonl\.gz"),
    ],
)
def test_files_that_cannot_be_read_are_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        json_lines.read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*none\.jsonl: No such file"):
        json_lines.read(tmp_path / "none.jsonl")
