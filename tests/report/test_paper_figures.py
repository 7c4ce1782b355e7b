"""Figures of experiments: what is drawn is what the rows say."""

import io
import itertools
import json
import math

import matplotlib.image
import numpy as np
import pytest
from paper_rows import T1, cells, make_row, make_rows, with_values, write_arrays

from jleaks.errors import InputError
from jleaks.report.figures.bars import draw_bars
from jleaks.report.figures.curves import draw_curves
from jleaks.report.figures.grids import ratio_grid
from jleaks.report.figures.points import nearest_agree, read_maxima, read_points, threshold
from jleaks.report.figures.style import indexed_png, png
from jleaks.report.findings import finding, gap_correlation
from jleaks.report.groups import collect, families
from jleaks.report.report import report_experiment
from jleaks.report.tables import tables
from jleaks.rows import OF_EXPERIMENT, check_rows


def drawn(results, figure=0):
    """One of an experiment's figures of curves."""
    return draw_curves(results, results.design.figures[figure])


def test_ratio_grid_has_hidden_ratios_down_and_input_ratios_across(tmp_path):
    rows = [
        make_row(
            "E17",
            "location",
            seed,
            variant={"input_ratio": i, "hidden_ratio": h},
            precision=0.5 + i / 2 + h / 10 + 0.01 * seed,
        )
        for i, h, seed in itertools.product((0.5, 0.0), (0.75, 0.0, 0.25), (0, 1))
        if (i, h) != (0.5, 0.25)
    ]
    groups = collect("E17", rows, tmp_path).groups
    inputs, hiddens, means, texts = ratio_grid(groups, "precision")
    assert (inputs, hiddens) == ([0.0, 0.5], [0.0, 0.25, 0.75])
    np.testing.assert_allclose(
        means, [[0.505, 0.755], [0.53, np.nan], [0.58, 0.83]], equal_nan=True
    )
    reach = T1 * 0.005
    assert texts[0, 1] == f"0.76\n±{reach:.2f}".replace("±0.", "±.")
    assert (1, 1) not in texts


def test_transfer_goes_from_rows_to_columns(tmp_path):
    rows = []
    for shadow, target in itertools.product(("news", "face", "location"), repeat=2):
        attack = "adversary 1" if shadow == target else "adversary 2"
        value = {"news": 0.6, "face": 0.7, "location": 0.8}[shadow] + 0.01 * len(target)
        rows.append(make_row("E10", target, 0, attack, shadow, precision=value))
    table = tables(collect("E10", rows, tmp_path))[0]
    assert table.heads == ("Shadow task", "Face", "Location", "News")
    for shadow, start in (("News", 0.6), ("Face", 0.7), ("Location", 0.8)):
        for target in ("Face", "Location", "News"):
            cell = cells(table, shadow)[target]
            assert cell.text == f"{start + 0.01 * len(target):.2f}"
            assert cell.marked == (shadow == target)


def test_families_run_from_few_to_many_classes(tmp_path):
    tasks = ("purchase100", "cifar100", "purchase2", "cifar10", "purchase20")
    groups = collect("E4", make_rows("E4", tasks, 1), tmp_path).groups
    assert [[group.task for group in line] for line in families(groups)] == [
        ["cifar10", "cifar100"],
        ["purchase2", "purchase20", "purchase100"],
    ]


def test_curves_rise_with_what_varies(tmp_path):
    means = {50: 0.9, 10: 0.6, 30: 0.7}
    rows = [
        row
        for epochs, mean in means.items()
        for row in with_values("E3", "precision", (mean - 0.01, mean + 0.01), {"epochs": epochs})
    ]
    axes = drawn(collect("E3", rows, tmp_path)).axes[0]
    line = axes.get_lines()[0]
    assert list(line.get_xdata()) == [10, 30, 50]
    assert list(line.get_ydata()) == pytest.approx([0.6, 0.7, 0.9])
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0.6 - T1 * 0.01, 1.0))


def test_the_knee_is_ringed_at_its_cost(tmp_path):
    curve = {1: 0.6, 2: 0.88, 10: 0.89, 20: 0.9}
    rows = [
        make_row("E6", "location", 0, variant={"num_shadows": k}, shadow_seconds=7.0 * k, auc=auc,
                 precision=None, recall=None)
        for k, auc in curve.items()
    ]  # fmt: skip
    results = collect("E6", rows, tmp_path)
    lines = drawn(results, 1).axes[0].get_lines()
    (ring,) = [line for line in lines if line.get_markerfacecolor() == "none"]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == pytest.approx((14.0, 0.88))


def test_cost_is_left_out_where_it_was_not_measured(tmp_path, caplog):
    rows = [row | {"shadow_seconds": None} for row in make_rows("E6", num_seeds=1)]
    (tmp_path / "figure_cost.png").write_bytes(b"an older run's")
    paths = report_experiment("E6", rows, tmp_path)
    assert [path.name for path in paths] == ["table.md", "figure.png"]
    assert "figure_cost.png left out" in caplog.text
    assert not (tmp_path / "figure_cost.png").exists()


@pytest.mark.parametrize("num_tasks", [1, 2, 5])
def test_legends_lie_between_title_and_panels(num_tasks, tmp_path):
    tasks = ("location", "news", "purchase100", "adult", "face")[:num_tasks]
    figure = drawn(collect("E6", make_rows("E6", tasks), tmp_path))
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert 0 <= legend.x0 < legend.x1 <= figure.bbox.x1
    for axes in figure.axes:
        assert axes.get_tightbbox().y1 < legend.y0 + 1
    # The title's own line stands above.
    line = 11.5 / 72 * figure.dpi
    assert legend.y1 < figure.bbox.y1 - line


def test_few_colours_are_enough(tmp_path):
    results = collect("E18", make_rows("E18", ("news",)), tmp_path)
    figure = draw_bars(results, results.design.figures[0])
    few = matplotlib.image.imread(io.BytesIO(indexed_png(figure)))
    many = matplotlib.image.imread(io.BytesIO(png(figure)))[..., :3]
    assert few.shape[:2] == many.shape[:2]
    assert np.abs(few[..., :3] - many).max() < 16 / 255
    assert len(indexed_png(figure)) < len(png(figure))


def test_the_threshold_of_densities_is_the_top_tenth_of_random_points(tmp_path):
    write_arrays("E14", tmp_path, num_points=101)
    results = collect("E14", make_rows("E14"), tmp_path)
    for maxima in read_maxima(results).values():
        # Ten of 101 lie above it, it is the eleventh.
        assert (maxima["random"] > threshold(maxima)).sum() == 10
        assert threshold(maxima) in maxima["random"]


def test_nearest_neighbours_by_hand(tmp_path):
    write_arrays("E11", tmp_path, num_points=8)
    points = read_points(collect("E11", make_rows("E11"), tmp_path))
    alike = 0
    for i in np.flatnonzero(points.task == "news"):
        others = np.flatnonzero(points.task != "news")
        gaps = [math.dist(points.embedding[i], points.embedding[j]) for j in others]
        alike += points.member[others[int(np.argmin(gaps))]] == points.member[i]
    assert nearest_agree(points, "news") == (alike / 16, 0.5)
    with np.load(tmp_path / "points.npz") as file:
        lone = dict(file) | {"task": np.full(32, "news")}
    np.savez(tmp_path / "points.npz", **lone)
    points = read_points(collect("E11", make_rows("E11"), tmp_path))
    assert np.isnan(nearest_agree(points, "news")).all()


@pytest.mark.parametrize(
    "values",
    [
        (0, 0.5, 1),
        (-1.0, 0.0, 200.0),
        (1, 2, 3000),
        (5, 5.01, 6),
        ("weak", "strong"),
        (False, True),
    ],
)
def test_an_own_experiment_is_drawn_against_whatever_varies(own, values, tmp_path, caplog):
    rows = [
        row
        for i, value in enumerate(values)
        for row in with_values(own, "auc", (0.5 + 0.1 * i, 0.6 + 0.1 * i), {"strength": value})
    ]
    paths = report_experiment(own, check_rows(rows, OF_EXPERIMENT), tmp_path)
    assert [path.name for path in paths] == ["table.md", "figure.png"]
    text = paths[0].read_text()
    assert "strengths: against strength" in text
    assert f"at strength {values[0]} to" in text
    assert f"at strength {values[-1]}." in text
    assert not caplog.records


def test_overfitting_is_correlated_over_tasks(tmp_path):
    gaps, values = (0.1, 0.2, 0.5, 0.7), (0.52, 0.6, 0.7, 0.9)
    rows = [
        make_row("E2", task, 0, auc=value, train_accuracy=0.9, test_accuracy=0.9 - g)
        for task, g, value in zip(("adult", "face", "news", "location"), gaps, values, strict=True)
    ]
    results = collect("E2", rows, tmp_path)
    r = gap_correlation(results, "auc")
    assert r.mean == pytest.approx(np.corrcoef(gaps, values)[0, 1])
    assert f"{r.mean:.2f} [{r.low:.2f}, {r.high:.2f}] with AUC (n = 4 tasks)" in finding(results)


def test_points_may_stand_alone_if_their_source_is_told(tmp_path):
    write_arrays("E11", tmp_path)
    with pytest.raises(InputError, match="say where the records of location, news come from"):
        report_experiment("E11", [], tmp_path)
    with np.load(tmp_path / "points.npz") as file:
        arrays = dict(file)

    def tell(sources):
        arrays["meta"] = np.array(json.dumps({"sources": sources}))
        np.savez(tmp_path / "points.npz", **arrays)

    tell("real")
    with pytest.raises(InputError, match="is 'real', expected an object of task to source"):
        report_experiment("E11", [], tmp_path)
    tell({"location": "real", "news": "synthetic"})
    text = report_experiment("E11", [], tmp_path)[0].read_text()
    assert "| News (synthetic) | 30 | 30 |" in text
