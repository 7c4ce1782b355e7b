"""jleaks audit --data and jleaks gate, as a user starts them."""

import json

import numpy as np
import pytest

TRAIN = """
from sklearn.tree import DecisionTreeClassifier

def fit(records, labels, seed):
    return DecisionTreeClassifier(random_state=seed).fit(records, labels)

def predict(model, records):
    return model.predict_proba(records)

def broken(records, labels):
    raise RuntimeError("no luck")
"""

TRAINED = ("--fit={}/train.py:fit", "--predict={}/train.py:predict")

NET = """
import flax.linen as nn

class Net(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.num_classes)(nn.relu(nn.Dense(64)(x)))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pandas = pytest.importorskip("pandas")
    folder = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    n = 300
    records, labels = rng.normal(size=(n, 4)), rng.integers(0, 3, n)
    member = rng.permutation(n) < n // 2
    np.savez(folder / "records.npz", x=records, y=labels, member=member)
    table = pandas.DataFrame(records, columns=list("abcd"))
    table["species"] = np.array(["ant", "bee", "cat"])[labels]
    table["trained_on"] = member
    table["side"] = np.where(records[:, 0] > 0, "left", "right")
    table["name"] = [f"r{i}" for i in range(n)]
    table.to_csv(folder / "records.csv", index=False)
    (folder / "train.py").write_text(TRAIN)
    (folder / "nets.py").write_text(NET)
    return folder


def audited(launch, folder, *flags, out="audit"):
    return launch(
        "launch.audit",
        "--num_cpu_devices=1",
        f"--out_dir={folder / out}",
        "--num_shadows=6",
        *flags,
    )


def test_a_table_two_functions_and_a_gate(launch, folder):
    fit, predict = (f"{folder / 'train.py'}:{name}" for name in ("fit", "predict"))
    done = audited(
        launch, folder, f"--data={folder / 'records.csv'}", "--label=species", "--groups=side",
        "--id=name", f"--fit={fit}", f"--predict={predict}", "--attacks=loss,attack_r,lira_offline",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "300 records of 3 classes, 150 of them members" in done.stdout
    found = json.loads((folder / "audit" / "audit.json").read_text())
    # A tree remembers whatever it was told.
    assert found["train_accuracy"] == 1
    assert found["level"] != "none seen"
    assert {part["name"] for part in found["parts"]["side"]} == {"left", "right"}
    text = (folder / "audit" / "records.csv").read_text()
    assert "r17," in text
    # The report does not say where this machine keeps its files.
    assert str(folder) not in (folder / "audit" / "report.html").read_text()
    policy = folder / "policy.toml"
    policy.write_text('[limits]\nlevel = "none seen"\n')
    gate = launch(
        "launch.gate", f"--policy={policy}", f"--junit={folder / 'gate.xml'}",
        f"--json={folder / 'gate.json'}", folder / "audit",
    )  # fmt: skip
    assert gate.returncode == 1, gate.stderr
    assert gate.stdout.startswith("fail: level is")
    told = json.loads((folder / "gate.json").read_text())
    assert (told["outcome"], [check["name"] for check in told["checks"]]) == ("fail", ["level"])
    assert 'failures="1"' in (folder / "gate.xml").read_text()
    policy.write_text("[limits]\nauc = 1.0\n")
    assert launch("launch.gate", f"--policy={policy}", folder / "audit").returncode == 0


def test_the_released_model_s_own_answers_are_audited(launch, folder):
    """Answers that follow no membership have nothing to give away, whatever --fit would have remembered."""
    fit, predict = (f"{folder / 'train.py'}:{name}" for name in ("fit", "predict"))
    answers = np.random.default_rng(5).dirichlet(np.ones(3), 300)
    np.savez(folder / "released.npz", posteriors=answers)
    done = audited(
        launch, folder, f"--data={folder / 'records.npz'}", f"--fit={fit}", f"--predict={predict}",
        f"--answers={folder / 'released.npz'}", "--attacks=loss,attack_r", out="released",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "released" / "audit.json").read_text())
    assert found["level"] == "none seen"
    assert "no target was given" not in "".join(found["notes"])


def test_a_budget_other_records_and_a_former_audit(launch, folder):
    """Shadows of other records, in batches, against a policy; then the gate against a former audit."""
    pandas = pytest.importorskip("pandas")
    table = pandas.read_csv(folder / "records.csv")
    table[list("abcd")] += 20
    table.drop(columns=["trained_on"]).to_csv(folder / "others.csv", index=False)
    policy = folder / "limits.toml"
    policy.write_text("[limits]\nauc = 0.55\n[regression]\nauc = 0.05\n")
    flags = [
        f"--data={folder / 'records.csv'}", f"--shadow_data={folder / 'others.csv'}",
        "--label=species", "--id=name", "--groups=side", "--drop=d", "--shadow_budget=16",
        f"--policy={policy}", *(flag.format(folder) for flag in TRAINED), "--attacks=loss,attack_r",
    ]  # fmt: skip
    done = launch("launch.audit", "--num_cpu_devices=1", f"--out_dir={folder / 'outside'}", *flags)
    assert done.returncode == 0, done.stderr
    assert "150 of them members; 300 others that shadows are trained on" in done.stdout
    assert "8 of 16 shadows: fail" in done.stdout
    found = json.loads((folder / "outside" / "audit.json").read_text())
    assert found["num_shadows"] == found["num_trained"] == 8
    assert "none of them saw an audited one" in found["attacker"]
    gate = launch(
        "launch.gate", f"--policy={policy}", f"--baseline={folder / 'outside'}", folder / "outside"
    )
    assert gate.returncode == 1, gate.stderr
    assert "paired by record over 300, limit 0.05" in gate.stdout


def test_a_network_of_a_file(launch, folder):
    done = audited(
        launch, folder, f"--data={folder / 'records.npz'}", f"--network={folder / 'nets.py'}:Net",
        "--epochs=30", "--batch_size=50", "--learning_rate=0.01", "--attacks=loss,lira_offline",
        out="network",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "network" / "audit.json").read_text())
    assert found["num_shadows"] == 6
    assert found["train_accuracy"] > found["test_accuracy"]
    # The same recipe from a file.
    (folder / "recipe.flags").write_text("--epochs=30\n--batch_size=50\n--learning_rate=0.01\n")
    again = audited(
        launch, folder, f"--data={folder / 'records.npz'}", f"--network={folder / 'nets.py'}:Net",
        f"--flagfile={folder / 'recipe.flags'}", "--attacks=loss,lira_offline", out="network",
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert json.loads((folder / "network" / "audit.json").read_text())["num_trained"] == 0


def test_several_shadows_that_only_answered(launch, folder):
    rng = np.random.default_rng(1)
    n, labels = 200, np.random.default_rng(2).integers(0, 3, 200)
    paths = []
    for i in range(6):
        member = rng.permutation(n) < n // 2
        p = rng.dirichlet(np.ones(3), n)
        p[member] = 0.3 * p[member] + 0.7 * np.eye(3)[labels[member]]
        paths.append(folder / f"answers{i}.npz")
        np.savez(paths[-1], posteriors=p, member=member, label=labels)
    shadows = ",".join(map(str, paths[1:]))
    done = audited(launch, folder, f"--target={paths[0]}", f"--shadow={shadows}", out="answers")
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "answers" / "audit.json").read_text())
    assert found["num_shadows"] == 5
    assert found["level"] != "none seen"
