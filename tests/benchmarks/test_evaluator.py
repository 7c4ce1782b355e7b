"""The evaluator's benchmark: its contenders agree, and its rows hold what they must.  Nothing is timed."""

import json
import subprocess
import sys
from pathlib import Path

import naive_attacks as naive
import numpy as np
import pytest

from benchmarks.evaluator import contenders, evaluator, turns
from benchmarks.evaluator.contenders import ATTACKS, Answers
from benchmarks.evaluator.evaluator import TITLES, evaluator_table
from jleaks.errors import InputError

FIELDS = {
    *("benchmark", "contender", "attacks", "num_models", "num_records", "measured_targets"),
    *("measured_records", "extrapolated", "seconds", "cpu_seconds", "measured_seconds"),
    *("peak_megabytes", "turns", "command", "cpu", "cores", "load_before", "commit", "device"),
    "versions",
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[dict]:
    out = tmp_path_factory.mktemp("benchmark") / "evaluator.jsonl"
    sizes = [
        "--num_models=8",
        "--num_records=60",
        "--num_targets=2",
        "--loop_records=20",
        "--repetitions=1",
    ]
    command = [sys.executable, "-m", "benchmarks.evaluator", *sizes, f"--out={out}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert "Per-record loops" in done.stdout
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_every_contender_leaves_a_row(rows):
    assert [r["contender"] for r in rows] == [
        *("jleaks", "loops", "numpy", "numpy_search", "numpy_shared")
    ]
    for row in rows:
        assert row.keys() >= FIELDS, FIELDS - row.keys()
        assert row["attacks"] == list(ATTACKS)
        assert row["seconds"]["least"] <= row["seconds"]["median"] <= row["seconds"]["largest"]
        assert row["peak_megabytes"]["median"] > 10
        assert "--num_records=60" in row["command"]
        if row["contender"] == "jleaks":
            assert (row["measured_targets"], row["extrapolated"]) == (8, "no")
            assert row["compile_seconds"]["median"] > 0
        else:
            assert row["measured_targets"] == 2
            assert row["times_jleaks"]["median"] > 0
            assert row["measured_records"] == (20 if row["contender"] == "loops" else 60)


def test_contenders_agree_with_jleaks(rows):
    for row in rows[1:]:
        assert row["largest_difference"]["score"] < 1e-3, row["contender"]
        if row["contender"] != "loops":
            assert row["largest_difference"]["auc"] < 1e-5, row["contender"]


def test_the_table_names_every_contender(rows):
    text = evaluator_table(rows).to_markdown()
    assert all(TITLES[row["contender"]] in text for row in rows)
    assert TITLES.keys() == {"jleaks", *turns.CONTENDERS}


def test_a_disagreement_is_one_clear_line():
    ours = {"scores loss": np.zeros((2, 5)), "auc loss": np.full(2, 0.5)}
    theirs = {"scores loss": np.zeros((2, 3)), "auc loss": np.array([0.5, 0.51])}
    with pytest.raises(InputError, match=r"numpy and jleaks differ by 0.01 in the auc of loss"):
        evaluator.differences("numpy", theirs, ours)
    theirs = {"scores loss": np.array([[0, 0, 0.5], [0, 0, 0]])}
    with pytest.raises(InputError, match=r"loops and jleaks differ by 0.5 in the scores of loss"):
        evaluator.differences("loops", theirs, ours)
    # Public code scales its scores otherwise.
    assert evaluator.differences("lira_authors", theirs, ours) == {"score": None, "auc": None}


@pytest.mark.parametrize(
    "make_fn",
    [
        lambda a: contenders.Vectorised(a, contenders.by_pairs),
        lambda a: contenders.Vectorised(a, contenders.by_search),
        contenders.Shared,
        contenders.Loops,
    ],
    ids=["pairs", "search", "shared", "loops"],
)
def test_contenders_equal_the_loops_in_float64(rng, make_fn):
    slow = naive.random_bank(rng, 8, 30, num_queries=1)
    answers = Answers(slow.phi[0], slow.phi_t, slow.member, slow.phi_t[:, :5])
    contender = make_fn(answers)
    for target in (0, 5):
        refs = naive.references(slow, target)
        assert answers.references(target).tolist() == refs
        records = [np.arange(30)] if isinstance(contender, contenders.Loops) else []
        for name, found in contender.scores(target, *records).items():
            variant = contenders.OFFLINE_A if name == "rmia_offline" else None
            expected = naive.score(name, slow, target, refs, variant=variant)
            np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3, err_msg=name)


def test_measures_are_those_of_brute_force(rng):
    member = rng.random(300) < 0.5
    scores = np.round(rng.normal(size=300) + member, 1)
    auc, found = contenders.measures(scores, member)
    assert auc == pytest.approx(naive.auc(scores, member))
    assert found == [naive.tpr_at(scores, member, fpr)[2] for fpr in contenders.FPRS]


_PLOT = """
import numpy as np


def generate_ours(keep, scores, check_keep, check_scores):
    return list(-check_scores[0, :, 0]), list(check_keep[0])


def generate_ours_offline(*answers, fix_variance=False):
    assert fix_variance
    return generate_ours(*answers)


def sweep(score, x):
    return None, None, 0.75, None
"""


def test_public_code_is_imported_from_its_checkout(rng, tmp_path: Path):
    slow = naive.random_bank(rng, 6, 20, num_queries=1)
    answers = Answers(slow.phi[0], slow.phi_t, slow.member, slow.phi_t[:, :5])
    turn = turns.Turn(range(2), 5, tmp_path)
    with pytest.raises(InputError, match=r"plot.py does not exist"):
        turns.CONTENDERS["lira_authors"].time_fn(answers, turn)
    folder = tmp_path / "privacy" / "research" / "mi_lira_2021"
    folder.mkdir(parents=True)
    (folder / "plot.py").write_text(_PLOT)
    found = turns.CONTENDERS["lira_authors"].time_fn(answers, turn)
    assert found["auc"]["lira_online_record"] == [0.75, 0.75]
    np.testing.assert_array_equal(found["scores"]["lira_online_record"], slow.phi[0, :2])
    assert found["seconds"] == pytest.approx(3 * found["measured_seconds"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--num_models=7"], "--num_models is 7, expected even"),
        (["--contender=nobody", "--found=x"], "--contender names nobody; allowed: loops, "),
        (["--contender=loops"], "--contender needs --found"),
    ],
)
def test_bad_flags_are_one_line_and_status_two(launch, flags, message):
    done = launch("benchmarks.evaluator", *flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
