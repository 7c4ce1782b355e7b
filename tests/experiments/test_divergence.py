"""Models that diverge: named, and either the end of the run or marked, left out and never averaged in."""

import dataclasses
import io
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fleets import fleet_spec, trained_in_steps
from rich.console import Console

from jleaks.attacks.evaluate_bank import evaluate
from jleaks.attacks.references import assign
from jleaks.attacks.registry import ATTACKS
from jleaks.data.splits import halves
from jleaks.errors import DivergedError, InputError
from jleaks.experiments import sweep
from jleaks.experiments.bank import train_bank
from jleaks.experiments.bank_plan import BankPlan
from jleaks.experiments.kept import kept_model
from jleaks.experiments.plan import Plan
from jleaks.metrics.intervals import t_interval
from jleaks.models.own_network import register_network
from jleaks.models.registry import NETWORKS
from jleaks.report.groups import collect_run
from jleaks.report.report import markdown_tables, report_run
from jleaks.rows import read_rows
from jleaks.training.execution import Execution
from jleaks.training.fleet import make_mesh
from jleaks.training.learner import Learner
from jleaks.training.recipe import Recipe
from jleaks.training.reporter import Reporter

MARK = Execution(on_divergence="mark")


class Fragile(nn.Module):
    """A network whose first loss is not finite where the model's key is an unlucky one."""

    num_classes: int
    share: float = 0.15
    scale: float = 1e38

    @nn.compact
    def __call__(self, x):
        """Returns logits [B, num_classes] of records [B, ...]."""

        def start(key, shape):
            unlucky = jax.random.bernoulli(jax.random.fold_in(key, 1), self.share)
            return jax.random.normal(key, shape) * jnp.where(unlucky, self.scale, 1e-2)

        x = nn.relu(nn.Dense(8)(x.reshape(len(x), -1)))
        return 100 * x @ self.param("weights", start, (8, self.num_classes))


class Steep(Fragile):
    """A network whose first loss is large, and whose first step leaves float32."""

    share: float = 1.0
    scale: float = 1e20


@pytest.fixture(scope="module", autouse=True)
def networks():
    """Registers networks for the length of the module."""
    register_network("fragile", Fragile)
    register_network("steep", Steep)
    yield
    for name in ("fragile", "steep"):
        NETWORKS._entries.pop(name)
        NETWORKS._origins.pop(name)


RECIPE = Recipe(model="fragile", epochs=2, batch_size=50)
PLAN = Plan(
    tasks=("adult", "location"),
    seeds=(6, 6),
    scale=0.02,
    target=RECIPE,
    model="fragile",
    attack=Recipe("mlp", (8,), 2, 50, 1e-2, 1e-6),
    num_random_points=50,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder, lines = tmp_path_factory.mktemp("marked"), []
    return folder, sweep.run(PLAN, MARK, folder, reporter=Reporter(lines.append)), lines


def unlucky(task, seed, role, folder):
    """Whether a model was marked, as whoever wants to serve it is told."""
    try:
        kept_model(str(folder), task, seed, role)
    except InputError as error:
        said = str(error)
    else:
        return False
    assert f"{role} model" in said
    assert "not finite at step 0 (epoch 1); a model that diverged answers nothing" in said
    return True


def hit(rows):
    """A task of which some targets are marked and others are not."""
    numbers = {
        task: [r["auc"] for r in rows if (r["task"], r["attack"]) == (task, "maximum")]
        for task in PLAN.tasks
    }
    return next(task for task, aucs in numbers.items() if 2 < 6 - aucs.count(None) < 6)


def test_what_rests_on_a_marked_model_has_no_numbers_and_all_else_has(finished):
    folder, rows, lines = finished
    bad = {
        (task, seed, role): unlucky(task, seed, role, folder)
        for task in PLAN.tasks
        for seed in range(6)
        for role in ("target", "shadow")
    }
    assert 2 < sum(bad.values()) < 12
    for row in rows:
        target = bad[row["task"], row["seed"], "target"]
        shadow = row["shadow_task"] and bad[row["shadow_task"], row["seed"], "shadow"]
        assert (row["auc"] is None) == bool(target or shadow)
        assert (row["tpr_at_fpr_0.01"] is None) == bool(target or shadow)
        assert (row["train_accuracy"] is None) == (row["train_loss"] is None) == target
        assert (row["shadow_test_accuracy"] is None) == (not row["shadow_task"] or shadow)
        assert len(row.get("diverged", ())) == target + bool(shadow)
    told = [line for line in lines if "marked" in line]
    assert any(f"target model of {hit(rows)}, seed" in line for line in told)
    # What is on the disk is what was returned.
    assert read_rows(folder / "rows.jsonl") == rows


def test_means_are_those_of_the_models_that_are_left(finished, tmp_path):
    _, rows, _ = finished
    task = hit(rows)
    chosen = [r for r in rows if r["task"] == task and r["attack"] == "maximum"]
    aucs = [row["auc"] for row in chosen if row["auc"] is not None]
    (group,) = [
        g for g in collect_run(rows).groups if g.task == task and g.get("statistic") == "maximum"
    ]
    assert group.interval("auc").mean == pytest.approx(np.mean(aucs))
    assert group.interval("auc").low == pytest.approx(t_interval(np.array(aucs), 0.95).low)
    text = markdown_tables(rows)
    assert f"({len(aucs)} of 6)" in text
    assert "attacks have no numbers, for they rest on models whose training diverged: " in text
    said = io.StringIO()
    paths = report_run(rows, tmp_path, Console(file=said, width=200))
    assert "could not" not in said.getvalue()
    page = next(path for path in paths if path.name == "report.html").read_text()
    assert "rest on models whose training diverged" in page


def test_other_models_are_what_they_are_without_marked_ones(finished, tmp_path):
    _, rows, _ = finished
    task = hit(rows)
    before = next(r for r in rows if (r["task"], r["attack"]) == (task, "maximum") and r["auc"])
    # A fleet of the first models alone, up to this one.
    alone = dataclasses.replace(PLAN, tasks=(task,), seeds=(before["seed"] + 1,), adversaries=(3,))
    found = next(
        r
        for r in sweep.run(alone, MARK, tmp_path)
        if (r["attack"], r["seed"]) == ("maximum", before["seed"])
    )
    assert found["auc"] == pytest.approx(before["auc"], abs=1e-3)
    assert found["train_loss"] == pytest.approx(before["train_loss"], rel=1e-5)


def test_by_default_the_first_one_ends_the_run_and_marked_ones_are_not_used(finished, tmp_path):
    folder, _, _ = finished
    said = (
        r"(target|shadow) model.* of (location|adult), seed \d: the loss is not finite at step 0 "
        r"\(epoch 1\).*--on_divergence=mark"
    )
    with pytest.raises(DivergedError, match=said):
        sweep.run(PLAN, Execution(), tmp_path / "new")
    (folder / "finished.json").unlink()
    rows = (folder / "rows.jsonl").rename(folder / "kept.jsonl")
    with pytest.raises(DivergedError, match=said):
        sweep.run(PLAN, Execution(), folder)
    again = sweep.run(PLAN, MARK, folder)
    assert [r["auc"] for r in again] == [r["auc"] for r in read_rows(rows)]


def bank_plan(**changes):
    fields = {"num_models": 16, "num_candidates": 200, "num_population": 60, "num_queries": 1}
    return BankPlan(task="location", recipe=RECIPE, **{**fields, **changes})


def test_a_bank_leaves_them_out_with_their_twins(tmp_path):
    plan, lines = bank_plan(), []
    bank = train_bank(plan, MARK, str(tmp_path), reporter=Reporter(lines.append))
    assert 4 <= bank.num_models < 16
    assert (bank.member[0::2, :200] != bank.member[1::2, :200]).all()
    assert np.isfinite(bank.phi).all()
    assert (bank.member[:, :200].sum(0) * 2 == bank.num_models).all()
    (note,) = bank.meta["notes"]
    assert note.startswith("left out with their twins: model ")
    # Those that are left are the others, in their order.
    pairs = {int(number) // 2 for number in re.findall(r"model (\d+) of the bank", note)}
    left = [i for i in range(16) if i // 2 not in pairs]
    drawn = halves("location", 0, bank.meta["num_records"], 16, 200, 60).member[left]
    np.testing.assert_array_equal(bank.member[:, :200], drawn)
    assert len(np.unique(bank.phi[0], axis=0)) == bank.num_models == len(left)
    found = evaluate(bank, [ATTACKS["loss"], ATTACKS["lira_offline"]], *assign(bank), make_mesh(2))
    assert np.isfinite(np.asarray(found.auc)).all()
    assert train_bank(plan, MARK, str(tmp_path)).num_models == bank.num_models


def test_a_bank_of_which_too_little_is_left_is_refused(tmp_path):
    with pytest.raises(DivergedError, match=r"of 4 models [02] are left .* expected at least 4"):
        train_bank(bank_plan(num_models=4, seed=1), MARK, str(tmp_path))


def test_what_the_last_step_left_behind_counts_too():
    spec = fleet_spec("steep", 3)
    recipe = dataclasses.replace(
        spec.learner.recipe, optimizer="sgd", learning_rate=3e38, epochs=1, batch_size=60
    )
    spec = dataclasses.replace(spec, learner=Learner(recipe, "binary", 4))
    with pytest.raises(
        DivergedError, match=r"model 0: the loss is not finite at step 0 \(epoch 1\); nor"
    ):
        trained_in_steps(spec)
