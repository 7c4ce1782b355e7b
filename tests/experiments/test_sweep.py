"""The main job end to end: rows, the one compiled call, the null check, what a finished run does."""

import json
import shutil

import numpy as np
import pytest

from jleaks import npz
from jleaks.blackbox.box import LearnerBox
from jleaks.data.random_points import random_points
from jleaks.errors import InputError
from jleaks.experiments import sweep
from jleaks.experiments.kept import kept_model
from jleaks.experiments.plan import Plan
from jleaks.experiments.workdir import Workdir
from jleaks.rows import read_rows, write_rows
from jleaks.training import fleet as fleet_lib
from jleaks.training.execution import Execution
from jleaks.training.recipe import Recipe
from jleaks.training.reporter import Reporter, collapse_line, loss_warning
from jleaks.training.trainer import Trainer

ROLES = ("target", "shadow")
PLAN = Plan(
    tasks=("adult", "location", "purchase2"),
    seeds=(2, 2, 1),
    scale=0.01,
    target=Recipe(epochs=20, batch_size=50),
    attack=Recipe("mlp", (64,), 10, 50, 1e-2, 1e-6),
    num_random_points=200,
)


def run(plan, workdir, **kwargs):
    return sweep.run(plan, Execution(), workdir, **kwargs)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished")
    before = fleet_lib.TRACES.copy()
    rows = run(PLAN, workdir)
    return workdir, rows, fleet_lib.TRACES - before


def pick(rows, **fields):
    return [r for r in rows if all(r[k] == v for k, v in fields.items())]


def test_rows_cover_every_adversary_pair_and_seed(finished):
    _, rows, _ = finished
    assert len(pick(rows, adversary=1)) == 5
    # Ordered pairs of different tasks; a pair has the seeds that both sides have.
    assert len(pick(rows, adversary=2)) == 2 * 2 + 4 * 1
    assert len(pick(rows, adversary=3)) == 5 * 3
    assert all(r["source"] == "synthetic" for r in rows)
    assert all(r["fingerprint"] == PLAN.fingerprint() for r in rows)
    assert {r["num_members"] for r in pick(rows, task="location")} == {400}
    for r in rows:
        assert 0 <= r["auc"] <= 1
        assert r["fpr_realised_0.01"] <= 0.01


def test_an_overfit_target_is_told_apart_and_adult_is_not(finished):
    _, rows, _ = finished
    for r in pick(rows, task="location", adversary=1):
        assert r["train_accuracy"] > r["test_accuracy"]
        assert r["auc"] > 0.6


def test_evaluation_is_one_compiled_call(finished):
    assert finished[2]["evaluate scores"] == 1
    assert finished[2]["evaluate own rows"] == 1


def test_attack_models_of_all_pairs_are_one_fleet(finished):
    """Three tasks, two of them binary: of each task's fleet one file, and one of all attack models."""
    names = []
    for path in (finished[0] / "models").iterdir():
        arrays, meta = npz.load(path, "")
        names.append([model["name"] for model in meta["models"]])
        assert {len(array) for array in arrays.values()} == {len(names[-1])}
    assert sorted(map(len, names)) == [2, 4, 4, 7]
    assert all(name.startswith("attack model of") for name in max(names, key=len))


def test_a_finished_run_only_reads_its_rows(finished):
    workdir, rows, _ = finished
    before = dict(fleet_lib.TRACES)
    assert run(PLAN, workdir) == read_rows(workdir / "rows.jsonl") == json.loads(json.dumps(rows))
    assert dict(fleet_lib.TRACES) == before


def test_a_finished_run_on_real_data_needs_the_data_no_more(finished, tmp_path):
    prepared = Plan(**{**PLAN.__dict__, "source": "prepared"})
    rows = [{**row, "fingerprint": prepared.fingerprint()} for row in finished[1]]
    with Workdir(tmp_path, prepared).outcome("rows.jsonl").writing() as path:
        write_rows(path, rows)
    assert run(prepared, tmp_path, data_dir=str(tmp_path / "gone")) == rows
    with pytest.raises(InputError, match="not prepared"):
        run(prepared, tmp_path / "fresh", data_dir=str(tmp_path / "gone"))


def answered(workdir, task, seed, role):
    """What one kept model answers about its members, then its others: posteriors, and the true class's."""
    model = kept_model(str(workdir), task, seed, role)
    rows = np.concatenate([model.members, model.nonmembers])
    p = LearnerBox(model.learner, model.state).answer(model.data.features[rows]).astype(float)
    return model, p, p[np.arange(len(rows)), model.data.labels[rows]]


def test_rows_equal_a_recomputation_by_hand(finished):
    """Adversary 3's rows from the kept target, with NumPy and scikit-learn."""
    from sklearn.metrics import roc_auc_score

    workdir, rows, _ = finished
    model, posteriors, _ = answered(workdir, "location", 1, "target")
    points = random_points(model.data.task, 1, model.data.features.shape[1:], 200)
    random = LearnerBox(model.learner, model.state).answer(points).astype(float)

    def statistics(p):
        return p.max(1), p.std(1), (p * np.log(np.maximum(p, 1e-300))).sum(1)

    values, levels = statistics(posteriors), statistics(random)
    truth = np.repeat([1, 0], 400)
    for i, statistic in enumerate(("maximum", "standard deviation", "entropy")):
        (row,) = pick(rows, task="location", adversary=3, attack=statistic, seed=1)
        assert row["auc"] == pytest.approx(roc_auc_score(truth, values[i]), abs=1e-5)
        threshold = np.percentile(levels[i], 90)
        assert row["threshold"] == pytest.approx(threshold, rel=1e-4)
        assert row["recall"] == pytest.approx((values[i][truth == 1] >= threshold).mean(), abs=0.01)


def test_numbers_do_not_depend_on_which_other_tasks_run(finished, tmp_path):
    _, rows, _ = finished
    alone = Plan(**{**PLAN.__dict__, "tasks": ("location",), "seeds": (1,)})
    for ours in run(alone, tmp_path):
        (theirs,) = pick(
            rows,
            task="location",
            adversary=ours["adversary"],
            seed=0,
            attack=ours["attack"],
            shadow_task=ours["shadow_task"],
        )
        for name in ("auc", "recall", "train_accuracy", "test_accuracy"):
            assert ours[name] == pytest.approx(theirs[name], abs=0.02), name


def test_another_plan_in_the_same_workdir_is_refused_with_what_differs(finished):
    other = Plan(**{**PLAN.__dict__, "scale": 0.02})
    with pytest.raises(InputError, match=r"another plan.*scale: 0\.01 -> 0\.02"):
        run(other, finished[0])


@pytest.mark.parametrize("null", ["shuffled", "untrained"])
def test_null_checks_find_nothing(tmp_path, null):
    """With membership drawn by a coin, or targets that learned nothing, every attack is a coin."""
    fields = {**PLAN.__dict__, "tasks": ("location", "adult"), "seeds": (4, 4)}
    if null == "shuffled":
        fields["membership"] = "shuffled"
    else:
        fields["target"] = Recipe(epochs=1, batch_size=50, learning_rate=1e-12)
    lines = []
    rows = run(Plan(**fields), tmp_path, reporter=Reporter(line=lines.append))
    assert_collapse_is_told(rows, lines)
    if null == "untrained":
        # Shadows that say nothing teach nothing.
        assert any(r["collapsed"] for r in rows)
    for task, n in (("location", 400), ("adult", 400)):
        for adversary in (1, 2, 3):
            chosen = pick(rows, task=task, adversary=adversary)
            assert chosen
            aucs = np.array([r["auc"] for r in chosen])
            # Var(AUC) of a coin is (2n+1)/(12 n^2); attacks on one target share its draw, so the
            # four seeds are the only independent ones.
            limit = 4 * np.sqrt((2 * n + 1) / (12 * n * n) / 4)
            assert abs(aucs.mean() - 0.5) < limit
            named = [r["precision"] for r in chosen if r["precision"] and r["recall"] > 0.1]
            if named:
                assert abs(np.mean(named) - 0.5) < 0.1


def test_damaged_models_are_one_clear_line(finished, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "copy")
    (workdir / "rows.jsonl").unlink()
    next((workdir / "models").iterdir()).write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(InputError, match=r"fleet\.npz is damaged .*; delete it to train again"):
        run(PLAN, workdir)


def test_what_is_kept_is_not_trained_again(finished, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "copy")
    (workdir / "rows.jsonl").unlink()
    lines, before = [], fleet_lib.TRACES["fit"]
    again = run(PLAN, workdir, reporter=Reporter(line=lines.append))
    assert fleet_lib.TRACES["fit"] == before
    assert sum("none of them trained now" in line for line in lines) == 3
    for ours, theirs in zip(again, finished[1], strict=True):
        for row in (ours, theirs):
            del row["seconds"]["load"], row["seconds"]["query"], row["seconds"]["evaluation"]
        assert ours == theirs


def test_answers_that_are_not_finite_are_refused(tmp_path, monkeypatch):
    query = Trainer.query

    def broken(self, *args):
        found = query(self, *args)
        found["phi"][1, 0] = np.inf
        return found

    monkeypatch.setattr(Trainer, "query", broken)
    with pytest.raises(
        InputError, match=r"shadow model 0 of adult, seed 0: what it answered is not finite \(phi\)"
    ):
        run(PLAN, tmp_path)


def assert_collapse_is_told(rows, lines):
    """The run's line counts the attack models, of which a row may share one with another."""
    learned = [r for r in rows if r["adversary"] != 3]
    assert {type(r["collapsed"]) for r in learned} == {bool}
    assert all(r["collapsed"] is None for r in rows if r["adversary"] == 3)
    widths = {"adult": 2, "purchase2": 2}

    def model(row):
        both = row["shadow_task"], row["task"]
        return row["shadow_task"], row["seed"], min(widths.get(task, 3) for task in both)

    collapsed = {model(r) for r in learned if r["collapsed"]}
    # Rows of one attack model agree.
    assert not collapsed & {model(r) for r in learned if not r["collapsed"]}
    told = [line for line in lines if "attack models collapsed" in line]
    start = f"{len(collapsed)} of {len({model(r) for r in learned})} attack models collapsed"
    assert [line.startswith(start) for line in told] == [True] * bool(collapsed)
    assert all("attack model of" in line for line in told)


def test_rows_tell_of_the_shadow_s_cut_and_of_losses(finished):
    workdir, rows, _ = finished
    cut = ("precision_shadow_cut", "recall_shadow_cut", "accuracy_shadow_cut")
    for r in rows:
        if r["adversary"] == 3:
            assert [r[name] for name in cut] == [None] * 3
            assert r["shadow_train_loss"] is None
        else:
            # Equally many on both sides: precision and recall fix the balanced accuracy.
            recall, precision = r["recall_shadow_cut"], r["precision_shadow_cut"]
            fpr = recall * (1 / precision - 1)
            assert r["accuracy_shadow_cut"] == pytest.approx((recall + 1 - fpr) / 2, abs=1e-4)
    losses = np.array(
        [
            [-np.log(answered(workdir, "location", seed, role)[2][:400]).mean() for role in ROLES]
            for seed in range(2)
        ]
    )
    for r in pick(rows, task="location", adversary=1):
        assert r["train_loss"] == pytest.approx(losses[r["seed"], 0], rel=1e-4)
        assert r["shadow_train_loss"] == pytest.approx(losses[r["seed"], 1], rel=1e-4)
    (across,) = pick(rows, task="adult", shadow_task="location", seed=0)
    assert across["shadow_train_loss"] == pytest.approx(losses[0, 1], rel=1e-4)


def test_rows_name_the_network_that_was_trained(finished, tmp_path):
    assert {r["model"] for r in finished[1]} == {"mlp"}
    changes = {"tasks": ("location",), "seeds": (1,), "model": "logistic", "adversaries": (1, 3)}
    rows = run(Plan(**{**PLAN.__dict__, **changes}), tmp_path)
    assert {r["model"] for r in rows} == {"logistic"}
    served = kept_model(str(tmp_path), "location", 0, "target")
    assert served.learner.recipe.model == "logistic"
    assert list(served.state.params) == ["Dense_0"]


@pytest.mark.parametrize(
    ("target", "shadow", "told"),
    [
        (0.3, 0.002, True),
        (0.002, 0.3, True),
        (0.0, 0.06, True),
        # Less than 0.05 nats apart, or less than a factor of three.
        (0.001, 0.05, False),
        (1.0, 0.4, False),
        (0.2, 0.2, False),
        (2.0, 0.6, True),
    ],
)
def test_losses_far_apart_are_told(target, shadow, told):
    line = loss_warning("adult, seed 3", target, shadow)
    assert (line is not None) == told
    if line:
        assert line.startswith("adult, seed 3: the final loss on its own members is ")
        assert f"{target:.3g} for the target and {shadow:.3g} for the shadow" in line


def test_collapsed_models_are_named():
    line = collapse_line([f"attack model {i}" for i in range(5)], 7)
    assert line.startswith("5 of 7 attack models collapsed, calling nobody or everybody")
    assert line.endswith(": attack model 0, attack model 1, attack model 2, ...")
    assert collapse_line(["a"], 1).endswith("0.5 cut: a")
