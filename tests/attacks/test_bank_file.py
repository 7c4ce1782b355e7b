"""The file of a bank: what it must hold, and whose bank a directory holds."""

import dataclasses
import shutil

import naive_attacks as naive
import numpy as np
import pytest

from jleaks import npz
from jleaks.attacks import bank as bank_lib
from jleaks.attacks.bank import Bank
from jleaks.errors import InputError
from jleaks.experiments.bank import train_bank
from jleaks.experiments.bank_plan import BankPlan
from jleaks.training.execution import Execution
from jleaks.training.recipe import Recipe

PLAN = BankPlan(
    "location", 4, 80, 20, recipe=Recipe(hidden=(8,), epochs=1, batch_size=20), num_queries=2
)
META = {"task": "location", "source": "synthetic", "fingerprint": "f", "seconds": {"query": 1.5}}


@pytest.fixture
def path(rng, tmp_path):
    slow = naive.random_bank(rng, 4, 30, num_queries=2)
    bank = Bank(
        *(slow.phi, slow.member, slow.labels, slow.num_classes, slow.population),
        correct=slow.correct,
        phi_t=slow.phi_t,
        twins=True,
        meta=META,
    )
    bank.save(tmp_path / "bank.npz")
    return tmp_path / "bank.npz"


def refused(path):
    with pytest.raises(InputError) as caught:
        bank_lib.load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_flipped_bit_is_noticed_or_changes_nothing(path):
    whole, content = bank_lib.load(path), path.read_bytes()
    rng, noticed = np.random.default_rng(2), 0
    for _ in range(80):
        flipped = bytearray(content)
        flipped[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        try:
            found = bank_lib.load(path)
        except InputError:
            noticed += 1
            continue
        assert found.meta == whole.meta
        for field in dataclasses.fields(Bank):
            np.testing.assert_array_equal(
                getattr(found, field.name), getattr(whole, field.name), err_msg=field.name
            )
    assert noticed > 40


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("labels", lambda a: a.astype(float) + 0.5, "labels is float64, expected integers"),
        ("labels", lambda a: a > 0, "labels is bool, expected integers"),
        ("member", lambda a: a.astype(np.uint8), "member is uint8, expected booleans"),
        ("population", lambda a: a.astype(float), "population is float64, expected booleans"),
        ("correct", lambda a: a.astype(int), "correct is int64, expected booleans"),
        ("phi", lambda a: a.astype(np.int32), "phi is int32, expected floats"),
        ("phi", lambda a: a.astype(complex), "phi is complex128, expected floats"),
        ("phi", lambda a: a.astype(str), "phi is <U32, expected floats"),
        ("phi", lambda a: a[0], r"phi has shape (4, 30), expected [queries, models, records]"),
        ("phi_t", lambda a: a[:, :-1], "phi_t has shape (4, 29), expected (4, 30)"),
        ("phi_t", lambda a: a * np.nan, "phi_t has 120 values that are not finite"),
        ("phi", lambda a: a[:, :, :0], "has shape"),
    ],
)
def test_arrays_that_no_bank_has_are_refused(path, name, change, message):
    arrays, meta = npz.load(path, "")
    npz.save(path, {**arrays, name: change(arrays[name])}, meta)
    assert message in refused(path)


@pytest.mark.parametrize("name", ["phi", "member", "labels", "population"])
def test_a_bank_without_them_is_none(path, name):
    arrays, meta = npz.load(path, "")
    del arrays[name]
    npz.save(path, arrays, meta)
    assert f"it has no {name}" in refused(path)


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"task": ["location"]}, "task is ['location'], expected str"),
        ({"fingerprint": 3}, "fingerprint is 3, expected str"),
        ({"format": "2"}, "format is '2', expected int"),
        ({"plan": "text"}, "plan is 'text', expected dict"),
        ({"plan": {"recipe": []}}, "the plan's recipe is no object"),
        ({"seconds": None}, "seconds is None, expected dict"),
        ({"seconds": {"query": float("nan")}}, "seconds of query are nan"),
        ({"twins": "no"}, "twins is no"),
        ({"num_classes": 2.5}, "num_classes is 2.5"),
        ({"num_classes": 2**40}, f"num_classes is {2**40}"),
    ],
)
def test_descriptions_that_no_bank_has_are_refused(path, meta, message):
    arrays, about = npz.load(path, "")
    npz.save(path, arrays, {**about, **meta})
    assert message in refused(path)


@pytest.mark.parametrize("text", ["[]", "3", "no JSON", ""])
def test_descriptions_that_are_none_are_refused(path, text):
    arrays, _ = npz.load(path, "")
    np.savez(path, meta=np.array(text), **arrays)
    assert f"{path} is damaged (" in refused(path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bank")
    return folder, train_bank(PLAN, Execution(), folder)


def test_a_directory_shows_its_own_bank_alone(trained, tmp_path):
    folder, bank = trained
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert bank.meta["fingerprint"] == PLAN.fingerprint()
    assert bank.format == bank.meta["format"] == 2

    def refuses(message, plan=PLAN):
        with pytest.raises(InputError) as caught:
            train_bank(plan, Execution(), copy)
        assert "\n" not in str(caught.value)
        assert message in str(caught.value)

    other = dataclasses.replace(PLAN, seed=1)
    (copy / "plan.json").unlink()
    refuses(f"but {PLAN.fingerprint()} in finished.json", other)
    np.testing.assert_array_equal(train_bank(PLAN, Execution(), copy).phi, bank.phi)

    # Another bank under this name, even one that says it is ours.
    own = (copy / "bank.npz").read_bytes()
    arrays, meta = npz.load(copy / "bank.npz", "")
    npz.save(copy / "bank.npz", {**arrays, "phi": arrays["phi"] + 1}, meta)
    refuses("bank.npz is not what this plan wrote (sha256 is ")
    (copy / "finished.json").unlink()
    refuses("there is no finished.json); delete it to make it again from what is kept")
    (copy / "bank.npz").write_bytes(own)
    refuses("there is no finished.json")

    # Made again from the models that were kept.
    (copy / "bank.npz").unlink()
    kept = {path: path.stat().st_mtime_ns for path in (copy / "models").iterdir()}
    again = train_bank(PLAN, Execution(), copy)
    assert {path: path.stat().st_mtime_ns for path in (copy / "models").iterdir()} == kept
    assert len(kept) == 1
    np.testing.assert_array_equal(again.phi, bank.phi)
