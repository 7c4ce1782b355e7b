"""All of the paper's experiments on small stand-ins: rows, and what must hold between them."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from jleaks import npz
from jleaks.defences.defence import get_defence
from jleaks.errors import InputError
from jleaks.experiments import engine, sweep
from jleaks.experiments.answers import Answers
from jleaks.experiments.claims import EXPERIMENTS
from jleaks.experiments.context import Context
from jleaks.experiments.paper_plan import make_plan
from jleaks.experiments.subjects import Subject, SubjectLayout
from jleaks.models.forest import ForestRecipe
from jleaks.report.report import report_experiment
from jleaks.training.execution import Execution
from jleaks.training.recipe import ATTACK_RECIPES, Recipe
from jleaks.training.reporter import Reporter

TASKS = ("location", "purchase100")
PLAN = make_plan(
    "smoke",
    TASKS,
    num_seeds=1,
    task_seeds={"location": 2},
    changes={
        "target": Recipe(epochs=6),
        "attack": Recipe("mlp", (64,), 3, 50, 1e-2, 1e-6),
        "epochs": (3, 6),
        "shadow_counts": (1, 2),
        "shadow_counts_mlp": (1, 2),
        "num_shokri_shadows": 2,
        "hyperparameters": ("hidden",),
        "num_random_points": 100,
        "num_embedded": 20,
    },
)
EXECUTION = Execution(models_per_vmap=1)
# In its order, whatever a user has registered besides.
PAPER = [f"E{i}" for i in range(1, 19)]
# Attack models of other fleets agree to float32's rounding, which moves single records.
CLOSE = 0.01


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("paper")
    lines = []
    rows = engine.run(PLAN, PAPER, EXECUTION, workdir, reporter=Reporter(line=lines.append))
    return workdir, rows, lines


def pick(rows, variant=None, **fields):
    return [
        r
        for r in rows
        if all(r[k] == v for k, v in fields.items())
        and all(r["variant"].get(k) == v for k, v in (variant or {}).items())
    ]


def kept(folder):
    """Every model of a library: its arrays, and what was noted of it."""
    for path in sorted((folder / "models").iterdir()):
        arrays, meta = npz.load(path, "")
        for i, model in enumerate(meta["models"]):
            yield {name: array[i] for name, array in arrays.items()}, model


def same(ours, theirs):
    """Two lists of rows tell of the same attacks."""
    assert len(ours) == len(theirs) > 0
    by = {(r["task"], r["shadow_task"], r["seed"]): r for r in theirs}
    for row in ours:
        other = by[row["task"], row["shadow_task"], row["seed"]]
        for name in ("auc", "accuracy", "recall", "train_accuracy", "test_accuracy"):
            assert row[name] == pytest.approx(other[name], abs=CLOSE), (row["experiment"], name)


def test_every_experiment_has_rows_and_is_reported(finished):
    _, rows, _ = finished
    assert list(rows) == PAPER
    for name, found in rows.items():
        assert found, name
        assert {r["experiment"] for r in found} == {name}
        for row in found:
            json.dumps(row, allow_nan=False)
            assert 0 <= row["auc"] <= 1
            assert row["num_members"] == row["num_nonmembers"] == 400
            assert row["source"] == "synthetic"
        folder = finished[0] / name
        paths = report_experiment(name, found, folder)
        assert any(path.suffix == ".png" for path in paths), name
        assert (folder / "table.md").read_text().count("|") > 10


def test_the_diagonal_of_transfer_is_adversary_1(finished):
    _, rows, _ = finished
    same(pick(rows["E10"], adversary=1), rows["E2"])
    assert all(r["task"] == r["shadow_task"] for r in pick(rows["E10"], adversary=1))
    assert all(r["task"] != r["shadow_task"] for r in pick(rows["E10"], adversary=2))


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("E1", {"attack_model": "mlp"}),
        ("E3", {"epochs": 6}),
        ("E5", {"top": 3}),
        ("E6", {"num_shadows": 1}),
        ("E7", {"access": "direct"}),
        ("E7", {"access": "http"}),
        ("E8", {"what": "hidden", "shadow": "same"}),
        ("E9", {"target": "mlp", "shadow": "mlp"}),
        ("E15", {}),
        ("E16", {"defence": "none"}),
        ("E17", {"input_ratio": 0.0, "hidden_ratio": 0.0, "attacker": "naive"}),
        ("E18", {"defence": "none"}),
    ],
)
def test_where_nothing_varies_it_is_adversary_1(finished, name, variant):
    _, rows, _ = finished
    ours = pick(rows[name], variant, adversary=1)
    tasks = {r["task"] for r in ours}
    same(ours, [r for r in rows["E2"] if r["task"] in tasks])


def test_equal_models_are_trained_once(finished):
    """Targets, and shadows of other experiments, are found in the library."""
    workdir, _, lines = finished
    told = [line for line in lines if line.startswith(("E2:", "E4:", "E13:", "E15:", "E14:"))]
    trained = [line for line in told if line.endswith(" models trained")]
    assert trained
    for line in trained:
        assert line.endswith(", 0 models trained"), line
    names = [model["fingerprint"] for _, model in kept(workdir)]
    assert len(set(names)) == len(names)
    weights = [b"".join(a.tobytes() for a in arrays.values()) for arrays, _ in kept(workdir)]
    assert len(set(weights)) == len(weights)


def test_a_finished_experiment_is_read_not_run(finished):
    workdir, rows, _ = finished
    lines = []
    again = engine.run(PLAN, ["E10"], EXECUTION, workdir, reporter=Reporter(line=lines.append))
    assert lines == ["E10: finished before"]
    assert again["E10"] == json.loads(json.dumps(rows["E10"]))


def test_rows_that_this_plan_did_not_write_are_refused(finished, tmp_path):
    workdir, rows, _ = finished
    for name in ("E2", "E10"):
        shutil.copytree(workdir / name, tmp_path / name)
    path = tmp_path / "E2" / "rows.jsonl"
    content = path.read_bytes()
    other = dataclasses.replace(PLAN, seeds=(1, 1))
    # Neither plan.json nor models are there: results speak for themselves.
    found = engine.run(PLAN, ["E10", "E2"], EXECUTION, tmp_path)
    assert list(found) == ["E10", "E2"]
    assert found["E2"] == json.loads(json.dumps(rows["E2"]))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["E10", "E2"]
    lines = content.splitlines(keepends=True)
    for plan, damaged in (
        (other, content),
        (PLAN, b""),
        (PLAN, b"".join(lines[1:])),
        (PLAN, content.replace(b'"auc": 0.', b'"auc": 0.0', 1)),
        (PLAN, (tmp_path / "E10" / "rows.jsonl").read_bytes()),
    ):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"E2/rows.jsonl is not what this plan wrote \("):
            engine.run(plan, ["E2"], EXECUTION, tmp_path)


def test_one_experiment_alone_gives_the_same_rows(finished, tmp_path):
    """Sharing models between experiments changes no number."""
    _, rows, _ = finished
    alone = engine.run(PLAN, ["E7"], EXECUTION, tmp_path)["E7"]
    for access in ("direct", "http"):
        same(pick(alone, {"access": access}), pick(rows["E7"], {"access": access}))


def test_adversary_1_by_hand(finished):
    """One row recomputed with NumPy and scikit-learn from the kept attack model and target."""
    from sklearn.metrics import roc_auc_score

    from jleaks.data.synthetic import synthetic

    workdir, rows, _ = finished
    sizes = {"location": max(round(PLAN.share * 5010), 1600)}
    layout = SubjectLayout(PLAN, sizes)
    data = synthetic("location", sizes["location"])

    def forward(arrays, x):
        x = np.tanh(x @ arrays["params/Dense_0/kernel"] + arrays["params/Dense_0/bias"])
        return x @ arrays["params/Dense_1/kernel"] + arrays["params/Dense_1/bias"]

    def top3(arrays, records):
        z = forward(arrays, data.features[records].astype(np.float64))
        p = np.exp(z - z.max(1, keepdims=True))
        return -np.sort(-p / p.sum(1, keepdims=True))[:, :3]

    def margin(attack, model, subject):
        z = forward(attack, top3(model, subject.rows))
        return z[:, 1] - z[:, 0]

    def loss(model, subject):
        z = forward(model, data.features[subject.members].astype(np.float64))
        true = z[np.arange(len(z)), data.labels[subject.members]]
        return (np.log(np.exp(z).sum(1)) - true).mean()

    def networks(name, inputs):
        return [
            arrays
            for arrays, model in kept(workdir)
            if model["name"] == name
            and "params/Dense_1/kernel" in arrays
            and arrays["params/Dense_0/kernel"].shape[0] == inputs
        ]

    target, shadow = layout.target("location", 1), layout.shadow("location", 1)
    truth = np.arange(800) < 400
    (row,) = pick(rows["E2"], task="location", seed=1)
    # Several attack models and variants of target and shadow carry these names; three made the row.
    found = [
        (attack, model)
        for attack in networks("attack model of location, seed 1, top 3", 3)
        for model in networks(target.name, data.features.shape[1])
        if abs(roc_auc_score(truth, margin(attack, model, target)) - row["auc"]) < 1e-5
        and abs(loss(model, target) - row["train_loss"]) < 1e-4
    ]
    shadows = [
        model
        for model in networks(shadow.name, data.features.shape[1])
        if abs(loss(model, shadow) - row["shadow_train_loss"]) < 1e-4
    ]
    assert found
    assert shadows

    def balanced(scores, cut):
        return ((scores[:400] >= cut).mean() + (scores[400:] < cut).mean()) / 2

    def at_cut(attack, model, other):
        """Of all cuts that are best for the shadow's rows up to rounding."""
        own, theirs = margin(attack, other, shadow), margin(attack, model, target)
        values = [balanced(own, cut) for cut in own]
        good = own[np.array(values) >= max(values) - 1e-9]
        assert row["collapsed"] == ((own >= 0).all() or not (own >= 0).any())
        return [balanced(theirs, cut - 1e-7) for cut in good]

    options = [
        x for attack, model in found for other in shadows for x in at_cut(attack, model, other)
    ]
    assert min(abs(x - row["accuracy_shadow_cut"]) for x in options) < 2.5e-3


def test_adversary_3_by_hand(finished):
    workdir, rows, _ = finished
    with np.load(workdir / "E14" / "densities.npz") as file:
        random, member, other = (
            file[f"purchase100/{k}"] for k in ("random", "member", "nonmember")
        )
    for percentile in PLAN.percentiles:
        (row,) = pick(rows["E14"], {"percentile": percentile}, task="purchase100")
        threshold = np.percentile(random, 100 - percentile)
        assert row["threshold"] == pytest.approx(threshold, abs=1e-6)
        assert row["recall"] == pytest.approx((member >= np.float32(threshold)).mean(), abs=0.005)
        tp, fp = (member >= np.float32(threshold)).sum(), (other >= np.float32(threshold)).sum()
        assert row["precision"] == pytest.approx(tp / (tp + fp), abs=0.01)


def test_stacked_targets_have_the_members_of_the_undefended(finished):
    _, rows, _ = finished
    for r in pick(rows["E18"], {"defence": "stacking"}):
        assert r["model"] == "stack"
        (plain,) = pick(rows["E18"], {"defence": "none"}, attack=r["attack"], task=r["task"],
                        seed=r["seed"])  # fmt: skip
        assert r["num_members"] == plain["num_members"]
        assert r["train_accuracy"] != plain["train_accuracy"]


def test_losses_are_those_of_networks(finished):
    _, rows, _ = finished
    for r in [row for found in rows.values() for row in found]:
        assert (r["train_loss"] is None) == (r["model"] in ("forest", "stack"))
        assert r["train_loss"] is None or 0 <= r["train_loss"] < 10
        if r["adversary"] == 3:
            assert r["shadow_train_loss"] is r["collapsed"] is None
        else:
            assert isinstance(r["collapsed"], bool)
    for r in rows["E9"]:
        others = r["variant"]["shadow"] in ("forest", "combined")
        assert (r["shadow_train_loss"] is None) == others
    for r in pick(rows["E1"], attack="shokri"):
        assert 0 <= r["collapsed_classes"] <= r["attacked_classes"]
        assert r["collapsed"] == (r["collapsed_classes"] == r["attacked_classes"])
        assert r["attack_model"] == r["variant"]["attack_model"] == "mlp"


def test_shadows_that_ended_elsewhere_are_told_once():
    lines = []
    context = Context(PLAN, EXECUTION, None, None, None, Reporter(line=lines.append), {})
    members, others = np.arange(4), np.arange(4, 8)

    def of(loss, recipe=PLAN.target, role="shadow", defence=None):
        key_data = np.zeros(2, np.uint32)
        subject = Subject(f"{role} of x", "location", recipe, members, others, key_data, defence)
        losses = np.r_[np.full(4, loss), np.full(4, 50.0)]
        return subject, Answers(None, None, np.zeros((8, 3)), np.ones(8, bool), losses)

    target = of(0.9, role="target")
    alike, spiked = of(0.8), of(0.002)
    for shadows in ((alike, spiked), (spiked,)):
        context.compare_losses(*target, *zip(*shadows, strict=True))
    (line,) = lines
    assert line.startswith(
        "target of x and shadow of x: the final loss on its own members is 0.9 for"
    )
    # Others than the target's training are meant to end elsewhere.
    for other in (
        of(0.002, dataclasses.replace(PLAN.target, epochs=7)),
        of(0.001, defence=get_defence(("dropout", 0.5))),
        of(0.003, ForestRecipe()),
    ):
        context.compare_losses(*target, [other[0]], [other[1]])
    assert len(lines) == 1
    fields = {"threshold": None}
    about = dataclasses.replace(context, querier=Sources())
    row = about.row("E2", "adversary 3", 0, *target, {}, fields)
    assert row["train_loss"] == pytest.approx(0.9)


class Sources:
    """Where records come from."""

    def datasets(self, _):
        return self

    source = "synthetic"


def test_the_main_job_and_the_paper_attack_alike(tmp_path):
    """The same shadows, keys and recipe: the same inputs, also where a task has two posteriors."""
    plan = make_plan(
        "smoke",
        ("adult", "location"),
        num_seeds=1,
        changes={"target": Recipe(epochs=6), "attack": Recipe("mlp", (16,), 6, 50, 1e-2, 1e-6)},
    )
    ours = engine.run(plan, ["E10", "E13"], EXECUTION, tmp_path / "paper")
    main = sweep.run(plan.main_plan(), EXECUTION, tmp_path / "main")
    learned = [r for r in main if r["adversary"] != 3]
    by = {(r["task"], r["shadow_task"]): r for r in ours["E10"]}
    assert len(learned) == len(by) == 4
    for row in learned:
        other = by[row["task"], row["shadow_task"]]
        for name in (
            *("auc", "accuracy", "recall", "accuracy_shadow_cut", "recall_shadow_cut"),
            *("train_loss", "shadow_train_loss"),
        ):
            assert row[name] == pytest.approx(other[name], abs=CLOSE), name
        assert row["collapsed"] == other["collapsed"]
    attacks = [a for a, m in kept(tmp_path / "paper") if m["name"].startswith("attack")]
    assert {a["params/Dense_0/kernel"].shape for a in attacks} == {(3, 16)}
    assert sorted(a["statistics/mask"].sum() for a in attacks) == [2, 2, 3]


def test_the_attack_recipe_names_the_attack_model(tmp_path):
    attack = dataclasses.replace(ATTACK_RECIPES["released"].recipe, epochs=2, batch_size=50)
    plan = make_plan(
        "smoke", ("location",), num_seeds=1, changes={"target": Recipe(epochs=3), "attack": attack}
    )
    (row,) = engine.run(plan, ["E2"], EXECUTION, tmp_path)["E2"]
    assert row["attack_model"] == "logistic"
    (found,) = [arrays for arrays, m in kept(tmp_path) if m["name"].startswith("attack")]
    assert found["params/Dense_0/kernel"].shape == (3, 2)
    assert not any(name.startswith("params/Dense_1") for name in found)


def test_a_plan_s_defence_is_that_of_all_experiments_but_those_on_defences(tmp_path):
    changes = {"target": Recipe(epochs=3), "attack": Recipe("mlp", (16,), 3, 50, 1e-2, 1e-6)}
    changes |= {"defence": "dropout:0.5,0.5", "attacker": "aware"}
    plan = make_plan("smoke", ("location",), num_seeds=1, changes=changes)
    rows = engine.run(plan, ["E2", "E16"], EXECUTION, tmp_path)
    (row,) = rows["E2"]
    assert (row["defence"], row["attacker"]) == ("dropout:0.5,0.5", "aware")
    # E16 names its defences itself: dropout at the same ratios, and none.
    aware = {"defence": "dropout", "attacker": "aware"}
    same(rows["E2"], pick(rows["E16"], aware, adversary=1))
    (plain,) = pick(rows["E16"], {"defence": "none"}, adversary=1)
    assert plain["train_loss"] < row["train_loss"]
    assert plan.fingerprint() != dataclasses.replace(plan, defence=None).fingerprint()
    with pytest.raises(InputError, match="attacker is aware, but there is no defence"):
        dataclasses.replace(plan, defence=None).validate()


def test_costs_grow_with_the_number_of_shadows(finished):
    _, rows, _ = finished
    one = pick(rows["E6"], {"num_shadows": 1}, task="location", seed=0)[0]
    two = pick(rows["E6"], {"num_shadows": 2}, task="location", seed=0)[0]
    assert two["shadow_flops"] == pytest.approx(2 * one["shadow_flops"])
    assert two["shadow_seconds"] > one["shadow_seconds"] > 0


def test_a_plan_that_cannot_run_names_everything(tmp_path):
    with pytest.raises(InputError, match=r"ratios are .*percentiles are"):
        make_plan("smoke", changes={"ratios": (0.0, 1.0), "percentiles": (0.0,)})
    with pytest.raises(InputError, match="unknown task 'moon'"):
        make_plan("smoke", ("moon",))
    with pytest.raises(InputError, match="task_seeds names adult"):
        make_plan("smoke", ("location",), task_seeds={"adult": 1})
    with pytest.raises(InputError, match="unknown experiment 'E19'"):
        engine.run(PLAN, ["E19"], EXECUTION, tmp_path)
    other = dataclasses.replace(PLAN, tasks=("location",), seeds=(1,), top=2)
    engine.run(
        dataclasses.replace(PLAN, tasks=("location",), seeds=(1,)), ["E2"], EXECUTION, tmp_path
    )
    with pytest.raises(InputError, match="another plan"):
        engine.run(other, ["E2"], EXECUTION, tmp_path)


def test_the_launcher_resolves_names_and_refuses_others(launch, tmp_path):
    done = launch("launch.paper", "--experiment=E99", f"--workdir={tmp_path}/x")
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown experiment 'E99'; allowed: all, E1,")
    assert not (tmp_path / "x").exists()
    help_text = launch("launch.paper", "--help").stdout
    for name, experiment in EXPERIMENTS.items():
        assert f"{name} or {experiment.alias}" in help_text
