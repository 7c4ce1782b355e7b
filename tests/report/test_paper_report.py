import gzip
import io
import json
import math

import matplotlib.image
import numpy as np
import pytest
from paper_rows import T1, T2, cells, make_row, make_rows, with_values, write_arrays
from rich.console import Console

from jleaks.errors import InputError
from jleaks.experiments.claims import EXPERIMENTS
from jleaks.report.contrasts import contrasts, over_tasks
from jleaks.report.figures.bars import draw_bars
from jleaks.report.findings import finding
from jleaks.report.groups import collect
from jleaks.report.numbers import FEW_NOTE
from jleaks.report.report import print_experiment, report_experiment
from jleaks.report.tables import seeds_text, tables
from jleaks.report.titles import task_sources
from jleaks.rows import OF_EXPERIMENT, read_rows

FIGURES = {
    "E6": ["figure.png", "figure_cost.png"],
    "E10": ["figure.png", "figure_recall.png"],
    "E14": ["figure.png", "figure_densities.png"],
    "E16": ["figure.png", "figure_adversary_3.png"],
    "E18": ["figure.png", "figure_adversary_3.png"],
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_reported(name, tmp_path, caplog):
    write_arrays(name, tmp_path)
    paths = report_experiment(name, make_rows(name), tmp_path)
    assert [path.name for path in paths] == ["table.md", *FIGURES.get(name, ["figure.png"])]
    assert not caplog.records
    text = paths[0].read_text()
    assert text.startswith(f"# {name}. {EXPERIMENTS[name].title}\n\n{EXPERIMENTS[name].question}\n")
    assert f"**The paper.** {EXPERIMENTS[name].claim}" in text
    assert "**Here.** The rows lack" not in text
    assert "Purchase-100 (stand-in)" in text or name == "E11"
    for path in paths[1:]:
        assert path.stat().st_size < 250_000
        image = matplotlib.image.imread(path)
        assert image.shape[0] > 400
        assert image.shape[1] > 900
        assert image.min() < 0.2 < 0.9 < image.max()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_one_seed_and_undefined_numbers(name, tmp_path):
    write_arrays(name, tmp_path, ("location", "news"))
    rows = [
        row | {"precision": None, "recall": math.nan, "test_accuracy": None}
        for row in make_rows(name, ("location", "news"), num_seeds=1)
    ]
    paths = report_experiment(name, rows, tmp_path)
    text = paths[0].read_text()
    assert "One seed: no intervals." in text
    assert "nan" not in text
    # Means over tasks have intervals, numbers of one task have none.
    for line in text.splitlines():
        if line.startswith("|") and "mean over" not in line:
            assert "±" not in line, line
    assert "no significant difference on" not in text
    assert {path.suffix for path in paths} <= {".md", ".png"}


def test_the_same_rows_give_the_same_files(tmp_path):
    rows = make_rows("E16", ("location", "news"), 2)
    first = report_experiment("E16", rows, tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "figure_old.png").write_bytes(b"another run's")
    second = report_experiment("E16", rows[::-1], tmp_path / "b")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == sorted(p.name for p in second)


def test_a_table_holds_means_and_t_intervals(tmp_path):
    rows = with_values("E2", "precision", (0.5, 0.6, 0.7))
    rows += with_values("E2", "precision", (0.61,), task="news")
    rows += with_values("E2", "precision", (0.5, None, 0.6), task="adult")
    rows += with_values("E2", "precision", (None, None), task="face")
    table = tables(collect("E2", rows, tmp_path))[1]
    reach = T2 * 0.1 / math.sqrt(3)
    assert cells(table, "Location")["Precision"].text == f"0.600±{reach:.3f}".replace("±0", "±")
    assert cells(table, "News")["Precision"].text == "0.610"
    # 0.550±.635, the t interval of two seeds, is cut to what a precision can be.
    assert cells(table, "Adult")["Precision"].text == "0.550 [0, 1] (2 of 3)"
    assert cells(table, "Face")["Precision"].text == "-"
    assert cells(table, "Location")["Seeds"].text == "3"
    assert "(k of n)" in table.caption
    assert "[low, high]" in table.caption


def test_tprs_at_few_allowed_non_members_are_marked(tmp_path):
    rows = [
        make_row("E2", task, seed, num_members=n, num_nonmembers=n)
        for task, n in (("location", 4_999), ("news", 5_000))
        for seed in range(2)
    ]
    table = tables(collect("E2", rows, tmp_path))[1]
    few, many = cells(table, "Location"), cells(table, "News")
    assert "†" in few["TPR at 0.1% FPR"].text
    assert "†" not in few["TPR at 1% FPR"].text
    assert not any("†" in cell.text for cell in many.values())
    assert FEW_NOTE in table.caption


def test_what_stands_behind_a_table_is_said():
    assert seeds_text([1, 0, 1]) == "One seed: no intervals."
    assert seeds_text([3, 5]) == "Means over seeds ± half-width of the 95% t interval."
    assert seeds_text([3, 1]).endswith("No ±: a single seed.")


@pytest.mark.parametrize("name", ["E2", "E6", "E10"])
def test_collapsed_attack_models_are_counted(name, tmp_path):
    rows = make_rows(name)
    for i, row in enumerate(rows):
        row |= {"collapsed": i < 2, "train_loss": 3.5, "shadow_train_loss": None}
    report_experiment(name, rows, tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert f"2 of {len(rows)} attacks are by an attack model that collapsed" in text
    for row in rows:
        row["collapsed"] = False
    report_experiment(name, rows, tmp_path)
    assert "collapsed" not in (tmp_path / "table.md").read_text()


def test_series_stand_in_columns_by_value(tmp_path):
    rows = with_values("E5", "auc", (0.7, 0.7), {"top": "all"})
    rows += with_values("E5", "auc", (0.6, 0.62), {"top": 3})
    rows += with_values("E5", "auc", (0.5, 0.5), {"top": 1})
    table = tables(collect("E5", rows, tmp_path))[0]
    assert table.heads[-3:] == ("1", "3", "all")
    row = cells(table, "AUC", "Location")
    reach = T1 * 0.01  # standard deviation 0.01 sqrt(2), over sqrt(2)
    assert [row[head].text for head in ("1", "3", "all")] == [
        "0.500±.000",
        f"0.610±{reach:.3f}".replace("±0", "±"),
        "0.700±.000",
    ]


def test_differences_are_paired_by_seed(tmp_path):
    """Seeds that differ much do not widen the interval of a constant difference."""
    one, ten = (0.5, 0.7, 0.9), (0.51, 0.71, 0.93)
    rows = with_values("E6", "auc", one, {"num_shadows": 1})
    # Another order of seeds, and one that has no partner.
    rows += with_values("E6", "auc", (*ten, 0.2), {"num_shadows": 10})[::-1]
    results = collect("E6", rows, tmp_path)
    (contrast,) = contrasts(results)
    assert (contrast.arm, contrast.reference, contrast.seeds) == ("10", "1", [0, 1, 2])
    interval = contrast.interval("auc")
    d = np.array([0.01, 0.01, 0.03])
    assert interval.mean == pytest.approx(d.mean())
    assert interval.half_width == pytest.approx(T2 * d.std(ddof=1) / math.sqrt(3))
    row = cells(tables(results)[1], "AUC", "Location")
    assert row["10"].text == f"+0.017±{interval.half_width:.3f}".replace("±0", "±")
    assert not row["10"].marked


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        ((0.01, 0.01, 0.03), "AUC: no significant difference on 1 of 1 tasks"),
        ((0.02, 0.021, 0.022), "AUC: no significant difference on 0 of 1 tasks"),
        ((0.0, 0.0, 0.0), "AUC: no significant difference on 1 of 1 tasks"),
    ],
)
def test_significance_is_what_the_interval_says(differences, said, tmp_path):
    rows = with_values("E6", "auc", (0.5, 0.5, 0.5), {"num_shadows": 1})
    rows += with_values("E6", "auc", [0.5 + d for d in differences], {"num_shadows": 10})
    results = collect("E6", rows, tmp_path)
    assert said in finding(results)
    marked = cells(tables(results)[1], "AUC", "Location")["10"].marked
    assert marked == ("0 of 1" in said)
    assert ("different on Location (+0.021±.002)" in finding(results)) == marked


def test_a_defence_is_measured_over_tasks(tmp_path):
    rows = []
    for task, drop in (("location", 0.2), ("news", 0.1), ("purchase100", 0.3)):
        for seed in range(2):
            base = 0.7 + 0.05 * seed
            plain = {"variant": {"defence": "none", "attacker": "naive"}, "precision": base}
            naive = {"variant": {"defence": "dropout", "attacker": "naive"}}
            aware = {"variant": {"defence": "dropout", "attacker": "aware"}, "precision": base}
            rows.append(make_row("E16", task, seed, **plain))
            rows.append(make_row("E16", task, seed, precision=base - drop, **naive))
            rows.append(make_row("E16", task, seed, **aware))
    results = collect("E16", rows, tmp_path)
    reach = T2 * 0.1 / math.sqrt(3)
    expected = f"Adversary 1, dropout, naive attacker minus none: precision -0.200±{reach:.3f}"
    assert expected.replace("±0", "±") in finding(results)
    assert "aware attacker minus none: precision +0.000±.000" in finding(results)
    naive = [c for c in contrasts(results) if "naive" in c.arm]
    assert over_tasks(naive, "precision").n == 3
    figure = draw_bars(results, results.design.figures[0])
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["no defence", "dropout, naive attacker", "dropout, aware attacker"]
    # Three arms, three tasks: bars lie arm after arm.
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    expected = [0.725] * 3 + [0.525, 0.625, 0.425] + [0.725] * 3
    assert heights == pytest.approx(expected)


def test_adversary_2_is_averaged_over_shadows_within_a_seed(tmp_path):
    rows = [make_row("E15", "location", seed, precision=0.8) for seed in range(3)]
    for seed, (news, face) in enumerate(((0.5, 0.7), (0.6, 0.6), (0.9, None))):
        rows.append(make_row("E15", "location", seed, "adversary 2", "news", precision=news))
        rows.append(make_row("E15", "location", seed, "adversary 2", "face", precision=face))
    results = collect("E15", rows, tmp_path)
    # 0.6, 0.6 and, where one is undefined, the other: 0.9.
    reach = T2 * math.sqrt(0.03) / math.sqrt(3)
    row = cells(tables(results)[0], "", "Adversary 2")
    low = f"{0.7 - reach:.3f}".removeprefix("0")
    assert row["Precision"].text == f"0.700 [{low}, 1] (5 of 6)"
    assert row["Shadow task"].text == "2 tasks"
    assert "Adversary 2 minus Adversary 1: precision -0.100" in finding(results)


def test_adversaries_stand_side_by_side(tmp_path):
    rows = [make_row("E15", "location", 0), make_row("E15", "location", 0, "adversary 2", "news")]
    results = collect("E15", rows, tmp_path)
    axes = draw_bars(results, results.design.figures[0]).axes
    assert [label.get_text() for label in axes[1].get_xticklabels()] == ["Location"]
    assert len(axes[0].patches) == 2


def test_known_kinds_are_compared_with_the_combining_attack(tmp_path):
    rows = []
    for kind, known, combined in (("mlp", 0.7, 0.72), ("forest", 0.9, 0.8)):
        rows += with_values("E9", "auc", (known,) * 2, {"target": kind, "shadow": kind})
        rows += with_values("E9", "auc", (combined,) * 2, {"target": kind, "shadow": "combined"})
    found = {c.about: c.interval("auc").mean for c in contrasts(collect("E9", rows, tmp_path))}
    assert found == pytest.approx({"Adversary 1, MLP": 0.02, "Adversary 1, random forest": -0.1})


def test_statistics_are_compared_by_task(tmp_path):
    rows = []
    for task, aucs in (("location", (0.8, 0.8, 0.81)), ("news", (0.8, 0.7, 0.804))):
        for statistic, auc in zip(("maximum", "standard deviation", "entropy"), aucs, strict=True):
            variant = {"statistic": statistic}
            rows.append(make_row("E13", task, 0, "adversary 3", variant=variant, auc=auc))
    text = finding(collect("E13", rows, tmp_path))
    assert "maximum 0.800, standard deviation 0.750, entropy 0.807" in text
    assert "on 1 of 2 tasks" in text


def test_sources_are_never_shown_as_more_real_than_they_are():
    purchase = make_row("E12", "location", 0, "adversary 2", "purchase100")
    assert task_sources([purchase]) == {"location": "real", "purchase100": "real"}
    told = purchase | {"shadow_source": "stand-in"}
    assert task_sources([told]) == {"location": "real", "purchase100": "stand-in"}
    other = make_row("E12", "news", 0, "adversary 2", "purchase100", source="synthetic")
    assert task_sources([purchase, other])["purchase100"] == "synthetic"
    with pytest.raises(InputError, match="different sources"):
        task_sources([purchase, purchase | {"source": "synthetic"}])


@pytest.mark.parametrize("name", ["E1", "E6", "E10", "E17"])
def test_synthetic_data_are_called_so(name, tmp_path):
    rows = [row | {"source": "synthetic"} for row in make_rows(name, ("location", "news"), 1)]
    text = report_experiment(name, rows, tmp_path)[0].read_text()
    assert "Location (synthetic)" in text
    assert "(synthetic data)" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"experiment": "E7"}, "row 2: a row of 'E7'; expected E6"),
        (
            {"source": "guess"},
            'row 2: field \'source\' is "guess"; expected "real" or "own" or "stand-in"',
        ),
        (
            {"adversary": None, "attack": "adversary 4"},
            "row 2: attack is 'adversary 4'; allowed: adversary 1,",
        ),
        ({"auc": 1.5}, "row 2: field 'auc' is 1.5; expected a fraction"),
        ({"auc": "high"}, "row 2: field 'auc' is \"high\"; expected a number or"),
        ({"collapsed": 0}, "row 2: field 'collapsed' is 0; expected true or false or null"),
        ({"train_loss": "low"}, "row 2: field 'train_loss' is \"low\"; expected a number or null"),
        ({"seed": 0.5}, "row 2: field 'seed' is 0.5; expected a whole number"),
        ({"variant": [1]}, r"row 2: field 'variant' is \[1\]; expected .*an object"),
        (
            {"seed": 0},
            "two rows for adversary 1, task 'location', shadow task 'location', num_shadows 1, seed 0;",
        ),
    ],
)
def test_bad_rows_are_named(changes, message, tmp_path):
    rows = with_values("E6", "auc", (0.5, 0.6), {"num_shadows": 1})
    rows[1] |= changes
    with pytest.raises(InputError, match=message):
        report_experiment("E6", rows, tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_reported_is_refused(tmp_path):
    with pytest.raises(InputError, match="unknown experiment 'E19'; allowed: all, E1, E2"):
        report_experiment("E19", make_rows("E6"), tmp_path)
    with pytest.raises(InputError, match="no result rows of E6"):
        report_experiment("E6", [], tmp_path)
    row = make_row("E6", "location", 0)
    del row["auc"], row["device"]
    with pytest.raises(InputError, match=r"row 1: missing field\(s\) auc, device"):
        report_experiment("E6", [row], tmp_path)
    for name, file in (("E11", "points.npz"), ("E14", "densities.npz")):
        with pytest.raises(InputError, match=f"{file} (is damaged|does not exist)"):
            report_experiment(name, make_rows(name), tmp_path)
        (tmp_path / file).write_bytes(b"PK\x03\x04 not really")
        with pytest.raises(InputError, match=f"{file} (is damaged|does not exist)"):
            report_experiment(name, make_rows(name), tmp_path)
        np.savez(tmp_path / file, x=np.zeros(3))
        with pytest.raises(InputError, match=f"{file}.*"):
            report_experiment(name, make_rows(name), tmp_path)
    assert not list(tmp_path.glob("*.md"))


def test_rows_are_read_plain_or_compressed(tmp_path):
    rows = make_rows("E3", num_seeds=1)
    text = "\n".join(map(json.dumps, rows)) + "\n\n"
    (tmp_path / "rows.jsonl").write_text(text)
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    assert read_rows(tmp_path / "rows.jsonl", OF_EXPERIMENT) == rows
    assert read_rows(tmp_path / "rows.jsonl.gz", OF_EXPERIMENT) == rows
    (tmp_path / "bad.gz").write_bytes(gzip.compress(text.encode())[:-20])
    (tmp_path / "bad.jsonl").write_text(text + "{'a': 1}")
    (tmp_path / "empty.jsonl").write_text("\n")
    for name, message in (
        ("bad.gz", "cannot read .*bad.gz"),
        ("bad.jsonl", r"bad.jsonl:11: not JSON"),
        ("empty.jsonl", "no result rows"),
        ("none.jsonl", "cannot read .*none.jsonl: No such file"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            read_rows(tmp_path / name, OF_EXPERIMENT)
        assert "\n" not in str(caught.value)


def test_claims_say_how_sure_they_are():
    assert list(EXPERIMENTS) == [f"E{i}" for i in range(1, 19)]
    aliases = [experiment.alias for experiment in EXPERIMENTS.values()]
    assert len(set(aliases)) == 18
    assert aliases[:3] + aliases[-2:] == [
        "shokri", "overfitting", "epochs", "dropout_grid", "stacking",
    ]  # fmt: skip
    for one in EXPERIMENTS.values():
        assert one.question.endswith("?")
        for claim in one.claims:
            text = str(claim)
            assert "the paper reports" not in text
            if claim.label == "S":
                assert text.endswith("reported [S]")
            else:
                assert text.endswith("recalled [m]")
                assert not claim.value[0].isdigit() or "about " in text


def test_an_experiment_is_printed_in_short_for_eighty_columns(tmp_path):
    rows = make_rows("E6")
    console = Console(file=io.StringIO(), width=80)
    print_experiment("E6", rows, tmp_path, console)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    flat = " ".join(text.split())
    assert flat.startswith("E6. The number of shadow models What do more shadow models")
    assert f"Here: {finding(collect('E6', rows, tmp_path))}" in flat
    assert "The paper: 1 to 10 shadow models" in flat
    # The table that compares, and no other.
    assert "differences by number of shadow models, each minus 1" in flat
    assert "every attack" not in flat
