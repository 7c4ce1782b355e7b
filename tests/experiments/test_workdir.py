"""The directory of a run: whose it is, and what of it is read again."""

import contextlib
import dataclasses
import errno
import io
import json
import os
import shutil
import tarfile

import pytest
from conftest import ROOT
from fleets import fleet_spec, trained
from held_locks import holder
from rich.console import Console

from jleaks import files
from jleaks.errors import InputError
from jleaks.experiments import sweep
from jleaks.experiments.plan import Plan
from jleaks.experiments.workdir import Workdir
from jleaks.fingerprint import completed
from jleaks.report.report import report_run
from jleaks.training.checkpoints import Store
from jleaks.training.execution import Execution
from jleaks.training.recipe import Recipe

PLAN = Plan(
    tasks=("location",),
    seeds=(1,),
    scale=0.01,
    target=Recipe(epochs=2, batch_size=50),
    attack=Recipe("mlp", (8,), 2, 50, 1e-2, 1e-6),
    adversaries=(1, 3),
    num_random_points=20,
)
OTHER = dataclasses.replace(PLAN, target=Recipe(epochs=3, batch_size=50))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, sweep.run(PLAN, Execution(), folder)


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "copy")


def read(folder, plan=PLAN):
    return sweep.run(plan, Execution(), folder)


def refused(folder, plan=PLAN):
    with pytest.raises(InputError) as caught:
        read(folder, plan)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_rows_say_whose_they_are_and_in_which_format(finished):
    assert {(row["fingerprint"], row["format"]) for row in finished[1]} == {(PLAN.fingerprint(), 2)}


def test_the_report_leaves_the_rows_as_they_are(copy, finished):
    before = (copy / "rows.jsonl").read_bytes()
    report_run(finished[1], copy, Console(file=io.StringIO()))
    assert (copy / "rows.jsonl").read_bytes() == before
    assert read(copy)


def test_rows_of_another_plan_are_never_shown(copy):
    assert "epochs: 2 -> 3" in refused(copy, OTHER)
    (copy / "plan.json").unlink()
    before = contents(copy)
    assert f"but {PLAN.fingerprint()} in finished.json" in refused(copy, OTHER)
    assert contents(copy) == before
    # Its own plan reads them all the same.
    assert read(copy) == json.loads(json.dumps(sweep.run(PLAN, Execution(), copy)))
    other = Workdir(copy / "other", OTHER)
    with other.claimed():
        pass
    shutil.copy(copy / "other" / "plan.json", copy / "plan.json")
    assert "belongs to another plan" in refused(copy)


def test_changed_rows_are_refused_and_made_again_from_what_is_kept(copy, finished):
    path = copy / "rows.jsonl"
    text = path.read_text()
    at = text.index('"auc": 0.') + len('"auc": 0.')
    path.write_text(text[:at] + ("1" if text[at] != "1" else "2") + text[at + 1 :])
    assert f"{path} is not what this plan wrote" in refused(copy)
    path.unlink()
    models = {p: p.stat().st_mtime_ns for p in (copy / "models").iterdir()}
    again = read(copy)
    for ours, theirs in zip(again, finished[1], strict=True):
        assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}
    assert {p: p.stat().st_mtime_ns for p in (copy / "models").iterdir()} == models


def test_a_finished_run_prints_its_results_where_nothing_can_be_written(copy, monkeypatch):
    def report(rows):
        text = io.StringIO()
        report_run(rows, copy, Console(file=text, width=160))
        return text.getvalue()

    first = report(read(copy))
    before = contents(copy)

    @contextlib.contextmanager
    def nowhere(path):
        raise InputError(f"cannot write {path}: {os.strerror(errno.EROFS)}")
        yield

    monkeypatch.setattr(files, "replacing", nowhere)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert report(read(copy)) == first
    assert "location" in first.lower()
    assert contents(copy) == before
    # An unfinished one says so before any work.
    (copy / "rows.jsonl").unlink()
    assert refused(copy) == f"cannot write to {copy}"


def test_a_field_that_was_added_since_does_not_make_another_plan(copy):
    path = copy / "plan.json"
    record = json.loads(path.read_text())
    del record["plan"]["membership"], record["plan"]["target"]["augmentation"]
    path.write_text(json.dumps(record))
    assert read(copy)
    crops = dataclasses.replace(PLAN.target, model="mlp", schedule="cosine")
    assert "target.schedule: constant -> cosine" in refused(
        copy, dataclasses.replace(PLAN, target=crops)
    )
    shuffled = dataclasses.replace(PLAN, membership="shuffled")
    assert "membership: true -> shuffled" in refused(copy, shuffled)


def test_what_was_written_is_completed_by_declared_defaults():
    whole = PLAN.as_dict()
    stated = {"format": 2, "tasks": ["location"], "seeds": [1], "target": {"epochs": 2}}
    found = completed(stated, PLAN)
    assert found.keys() == whole.keys()
    assert found["target"] == {**whole["target"], "batch_size": 100}
    assert found["attack"] == json.loads(json.dumps(dataclasses.asdict(Plan((), ()).attack)))
    # What this version does not know stays, and differs.
    assert completed({**whole, "more": 1}, PLAN) == {**whole, "more": 1}


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "3", '"x"', "{", '{"plan": null}', '{"plan": []}', "[" * 100_000]
)
def test_plans_that_are_none_are_refused(copy, text):
    (copy / "plan.json").write_text(text)
    assert "plan.json is not a plan" in refused(copy)


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path):
    work = Workdir(tmp_path, PLAN)
    with holder(tmp_path / ".lock") as process:
        with pytest.raises(InputError, match=f"is in use by process {process.pid} on"):
            sweep.run(PLAN, Execution(), tmp_path)
        assert not (tmp_path / "models").exists()
    with work.claimed():
        assert json.loads((tmp_path / "plan.json").read_text())["plan"]


def test_a_finished_run_is_shown_while_another_process_holds_it(copy, finished):
    with holder(copy / ".lock"):
        assert read(copy) == json.loads(json.dumps(finished[1]))


@pytest.mark.parametrize("place", ["gs://bucket/run", "s3://bucket/run"])
def test_an_object_store_is_refused_before_a_folder_of_its_name_is_made(
    tmp_path, monkeypatch, place
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=f"workdir is {place}, in an object store; .* mount the bucket"
    ):
        sweep.run(PLAN, Execution(), place)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def earlier(tmp_path):
    """An unfinished sweep of Location as jleaks left it at format 1: its plan, and its last checkpoint."""
    with tarfile.open(ROOT / "tests" / "fixtures" / "format_1_run.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def test_a_run_of_an_earlier_format_is_refused_by_name_and_left_alone(earlier):
    plan = Plan(
        tasks=("location",),
        seeds=(1,),
        scale=0.01,
        target=Recipe(hidden=(2,), epochs=2000, batch_size=50),
    )
    before = contents(earlier)
    assert "belongs to another plan; it differs in " in (said := refused(earlier, plan))
    assert "format: 1 -> 2 (there -> here)" in said
    (earlier / "plan.json").unlink()
    # Without its plan: by what the checkpoint itself says.
    folder = earlier / "location" / "checkpoints"
    store = Store(folder, plan.fingerprint(), pytest.fail)
    with pytest.raises(InputError, match="belongs to another plan or other data") as caught:
        store.restore(trained(fleet_spec(epochs=1)))
    store.close()
    assert str(next(path for path in folder.iterdir() if path.is_dir())) in str(caught.value)
    del before[earlier / "plan.json"]
    assert contents(earlier) == before
