"""The laws of what a sweep costs: fitted, predicted, shown; and the pages of grids."""

import json

import pytest
from conftest import ROOT

from benchmarks.pages import clusters as clusters_page
from benchmarks.pages import filled
from benchmarks.pages import scale as scale_page
from benchmarks.scaling import scale
from benchmarks.scaling.scale import Size
from jleaks.errors import InputError

SIZES = [Size(2, 400, 50), Size(8, 400, 50), Size(8, 1200, 50), Size(16, 800, 100)]


def row(size, checked=False, **found):
    """What a run would take by a law that is known."""
    return {
        "size": list(size), "checked": checked, "cpu_seconds": 5 + 0.5 * size.models + 3e-6 * size.seen,
        "peak_mib": 300 + 2 * size.models + 1e-3 * size.models * size.records,
        "checkpoint_bytes": 1000 * size.models, "kept_bytes": 300 * size.models,
        "row_bytes": 2000 * size.models, **found,
    }  # fmt: skip


def test_a_law_that_holds_is_found_and_predicts():
    rows = [row(size) for size in SIZES]
    law = scale.fit(rows, "cpu_seconds")
    assert list(law.values()) == pytest.approx([5, 0.5, 3])
    assert scale.predict(law, "cpu_seconds", Size(96, 400, 200)) == pytest.approx(5 + 48 + 23.04)
    memory = scale.fit(rows, "peak_mib")
    assert list(memory.values()) == pytest.approx([300, 2, 1])


def test_no_coefficient_is_below_zero():
    rows = [row(size, cpu_seconds=10 - 0.01 * size.models) for size in SIZES]
    assert min(scale.fit(rows, "cpu_seconds").values()) >= 0


def test_the_table_says_how_far_off_the_laws_are():
    rows = [row(size) for size in SIZES]
    rows.append(row(Size(96, 400, 200), checked=True, cpu_seconds=2 * (5 + 48 + 23.04)))
    cells = [[cell.text for cell in line] for line in scale.checks_table(rows).rows]
    assert cells[-1][:3] == ["96, 400, 200", "checked", "152 (2.00)"]
    assert all(line[2].endswith("(1.00)") for line in cells[:-1])


@pytest.mark.parametrize("text", ["8:400", "7:400:5", "8:100:5", "8:400:0", "a:b:c"])
def test_sizes_that_are_none_are_one_line(text):
    with pytest.raises(InputError, match=f"^size {text!r}, expected "):
        scale.read_size(text)


def test_a_small_sweep_is_measured(launch, tmp_path):
    out = tmp_path / "rows.jsonl"
    flags = ["--fitted=2:400:2", "--checked=", "--repetitions=1", f"--out={out}"]
    refused = launch("benchmarks.scaling.scale", *flags)
    assert refused.returncode == 2
    assert "--fitted names fewer than 3 sizes" in refused.stderr
    # Long enough that files are looked at while it trains.
    found = scale.measure(Size(2, 400, 3000), 1)
    assert found["rows"] == 4
    assert found["checkpoint_bytes"] > found["kept_bytes"] > 100_000
    assert found["peak_mib"] > 100
    assert found["cpu_seconds"] > 1


def test_grids_of_machines_follow_from_laws():
    rows = [row(size) for size in SIZES]
    program = {
        "device": "h100",
        "case": "mlp",
        "microseconds": 2.0,
        "batch": 100,
        "compile_seconds": 7,
    }
    size = Size(10, 400, 50)
    cpu = scale_page.Fleet("cores", 2, 4, None, 9, size)
    found = scale_page.predicted(cpu, rows, [], gather=0.01)
    assert found["cell_seconds"] == pytest.approx(5 + (5 + 0.6) / 4)
    assert found["hours"] == pytest.approx(5 * found["cell_seconds"] / 3600)
    assert found["gather_seconds"] == pytest.approx(0.09)
    gpu = cpu._replace(device="h100", devices=1)
    found = scale_page.predicted(gpu, rows, [program], gather=0.01)
    assert found["cell_seconds"] == pytest.approx(5 + 7 + 5 + 200_000 * 2e-8)
    with pytest.raises(InputError, match="no compiled program of an MLP on tpu"):
        scale_page.predicted(gpu._replace(device="tpu"), rows, [program], 0.01)


@pytest.mark.parametrize("name", ["scale", "clusters"])
def test_the_committed_pages_are_those_of_the_committed_rows(name):
    results, written = ROOT / "results", (ROOT / "docs" / f"{name}.md").read_text()
    parts = (
        clusters_page.parts(results / "clusters.jsonl")
        if name == "clusters"
        else scale_page.parts(
            results / "scale.jsonl", results / "cells.jsonl", results / "speed" / "compiled.jsonl"
        )
    )
    for marker, text in parts.items():
        assert filled(written, marker, text) == written


def test_committed_grids_lost_nothing():
    for path in ("cells.jsonl", "clusters.jsonl"):
        for line in (ROOT / "results" / path).read_text().splitlines():
            found = json.loads(line)
            assert (found["equal"], found["missing"]) == (True, 0)
            assert found.get("finished_twice", found.get("twice")) == 0
