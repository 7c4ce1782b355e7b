"""Defences beside each other: who attacks whom, as few fleets, the Pareto front, page, bad input."""

import dataclasses

import numpy as np
import pytest
from conftest import ROOT

from benchmarks.pages import filled
from benchmarks.pages.defences import TABLES, measured
from jleaks.defences.defence import DEFENCES, get_defence
from jleaks.errors import InputError
from jleaks.experiments import defend, engine
from jleaks.experiments.paper_plan import PaperPlan
from jleaks.metrics.intervals import t_interval
from jleaks.report import defences as report
from jleaks.report.cell_table import cell_table
from jleaks.training import fleet
from jleaks.training.execution import Execution
from jleaks.training.recipe import Recipe
from jleaks.training.reporter import Reporter

GIVEN = ("dpsgd:1,1", "dpsgd:4,1", "temperature:5")
PLAN = defend.DefendPlan(
    tasks=("location",),
    seeds=(2,),
    share=0.01,
    target=Recipe(hidden=(16,), epochs=4),
    attack=Recipe("mlp", (8,), 2, 50, 1e-2),
    num_random_points=50,
    defences=GIVEN,
)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    before = fleet.TRACES["fit"]
    folder = tmp_path_factory.mktemp("defend")

    def run(execution):
        return engine.run(PLAN, [defend.DEFEND], execution, str(folder), command="defend")

    (found,) = run(Execution(models_per_vmap=1)).values()
    # Plain models and private ones are a fleet each, whatever the strength; attack models are one more.
    assert fleet.TRACES["fit"] == before + 3
    assert run(Execution()) == {"defences": found}
    assert (folder / "defences" / "rows.jsonl").exists()
    return found


def test_every_target_is_attacked_by_who_knows_and_who_does_not(rows):
    seen = {
        (
            r["variant"]["defence"],
            r["variant"]["strength"],
            r["variant"]["attacker"],
            r["adversary"],
        )
        for r in rows
    }
    expected = {("none", "", "naive", 1), ("none", "", "naive", 3)}
    for given in GIVEN:
        name, strength = given.split(":")
        expected |= {
            (name, strength, "naive", 1),
            (name, strength, "aware", 1),
            (name, strength, "naive", 3),
        }
    assert seen == expected
    assert len(rows) == 2 * len(expected)
    plain, cooler = (
        {r["seed"]: r for r in rows if r["variant"]["defence"] == name}
        for name in ("none", "temperature")
    )
    for seed, row in plain.items():
        # The same weights answer flatter, and who is right stays the same.
        assert cooler[seed]["test_accuracy"] == row["test_accuracy"]
        assert cooler[seed]["train_loss"] > row["train_loss"]
        assert "epsilon" not in row
    private = [r["epsilon"] for r in rows if r["variant"]["strength"] == "4,1"]
    weaker = [r["epsilon"] for r in rows if r["variant"]["strength"] == "1,1"]
    assert 0 < max(private) < min(weaker)


def point(accuracy, leak):
    leaks = {
        ("auc", who): t_interval([leak - shift]) for who, shift in (("naive", 0.1), ("aware", 0))
    }
    return report.Point("x", "1", t_interval([accuracy]), None, leaks)


def test_the_front_is_what_nobody_beats():
    found = [point(0.9, 0.8), point(0.8, 0.7), point(0.8, 0.75), point(0.7, 0.7), point(0.5, 0.6)]
    assert report.front(found, "auc") == {0, 1, 4}
    assert report.front([point(0.8, 0.7), point(0.8, 0.7)], "auc") == {0, 1}
    # Where all models diverged there is nothing to compare.
    nan = float("nan")
    assert report.front([point(nan, nan), point(0.8, 0.7)], "auc") == {1}
    assert found[0].strongest("auc") == ("aware", t_interval([0.8]))


def test_table_figure_and_page_show_the_rows(rows, tmp_path):
    paths = report.write(rows, tmp_path / "results" / "location")
    assert [path.name for path in paths] == ["tables.md", "defences_location.png"]
    assert paths[1].read_bytes()[:4] == b"\x89PNG"
    text = paths[0].read_text()
    aucs = [
        r["auc"]
        for r in rows
        if (r["variant"]["strength"], r["variant"]["attacker"], r["adversary"])
        == ("1,1", "aware", 1)
    ]
    line = next(line for line in text.splitlines() if line.startswith("| dpsgd | 1,1 |"))
    assert line.split("|")[6].strip().startswith(f"{np.mean(aucs):.3f}")
    from jleaks.rows import write_rows

    write_rows(tmp_path / "results" / "location" / "rows.jsonl", rows, ())
    made = measured(tmp_path / "results", tmp_path)
    assert line in made
    assert "(results/location/defences_location.png)" in made


def test_the_page_has_every_defence_and_what_the_committed_rows_say():
    text = (ROOT / "docs" / "defences.md").read_text()
    for name in DEFENCES:
        assert f"| `{name}` |" in text
    found = measured(ROOT / "results" / "defences", ROOT / "docs")
    assert filled(text, TABLES, found) == text


def test_grids_are_what_was_stated_or_a_few():
    assert defend.grid(["dropout"], []) == tuple(f"dropout:{s}" for s in DEFENCES["dropout"].tried)
    assert defend.grid(["dropout", "mixup"], ["mixup:3", "top_k:2"]) == (
        *(f"dropout:{s}" for s in DEFENCES["dropout"].tried),
        "mixup:3",
        "top_k:2",
    )
    for name, family in DEFENCES.items():
        for strength in family.tried:
            assert str(get_defence(f"{name}:{strength}")).startswith(name)


def test_bad_input_is_one_line():
    with pytest.raises(InputError, match="unknown defence 'moon'"):
        defend.grid(["moon"], [])
    with pytest.raises(InputError, match="no defence was named"):
        dataclasses.replace(PLAN, defences=()).validate()
    with pytest.raises(InputError, match="is named twice"):
        dataclasses.replace(PLAN, defences=("top_k:1", "top_k:1")).validate()
    with pytest.raises(InputError, match="bank_models is 5, expected 0 or an even number"):
        dataclasses.replace(PLAN, bank_models=5).validate()
    with pytest.raises(InputError, match="bank_models is 0: there are no banks for them"):
        dataclasses.replace(PLAN, canaries="mislabelled:20").validate()
    assert dataclasses.replace(PLAN, defences=("top_k:1",)).fingerprint() != PLAN.fingerprint()
    fields = {f.name: getattr(PLAN, f.name) for f in dataclasses.fields(PaperPlan)}
    assert PaperPlan(**fields).fingerprint() != PLAN.fingerprint()


@pytest.fixture(scope="module")
def with_banks(tmp_path_factory):
    given = {"defences": ("temperature:5", "dpsgd:1,1"), "bank_models": 4}
    plan = dataclasses.replace(PLAN, seeds=(1,), **given, canaries="mislabelled:20")
    assert plan.fingerprint() != dataclasses.replace(plan, bank_models=6).fingerprint()
    folder = str(tmp_path_factory.mktemp("banks"))
    told = []
    reporter = Reporter(told.append)
    (found,) = engine.run(plan, [defend.DEFEND], Execution(), folder, reporter=reporter).values()
    # Targets, shadows and a bank, plain and private, and three attack models: what is asked at a
    # temperature is what was trained without.
    assert any(line.endswith(" 15 models trained") for line in told), told
    return found


def test_banks_are_attacked_by_who_knows_and_who_does_not(with_banks):
    rows = [row for row in with_banks if row["adversary"] is None]
    assert len(rows) + 8 == len(with_banks)
    names = ("lira_online", "rmia_online")
    who = {(name, "naive") for name in (*names, "label_boundary")}
    expected = {("none", attack, attacker) for attack, attacker in who}
    for name in ("temperature", "dpsgd"):
        expected |= {(name, *pair) for pair in who | {(attack, "aware") for attack in names}}
    groups = ("candidates", "mislabelled")
    seen = [
        (r["variant"]["defence"], r["attack"], r["variant"]["attacker"], r["variant"]["records"])
        for r in rows
    ]
    assert sorted(seen) == sorted((*one, group) for one in expected for group in groups)
    quarter = next(r["num_members"] for r in with_banks if r["adversary"] is not None)
    for row in rows:
        found = row["num_members"] + row["num_nonmembers"]
        assert found == 4 * (20 if row["variant"]["records"] == "mislabelled" else 2 * quarter - 20)
        assert row["num_models"] == row["num_targets"] == 4
        assert ("epsilon" in row) == (row["variant"]["defence"] == "dpsgd")
        assert ("epsilon_thresholds" in row) == (row["variant"]["records"] == "mislabelled")
    accuracy = {r["variant"]["defence"]: r["test_accuracy"] for r in rows}
    assert accuracy["temperature"] == accuracy["none"]


def test_tables_show_banks_and_canaries(with_banks, tmp_path):
    found = report.points(with_banks)
    assert [one.accuracy.n for one in found] == [1, 1, 1]
    assert {who for _, who in found[1].leaks} == {
        *report.ATTACKERS.values(),
        *("LiRA naive", "LiRA aware", "RMIA naive", "RMIA aware", "labels"),
    }
    text = (report.write(with_banks, tmp_path)[0]).read_text()
    assert "TPR at 0.1% FPR on banks of location" in text
    lines = text[text.index("among canaries of location") :].splitlines()
    line = next(line for line in lines if line.startswith("| dpsgd | 1,1 |"))
    (row,) = (
        r
        for r in with_banks
        if (r["attack"], r["variant"]["defence"]) == ("lira_online", "dpsgd")
        and (r["variant"]["attacker"], r["variant"]["records"]) == ("aware", "mislabelled")
    )
    assert f"{row['epsilon_thresholds']:.2f} of {row['epsilon_thresholds_ceiling']:.2f}" in line


def test_cells_of_a_grid_show_banks_too(with_banks):
    found = cell_table([{**row, "cell": {"epochs": "4"}} for row in with_banks])
    (row,) = (
        r
        for r in with_banks
        if (r["attack"], r["variant"]["defence"]) == ("lira_online", "none")
        and r["variant"]["records"] == "candidates"
    )
    lines = [[cell.text for cell in line] for line in found.rows]
    (line,) = (
        line
        for line in lines
        if line[3] == "lira_online" and "defence none" in line[4] and "candidates" in line[4]
    )
    assert f"{row['auc']['mean']:.3f}" in " ".join(line)
