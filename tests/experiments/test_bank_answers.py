"""Banks whose answers stream to the disk: the same numbers in pieces, after a stop, in half precision."""

import json

import numpy as np
import pytest

from jleaks import npz
from jleaks.attacks import bank as bank_lib
from jleaks.attacks.registry import get_attacks
from jleaks.errors import InputError
from jleaks.experiments import bank as bank_engine
from jleaks.experiments import library
from jleaks.experiments.bank import train_bank
from jleaks.experiments.bank_answers import BankAnswers
from jleaks.experiments.bank_plan import BankPlan
from jleaks.experiments.record_risks import record_risks
from jleaks.training.execution import Execution
from jleaks.training.recipe import Recipe

RECIPE = Recipe(hidden=(16,), epochs=4, batch_size=20, learning_rate=3e-3)
QUANTILE = Recipe("mlp", (8,), 2, 20, 1e-3, loss="quantile", quantile=0.9)
# Models take turns: their bits do not depend on what is packed with them.
ONE_BY_ONE = Execution(num_devices=1, models_per_call=2, models_per_vmap=1)
ARRAYS = ("phi", "member", "labels", "population", "correct", "phi_t", "mentr", "quantile")


def plan(**changes):
    sizes = {"num_models": 10, "num_candidates": 80, "num_population": 24, "num_queries": 2}
    return BankPlan(task="location", recipe=RECIPE, quantile=QUANTILE, **{**sizes, **changes})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train_bank(plan(), ONE_BY_ONE, str(tmp_path_factory.mktemp("bank")))


@pytest.fixture
def pieces(monkeypatch):
    """Two models are asked at a time, and fleets hold a few."""
    monkeypatch.setattr(bank_engine, "_MOST_BYTES", 1)
    monkeypatch.setattr(library, "_MOST_BYTES", 400_000)


def equal(one, other):
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.mark.usefixtures("pieces")
def test_pieces_have_the_same_bits(whole, tmp_path):
    bank = train_bank(plan(), ONE_BY_ONE, str(tmp_path))
    assert isinstance(bank.phi, np.memmap)
    assert len(list((tmp_path / "models").iterdir())) > 1
    assert not (tmp_path / "answers").exists()
    equal(bank, whole)
    assert bank.accuracy() == pytest.approx(whole.accuracy())


@pytest.mark.usefixtures("pieces")
def test_a_stopped_bank_goes_on_where_it_was(whole, tmp_path, monkeypatch):
    add, counted = BankAnswers.add, []

    def counting(self, found, seconds):
        if len(counted) == 3:
            counted.append("stopped")
            raise KeyboardInterrupt
        counted.append(self.num_done)
        add(self, found, seconds)

    monkeypatch.setattr(BankAnswers, "add", counting)
    with pytest.raises(KeyboardInterrupt):
        train_bank(plan(), ONE_BY_ONE, str(tmp_path))
    progress = tmp_path / "answers" / "progress.json"
    content = progress.read_text()
    progress.write_text(json.dumps({**json.loads(content), "num_done": None}))
    with pytest.raises(InputError, match=r"progress.json is damaged"):
        train_bank(plan(), ONE_BY_ONE, str(tmp_path))
    progress.write_text(content)
    bank = train_bank(plan(), ONE_BY_ONE, str(tmp_path))
    # Each model was asked once, in order, and the fourth call was made again.
    at = counted.index("stopped")
    assert at == 3
    begun = [*counted[:at], *counted[at + 1 :]]
    assert begun == sorted(set(begun))
    assert begun[at] == json.loads(content)["num_done"]
    equal(bank, whole)
    assert bank.meta["packing"]["models_per_call"] == 2


@pytest.mark.parametrize("name", ["phi", "correct"])
def test_a_flipped_bit_of_what_was_answered_is_told(tmp_path, rng, name):
    answers = {
        "phi": rng.normal(size=(2, 2, 9)).astype(np.float32),
        "correct": np.ones((2, 2, 9), bool),
    }
    kept = BankAnswers(tmp_path, "plan", 6, np.float32)
    for _ in range(2):
        kept.add(answers, {"query": 1.0})
    assert BankAnswers(tmp_path, "plan", 6, np.float32).num_done == 4
    path = tmp_path / f"{name}.npy"
    content = bytearray(path.read_bytes())
    # Of the third model of the first query, of six.
    content[len(content) - (len(content) - 128) * 9 // 12] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=f"{name} is not what was kept.*; delete {tmp_path} to ask"
    ):
        BankAnswers(tmp_path, "plan", 6, np.float32)


def test_half_precision_is_another_plan_and_keeps_three_digits(whole, tmp_path):
    half = plan(answers="float16")
    assert half.fingerprint() != plan().fingerprint()
    bank = train_bank(half, ONE_BY_ONE, str(tmp_path))
    assert bank.phi.dtype == np.float32
    np.testing.assert_array_equal(bank.phi, whole.phi.astype(np.float16))
    on_disk = bank_lib.load(tmp_path / "bank.npz", on_disk=True)
    assert on_disk.phi.dtype == np.float16
    attacks = get_attacks(["loss", "lira_offline"])
    areas = [
        np.array(
            [row["auc"] for row in sorted(found.rows, key=lambda r: (r["attack"], r["record"]))]
        )
        for found in (record_risks(on_disk, attacks), record_risks(whole, attacks))
    ]
    assert np.abs(areas[0] - areas[1]).mean() < 0.02


def test_of_some_models_alone_the_file_has_theirs(tmp_path):
    phi, correct = np.arange(36.0).reshape(2, 6, 3), np.arange(18).reshape(6, 3) % 2 == 0
    kept = BankAnswers(tmp_path / "answers", "x", 6, np.float32)
    kept.add({"phi": phi[:, :4], "correct": correct[:4]}, {})
    kept.add({"phi": phi[:, 4:], "correct": correct[4:]}, {})
    chosen = np.array([True, False, True, True, False, True])
    kept.save(tmp_path / "bank.npz", {}, {}, chosen)
    arrays, _ = npz.load(tmp_path / "bank.npz", "")
    np.testing.assert_array_equal(arrays["phi"], phi[:, chosen])
    np.testing.assert_array_equal(arrays["correct"], correct[chosen])
