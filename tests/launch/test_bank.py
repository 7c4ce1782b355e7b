"""Banks from the command line: trained, attacked, reported."""

import subprocess
import sys

from jleaks import json_lines


def launched(module: str, *flags: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", module, *flags],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_launchers_train_attack_and_report(tmp_path):
    made = launched(
        "launch.bank", "--tasks=location", "--num_models=12", "--num_candidates=300", "--epochs=2",
        "--num_population=40", "--num_queries=2", "--canaries=mislabelled:20", "--loss_trace=2",
        f"--workdir={tmp_path}",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    done = launched("launch.attack", f"--signals={tmp_path}/location/bank.npz", "--usage=0,1")
    assert done.returncode == 0, done.stderr
    assert "LiRA online" in done.stdout
    assert "canaries among the records of 12 models" in done.stdout
    assert "which share of a data set was used" in done.stdout
    assert "are the members at risk found without references" in done.stdout
    shown = (tmp_path / "location" / "report.html").read_text()
    assert "which share of a data set was used" in shown
    for name in (
        "rows.jsonl",
        "summary.jsonl",
        "comparisons.jsonl",
        "usage.jsonl",
        "triage.jsonl",
        "alike.jsonl",
        "results.csv",
        "tables.md",
        "roc.npz",
        "canaries.jsonl",
        "figures/roc.png",
    ):
        assert (tmp_path / "location" / name).stat().st_size > 0
    cost = launched(
        "benchmarks.attack_cost", f"--banks={tmp_path}/location/bank.npz", "--counts=1,4",
        "--attacks=lira_online,rmia_offline", f"--out_dir={tmp_path}/cost",
    )  # fmt: skip
    assert cost.returncode == 0, cost.stderr
    records = json_lines.read(tmp_path / "cost" / "location" / "cost.jsonl")
    assert [(r["attack"], r["num_references"]) for r in records] == [
        *(("rmia_offline", 1), ("lira_online", 1)),
        *(("rmia_offline", 4), ("lira_online", 4)),
    ]
    assert records[2]["flops"] == 4 * records[0]["flops"] > 0


def test_targets_and_references_of_two_parts(tmp_path):
    made = launched(
        "launch.bank", "--tasks=location", "--num_models=10", "--num_candidates=400", "--epochs=20",
        "--num_population=40", "--num_queries=1", "--num_targets=4", f"--workdir={tmp_path}",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert "10 models of 100 records" in made.stdout
    path = tmp_path / "location" / "bank.npz"
    done = launched("launch.attack", f"--signals={path}", "--audit=lira_offline,lira_online")
    assert done.returncode == 0, done.stderr
    assert "lira_online left out: protocol disjoint has no reference" in done.stdout
    rows = {row["attack"]: row for row in json_lines.read(tmp_path / "location" / "summary.jsonl")}
    assert rows["pmia_all"]["needs"] == "proxies and out"
    assert rows["pmia_all"]["num_targets"] == 4
    assert rows["lira_offline"]["num_references"] == 6
    assert rows["lira_offline"]["auc"]["mean"] > 0.6
    assert "OUT references" in (tmp_path / "location" / "report.html").read_text()
    refused = launched("launch.records", f"--bank={path}")
    assert refused.returncode == 2
    assert "expected a bank without --num_targets" in refused.stderr
