"""The example of an own attack, run as a user runs it on a bank whose models give nothing away."""

import csv
import json

import naive_attacks as naive
import numpy as np
import pytest

from jleaks import registry
from jleaks.attacks import score_files
from jleaks.attacks.evaluate_bank import scores
from jleaks.attacks.references import assign
from jleaks.attacks.registry import ATTACKS, get_attacks


@pytest.fixture
def file(launch, monkeypatch):
    """The example's file; what it registers here is forgotten."""
    for name in ("_entries", "_origins"):
        monkeypatch.setattr(ATTACKS, name, dict(getattr(ATTACKS, name)))
    monkeypatch.setattr(registry, "_LOADED", {})
    return launch.root / "examples" / "own_attack.py"


def saved(path, rng, null):
    slow = naive.random_bank(rng, 6, 200, num_queries=1, null=null)
    np.savez(path, phi=slow.phi[0], member=slow.member, labels=slow.labels)
    return slow


def naive_gap(slow, target, refs):
    """The gap to the best, record by record in float64."""
    phi = slow.phi[0].astype(np.float64)
    return np.array(
        [
            phi[target, x] - max(phi[r, x] for r in refs if not slow.member[r, x])
            for x in range(phi.shape[1])
        ]
    )


def test_scores_are_the_loop_s_and_tell_members_of_models_that_remember(rng, tmp_path, file):
    slow = saved(tmp_path / "bank.npz", rng, null=False)
    registry.load(str(file))
    bank = score_files.read(tmp_path / "bank.npz")
    references, _ = assign(bank)
    found = scores(bank, get_attacks(["gap_to_best"]), references)["gap_to_best"]
    for target in range(6):
        expected = naive_gap(slow, target, references.models[target])
        np.testing.assert_allclose(found[target], expected, rtol=1e-5, atol=1e-5)
        assert naive.auc(found[target], slow.member[target]) > 0.6


def test_the_launcher_runs_it_beside_the_others_in_every_table(rng, tmp_path, launch, file):
    slow = saved(tmp_path / "bank.npz", rng, null=True)
    flags = ("--attacks=loss,gap_to_best,loss", "--compare=gap_to_best,loss", "--audit=gap_to_best")
    done = launch(*("launch.attack", f"--plugin={file}", f"--signals={tmp_path}/bank.npz", *flags))
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert [row["attack"] for row in rows] == ["loss"] * 6 + ["gap_to_best"] * 6
    mine = rows[6:]
    bank = score_files.read(tmp_path / "bank.npz")
    references, _ = assign(bank)
    for row in mine:
        target = int(row["target"])
        expected = naive.auc(
            naive_gap(slow, target, references.models[target]), slow.member[target]
        )
        assert float(row["auc"]) == pytest.approx(expected, abs=1e-5)
        assert (row["num_references"], row["num_in"], row["num_out"]) == ("4", "0.0", "2.0")
        assert row["threshold"]
    tables = (tmp_path / "tables.md").read_text()
    # Of the bank, of comparisons, of bounds on epsilon and of single targets.
    assert tables.count("Gap to best") >= 4
    summary = [json.loads(line) for line in (tmp_path / "summary.jsonl").read_text().splitlines()]
    (gap,) = (row for row in summary if row["attack"] == "gap_to_best")
    assert gap["needs"] == "out"
    # Answers that membership has no part in: 4.5 standard errors, of which the interval has 1.96 to a side.
    auc = gap["auc"]
    assert auc["low"] < auc["mean"] < auc["high"]
    assert abs(auc["mean"] - 0.5) < 4.5 / 1.96 * (auc["high"] - auc["low"]) / 2
    digest = registry.origin_of(file).digest
    assert gap["attack_files"] == {"gap_to_best": digest}
    audits = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert {json.loads(line)["attack"] for line in audits} == {"gap_to_best"}


def test_an_attack_that_no_file_registers_is_refused_and_the_file_s_are_named(launch, file):
    done = launch("launch.attack", f"--plugin={file}", "--attacks=gap", "--signals=nowhere.npz")
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown attack 'gap'; allowed: all, correctness")
    assert done.stderr.rstrip().endswith(", gap_to_best")
    assert done.stderr.count("\n") == 1
