"""The command that judges single records: what it writes."""

import csv
import json

import naive_attacks as naive
import numpy as np
import pytest


@pytest.fixture
def scores(rng, tmp_path):
    slow = naive.random_bank(rng, 40, 30, num_queries=1, num_population=6, all_in=1)
    path = tmp_path / "scores.npz"
    np.savez(
        path, logits=slow.logits, member=slow.member, labels=slow.labels, population=slow.population
    )
    return path


def test_files_say_the_same_and_what_models_do_not_tell(launch, scores):
    folder = scores.parent / "out"
    process = launch(
        "jleaks", "records", f"--bank={scores}", f"--out_dir={folder}",
        "--attacks=class_thresholds,loss,lira_offline", "--fprs=0.1,0.01",
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert "class_thresholds left out: it sets a target beside its shadow" in process.stdout
    assert "own FPR of 0.01 is not told by 40 models" in process.stdout
    with (folder / "records.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 24
    assert {row["attack"] for row in rows} == {"loss", "lira_offline"}
    loss = [row for row in rows if row["attack"] == "loss"]
    # Of the record that all models trained on nothing can be said; it stands last.
    assert (loss[-1]["num_out"], loss[-1]["auc"], loss[-1]["p"]) == ("0", "", "1.0")
    areas = [float(row["auc"]) for row in loss[:-1]]
    assert areas == sorted(areas, reverse=True)
    assert all(row["tpr_at_own_fpr_0.01"] == "" for row in loss)
    summary = [json.loads(line) for line in (folder / "summary.jsonl").read_text().splitlines()]
    assert summary[0]["attack"] == "loss"
    assert summary[0]["record_auc"]["mean"] == pytest.approx(np.mean(areas), abs=1e-5)
    assert summary[0]["record_tpr_at_own_fpr_0.01"] is None
    found = sum(float(row["q_bh"]) <= 0.05 for row in loss)
    assert summary[0]["records_found_bh"] == found > 5
    assert len((folder / "agreement.jsonl").read_text().splitlines()) == 3
    for name in ("records.png", "record_scores.png"):
        assert (folder / "figures" / name).stat().st_size > 10_000
    import pandas as pd

    frame = pd.read_parquet(folder / "records.parquet")
    assert frame["auc"].isna().sum() == 2
    assert frame["record"].tolist() == [int(row["record"]) for row in rows]
