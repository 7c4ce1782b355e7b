import io
import math
import re
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from rich.console import Console
from run_rows import STATISTICS, cut, make_row, make_run

from jleaks.data.tasks import TASKS
from jleaks.errors import InputError
from jleaks.report.figures.labels import arrange
from jleaks.report.groups import average_over_shadow_tasks, collect, collect_run, transfers
from jleaks.report.numbers import FEW_NOTE
from jleaks.report.report import (
    markdown_tables,
    print_tables,
    report_run,
    text_tables,
    write_figures,
)
from jleaks.report.tables import run_tables, tables
from jleaks.report.titles import short_title, task_sources
from jleaks.rows import (
    read_rows,
    write_csv,
    write_rows,
)

FIGURES = [
    "precision_recall.png",
    "transfer_precision.png",
    "transfer_recall.png",
    "overfitting.png",
    "statistics.png",
]


def test_a_summary_by_hand():
    rows = [
        make_row("face", seed, precision=p, train_accuracy=1.0, test_accuracy=t)
        for seed, p, t in ((2, 0.8, 0.5), (0, 0.6, 0.75), (1, 0.7, 0.25))
    ]
    (group,) = collect_run(rows).groups
    assert list(group.seeds.index) == [0, 1, 2]
    precision = group.interval("precision")
    assert precision.mean == pytest.approx(0.7)
    assert precision.half_width == pytest.approx(4.302653 * 0.1 / math.sqrt(3), rel=1e-6)
    assert group.interval("gap").mean == pytest.approx(0.5)
    assert set(group.rows["num_members"]) == {466}


def test_undefined_precision_is_left_out_and_counted():
    rows = [make_row("face", seed, precision=p) for seed, p in enumerate((0.5, None, 0.75))]
    (group,) = collect_run(rows).groups
    assert group.interval("precision").n == 2
    assert group.interval("precision").mean == 0.625
    assert group.defined("precision") == (2, 3)
    assert group.interval("recall").n == 3
    # The t interval of two seeds, ±1.588, is cut to what a precision can be.
    assert "| 0.625 [0, 1] (2 of 3) |" in markdown_tables(rows)


def test_tprs_at_few_allowed_non_members_are_marked():
    few, many = (
        [make_row("face", seed, num_members=n, num_nonmembers=n) for seed in range(3)]
        for n in (499, 500)
    )
    # At 1%, 499 non-members allow four, 500 five.
    assert "†" in markdown_tables(few)
    assert FEW_NOTE in markdown_tables(few)
    assert "†" not in markdown_tables(many)


def test_shadow_tasks_are_averaged_within_a_seed():
    values = {("adult", 0): 0.5, ("adult", 1): 0.6, ("face", 0): 0.7, ("face", 1): 0.6}
    rows = [make_row("news", seed, 2, s, recall=v) for (s, seed), v in values.items()]
    rows.append(make_row("news", 2, 2, "face", recall=1.0))  # the other shadow task lacks seed 2
    (group,) = average_over_shadow_tasks(collect_run(rows).groups)
    assert group.shadow_tasks == ("adult", "face")
    assert list(group.seeds.index) == [0, 1]
    assert group.interval("recall").mean == pytest.approx(0.6)
    assert group.interval("recall").std == pytest.approx(0.0, abs=1e-12)


def test_transfer_matrix_has_adversary_1_on_its_diagonal():
    rows = make_run(("adult", "news"), adversaries=(1, 2, 3))
    matrix = {pair: g.interval("recall") for pair, g in transfers(collect_run(rows).groups).items()}
    assert set(matrix) == {(a, b) for a in ("adult", "news") for b in ("adult", "news")}

    def mean(adversary, task):
        return np.mean(
            [r["recall"] for r in rows if (r["adversary"], r["task"]) == (adversary, task)]
        )

    assert matrix["adult", "adult"].mean == pytest.approx(mean(1, "adult"))
    assert matrix["news", "adult"].mean == pytest.approx(mean(2, "adult"))


def test_summaries_come_in_the_registrys_order():
    rows = make_run()
    groups = collect_run(rows[::-1]).groups
    assert [g.task for g in groups if g.attack == "adversary 1"] == list(TASKS)
    assert [g.get("statistic") for g in groups[-3:]] == list(STATISTICS[1:])


def test_a_seed_occurs_once():
    with pytest.raises(
        InputError, match=r"two rows for adversary 2, task 'news', shadow task 'adu"
    ):
        collect_run([make_row("news", 0, 2, "adult"), make_row("news", 0, 2, "adult")])


def test_sources():
    rows = [
        make_row("adult", 0),
        make_row("face", 0, source="synthetic"),
        make_row("adult", 0, 2, "face", source="synthetic"),  # named after its shadow model
        make_row("adult", 0, 2, "purchase2", source="stand-in"),
    ]
    assert task_sources(rows) == {"adult": "real", "face": "synthetic", "purchase2": "stand-in"}
    with pytest.raises(InputError, match=r"'adult' has rows .* \(real, synthetic\)"):
        task_sources([make_row("adult", 0), make_row("adult", 1, source="synthetic")])


@pytest.mark.parametrize("name", ["rows", "csv", "text", "markdown", "print", "figures", "run"])
def test_no_rows_are_bad_input(tmp_path, name):
    call_fn = {
        "rows": lambda: write_rows(tmp_path / "x", []),
        "csv": lambda: write_csv(tmp_path / "x", []),
        "text": lambda: text_tables([]),
        "markdown": lambda: markdown_tables([]),
        "print": lambda: print_tables([], Console(file=io.StringIO())),
        "figures": lambda: write_figures(tmp_path / "x", []),
        "run": lambda: report_run([], tmp_path / "x", Console(file=io.StringIO())),
    }[name]
    with pytest.raises(InputError, match="no result rows"):
        call_fn()
    assert not list(tmp_path.iterdir())


def printed(rows, width):
    console = Console(file=io.StringIO(), width=width)
    print_tables(rows, console)
    return console.file.getvalue()


def test_twelve_tasks_fit_160_columns():
    rows = make_run()
    text = text_tables(rows)
    assert max(len(line) for line in text.splitlines()) <= 160
    assert "\x1b" not in text
    assert "…" not in text
    # Nothing is continued below: each table has its head once.
    assert len(re.findall(r" Precision +Recall ", text)) == 3
    assert text.count(" Shadow task  ") == 3
    interval = transfers(collect_run(rows).groups)["face", "face"].interval("precision")
    assert f"{interval.mean:.2f}±{interval.half_width:.2f}*".replace("±0", "±") in text
    assert "half-width of the 95% t interval" in text


@pytest.mark.parametrize("width", [80, 110])
def test_a_narrow_console_loses_nothing(width):
    text = printed(make_run(("cifar10", "purchase100")), width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    wide = printed(make_run(("cifar10", "purchase100")), 160)
    numbers = {word for word in wide.split() if "±" in word}
    assert numbers <= set(text.split())


def test_one_seed_claims_no_interval():
    text = markdown_tables(make_run(("adult", "news"), seeds=(5,)))
    assert "One seed: no intervals." in text
    assert "±" not in text


def test_synthetic_and_stand_in_data_are_called_so():
    text = markdown_tables(make_run(("adult", "purchase100")))
    assert "Purchase-100 (stand-in)" in text
    assert "(real and stand-in data)" in text
    text = markdown_tables(make_run(("adult", "news"), source="synthetic"))
    headings = [line for line in text.splitlines() if line.startswith("### ")]
    assert len(headings) == 5
    assert all(heading.endswith("(synthetic data)") for heading in headings)
    assert "| Adult (synthetic) |" in text
    assert "(real" not in markdown_tables(make_run(("adult", "news")))


def test_markdown_tables_are_regular():
    blocks = markdown_tables(make_run(("adult", "news", "face"))).split("### ")[1:]
    assert len(blocks) == 5
    for block in blocks:
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) == 1
    assert blocks[3].count("**") == 2 * 3  # the diagonal


def test_a_task_without_a_shared_seed_is_named():
    rows = [make_row("news", 0, 2, "adult"), make_row("news", 1, 2, "face")]
    rows += [make_row("adult", 0, 2, "face")]
    assert "Left out, no seed that all shadow tasks have: News." in markdown_tables(rows)


def test_short_titles_tell_the_tasks_apart():
    titles = [short_title(task) for task in TASKS]
    assert len(set(titles)) == len(titles)
    assert max(len(title) for title in titles) <= 8


def read_png(path):
    return matplotlib.image.imread(path)[..., :3]


def test_the_figures_of_twelve_tasks(tmp_path):
    paths = write_figures(tmp_path, make_run())
    assert [path.name for path in paths] == FIGURES
    for path in paths:
        image = read_png(path)
        height, width, _ = image.shape
        assert 600 <= height <= 2_000
        assert 1_200 <= width <= 2_400
        # Something is drawn, and nothing of it at the very edge of the page, where it would be cut.
        assert 0.01 < (image.min(axis=-1) < 0.9).mean() < 0.8
        margins = (image[:2], image[-2:], image[:, :2], image[:, -2:])
        assert min(margin.min() for margin in margins) > 0.99


def test_the_same_rows_give_the_same_figures(tmp_path):
    rows = make_run(("adult", "news"), adversaries=(3,))
    first = write_figures(tmp_path / "a", rows)
    second = write_figures(tmp_path / "b", rows)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_what_cannot_be_drawn_is_said_and_an_old_figure_removed(tmp_path):
    said = []
    (tmp_path / "overfitting.png").write_bytes(b"of another run")
    rows = make_run(("adult",), seeds=(0,), adversaries=(3,))
    paths = write_figures(tmp_path, rows, notify_fn=said.append)
    assert [path.name for path in paths] == ["precision_recall.png", "statistics.png"]
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(p.name for p in paths)
    assert said == [
        "figure transfer_precision.png left out: no row is of adversary 2",
        "figure transfer_recall.png left out: no row is of adversary 2",
        "figure overfitting.png left out: no row of adversary 1 has the target's accuracies",
    ]


@pytest.mark.parametrize(
    "rows",
    [
        make_run(("adult",), seeds=(0,), adversaries=(1,)),
        make_run(("adult", "news"), seeds=(0,), adversaries=(1, 2), precision=None),
        make_run(("adult", "news"), adversaries=(2,)),
        [*make_run(("adult",)), make_row("news", 0)],
    ],
    ids=["one model", "precision never defined", "transfer alone", "unequal seeds"],
)
def test_odd_runs_are_reported_whole(tmp_path, rows):
    paths = report_run(rows, tmp_path, Console(file=io.StringIO(), width=100))
    assert all(path.stat().st_size > 0 for path in paths)


def test_labels_of_a_crowd_do_not_overlap():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(150, 12, (8, 2)), rng.uniform(20, 280, (4, 2))])
    sizes = np.stack([rng.uniform(25, 70, 12), np.full(12, 10.0)], axis=1)
    reach = np.array([0.0, 10.0])
    whiskers = np.concatenate([points - reach, points + reach], axis=1)
    boxes = arrange(points, sizes, whiskers, np.array([0.0, 0.0, 300.0, 300.0]))
    np.testing.assert_allclose(boxes[:, 2:] - boxes[:, :2], sizes)
    assert boxes.min() >= 0
    assert boxes.max() <= 300
    for i in range(12):
        for j in range(12):
            apart = (boxes[i, :2] >= boxes[j, 2:]).any() or (boxes[j, :2] >= boxes[i, 2:]).any()
            assert i == j or apart
            # Nor does a label lie on a point.
            assert not ((boxes[i, :2] < points[j]) & (points[j] < boxes[i, 2:])).all()


def test_report_of_a_run(tmp_path):
    rows = make_run(("adult", "purchase100"))
    console = Console(file=io.StringIO(), width=160)
    paths = report_run(rows, tmp_path, console)
    names = ["rows.jsonl", "results.csv", "tables.txt", "tables.md"]
    names += [*(f"figures/{f}" for f in FIGURES), "report.html"]
    assert [str(p.relative_to(tmp_path)) for p in paths] == names
    assert all(path.is_file() for path in paths)
    assert read_rows(paths[0]) == rows
    assert paths[3].read_text() == markdown_tables(rows)
    assert "Adversary 3" in console.file.getvalue()


def test_rows_are_kept_where_a_later_step_fails(tmp_path):
    rows = [make_row("adult", 0), make_row("adult", 0)]
    with pytest.raises(InputError, match="two rows for adversary 1"):
        report_run(rows, tmp_path, Console(file=io.StringIO()))
    assert read_rows(tmp_path / "rows.jsonl") == rows


def test_the_console_needs_no_markup():
    row = make_row("adult", 0) | {"task": "records [bold]", "shadow_task": "records [bold]"}
    assert "records [bold]" in text_tables([row])


def test_printed_tables_fit_eighty_columns_and_no_number_is_cut():
    """All of an experiment's and a run's tables; what is broken over lines are names alone."""
    from paper_rows import make_rows

    found = run_tables(collect_run(cut(make_run())))
    for name in ("E1", "E6", "E8", "E10", "E16", "E17"):
        found += tables(collect(name, make_rows(name), Path()))
    for table in found:
        console = Console(file=io.StringIO(), width=80)
        console.print(table.to_rich(console))
        text = console.file.getvalue()
        assert max(map(len, text.splitlines())) <= 80
        assert "…" not in text
        for row in table.rows:
            for cell in row[table.num_text_columns :]:
                assert cell.text in text


def test_tables_show_the_shadow_s_cut_where_there_is_one():
    old, new = make_run(("location", "news")), cut(make_run(("location", "news")))
    assert "shadow's cut" not in markdown_tables(old)
    first, second, third, *_ = markdown_tables(new).split("\n#")
    for table in (first, second):
        assert table.count(", shadow's cut |") == 3
        assert "0.710±.025" in table
        assert "Shadow's cut: the cut that separates" in table
        assert "collapsed" not in table
    assert "shadow's cut" not in third
    # Rows of both kinds can stand in one file.
    both = markdown_tables([*cut(make_run(("location",))), *make_run(("news",))])
    assert "shadow's cut" in both


def test_collapsed_attack_models_are_counted_below_tables():
    rows = cut(make_run(("location", "news")))
    for row in rows:
        if row["shadow_task"] == "news" and row["seed"] < 2:
            row |= {"collapsed": True, "precision": None, "recall": 0.0}
    first, second, third, *matrices = markdown_tables(rows).split("\n#")
    assert "2 of 6 attacks are by an attack model that collapsed" in first
    assert "2 of 6 attacks are by an attack model that collapsed" in second
    assert "collapsed" not in third
    assert all("4 of 12 attacks are by" in matrix for matrix in matrices)
    assert len(matrices) == 2
