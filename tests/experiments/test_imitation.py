"""Attacks by imitators end to end: what they learn, from where they go on, what they cost, and null."""

import dataclasses

import numpy as np
import pytest

from jleaks.errors import InputError
from jleaks.experiments import imitation as imitation_lib
from jleaks.experiments.bank import lay_out, subjects
from jleaks.experiments.imitation import RIVALS, imitate, measured
from jleaks.experiments.imitation_plan import ImitationPlan
from jleaks.report.imitation_table import imitation_table
from jleaks.training.execution import Execution
from jleaks.training.recipe import Recipe

RECIPE = Recipe(hidden=(16,), epochs=20, batch_size=20, learning_rate=5e-3)
PLAN = ImitationPlan(
    "location", 240, 20, num_targets=2, num_imitators=4, num_shadows=8, pivots=0.6, recipe=RECIPE
)


@pytest.fixture(scope="module", params=["adaptive", "disjoint"])
def ran(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("imitation")
    plan = dataclasses.replace(PLAN, setting=request.param)
    calls, go_on = [], imitation_lib._continued

    def noted(querier, models, starts, begun, targets, records, keep, logs=None):
        found = go_on(querier, models, starts, begun, targets, records, keep, logs)
        calls.append((models, starts, targets, logs, found))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imitation_lib, "_continued", noted)
        rows = imitate(plan, Execution(), str(folder), models_dir=str(folder / "models"))
    return folder, plan, rows, calls


def test_imia_stands_beside_others_with_as_many_and_with_more(ran):
    folder, plan, rows, _ = ran
    sizes = [(row["attack"], row["num_shadows"]) for row in rows]
    assert sizes == [("imia", 12), *((name, 8) for name in RIVALS[plan.setting])]
    imia, *others = rows
    assert imia["ahead"] is None
    # Half of the candidates, or a quarter of them.
    assert (
        imia["num_members"] == imia["num_nonmembers"] == (120 if plan.setting == "adaptive" else 60)
    )
    assert imia["auc"]["mean"] > 0.9
    assert imia["device_seconds"] > imia["device_seconds_shared"] > 0
    for row in others:
        assert row["device_seconds"] == row["device_seconds_shared"] > 0
        lead = imia["auc"]["mean"] - row["auc"]["mean"]
        assert row["ahead"]["auc"]["mean"] == pytest.approx(lead, abs=1e-5)
    assert imitate(plan, Execution(), str(folder)) == rows
    shown = imitation_table(rows).to_markdown()
    assert "IMIA" in shown
    assert plan.setting in shown
    with pytest.raises(InputError, match="num_imitators: 4 -> 2"):
        imitate(dataclasses.replace(plan, num_imitators=2), Execution(), str(folder))


def test_imitators_go_on_with_the_targets_answers_on_the_attackers_records(ran):
    _, plan, _, calls = ran
    _, split = lay_out(plan.bank(), None)
    models = subjects(plan.bank(), split, range(plan.num_targets + 2 + plan.num_shadows))
    imitators, starts, targets, logs, _ = calls[0]
    assert len(calls) == (1 if plan.setting == "adaptive" else 2)
    assert (len(imitators), len(starts)) == (2 * 4, 4)
    # Starts are shadows at an earlier epoch, imitators have their records and keys of their own.
    for i, model in enumerate(imitators):
        start = starts[i % 4]
        shadow = models[plan.num_targets + 2 + i % 4]
        np.testing.assert_array_equal(start.key_data, shadow.key_data)
        np.testing.assert_array_equal(model.members, shadow.members)
        assert (start.recipe.epochs, model.recipe.epochs) == (10, 10)
        assert (start.recipe.loss, model.recipe.loss) == ("cross entropy", "imitation")
        assert targets[i].name == models[i // 4].name
        np.testing.assert_allclose(np.exp(logs[i]).sum(1), 1, rtol=1e-4)
    assert len({model.key_data.tobytes() for model in imitators}) == 8
    # One half has learned the first target's answers, the other the second's: of the same records.
    assert np.abs(logs[0] - logs[4]).max() > 0.1
    if plan.setting == "disjoint":
        saw = np.concatenate([model.members for model in imitators])
        assert not np.isin(split.candidates[split.target_part], saw).any()
        on_pivots, _, _, none, _ = calls[1]
        assert none is None
        assert all(np.isin(model.members, saw).all() for model in on_pivots)
        assert {model.recipe.epochs for model in on_pivots} == {4}


def test_imitators_differ_as_their_targets_do(ran):
    _, plan, _, calls = ran
    imitators, _, _, logs, (margins, _) = calls[0]
    data, split = lay_out(plan.bank(), None)
    labels, alike = data.labels[split.candidates], []
    for i in range(4):
        taught = np.isin(split.candidates, imitators[i].members)
        apart = (margins[i] - margins[4 + i])[taught]
        # Of the true class alone: imitators are given nothing else of their targets.
        true = [of[np.arange(taught.sum()), labels[taught]] for of in (logs[i], logs[4 + i])]
        alike.append(np.corrcoef(apart, true[0] - true[1])[0, 1])
    assert np.mean(alike) > 0.25


def test_members_drawn_afresh_are_not_found(ran, tmp_path):
    folder, plan, _, _ = ran
    null = dataclasses.replace(plan, null="shuffled")
    rows = imitate(null, Execution(), str(tmp_path), models_dir=str(folder / "models"))
    assert {row["null"] for row in rows} == {"shuffled"}
    for row in rows:
        assert row["auc"]["low"] - 0.03 < 0.5 < row["auc"]["high"] + 0.03
        assert row["tpr_at_fpr_0.01"]["mean"] < 0.15


def test_metrics_are_those_of_pairs(rng):
    member = rng.random((2, 60)) < 0.5
    audited = np.ones_like(member)
    audited[:, 50:] = False
    scores = [np.round(rng.normal(size=(2, 60)) + member, 1) for _ in range(3)]
    metrics = measured(scores, member, audited)
    for a, rows in enumerate(scores):
        for t in range(2):
            inside, outside = (rows[t][m & audited[t]] for m in (member[t], ~member[t]))
            wins = (inside[:, None] > outside).mean() + (inside[:, None] == outside).mean() / 2
            assert metrics.auc[a, t] == pytest.approx(wins, abs=1e-6)
    assert metrics.influence.shape[::2] == (3, 60)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("num_targets", 3, "num_targets is 3, expected an even number"),
        ("num_imitators", 5, "num_imitators is 5, expected an even number"),
        ("num_shadows", 6, "num_shadows is 6, expected 8 at least"),
        ("warm_up", 1.0, "warm_up is 1"),
        ("pivot_epochs", 0.0, "pivot_epochs is 0"),
        ("num_candidates", 20, "batch_size is 20 but each model trains on only 10"),
    ],
)
def test_bad_plans_are_one_line(field, value, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(PLAN, **{field: value}).validate()


def test_too_few_pivots_are_one_line():
    with pytest.raises(InputError, match="only 0 pivots; lower --batch_size or raise --pivots"):
        imitation_lib._enough_pivots(PLAN, np.zeros(20), np.zeros(20, int), 30)
