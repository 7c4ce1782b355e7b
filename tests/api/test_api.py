"""What `import jleaks` gives: every name, and the calls that the README shows."""

import subprocess
import sys

import numpy as np
import pytest

import jleaks
from jleaks.errors import InputError

FEW = {
    "num_candidates": 200,
    "num_population": 60,
    "recipe": jleaks.Recipe(epochs=5, batch_size=50),
}


def test_every_public_name_is_there_and_documented():
    for name in jleaks.__all__:
        assert getattr(jleaks, name).__doc__, name
    assert set(jleaks.__all__) == set(dir(jleaks))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = jleaks.nothing


def test_the_import_starts_nothing():
    code = "import sys, jleaks; print(sorted({'jax', 'pandas', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_bank_and_its_attacks(tmp_path, capsys):
    bank = jleaks.train_bank("location", num_models=6, workdir=tmp_path, **FEW)
    again = jleaks.train_bank("location", num_models=6, workdir=tmp_path, **FEW)
    np.testing.assert_array_equal(bank.phi, again.phi)
    found = jleaks.attack(bank, ["loss", "lira_offline", "label_only"])
    assert any(note.startswith("label_only left out") for note in found.notes)
    assert len(found.rows) == 2 * 6
    assert list(found.summary.attack) == ["loss", "lira_offline"]
    table = found.records(target=1)
    assert len(table) == 200
    assert (np.diff(table.loss) <= 0).all()
    # The records' own scores give the target's AUC.
    scores, member = table.lira_offline.to_numpy(), table.member.to_numpy()
    pairs = scores[member][:, None] - scores[~member]
    auc = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    row = found.rows.query("attack == 'lira_offline' and target == 1")
    assert row.auc.item() == pytest.approx(auc, abs=1e-6)
    assert found.plot_roc(tmp_path / "roc.png").read_bytes().startswith(b"\x89PNG")
    found.table()
    assert "LiRA offline" in capsys.readouterr().out
    with pytest.raises(InputError, match="unknown attack 'nonsense'"):
        jleaks.attack(bank, ["nonsense"])


def test_the_main_job_as_a_data_frame():
    plan = jleaks.Plan(
        tasks=("location",), seeds=(1,), scale=0.05, target=jleaks.Recipe(epochs=3, batch_size=50)
    )
    rows = jleaks.sweep(plan)
    assert sorted(rows.adversary) == [1, 3, 3, 3]


def test_a_fleet_of_arrays():
    rng = np.random.default_rng(0)
    records, labels = rng.normal(size=(120, 6)), rng.integers(0, 3, 120)
    member = rng.random((4, 120)) < 0.5
    recipe = jleaks.Recipe(epochs=4, batch_size=20, learning_rate=1e-2)
    fleet = jleaks.train_fleet(records, labels, member, recipe=recipe)
    assert fleet.losses.shape == (4, 4)
    posteriors = fleet.posteriors(records[:7].astype(np.float32))
    assert posteriors.shape == (4, 7, 3)
    np.testing.assert_allclose(posteriors.sum(-1), 1, rtol=1e-5)
    # Model 2 is what it would be beside others.
    alone = jleaks.train_fleet(records, labels, member[:3], recipe=recipe)
    np.testing.assert_allclose(
        alone.posteriors(records[:7].astype(np.float32))[2], posteriors[2], atol=1e-4
    )
    for changes, said in (
        ({"member": member[:, 1:]}, "expected"),
        ({"member": member.astype(int)}, "booleans"),
        ({"member": np.zeros((2, 120), bool)}, "model 0 has 0 records but batch_size is 20"),
        ({"labels": labels[1:]}, "expected"),
        ({"encoding": "nonsense"}, "nonsense"),
    ):
        given = {"records": records, "labels": labels, "member": member, "recipe": recipe} | changes
        with pytest.raises(InputError, match=said):
            jleaks.train_fleet(**given)
