"""Bad input is one line and a non-zero exit, before any work; --help tells everything."""

import json
import os
import re
import subprocess
import sys

import pytest

TINY = ["--tasks=location", "--num_seeds=1", "--scale=0.01", "--epochs=2", "--attack_epochs=1"]


def refused(process, *words):
    assert process.returncode == 2, process.stdout + process.stderr
    lines = process.stderr.strip().splitlines()
    assert len(lines) == 1, process.stderr
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]
    assert "model-epochs" not in process.stdout


def test_a_workdir_of_another_plan(launch, tmp_path):
    assert launch("launch.sweep", f"--workdir={tmp_path}", *TINY).returncode == 0
    rows = (tmp_path / "rows.jsonl").read_bytes()
    process = launch("launch.sweep", f"--workdir={tmp_path}", *TINY, "--l2=0.5")
    refused(process, "another plan", "target.l2: 1e-07 -> 0.5")
    assert (tmp_path / "rows.jsonl").read_bytes() == rows


def test_a_finished_run_prints_its_results_again(launch, tmp_path):
    first = launch("launch.sweep", f"--workdir={tmp_path}", *TINY)
    again = launch("launch.sweep", f"--workdir={tmp_path}", *TINY)
    assert first.returncode == again.returncode == 0, first.stderr + again.stderr
    assert "finished before" in again.stdout
    # Lines are stamped with the time where there is no terminal.
    said = [re.sub(r"(?m)^\d\d:\d\d:\d\d ", "", run.stdout) for run in (first, again)]
    assert said[0] != first.stdout
    assert said[1].endswith(said[0][said[0].index("Adversary 1") :])
    for path in ("rows.jsonl", "results.csv", "tables.txt", "figures/precision_recall.png"):
        assert (tmp_path / path).stat().st_size > 0


def test_recipes_by_name_are_what_is_trained_and_what_rows_name(launch, tmp_path):
    flags = ["--attack_recipe=released", "--attack_l2=0"]
    sweep, paper = tmp_path / "sweep", tmp_path / "paper"
    process = launch("launch.sweep", f"--workdir={sweep}", *TINY, "--model=logistic", *flags)
    assert process.returncode == 0, process.stderr
    attack = json.loads((sweep / "plan.json").read_text())["plan"]["attack"]
    assert (attack["model"], attack["epochs"], attack["batch_size"]) == ("logistic", 1, 10)
    rows = [json.loads(line) for line in (sweep / "rows.jsonl").read_text().splitlines()]
    assert {row["model"] for row in rows} == {"logistic"}
    # The smallest scale's attack models are cheaper whatever they are called.
    some = ("--experiment=E2", "--tasks=location", "--num_seeds=1")
    process = launch("launch.paper", *some, f"--workdir={paper}", *flags)
    assert process.returncode == 0, process.stderr
    attack = json.loads((paper / "plan.json").read_text())["plan"]["attack"]
    named = ("model", "epochs", "batch_size", "l2")
    assert [attack[name] for name in named] == ["logistic", 10, 50, 0.0]
    (row,) = (json.loads(line) for line in (paper / "E2" / "rows.jsonl").read_text().splitlines())
    assert (row["model"], row["attack_model"]) == ("mlp", "logistic")


def test_a_diverging_run_names_the_model(launch, tmp_path):
    process = launch("launch.sweep", f"--workdir={tmp_path}", *TINY, "--learning_rate=1e38")
    assert process.returncode == 1
    assert "error: target model of location, seed 0: the loss is not finite" in process.stderr


@pytest.mark.parametrize("module", ["launch.sweep", "launch.prepare"])
def test_help_groups_every_flag_with_its_default(launch, module):
    process = launch(module, "--help")
    assert process.returncode == 0
    for word in ("Where:", "--data_dir", "default: "):
        assert word in process.stdout


def test_results_do_not_depend_on_the_current_folder(launch, tmp_path):
    """Relative work directories are resolved before orbax, which wants absolute ones, sees them."""
    relative = os.path.relpath(tmp_path / "w", launch.root)
    assert launch("launch.sweep", f"--workdir={relative}", *TINY).returncode == 0
    assert (tmp_path / "w" / "rows.jsonl").exists()


def test_importing_starts_no_devices(launch):
    # A launcher chooses JAX's devices after it has read its flags.
    code = (
        "import importlib, pkgutil, jleaks\n"
        "from jax._src import xla_bridge\n"
        "for module in pkgutil.walk_packages(jleaks.__path__, 'jleaks.'):\n"
        "    importlib.import_module(module.name)\n"
        "    assert not xla_bridge._backends, module.name\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=launch.root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
