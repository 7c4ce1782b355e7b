"""Grids of runs: which cells there are, what is refused, what is gathered."""

import itertools
import json
from pathlib import Path

import pytest
from held_locks import holder

from jleaks.errors import InputError
from jleaks.experiments import cells
from jleaks.report.cell_table import cell_table

WORDS = ["sweep", "--tasks=location"]


def row(seed, auc, **fields):
    return {
        "task": "location", "shadow_task": "location", "adversary": 1, "attack": "attack model",
        "seed": seed, "source": "synthetic", "auc": auc, "test_accuracy": 0.5, "train_accuracy": 1.0,
        "precision": None, "recall": 0.0, "num_nonmembers": 400, **fields,
    }  # fmt: skip


def finish(cell, rows):
    cell.folder.mkdir(parents=True)
    (cell.folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))


def test_cells_are_all_combinations():
    grid = cells.parse("epochs=5, 20;  --dropout=0,0.5", WORDS)
    found = grid.cells(Path("root"))
    assert [cell.name for cell in found] == [
        *("epochs=5,dropout=0", "epochs=5,dropout=0.5"),
        *("epochs=20,dropout=0", "epochs=20,dropout=0.5"),
    ]
    assert found[1].words == [
        *WORDS, "--epochs=5", "--dropout=0.5", "--workdir=root/epochs=5,dropout=0.5"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("grid", "words", "message"),
    [
        ("", WORDS, "--grid names no flag, expected values to combine"),
        ("epochs", WORDS, "--grid has 'epochs', expected a flag and its values"),
        ("epochs=1,,2", WORDS, "--grid has 'epochs=1,,2', expected a flag"),
        ("epochs=1;epochs=2", WORDS, "--grid names epochs, which is given twice"),
        ("epochs=1,1", WORDS, "--grid has a value of epochs twice"),
        ("workdir=a,b", WORDS, "--grid names workdir, which is each cell's own"),
        ("network=../nets.py:Net", WORDS, r"--grid has network of '../nets.py:Net', expected letters"),
        ("epochs=1,2", [], "cells run no command, expected one of sweep, paper, defend"),
        ("epochs=1,2", ["serve"], "cells run serve, expected one of sweep"),
        ("epochs=1,2", [*WORDS, "--epochs=3"], "--epochs is given to all cells, but each has its own"),
        ("epochs=1,2", [*WORDS, "--workdir=w"], "--workdir is given to all cells, but each"),
    ],
)  # fmt: skip
def test_what_is_no_grid_is_one_line(grid, words, message):
    with pytest.raises(InputError, match=f"^{message}"):
        cells.parse(grid, words)


def test_every_cell_is_in_one_shard():
    parts = [cells.shard(f"{i}/3", 8) for i in range(3)]
    assert sorted(itertools.chain(*parts)) == list(range(8))
    for bad in ("3/3", "1", "-1/2", "a/b", "0/0"):
        with pytest.raises(InputError, match="expected place/number"):
            cells.shard(bad, 8)


def test_a_directory_has_one_grid(tmp_path):
    grid = cells.parse("epochs=5,20", WORDS)
    with pytest.raises(InputError, match=r"has no cells\.json: jleaks cells --grid"):
        cells.read(tmp_path)
    cells.keep(grid, tmp_path)
    cells.keep(grid, tmp_path)
    assert cells.read(tmp_path) == grid
    other = cells.parse("epochs=5,10", WORDS)
    with pytest.raises(InputError, match=r"has another grid \(epochs=5,20 of sweep "):
        cells.keep(other, tmp_path)
    (tmp_path / cells.FILE).write_text("[]")
    with pytest.raises(InputError, match=r"cells\.json is not a grid"):
        cells.read(tmp_path)


def test_rows_of_finished_cells_are_joined_and_the_others_named(tmp_path):
    found = cells.parse("epochs=5,20;top=1,3", WORDS).cells(tmp_path)
    finish(found[0], [row(0, 0.6), row(1, 0.8)])
    finish(found[3], [row(0, 0.5)])
    rows, missing = cells.gathered(found)
    assert [r["cell"] for r in rows] == [{"epochs": "5", "top": "1"}] * 2 + [
        {"epochs": "20", "top": "3"}
    ]
    assert [r["auc"] for r in rows] == [0.6, 0.8, 0.5]
    assert missing == found[1:3]
    table = cell_table(rows)
    assert table.heads[:4] == ("epochs", "top", "Task", "Attack")
    lines = [[cell.text for cell in line] for line in table.rows]
    assert [line[:4] for line in lines] == [
        ["5", "1", "location", "adversary 1"], ["20", "3", "location", "adversary 1"]
    ]  # fmt: skip
    at = table.heads.index("AUC")
    # The t interval of 0.6 and 0.8 reaches beyond what an AUC can be.
    assert [line[at] for line in lines] == ["0.700 [0, 1]", "0.500"]


def test_experiments_have_finished_when_their_run_has(tmp_path):
    (cell,) = cells.parse("epochs=5", ["paper", "--experiment=E2,E6"]).cells(tmp_path)
    (cell.folder / "E2").mkdir(parents=True)
    line = json.dumps(row(0, 0.6, experiment="E2", variant={"top": 3}))
    (cell.folder / "E2" / "rows.jsonl").write_text(line)
    assert cells.gathered([cell]) == ([], [cell])
    (cell.folder / "progress.json").write_text('{"ended": "finished"}')
    rows, missing = cells.gathered([cell])
    assert not missing
    (only,) = cell_table(rows).rows
    assert [one.text for one in only][:5] == ["5", "E2", "location", "adversary 1", "top 3"]


def test_a_cell_that_another_process_runs_is_known(tmp_path):
    (cell,) = cells.parse("epochs=5", WORDS).cells(tmp_path)
    assert cell.holder is None
    assert not cell.folder.exists()
    with holder(cell.folder / ".lock") as process:
        assert f"process {process.pid} on" in cell.holder
    assert cell.holder is None
