"""Means over a bank's targets: sums of influences against loops over targets and records."""

import math

import naive_attacks as naive
import naive_intervals as slow
import numpy as np
import pytest

from jleaks.attacks.bank import Bank
from jleaks.attacks.evaluate_bank import evaluate, scores
from jleaks.attacks.references import References, assign
from jleaks.attacks.registry import ATTACKS
from jleaks.experiments import bank_results
from jleaks.metrics.bank_metrics import FPRS, INFLUENCES
from jleaks.metrics.estimates import MEASURES, means, over_targets
from jleaks.metrics.operating_points import counts, tpr_of_scores
from jleaks.report.bank_tables import bank_table, comparison_table, cost_table
from jleaks.report.numbers import FEW_NOTE, PART_NOTE
from jleaks.training import fleet
from jleaks.training.fleet import make_mesh

NAMES = ("correctness", "loss", "class_thresholds", "lira_online")
CHOSEN = [ATTACKS[name] for name in NAMES]


@pytest.fixture
def bank(rng) -> Bank:
    slow_bank = naive.random_bank(rng, 8, 110, num_queries=1, num_population=10)
    fields = ("phi", "member", "labels", "num_classes", "population", "correct", "phi_t", "mentr")
    found = {name: getattr(slow_bank, name) for name in fields}
    return Bank(**found, twins=True, meta={"task": "location", "source": "real"})


def naive_sums(bank: Bank, rows: np.ndarray, thresholds: np.ndarray) -> dict[str, np.ndarray]:
    """Influences of every record, added up over targets, from scores [T, N]."""
    audited = ~bank.population
    sums = {name: np.zeros(len(bank.labels)) for name in INFLUENCES}
    for row, member, level in zip(rows, bank.member, thresholds, strict=True):
        own, truth = row[audited].astype(np.float64), member[audited]
        sums["auc"][audited] += slow.placements(own, truth)[1]
        for name, (_, steps) in slow.called(own, truth, level).items():
            if not np.isnan(steps).any():
                sums[name][audited] += steps
        for fpr in FPRS:
            at = counts(fpr, int((~truth).sum())).nearest
            both = slow.exceedances(own, truth, at)
            for kind, steps in zip(("members", "others"), both, strict=True):
                sums[f"{kind}_at_fpr_{fpr}"][audited] += steps
    return sums


@pytest.mark.parametrize(("num_devices", "block"), [(3, None), (2, 40)])
def test_influences_are_sums_over_targets(bank, num_devices, block):
    """Rows that pad three devices count nothing, and no target of a block counts twice."""
    references, shadows = assign(bank)
    before = fleet.TRACES["score block"]
    metrics = evaluate(
        bank, CHOSEN, references, shadows, make_mesh(num_devices), records_per_block=block
    )
    assert (fleet.TRACES["score block"] > before) == (block is not None)
    assert metrics.influence.shape == (len(CHOSEN), len(INFLUENCES), 110)
    whole = scores(bank, CHOSEN, references, shadows)
    for a, name in enumerate(NAMES):
        expected = naive_sums(bank, whole[name], np.asarray(metrics.threshold)[a])
        for i, measure in enumerate(INFLUENCES):
            np.testing.assert_allclose(
                metrics.influence[a, i], expected[measure], rtol=1e-3, atol=1e-6, err_msg=measure
            )


def test_means_and_intervals_are_loops(bank):
    references, shadows = assign(bank)
    metrics = evaluate(bank, CHOSEN, references, shadows, make_mesh(2))
    found, audited = scores(bank, CHOSEN, references, shadows), ~bank.population
    for a, name in enumerate(NAMES):
        sums = naive_sums(bank, found[name], np.asarray(metrics.threshold)[a])
        estimates = over_targets(metrics, a)
        assert tuple(estimates) == MEASURES
        aucs = [
            naive.auc(row[audited], member[audited])
            for row, member in zip(found[name], bank.member, strict=True)
        ]
        np.testing.assert_allclose(estimates["auc"].values, aucs, atol=1e-6)
        mean = means(metrics, a)["auc"]
        low, high = slow.korn_graubard(np.mean(aucs), sums["auc"] / 8)
        assert (mean.low, mean.high) == (
            pytest.approx(low, abs=1e-4),
            pytest.approx(high, abs=1e-4),
        )
        for fpr in FPRS:
            n, lower, slopes = 50, [], []
            at, expected = counts(fpr, n), fpr * 51 - 1
            for row, member in zip(found[name], bank.member, strict=True):
                own, truth = row[audited], member[audited]
                tp = {j: slow.found(own, truth, j, False) / 50 for j in (*at, at.below, at.above)}
                share = expected - math.floor(expected)
                lower.append((1 - share) * tp[at.below] + share * tp[at.above])
                slopes.append((tp[at.right] - tp[at.left]) / (at.right - at.left) * 51)
            one = estimates[f"tpr_at_fpr_{fpr}"]
            assert one.lower == pytest.approx(np.mean(lower), abs=1e-6)
            assert one.lower <= one.mean + 1e-9
            influence = sums[f"members_at_fpr_{fpr}"]
            influence = influence - np.mean(slopes) * sums[f"others_at_fpr_{fpr}"]
            np.testing.assert_allclose(one.influence, influence / 8, rtol=1e-3, atol=1e-6)


def test_rows_have_intervals_of_the_named_fpr(bank):
    references, shadows = assign(bank)
    metrics = evaluate(bank, CHOSEN, references, shadows, make_mesh(2))
    rows = bank_results.attack_rows(bank, CHOSEN, metrics, references)
    found, audited = scores(bank, CHOSEN, references, shadows), ~bank.population
    for row in rows:
        target = row["target"]
        mine = found[row["attack"]][target, audited], bank.member[target, audited]
        for fpr in FPRS:
            expected = tpr_of_scores(*mine, fpr)
            assert row[f"tpr_low_{fpr}"] == pytest.approx(expected.low, abs=1e-9)
            assert row[f"tpr_high_{fpr}"] == pytest.approx(expected.high, abs=1e-9)
            assert row[f"tpr_at_fpr_{fpr}"] == pytest.approx(expected.mean)


def test_one_target_has_the_intervals_of_its_records(bank):
    whole, _ = assign(bank)
    references = References(whole.targets[:1], whole.models[:1], whole.num_models)
    attacks = [ATTACKS["loss"]]
    metrics = evaluate(bank, attacks, references, None, make_mesh(1))
    found, audited = scores(bank, attacks, references)["loss"][0], ~bank.population
    mean = means(metrics, 0)
    for fpr in FPRS:
        expected = tpr_of_scores(found[audited], bank.member[0, audited], fpr)
        one = mean[f"tpr_at_fpr_{fpr}"]
        assert (one.mean, one.low, one.high) == (expected.mean, expected.low, expected.high)
    auc, influence = slow.placements(found[audited], bank.member[0, audited])
    low, high = slow.korn_graubard(auc, influence)
    assert mean["auc"].low == pytest.approx(low, abs=1e-4)
    assert mean["auc"].high == pytest.approx(high, abs=1e-4)
    # Without a shadow nobody is called.
    assert mean["precision"].n == 0


def reported(bank: Bank, silent: int = 0) -> tuple[list, list]:
    """Summary and comparisons; so many targets are made to call nobody."""
    references, shadows = assign(bank)
    metrics = evaluate(bank, CHOSEN, references, shadows, make_mesh(2))
    named = [np.array(part) for part in (metrics.tp_called, metrics.fp_called)]
    for part in named:
        part[:, :silent] = 0
    metrics = metrics._replace(tp_called=named[0], fp_called=named[1])
    rows = bank_results.attack_rows(bank, CHOSEN, metrics, references)
    return (
        bank_results.summarise(rows, CHOSEN, metrics),
        bank_results.compare(rows, CHOSEN, metrics, ["loss", "lira_online"]),
    )


def test_a_precision_of_some_targets_says_of_how_many(bank):
    summary, _ = reported(bank, silent=3)
    assert [r["precision"]["n"] for r in summary] == [5] * len(CHOSEN)
    assert [r["recall"]["n"] for r in summary] == [8] * len(CHOSEN)
    table = bank_table(summary)
    column = table.heads.index("Precision")
    assert all(row[column].text.endswith(" (5 of 8)") for row in table.rows)
    assert PART_NOTE in table.caption
    whole = bank_table(reported(bank)[0])
    assert not any(" of 8)" in cell.text for row in whole.rows for cell in row)
    assert PART_NOTE not in whole.caption


def test_tables_mark_tprs_at_fprs_that_allow_few(bank):
    summary, comparisons = reported(bank)
    for table, first in ((bank_table(summary), 4), (comparison_table(comparisons), 2)):
        for row in table.rows:
            for head, cell in zip(table.heads[first:], row[first:], strict=True):
                assert ("†" in cell.text) == head.startswith("TPR"), (head, cell.text)
        assert FEW_NOTE in table.caption
    costs = [
        {**r, "num_references": count, "device_seconds": 1.0, "flops": None}
        for r in summary
        for count in (2, 4)
    ]
    table = cost_table(costs)
    for row in table.rows[:-1]:
        is_tpr = row[0].text.startswith("TPR")
        assert all(("†" in cell.text) == is_tpr for cell in row[2:]), row
    assert FEW_NOTE in table.caption
    # With 600 non-members 1% allows six.
    many = [{**r, "num_nonmembers": 600.0} for r in summary]
    column = [
        row[bank_table(many).heads.index("TPR at\n1% FPR")].text for row in bank_table(many).rows
    ]
    assert not any("†" in text for text in column)


def test_intervals_stay_within_what_a_share_can_be(bank):
    summary, comparisons = reported(bank)
    for record in summary:
        assert record["intervals"] == "records"
        for measure in MEASURES:
            value = record[measure]
            assert 0 <= value["low"] <= value["mean"] <= value["high"] <= 1, measure
        assert record[f"fpr_realised_{FPRS[0]}"]["low"] is None
    for record in comparisons:
        for measure in bank_results.COMPARED:
            value = record[measure]
            assert -1 <= value["low"] <= value["mean"] <= value["high"] <= 1


def test_stars_follow_the_interval_over_records(bank):
    _, (record,) = reported(bank)
    for low, high, marked in ((0.01, 0.2, True), (-0.3, -0.01, True), (-0.1, 0.1, False)):
        changed = {**record, "auc": {**record["auc"], "low": low, "high": high}}
        assert comparison_table([changed]).rows[0][2].marked == marked


def test_intervals_over_targets_of_earlier_rows_are_not_shown(bank):
    summary, _ = reported(bank)
    earlier = [{k: v for k, v in r.items() if k != "intervals"} for r in summary]
    table = bank_table(earlier)
    assert not any("±" in cell.text or "[" in cell.text for row in table.rows for cell in row)
    assert (
        "No ±: evaluated before intervals were over records, by the attacks of then."
        in table.caption
    )
    assert any("±" in cell.text for row in bank_table(summary).rows for cell in row)
