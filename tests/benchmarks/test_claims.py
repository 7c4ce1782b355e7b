"""Claims beside made-up rows: what is met, what is not, and what is open."""

import json

import pytest

from benchmarks.pages import claims as page

PAIRS = (
    *(("calibrated", "rapid"), ("pmia_class", "lira_offline"), ("rmia_offline", "pmia_class")),
    *(("informia_online", "rmia_online"), ("informia_online", "base_online_tempered")),
)


def difference(mean, half):
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": 8, "ahead": 8, "behind": 0}


def written(folder, name, rows):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def comparisons(**means):
    """Rows of all pairs, none apart but those that are named, "first_less_second"."""
    rows = []
    for first, second in PAIRS:
        mean = means.get(f"{first}_less_{second}", 0.0)
        value = difference(mean, 0.01)
        row = {"task": "location", "source": "real", "seed": 0, "attack": first, "minus": second}
        metrics = dict.fromkeys(("auc", "tpr_at_fpr_0.01", "tpr_at_fpr_0.001"), value)
        rows.append({**row, "num_models": 64, "num_nonmembers": 2087.0, **metrics})
    return rows


def triage(precision):
    row = {
        "task": "location", "source": "real", "attack": "lira_online", "share": 0.01, "recall": 0.1,
        "chance": 0.3, "num_targets": 8, "precision_least": 0.1, "precision_largest": 1.0,
    }  # fmt: skip
    return [
        {**row, "finder": finder, "fpr": fpr, "precision": precision[finder]}
        for finder in ("lt_iqr", "loss")
        for fpr in (0.01, 0.001)
    ]


def usage(bias):
    row = {
        "task": "location", "source": "real", "attack": "lira_online", "num_models": 64,
        "num_records": 100, "num_references": 30, "confidence": 0.95,
    }  # fmt: skip
    return [
        {
            **row,
            "used": used,
            "share": used + bias,
            "share_low": used - 0.1,
            "share_high": used + 0.1,
        }
        for used in (0.0, 0.5)
        for _ in range(4)
    ]


def cascade(gains):
    rows = []
    for number in (1, 2):
        for target, gain in enumerate(gains):
            for conditioned in (False, True):
                gained = gain if conditioned and number == 2 else 0.0
                rows.append(
                    {
                        "task": "location", "source": "real", "attack": "lira_online",
                        "anchor_sides": "authors", "target": target, "round": number,
                        "conditioned": conditioned, "num_shadows": 16 * number, "anchors_in": 0,
                        "anchors_out": 5 * (number - 1), "anchors_right": 0.9 if number > 1 else None,
                        "seed": 0, "num_members": 2087, "num_nonmembers": 2087,
                        "auc": 0.9 + gained, "device_seconds": 3.0,
                        "tpr_at_fpr_0.01": 0.5 + gained, "tpr_at_fpr_0.001": 0.3 + gained,
                    }
                )  # fmt: skip
    return rows


def found(tmp_path, pairs, precision, bias, gains, disjoint=None):
    task = tmp_path / "location"
    if disjoint:
        written(task, "comparisons_disjoint.jsonl", comparisons(**disjoint))
    written(task, "comparisons.jsonl", comparisons(**pairs))
    written(task, "triage.jsonl", triage(precision))
    written(task, "usage.jsonl", usage(bias))
    written(task, "cascade_authors.jsonl", cascade(gains))
    return [claim.met for claim in page.claims(task, tmp_path / "nothing.jsonl")]


def test_claims_that_rows_bear_out(tmp_path):
    pairs = {
        # RAPID was written second: the difference is turned round.
        "calibrated_less_rapid": -0.05,
        "pmia_class_less_lira_offline": 0.05,
        "rmia_offline_less_pmia_class": -0.05,
        "informia_online_less_rmia_online": 0.05,
    }
    met = found(tmp_path, pairs, {"lt_iqr": 0.9, "loss": 0.1}, 0.0, [0.01, 0.02])
    assert met == ["yes"] * 8
    # Of protocol disjoint there is a line more.
    met = found(
        tmp_path, pairs, {"lt_iqr": 0.9, "loss": 0.1}, 0.0, [0.01, 0.02],
        {**pairs, "pmia_class_less_lira_offline": -0.05},
    )  # fmt: skip
    assert met == [*["yes"] * 4, "no", *["yes"] * 4]


def test_claims_that_rows_refute_or_leave_open(tmp_path):
    pairs = {
        "calibrated_less_rapid": 0.05,
        "pmia_class_less_lira_offline": 0.05,
        "informia_online_less_base_online_tempered": 0.05,
    }
    met = found(tmp_path, pairs, {"lt_iqr": 0.1, "loss": 0.2}, 0.05, [-0.01, 0.02])
    # PMIA is ahead of one of two, InfoRMIA of nobody, CMIA on one target of two.
    assert met == ["no", "no", "no", "open", "open", "no", "no", "open"]


def test_the_tables_name_what_they_show(tmp_path):
    found(tmp_path, {}, {"lt_iqr": 0.9, "loss": 0.1}, 0.0, [0.01])
    shown = "\n".join(table.to_markdown() for table in page.tables(tmp_path, tmp_path))
    for text in ("claims of 2024 to 2026", "are the members at risk", "which share", "in rounds"):
        assert text in shown
    assert page.tables(tmp_path / "nowhere", tmp_path) == []


@pytest.mark.parametrize(("best", "expected"), [("bavaria", "yes"), ("rmia_online", "no")])
def test_few_references_are_read_from_costs(best, expected):
    rows = [
        {
            "attack": name,
            "num_references": count,
            "tpr_at_fpr_0.001": {"mean": 0.2 + 0.1 * (name == best)},
        }
        for name in ("bavaria", "lira_online", "rmia_online")
        for count in (2, 4, 8)
    ]
    assert page._few(rows).met == expected


def imitation(lead, seconds):
    row = {
        "task": "location", "source": "real", "seed": 0, "setting": "adaptive", "null": "none",
        "num_targets": 2, "num_members": 2087, "num_nonmembers": 2087, "num_shadows": 200, "ahead": None,
        **dict.fromkeys(("auc", "tpr_at_fpr_0.01", "tpr_at_fpr_0.001"), difference(0.3, 0.1)),
    }  # fmt: skip
    ahead = dict.fromkeys(("auc", "tpr_at_fpr_0.01", "tpr_at_fpr_0.001"), difference(lead, 0.01))
    spent = {"device_seconds_shared": 1.0}
    return [
        {**row, "attack": "imia", "num_shadows": 30, "device_seconds": seconds, **spent},
        {**row, "attack": "lira_online", "ahead": ahead, "device_seconds": 100.0, **spent},
        # With few shadows it would be another claim.
        {**row, "attack": "lira_online", "num_shadows": 20, "device_seconds": 9.0, **spent,
         "ahead": dict.fromkeys(ahead, difference(-1.0, 0.01))},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lead", "seconds", "met"),
    [(0.005, 4.0, ["open", "yes"]), (-0.05, 12.0, ["no", "no"])],
    ids=["as good and cheap", "worse and dear"],
)
def test_imitators_are_held_to_many_shadows_and_their_cost(tmp_path, lead, seconds, met):
    written(tmp_path / "location", "imitation_adaptive.jsonl", imitation(lead, seconds))
    claims = [c.met for c in page._imitation(imitation(lead, seconds), [cascade([0.1, 0.1])])]
    assert claims == met
    (first, _) = page._imitation(imitation(lead, seconds), [cascade([0.1, 0.1])])
    assert "CMIA's 0.400" in first.ours
    # Another number of targets is another run.
    assert "CMIA" not in page._imitation(imitation(lead, seconds), [cascade([0.1])])[0].ours
    found(tmp_path, {}, {"lt_iqr": 0.9, "loss": 0.1}, 0.0, [0.01])
    shown = "\n".join(table.to_markdown() for table in page.tables(tmp_path, tmp_path))
    assert "IMIA beside plain shadows, adaptive" in shown


def orders(correlation, shared):
    def value(mean):
        return {"mean": mean, "low": mean - 0.05, "high": mean + 0.05, "n": 50}

    return [
        {
            "task": "location", "source": "real", "attack": "lira_online", "finder": finder, "over": over,
            "num_targets": 8, "spearman": value(correlation), "top_0.01": value(shared),
            "top_0.05": value(shared),
        }
        for finder in ("lt_iqr", "loss")
        for over in ("members", "records")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("correlation", "shared", "met"),
    [(0.9, 0.7, "yes"), (0.7, 0.3, "in part"), (0.7, 0.06, "no"), (0.0, 0.3, "no")],
    ids=["alike", "order alone", "tops of chance", "no order"],
)
def test_orders_are_alike_where_their_tops_are(tmp_path, correlation, shared, met):
    written(tmp_path, "alike.jsonl", orders(correlation, shared))
    (claim,) = page._of_orders(tmp_path / "alike.jsonl")
    assert claim.met == met
    assert f"rank correlation {correlation:.3f}" in claim.ours
    assert page._of_orders(tmp_path / "none.jsonl") == []
