"""An own dataset end to end: as a plugin, and as a file of one command."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from jleaks import registry
from jleaks.attacks import bank as bank_lib
from jleaks.data import encodings
from jleaks.data.tasks import get_task, task_from_arrays
from jleaks.errors import InputError
from jleaks.experiments.bank_plan import BankPlan
from jleaks.experiments.kept import kept_model
from jleaks.experiments.paper_plan import make_plan
from jleaks.experiments.plan import Plan
from jleaks.experiments.workdir import Workdir
from jleaks.rows import read_rows

X, Y = load_breast_cancer(return_X_y=True)
TINY = ("--epochs=3", "--batch_size=20", "--kernels=xla")
SWEEP = (
    *TINY,
    "--tasks=tumours,location",
    "--num_seeds=1",
    "--scale=0.01",
    "--attack_epochs=2",
    "--attack_batch_size=20",
    "--num_random_points=50",
)
PLUGIN = "--plugin=examples/own_dataset.py"


def ok(process):
    assert process.returncode == 0, process.stderr
    return process.stdout


def check_statistics(kept):
    """A model standardises with its own training part alone."""
    own = X[kept.members]
    np.testing.assert_allclose(kept.state.statistics["mean"], own.mean(0), rtol=1e-5)
    np.testing.assert_allclose(kept.state.statistics["std"], own.std(0), rtol=1e-4)
    statistics = {name: jnp.asarray(leaf) for name, leaf in kept.state.statistics.items()}
    inputs = encodings.encode(kept.learner.encoding, statistics, kept.data.features)
    np.testing.assert_allclose(inputs, (X - own.mean(0)) / own.std(0), atol=2e-3)


def test_a_sweep_of_a_file_is_the_sweep_of_the_plugin(launch, tasks, tmp_path):
    path, workdir = tmp_path / "tumours.npz", tmp_path / "run"
    np.savez(path, x=X, y=Y)
    shown = ok(launch("launch.sweep", f"--data={path}", *SWEEP, f"--workdir={workdir}"))
    assert "569 records of 30 numbers from" in shown
    rows = read_rows(workdir / "rows.jsonl")
    assert [row["adversary"] for row in rows] == [1, 2, 2, 1, *[3] * 6]
    for row in rows:
        is_own = row["task"] == "tumours"
        assert row["source"] == ("own" if is_own else "synthetic")
        assert row["num_classes"] == (2 if is_own else 30)
        assert row["num_members"] == row["num_nonmembers"] == (142 if is_own else 400)
    tables = (workdir / "tables.md").read_text()
    assert "tumours (own)" in tables

    again = ok(launch("launch.sweep", PLUGIN, *SWEEP, f"--workdir={workdir}"))
    assert "finished before: reading" in again
    assert "569 records of 30 numbers" in again

    changed = X.copy()
    changed[7, 3] += 1
    np.savez(path, x=changed, y=Y)
    refused = launch("launch.sweep", f"--data={path}", *SWEEP, f"--workdir={workdir}")
    assert refused.returncode == 2
    assert "belongs to another plan; it differs in data: ['tumours=" in refused.stderr

    registry.load(str(launch.root / "examples/own_dataset.py"))
    target, shadow = (
        kept_model(str(workdir), "tumours", 0, role)  # type: ignore[arg-type]
        for role in ("target", "shadow")
    )
    check_statistics(target)
    check_statistics(shadow)
    parts = np.concatenate([target.members, target.nonmembers, shadow.members, shadow.nonmembers])
    assert len(np.unique(parts)) == 4 * 142
    np.testing.assert_array_equal(target.data.labels, Y)

    # The run's models were of other records than those that the task has now.
    task_from_arrays("sick", changed, Y)
    entry = registry.Origin("elsewhere", "")
    tasks._entries["tumours"], tasks._origins["tumours"] = tasks["sick"], entry
    with pytest.raises(InputError, match=r"tumours: its data is .* now, was .* when the plan"):
        kept_model(str(workdir), "tumours", 0, "target")


@pytest.mark.usefixtures("tasks")
def test_a_bank_of_a_file(launch, tmp_path):
    path = tmp_path / "my tumours.csv"
    header = ",".join([*(f"c{i}" for i in range(30)), "benign"])
    rows = [
        ",".join([*map(repr, row), "yes" if y else "no"])
        for row, y in zip(X.tolist(), Y, strict=True)
    ]
    path.write_text("\n".join([header, *rows]))
    flags = (f"--data={path}", "--label=benign", "--num_models=4", "--num_queries=2", *TINY)
    shown = ok(launch("launch.bank", *flags, f"--workdir={tmp_path}"))
    assert "classes in sorted order: no = 0, yes = 1" in shown
    folder = tmp_path / "my_tumours"
    found = bank_lib.load(folder / "bank.npz")
    assert (found.meta["source"], found.num_classes, found.meta["num_records"]) == ("own", 2, 569)
    assert found.member.shape == (4, 568 - 94 + 94)
    np.testing.assert_array_equal(found.member[:, ~found.population].sum(0), 2)
    task_from_arrays("my_tumours", X, np.where(Y, "yes", "no"))
    models = [kept_model(str(folder), "my_tumours", 0, "model", index=i) for i in range(4)]
    for model in models:
        check_statistics(model)
    candidates = np.sort(np.concatenate([models[0].members, models[0].nonmembers]))
    np.testing.assert_array_equal(np.sort(models[1].members), np.sort(models[0].nonmembers))
    assert len(np.unique(candidates)) == int((~found.population).sum())
    counts = np.bincount(Y[candidates])
    np.testing.assert_array_equal(np.bincount(found.labels[~found.population]), counts)


def test_data_is_part_of_plans(tasks, tmp_path):
    def plans():
        return (
            Plan(("mine",), (1,)),
            BankPlan("mine", 4, 100, 20),
            make_plan("smoke", ("mine",)),
        )

    task_from_arrays("mine", X, Y)
    before = plans()
    for plan in before:
        (entry,) = plan.data
        assert entry.startswith("mine=")
    with Workdir(tmp_path, before[0]).claimed():
        pass
    Workdir(tmp_path, plans()[0])
    assert [plan.fingerprint() for plan in plans()] == [plan.fingerprint() for plan in before]
    task_from_arrays("mine", X, 1 - Y)
    for old, new in zip(before, plans(), strict=True):
        assert old.fingerprint() != new.fingerprint()
        with pytest.raises(InputError, match=r"mine: its data is .* now, was"):
            old.validate()
    with pytest.raises(InputError, match="differs in data"):
        Workdir(tmp_path, plans()[0])
    # The paper's tasks say nothing of theirs.
    assert Plan(("location",), (1,)).data == ()
    assert "mine" in tasks


@pytest.mark.usefixtures("tasks")
def test_posteriors_up_to_the_classes_of_own_data():
    rng = np.random.default_rng(0)
    task_from_arrays("many", rng.normal(size=(600, 2)), np.arange(600) % 150)
    assert get_task("many").num_classes == 150
    Plan(("many",), (1,), top=150).validate()
    with pytest.raises(InputError, match="top is 151, expected at least 1 and at most 150"):
        Plan(("many",), (1,), top=151).validate()
    with pytest.raises(InputError, match="top is 150, expected at least 1 and at most 100"):
        Plan(("location",), (1,), top=150).validate()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--data=nowhere.csv",), "error: nowhere.csv does not exist"),
        (("--label=left",), "error: --label says something of --data, which is not given"),
        (("--data=examples/own_dataset.py",), "own data is a .npz, .csv, .tsv or .parquet file"),
        (("--data=x.npz", "--data_name=location"), "'location' is jleaks's already"),
    ],
)
def test_bad_data_is_one_line(launch, flags, message):
    process = launch("launch.sweep", *flags)
    assert (process.returncode, process.stdout) == (2, "")
    (line,) = process.stderr.splitlines()
    assert message in line
