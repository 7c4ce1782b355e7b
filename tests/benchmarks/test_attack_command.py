"""The whole of `jleaks attack`, timed from outside."""

import json

import numpy as np
import pytest

from benchmarks.checks import simulated_banks
from benchmarks.scaling import attack_command


def test_a_simulated_bank_has_what_two_classes_answer(rng):
    bank = simulated_banks.draw(simulated_banks.PROCESSES[1], rng, 8, 40)
    found = attack_command.signals(bank, rng)
    p = 1 / (1 + np.exp(-bank.phi[0, 3, 7].astype(np.float64)))
    assert found.maximum[3, 7] == pytest.approx(max(p, 1 - p), rel=1e-5)
    assert found.entropy[3, 7] == pytest.approx(p * np.log(p) + (1 - p) * np.log(1 - p), rel=1e-4)
    # Song & Mittal 2021, of the true class and the other.
    assert found.mentr[3, 7] == pytest.approx((1 - p) * np.log(p) + p * np.log(1 - p), rel=1e-4)
    assert found.correct[0, 3, 7] == (p > 0.5)


def test_a_row_tells_the_first_run_and_the_others(launch, tmp_path):
    out = tmp_path / "rows.jsonl"
    flags = ["--num_models=8", "--num_records=60", "--repetitions=2", "--attacks=loss,lt_iqr"]
    done = launch("benchmarks.scaling.attack_command", *flags, f"--out={out}")
    assert done.returncode == 0, done.stderr
    (row,) = map(json.loads, out.read_text().splitlines())
    assert row["attacks"] == ["loss", "lt_iqr"]
    assert 0 < row["evaluation_seconds"] < row["seconds"]["least"] <= row["seconds"]["largest"]
    assert row["first_seconds"] > 0
    assert row["peak_megabytes"]["median"] > 100
    assert "`jleaks attack` as a whole" in done.stdout
    failed = launch("benchmarks.scaling.attack_command", *flags[:2], "--attacks=nobody")
    assert failed.returncode == 2
    assert "nobody" in failed.stderr
    assert failed.stderr.count("\n") == 1
