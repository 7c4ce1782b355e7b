"""Rows: written and read back, held to the one schema, refused by file, line and field."""

import csv
import json
import math

import numpy as np
import pandas as pd
import pytest
from run_rows import cut, make_row, make_run

import jleaks.files
from jleaks.errors import InputError
from jleaks.report.columns import COLUMNS
from jleaks.rows import (
    OF_RUN,
    OF_SUMMARY,
    read_rows,
    write_csv,
    write_parquet,
    write_rows,
)


def test_rows_come_back_as_they_were(tmp_path):
    rows = make_run()
    path = write_rows(tmp_path / "new" / "rows.jsonl", rows)
    assert read_rows(path) == rows
    assert [file.name for file in path.parent.iterdir()] == ["rows.jsonl"]
    assert len(path.read_text().splitlines()) == len(rows) == 3 * 12 * (1 + 11 + 3)


def test_scalars_become_plain_and_what_is_undefined_null(tmp_path):
    row = make_row(
        "adult", np.int64(3), precision=math.nan, auc=np.float32(0.5), threshold=math.inf,
        seconds={"train": np.float64(1.5)},
    )  # fmt: skip
    path = write_rows(tmp_path / "rows.jsonl", [row])
    record = json.loads(path.read_text())
    assert (record["seed"], record["auc"], record["seconds"]) == (3, 0.5, {"train": 1.5})
    assert record["precision"] is None
    assert record["threshold"] is None


def test_a_field_of_a_later_version_is_kept(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", [make_row("adult", 0) | {"defence": "dropout"}])
    assert read_rows(path)[0]["defence"] == "dropout"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"rows.jsonl:3: not JSON"),
        ("[1]", r"rows.jsonl:3: expected an object"),
        ("{}", r"rows.jsonl:3: missing field\(s\) task, shadow_task"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, message):
    path = write_rows(tmp_path / "rows.jsonl", [make_row("adult", 0)])
    path.write_text(path.read_text() + "\n" + line + "\n")
    with pytest.raises(InputError, match=message):
        read_rows(path)


@pytest.mark.parametrize("field", OF_RUN)
def test_every_field_must_be_there_and_of_its_type(tmp_path, field):
    row = make_row("adult", 0)
    with pytest.raises(InputError, match=rf"row 1: missing field\(s\) {field}$"):
        write_rows(tmp_path / "rows.jsonl", [{k: v for k, v in row.items() if k != field}])
    with pytest.raises(InputError, match=f"row 2: field '{field}' is .*; expected"):
        write_rows(tmp_path / "rows.jsonl", [row, row | {field: True}])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("field", [f for f in OF_RUN if f in COLUMNS])
def test_a_rate_is_a_fraction(tmp_path, field):
    with pytest.raises(InputError, match=f"'{field}' is 97.0; expected a fraction"):
        write_rows(tmp_path / "rows.jsonl", [make_row("adult", 0) | {field: 97.0}])


def test_rows_of_earlier_versions_are_told_so(tmp_path):
    row = make_row("adult", 0)
    row["statistic"] = row.pop("attack")
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    with pytest.raises(
        InputError, match=r"rows.jsonl:1: missing field\(s\) attack; an earlier version"
    ):
        read_rows(tmp_path / "rows.jsonl")


def test_rounding_of_a_perfect_rate_is_no_error(tmp_path):
    row = make_row("adult", 0, auc=np.float32(1) + np.finfo(np.float32).eps)
    assert read_rows(write_rows(tmp_path / "rows.jsonl", [row]))[0]["auc"] > 1


def test_unreadable_and_empty_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*nowhere"):
        read_rows(tmp_path / "nowhere")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match=r"empty.jsonl: no result rows"):
        read_rows(tmp_path / "empty.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"task": "\xe9"}\n')
    with pytest.raises(InputError, match=r"latin.jsonl:1: not UTF-8"):
        read_rows(tmp_path / "latin.jsonl")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_rows(tmp_path / "rows.jsonl", [make_row("adult", 0)])
    before = path.read_bytes()

    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(jleaks.files.os, "fsync", fail)
    with pytest.raises(InputError, match=r"cannot write .*rows.jsonl: No space left"):
        write_rows(path, make_run(("adult",)))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


def test_csv_has_a_column_for_every_entry(tmp_path):
    rows = [
        make_row("adult", 0, precision=None),
        make_row("face", 0, seconds={"train": 2.0, "prepare": 1.0}),
    ]
    with write_csv(tmp_path / "results.csv", rows).open(newline="") as file:
        first, second = csv.DictReader(file)
    assert list(first)[:3] == ["task", "shadow_task", "adversary"]
    assert list(first)[-3:] == ["seconds.train", "seconds.attack", "seconds.prepare"]
    assert (first["precision"], first["seconds.prepare"]) == ("", "")
    assert (second["seconds.train"], second["seconds.prepare"]) == ("2.0", "1.0")
    assert first["versions.jax"] == "0.10.2"
    assert float(second["auc"]) == rows[1]["auc"]


def test_parquet_holds_what_csv_does(tmp_path):
    rows = [make_row("adult", 0, precision=None), make_row("face", 0, target=3)]
    path = write_parquet(tmp_path / "results.parquet", rows)
    first, second = pd.read_parquet(path).to_dict("records")
    assert first["task"] == "adult"
    assert pd.isna(first["precision"])
    assert (second["target"], second["seed"], second["versions.jax"]) == (3, 0, "0.10.2")
    assert second["auc"] == rows[1]["auc"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"auc": {"mean": "high"}},
            r"'auc' is \{\"mean\": \"high\"\}; expected a number or null in it",
        ),
        ({"auc": 1.5}, "'auc' is 1.5; expected a fraction from 0 to 1"),
        ({"labels": "yes"}, "'labels' is \"yes\"; expected true or false"),
        ({"source": "guess"}, '\'source\' is "guess"; expected "real" or .* or "scores"'),
    ],
)
def test_rows_of_banks_are_held_to_the_same_schema(changes, message, tmp_path):
    value = {"mean": 0.6, "low": 0.59, "high": None, "n": 6}
    row = dict.fromkeys(OF_SUMMARY, value) | dict.fromkeys(OF_SUMMARY[:2], "location")
    row |= {"source": "scores", "attack": "loss", "needs": "none", "labels": True, "queries": "one"}
    row |= {name: 6 for name in OF_SUMMARY if name.startswith("num_")}
    path = write_rows(tmp_path / "summary.jsonl", [row], OF_SUMMARY)
    assert read_rows(path, OF_SUMMARY) == [row]
    path.write_text(path.read_text() + json.dumps(row | changes))
    with pytest.raises(InputError, match=f"summary.jsonl:2: field {message}"):
        read_rows(path, OF_SUMMARY)
    with pytest.raises(InputError, match=r"summary.jsonl:1: missing field\(s\) shadow_task"):
        read_rows(path)


def test_new_fields_come_back_and_are_of_their_type(tmp_path):
    rows = cut(make_run(("location",)))
    path = write_rows(tmp_path / "rows.jsonl", rows)
    assert read_rows(path) == rows
    text = write_csv(tmp_path / "rows.csv", [*rows, *make_run(("news",), seeds=(7,))]).read_text()
    assert "collapsed" in text.splitlines()[0].split(",")
    for changes, message in (
        ({"collapsed": 1}, "'collapsed' is 1; expected true or false or null"),
        ({"collapsed": "no"}, "'collapsed' is \"no\"; expected true or false or null"),
        ({"train_loss": True}, "'train_loss' is true; expected a number or null"),
        ({"recall_shadow_cut": 1.5}, "'recall_shadow_cut' is 1.5; expected a fraction"),
    ):
        with pytest.raises(InputError, match=message):
            write_rows(tmp_path / "bad.jsonl", cut([make_row("adult", 0)], **changes))
