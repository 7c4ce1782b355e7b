"""Scores across halves of a bank's models, against the naive attacks with the other half for references."""

import dataclasses

import naive_attacks as naive
import numpy as np
import pytest
from scipy import stats

from jleaks.attacks.across_halves import AcrossHalves, model_halves, refusal
from jleaks.attacks.bank import Bank
from jleaks.attacks.registry import get_attacks
from jleaks.errors import InputError
from jleaks.experiments.record_risks import record_risks
from jleaks.metrics import agreement

# Of RMIA and Attack-P the population is a sample: theirs is another score, tested below.
COMPARED = (
    "loss", "maximum", "attack_r", "attack_r_logit", "attack_r_share", "calibrated",
    "lira_online_record", "lira_online_global", "lira_offline_record", "base_online", "base_offline",
    "bavaria", "bavaria_offline", "label_only", "lira_online_queries",
)  # fmt: skip


def bank_of(naive_bank, **changes):
    names = {field.name for field in dataclasses.fields(Bank)}
    arrays = {name: value for name, value in vars(naive_bank).items() if name in names}
    return Bank(**{**arrays, "twins": True, **changes})


@pytest.fixture
def answers(rng):
    return naive.random_bank(rng, 16, 30, num_queries=2, num_population=6)


def test_scores_are_the_naive_ones_with_the_other_half(answers):
    bank = bank_of(answers)
    across = AcrossHalves(bank, get_attacks(COMPARED), records_per_block=7)
    blocks = list(across.blocks())
    assert (
        np.concatenate([block.records for block in blocks]).tolist()
        == np.flatnonzero(~bank.population).tolist()
    )
    found = {
        name: np.concatenate([block.scores[name] for block in blocks], axis=2) for name in COMPARED
    }
    for half, pool in enumerate((range(8), range(8, 16))):
        for model in (0, 5, 9, 15):
            references = [m for m in pool if m != model]
            for name in COMPARED:
                form = {"variant": "global"} if name in naive.VARIANTS else {}
                expected = naive.score(name, answers, model, references, **form)
                assert found[name][half, model] == pytest.approx(
                    expected[~bank.population], rel=2e-4, abs=2e-4
                ), name


def test_blocks_change_nothing(answers):
    names = ("lira_online", "rmia_online", "rmia_offline", "attack_p")
    whole = AcrossHalves(bank_of(answers), get_attacks(names)).score(
        np.arange(30)[~answers.population]
    )
    parts = list(AcrossHalves(bank_of(answers), get_attacks(names), None, 5).blocks())
    for name in names:
        joined = np.concatenate([part.scores[name] for part in parts], axis=2)
        assert joined == pytest.approx(whole.scores[name], rel=1e-5, abs=1e-5)


def test_rmia_compares_with_the_population(answers):
    bank = bank_of(answers)
    at = np.flatnonzero(~bank.population)
    block = AcrossHalves(bank, get_attacks(["rmia_online", "base_online_tempered"])).score(at)
    everybody = AcrossHalves(
        dataclasses.replace(bank, population=np.zeros(30, bool), twins=False),
        get_attacks(["base_online_tempered"]),
    ).score(np.flatnonzero(bank.population))
    for half in (0, 1):
        for model in (0, 15):
            ratio = block.scores["base_online_tempered"][half, model]
            others = everybody.scores["base_online_tempered"][half, model]
            share = [(value - others >= np.log(2)).mean() for value in ratio]
            assert block.scores["rmia_online"][half, model] == pytest.approx(share)


def test_an_attack_that_needs_a_shadow_is_refused(answers):
    bank = bank_of(answers)
    (attack,) = get_attacks(["class_thresholds"])
    assert "shadow" in refusal(attack, bank)
    with pytest.raises(InputError, match="class_thresholds cannot be run"):
        AcrossHalves(bank, [attack])


def test_models_that_tell_each_other_stay_in_one_half(answers):
    order = np.random.default_rng(3).permutation(16)
    mixed = bank_of(
        answers, twins=False, entropy=None,
        **{name: getattr(answers, name)[order] for name in ("member", "phi_t", "mentr", "maximum")},
        **{name: getattr(answers, name)[:, order] for name in ("phi", "correct")},
    )  # fmt: skip
    found = model_halves(mixed)
    assert found.twins
    audited = mixed.member[found.order][:, ~mixed.population]
    assert (audited[0::2] != audited[1::2]).all()
    assert found.first.sum() == 8
    with pytest.raises(InputError, match="train more models"):
        model_halves(bank_of(answers).take(slice(0, 4)))


def null_bank(rng, models=64, records=400):
    """Models that remember nothing; records differ in difficulty."""
    member = naive.random_bank(rng, models, records, num_queries=1).member
    phi = rng.normal(size=(models, records)) + 2 * rng.normal(size=records)
    phi = phi.astype(np.float32)
    return Bank(
        phi[None], member, np.zeros(records, int), 4, np.zeros(records, bool), phi_t=phi, twins=True
    )


@pytest.mark.parametrize(
    "name", ["loss", "lira_offline_record", "lira_online_record", "rmia_online"]
)
def test_of_models_that_remember_nothing_no_record_is_found(rng, name):
    bank = null_bank(rng)
    found = record_risks(bank, get_attacks([name]), fprs=[0.1])
    rows = found.rows
    auc = np.array([row["auc"] for row in rows])
    assert auc.mean() == pytest.approx(0.5, abs=0.015)
    assert np.mean([row["auc_low"] <= 0.5 <= row["auc_high"] for row in rows]) >= 0.93
    inside = [row["tpr_own_low_0.1"] <= 0.1 <= row["tpr_own_high_0.1"] for row in rows]
    assert np.mean(inside) >= 0.95
    assert np.mean([row["p"] <= 0.05 for row in rows]) <= 0.09
    (summary,) = found.summary
    assert summary["records_found_by"] == 0
    for kind in ("raw", "calibrated"):
        assert summary[f"pooled_{kind}_auc"]["mean"] == pytest.approx(0.5, abs=0.02)


def test_risk_is_the_closed_form_of_known_separations(rng):
    bank = null_bank(rng, 160, 120)
    separation = np.linspace(0, 4, 120)
    phi = (bank.phi + separation * bank.member).astype(np.float32)
    found = record_risks(
        dataclasses.replace(bank, phi=phi, phi_t=phi[0]),
        get_attacks(["lira_offline_global", "loss"]),
        fprs=[0.1, 0.001],
    )
    one = [row for row in found.rows if row["attack"] == "loss"]
    by_record = {row["record"]: row for row in one}
    area = stats.norm.cdf(separation / 2**0.5)
    inside = [by_record[i]["auc_low"] <= area[i] <= by_record[i]["auc_high"] for i in range(120)]
    assert np.mean(inside) > 0.9
    assert [row["rank"] for row in one] == list(range(1, 121))
    assert one[0]["auc"] >= one[60]["auc"] >= one[-1]["auc"]
    assert one[0]["tpr_at_own_fpr_0.001"] is None
    assert "3,996 models" in found.notes[0]
    halves, other, pair = found.agreement
    assert halves["between"] == other["between"] == "halves of the models"
    assert halves["spearman"] > 0.85
    assert pair["between"] == "attacks"
    assert {tuple(scores) for scores in found.scores.values()} <= {
        tuple(row["record"] for row in (*mine[:3], *mine[-3:]))
        for mine in (one, [row for row in found.rows if row["attack"] != "loss"])
    }
    # The most vulnerable tell; those that tell nothing are not found.
    told = {row["record"] for row in one if row["q_by"] <= 0.05}
    assert set(range(60, 120)) <= told
    assert not told & set(range(3))
    auc = np.array([by_record[i]["auc"] for i in range(120)])
    assert agreement.spearman(auc, separation) > 0.93
