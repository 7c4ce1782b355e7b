"""Shares of data sets of a bank's records, on banks that remember and one that does not."""

import numpy as np
import pytest
import remembering_banks

from jleaks.attacks.registry import get_attacks
from jleaks.errors import InputError
from jleaks.experiments.data_usage import data_usage, planted

SHARES = (0.0, 0.3, 1.0)


def bank_of(rng, null=()):
    member = remembering_banks.mask("twins", rng, 24, 800)
    return remembering_banks.bank_of(member, rng, null=null)


def test_a_data_set_has_the_share_that_is_asked_for(rng):
    member = rng.random(200) < 0.5
    for share, count in ((0.0, 40), (0.25, 40), (1.0, 60)):
        found = planted(member, share, count, rng)
        assert len(np.unique(found)) == count
        assert member[found].sum() == round(share * count)


def test_shares_are_told_within_their_intervals(rng):
    rows = data_usage(bank_of(rng), get_attacks(["loss", "lira_online"]), SHARES, 300)
    assert len(rows) == 2 * 24 * 3
    assert {(row["num_records"], row["num_references"]) for row in rows} == {(300, 10)}
    for name in ("loss", "lira_online"):
        for share in SHARES:
            mine = [r for r in rows if r["attack"] == name and r["used"] == share]
            told = np.array([row["share"] for row in mine])
            assert told.mean() == pytest.approx(share, abs=0.03)
            holds = [row["share_low"] <= share <= row["share_high"] for row in mine]
            assert np.mean(holds) > 0.8
    wide = np.mean([r["share_high"] - r["share_low"] for r in rows])
    assert wide < 0.3


def test_models_that_remember_nothing_leave_every_share_possible(rng):
    rows = data_usage(bank_of(rng, null=tuple(range(24))), get_attacks(["lira_online"]), (0.1,))
    widths = np.array([row["share_high"] - row["share_low"] for row in rows])
    assert np.mean(widths > 0.8) > 0.8


def test_nobody_is_compared_with_the_target(rng):
    """Its members reach its data set alone: another target's estimate does not move with them."""
    bank = bank_of(rng)
    before = data_usage(bank, get_attacks(["lira_online"]), (0.5,))
    # The first model's answers belong to its own half's scores, and to nobody's references there.
    phi = bank.phi.copy()
    phi[:, 0] -= 9 * bank.member[0].astype(np.float32)
    changed = type(bank)(**{**vars(bank), "phi": phi})
    after = data_usage(changed, get_attacks(["lira_online"]), (0.5,))
    assert (before[0]["tpr"], before[0]["fpr"]) == pytest.approx((after[0]["tpr"], after[0]["fpr"]))
    assert before[0]["share"] != after[0]["share"]


def test_bad_shares_and_sizes_are_one_line(rng):
    bank, attacks = bank_of(rng), get_attacks(["loss"])
    with pytest.raises(InputError, match="of 10 models, 2 of a target's own half tell its rates"):
        data_usage(bank.take(slice(10)), attacks)
    with pytest.raises(InputError, match=r"share 1\.2 of a data set"):
        data_usage(bank, attacks, (0.5, 1.2))
    with pytest.raises(InputError, match="data sets of 700 records were asked for"):
        data_usage(bank, attacks, num_records=700)
