"""Who is at risk, and who finds them: by hand, and on banks where the answer is known."""

import numpy as np
import pytest
import remembering_banks

from jleaks.attacks.bank import Bank
from jleaks.attacks.evaluate_bank import scores
from jleaks.attacks.references import assign
from jleaks.attacks.registry import get_attacks
from jleaks.experiments import triage


def test_at_risk_and_first_by_hand():
    scores = np.array([9.0, 7, 5, 3, 1, 8, 6, 4, 2, 0])
    member = np.arange(10) < 5
    # Non-members 8 6 4 2 0: at 20% one of them may be above.
    np.testing.assert_array_equal(
        triage.at_risk(scores, member, 0.2), [True, True, False, False, False]
    )
    np.testing.assert_array_equal(triage.at_risk(scores, member, 0.0), [True, *[False] * 4])
    order = np.array([1.0, 5, 5, 2])
    np.testing.assert_array_equal(triage.first_of(order, 0.5), [1, 2])
    # At least one, the first of those that tie.
    np.testing.assert_array_equal(triage.first_of(order, 0.01), [1])


def traced(rng, range_of):
    """A bank of models that remember, whose traces are a function of how hard each record is."""
    member = remembering_banks.mask("twins", rng, 8, 600)
    bank = remembering_banks.bank_of(member, rng, null=())
    return Bank(**{**vars(bank), "loss_iqr": range_of(bank).astype(np.float32), "twins": True})


def precision_of(bank, finder, share=0.1, fpr=0.01):
    rows = triage.triage(triage.scored(bank, ["lira_online"]))
    assert len(rows) == len(triage.FINDERS) * len(triage.FPRS) * len(triage.SHARES)
    (row,) = (r for r in rows if (r["finder"], r["fpr"], r["share"]) == (finder, fpr, share))
    assert row["precision_least"] <= row["precision"] <= row["precision_largest"]
    return row


def test_a_trace_that_tells_finds_all_and_one_of_noise_finds_what_chance_does(rng):
    def above_others(bank):
        # How much more sure a model is than models of the record are without it.
        out = np.where(bank.member, np.nan, bank.phi[0])
        return bank.phi[0] - np.nanmean(out, axis=0) + 20

    row = precision_of(traced(rng, above_others), "lt_iqr")
    assert row["precision"] > 0.95 > row["chance"] + 0.2
    noise = precision_of(traced(rng, lambda bank: rng.random(bank.member.shape)), "lt_iqr")
    # 8 targets of 30 records each.
    assert noise["precision"] == pytest.approx(noise["chance"], abs=0.15)
    assert 0 < noise["recall"] < 0.3


def orders_of(bank, finder, over):
    rows = triage.alike(triage.scored(bank, ["lira_online"]))
    assert len(rows) == len(triage.FINDERS) * 2
    (row,) = (r for r in rows if (r["finder"], r["over"]) == (finder, over))
    return row


@pytest.mark.parametrize("over", ["members", "records"])
def test_a_trace_that_is_the_attack_orders_alike_and_one_of_noise_as_chance_does(rng, over):
    def judge(bank):
        # The score of the attack itself, so that both orders are one.
        references, shadows = assign(bank, None)
        return scores(bank, get_attacks(["lira_online"]), references, shadows)["lira_online"]

    same = orders_of(traced(rng, judge), "lt_iqr", over)
    for name in ("spearman", "top_0.01", "top_0.05"):
        assert same[name]["mean"] == pytest.approx(1, abs=1e-5)
        assert same[name]["low"] == pytest.approx(1, abs=1e-5)
    noise = orders_of(traced(rng, lambda bank: rng.random(bank.member.shape)), "lt_iqr", over)
    assert abs(noise["spearman"]["mean"]) < 0.15
    assert noise["spearman"]["low"] - 0.05 < 0 < noise["spearman"]["high"] + 0.05
    assert noise["top_0.05"]["mean"] < 0.2


def measures(shared_fn, finder, judge, members):
    groups = np.zeros(members.shape[1], int)
    found = {"finder": finder, "judge": judge}
    return np.mean([of[0][0] for of in shared_fn(found, members, [("judge", "finder")], groups)], 0)


def test_orders_are_those_of_loops_over_targets_and_records(rng):
    finder, judge = rng.normal(size=(2, 4, 100))
    members = rng.random((4, 100)) < 0.5
    each = []
    for t in range(4):
        a, b = finder[t][members[t]], judge[t][members[t]]
        ranks = [[sum(x < y for x in v) for y in v] for v in (a, b)]
        tops = [set(np.argsort(v)[-round(0.05 * len(v)) :]) for v in (a, b)]
        shared = len(tops[0] & tops[1]) / len(tops[0])
        each.append([np.corrcoef(*ranks)[0, 1], shared])
    found = measures(triage._of_members, finder, judge, members)
    np.testing.assert_allclose(found[[0, 2]], np.mean(each, axis=0), atol=1e-9)
    known = [n for n in range(100) if members[:, n].any()]
    means = [[v[members[:, n], n].mean() for n in known] for v in (finder, judge)]
    ranks = [[sum(x < y for x in v) for y in v] for v in means]
    found = measures(triage._of_records, finder, judge, members)
    assert found[0] == pytest.approx(np.corrcoef(*ranks)[0, 1])
