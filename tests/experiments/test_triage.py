"""Who is at risk, and who finds them: by hand, and on banks where the answer is known."""

import numpy as np
import pytest
import remembering_banks

from jleaks.attacks.bank import Bank
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
    rows = triage.triage(bank, ["lira_online"])
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
