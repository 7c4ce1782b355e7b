"""docs/attacks.md from small made-up results: any directory is a bank, and README's table is replaced."""

import json
from pathlib import Path

import pytest

from benchmarks.pages import attacks as attack_page
from jleaks import json_lines
from jleaks.attacks.registry import ATTACKS
from jleaks.errors import InputError
from jleaks.experiments.bank_results import METRICS
from jleaks.metrics.bank_metrics import FPRS
from jleaks.report.numbers import FEW_NOTE

NARROW = {
    "model": "mlp",
    "hidden": [128],
    "epochs": 50,
    "optimizer": "adam",
    "augmentation": "none",
}
WIDE = {**NARROW, "hidden": [1024, 512], "epochs": 100, "optimizer": "sgd"}

MARKERS = ("<!-- attacks table -->", "<!-- /attacks table -->")


def bank(
    folder: Path,
    name: str,
    task: str,
    tpr: float,
    recipe: dict | None = None,
    num_nonmembers: float = 5_000.0,
) -> None:
    """Writes the summary of a bank on which LiRA online has this TPR at 0.1% FPR."""
    records = []
    for attack in ("loss", "lira_online"):
        value = {"mean": 0.6, "low": 0.59, "high": 0.61, "n": 6}
        entry = ATTACKS[attack]
        record = {
            "task": task,
            "source": "real",
            "attack": attack,
            "num_models": 6,
            "num_targets": 6,
            "num_references": 4,
            "needs": entry.references,
            "labels": True,
            "queries": "one",
            "num_members": 10.0,
            "num_nonmembers": num_nonmembers,
            "intervals": "records",
            "train_accuracy": 1.0,
            "test_accuracy": 0.5,
            "training_seconds": 3.0,
            "evaluation_seconds": 1.0,
            "device": "cpu x2",
            "versions": {"jax": "0"},
            **dict.fromkeys(METRICS, value),
        }
        share = tpr if attack == "lira_online" else 0.01
        record[f"tpr_at_fpr_{FPRS[1]}"] = {"mean": share, "low": share, "high": share, "n": 6}
        # Rows of earlier commits say nothing of a recipe.
        records.append(record if recipe is None else {**record, "recipe": recipe})
    json_lines.write(folder / name / "summary.jsonl", records)


@pytest.fixture
def results(tmp_path) -> Path:
    folder = tmp_path / "results" / "bank"
    bank(folder, "purchase100_wide", "purchase100", 0.5, WIDE)
    bank(folder, "purchase100", "purchase100", 0.25, NARROW)
    bank(folder, "mine", "scores", 0.125)
    bank(folder, "adult_again", "adult", 0.0625)
    bank(folder, "adult", "adult", 0.75)
    (folder / "notes").mkdir()
    return folder


def test_every_directory_is_a_bank_in_the_registry_s_order(results, tmp_path):
    text = attack_page.page(results, tmp_path / "docs")
    sections = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert sections[-5:] == [
        "Adult",
        "Adult (adult_again)",
        "Purchase-100",
        "Purchase-100, hidden 1024-512, 100 epochs, SGD",
        "mine",
    ]
    assert "![ROC curves of purchase100_wide](../results/bank/purchase100_wide/roc.png)" in text
    assert (
        "- **Purchase-100.** TPR at 0.1% FPR: 0.2500 with references (LiRA online), 25 times"
        in text
    )


def test_banks_of_one_title_are_told_apart_by_their_directories(tmp_path):
    bank(tmp_path, "location", "location", 0.5, NARROW)
    bank(tmp_path, "location_2", "location", 0.5, NARROW)
    text = attack_page.page(tmp_path, tmp_path)
    assert "## Location (location)\n" in text
    assert "## Location (location_2)\n" in text


def test_null_checks_have_a_cell_for_every_head(results):
    record = {
        "task": "location",
        "null": "redrawn",
        "attack": "loss",
        "draws": 9,
        "mean_auc": 0.5,
        "standard_error": 0.001,
        "coverage_of_mean": 0.95,
        "coverage": 0.9,
        "over_thresholds": 0.125,
        "one_run": 0.25,
    }
    earlier = {k: v for k, v in record.items() if k != "coverage_of_mean"}
    (results / "null.jsonl").write_text("".join(json.dumps(r) + "\n" for r in (record, earlier)))
    lines = attack_page.page(results, results).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("| Bank | Null |"))
    assert len({line.count("|") for line in lines[at : at + 4]}) == 1
    assert lines[at + 2].endswith("| 0.950 | 0.900 | 0.125 | 0.250 |")
    assert lines[at + 3].endswith("| - | 0.900 | 0.125 | 0.250 |")


def test_tprs_at_few_allowed_non_members_are_marked_wherever_they_stand(tmp_path):
    bank(tmp_path, "location", "location", 0.5, NARROW, num_nonmembers=4_999.0)
    bank(tmp_path, "news", "news", 0.25, NARROW, num_nonmembers=5_000.0)
    text = attack_page.page(tmp_path, tmp_path)
    # At 0.1%, 4,999 non-members allow four, 5,000 five.
    assert "| LiRA online | IN, OUT | 0.500†±.000 | 0.250±.000 |" in text
    assert "0.5000† with references" in text
    section = text[text.index("## TPR at 0.1% FPR") : text.index("## TPR at 1% FPR")]
    assert FEW_NOTE in section
    assert FEW_NOTE not in text[text.index("## TPR at 1% FPR") : text.index("## AUC")]
    start, end = MARKERS
    assert FEW_NOTE in attack_page.with_table(f"{start}\n{end}\n", tmp_path)


def test_earlier_rows_show_no_intervals_over_targets(tmp_path):
    bank(tmp_path, "location", "location", 0.5, NARROW)
    path = tmp_path / "location" / "summary.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    json_lines.write(path, [{k: v for k, v in r.items() if k != "intervals"} for r in records])
    text = attack_page.page(tmp_path, tmp_path)
    tables = [line for line in text.splitlines() if line.startswith("| LiRA online")]
    assert tables
    assert not any("±" in line for line in tables)
    assert "No ±: evaluated before intervals were over records, by the attacks of then." in text


def test_how_intervals_were_checked_is_told_from_its_rows(results):
    truth = {"truth": 0.5, "estimate": 0.5, "width": 0.01, "banks": 9, "below": 0.0, "above": 0.0}
    shared = {"process": "null", "what": "mean over targets", "attack": "loss", "measure": "auc"}
    shared |= {**truth, "num_models": 16, "num_records": 4_000}
    methods = (("t over targets", 0.5), ("records", 0.9375))
    json_lines.write(
        results / "coverage.jsonl", [{**shared, "method": m, "coverage": c} for m, c in methods]
    )
    text = attack_page.page(results, results)
    section = text[text.index("## How the intervals were checked") :]
    assert "| 0.5000 | 0.5000 | 0.500 | 0.010 | 0.938 | 0.010 |" in section
    assert "coverage.png)" in section


def test_a_readme_gets_the_table_between_its_markers(results, launch, tmp_path):
    readme, page = tmp_path / "README.md", tmp_path / "docs" / "attacks.md"
    start, end = MARKERS
    readme.write_text(f"Before.\n\n{start}\nold\n{end}\n\nAfter.\n")
    flags = [f"--results={results}", f"--page={page}", f"--readme={readme}"]
    for _ in range(2):
        done = launch("benchmarks.pages.attacks", *flags)
        assert done.returncode == 0, done.stderr
    text = readme.read_text()
    assert text.startswith(f"Before.\n\n{start}\n\n| Attack | Needs | Adult |")
    assert text.endswith(f"as they are.\n\n{end}\n\nAfter.\n")
    assert "old" not in text
    expected = (
        "| LiRA online | IN, OUT | 0.750±.000 | 0.062±.000 | 0.250±.000 | 0.500±.000 | 0.125±.000 |"
    )
    assert expected in text
    assert expected in page.read_text()


@pytest.mark.parametrize("text", ["nothing", "{1}\n{0}", "{0}\n{0}\n{1}", "{0}"])
def test_a_readme_without_markers_is_left_alone(results, text):
    with pytest.raises(InputError, match=r"must have the lines <!-- attacks table -->"):
        attack_page.with_table(text.format(*MARKERS), results)


def test_no_banks_are_one_clear_line(tmp_path, launch):
    done = launch("benchmarks.pages.attacks", f"--results={tmp_path}", f"--page={tmp_path}/page.md")
    assert (done.returncode, done.stderr) == (2, f"error: {tmp_path} has no NAME/summary.jsonl\n")
    assert not (tmp_path / "page.md").exists()


def test_the_committed_page_is_that_of_the_committed_rows(launch):
    folder, written = launch.root / "results" / "bank", launch.root / "docs" / "attacks.md"
    assert written.read_text() == attack_page.page(folder, written.parent)
