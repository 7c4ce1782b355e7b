"""The page about speed from rows, the profile's arithmetic, and the flags of what runs all benchmarks."""

import json

import numpy as np
import pytest

from benchmarks.pages import speed as speed_page
from benchmarks.scaling.step_profile import REST, WHOLE, profile_table, split

ABOUT = {
    "turns": 2,
    "command": "python -m benchmarks.scaling.step_profile",
    "cpu": "a processor",
    "cores": 2,
    "commit": "abc",
    "load_before": 0.1,
    "versions": {"jax": "1"},
}


def profile_row(kernels, scale, **about):
    parts = {"order": 1.0, "dense 1": 20.0, "cross-entropy": 3.0, "Adam": 4.0, REST: 2.0}
    parts[WHOLE] = 30.0
    spread = {
        name: dict.fromkeys(("median", "least", "largest"), scale * value)
        for name, value in parts.items()
    }
    row = {"benchmark": "profile", "network": "purchase_mlp", "kernels": kernels}
    return {**row, "microseconds": spread, **ABOUT, **about}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_only_the_last_run_is_shown(tmp_path):
    old = [profile_row("xla", 9.0, commit="old"), profile_row("host", 7.0, commit="old")]
    write(tmp_path / "profile.jsonl", [*old, profile_row("xla", 2.0), profile_row("host", 1.0)])
    text = speed_page.page(tmp_path, tmp_path / "figures")
    assert "## Where does the time of a step go?" in text
    assert "| whole step | 60.0 | 30.0 |" in text
    # XLA's parts do not add up: what is left is not shown.
    assert "| rest | - | 2.0 |" in text
    assert "270.0" not in text
    assert "commit old" not in text
    assert (tmp_path / "figures" / "profile.png").read_bytes()[:4] == b"\x89PNG"
    # Questions without rows are left out.
    assert "models belong into one call" not in text


def test_the_same_rows_give_the_same_page(tmp_path):
    write(tmp_path / "profile.jsonl", [profile_row("xla", 2.0), profile_row("host", 1.0)])
    pages = [speed_page.page(tmp_path, tmp_path / name) for name in ("a", "b")]
    assert pages[0].replace("](a/", "](b/") == pages[1]
    assert (tmp_path / "a" / "profile.png").read_bytes() == (
        tmp_path / "b" / "profile.png"
    ).read_bytes()


def test_the_profile_table_names_both():
    table = profile_table("purchase_mlp", [profile_row("xla", 2.0), profile_row("host", 1.0)])
    assert table.heads == ("Part", "XLA", "host kernels")
    assert [cell.text for cell in table.rows[0]] == ["order", "2.0", "1.0"]


def test_gradients_that_are_one_kernel_with_adam_are_marked():
    rows = [profile_row("xla", 2.0), profile_row("host", 1.0)]
    rows[0]["microseconds"] = {
        name: {"median": value}
        for name, value in {"dense 1, gradients": 7.0, "Adam": 3.0, REST: 1.0, WHOLE: 11.0}.items()
    }
    rows[1]["microseconds"] = {
        name: {"median": value}
        for name, value in {"dense 1, gradients and Adam": 6.0, REST: 1.0, WHOLE: 7.0}.items()
    }
    texts = [[cell.text for cell in row] for row in profile_table("purchase_mlp", rows).rows]
    assert texts == [
        ["dense 1, gradients", "7.0", "6.0*"],
        ["Adam", "3.0", "-"],
        [REST, "-", "1.0"],
        [WHOLE, "11.0", "7.0"],
    ]


def test_no_rows_is_bad_input(launch, tmp_path):
    done = launch(
        "benchmarks.speed", "--only=page", f"--results={tmp_path}", f"--page={tmp_path / 'p.md'}"
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: no rows in")
    assert len(done.stderr.splitlines()) == 1


def test_the_committed_page_is_that_of_the_committed_rows(launch, tmp_path):
    results, written = launch.root / "results" / "speed", launch.root / "benchmarks" / "README.md"
    assert written.read_text() == speed_page.page(results, tmp_path / "figures")


def test_unknown_benchmarks_are_bad_input(launch, tmp_path):
    done = launch("benchmarks.speed", f"--results={tmp_path}", "--only=growth,everything")
    assert done.returncode == 2
    assert "--only names everything; allowed: training, " in done.stderr


def test_a_step_is_split_into_parts():
    found = {"order": 1.0, "dense 1": 5.0, "dense 1 +": 12.0, "Adam": 3.0, WHOLE: 20.0}
    parts = split(found, 100)
    assert parts["order"] == pytest.approx(0.01)
    assert parts["dense 1, gradients"] == pytest.approx(7.0)
    assert parts[REST] == pytest.approx(20 - 0.01 - 5 - 7 - 3)
    assert np.isclose(sum(v for k, v in parts.items() if k != WHOLE), parts[WHOLE])


def test_unknown_networks_are_bad_input(launch):
    done = launch("benchmarks.scaling.step_profile", "--networks=vgg")
    assert done.returncode == 2
    assert "--networks names vgg; allowed: purchase_mlp, " in done.stderr
