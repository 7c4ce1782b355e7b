"""Groups of a bank's records: measures against loops, bounds at a known epsilon, other banks' models."""

import dataclasses
import math

import naive_attacks as naive
import numpy as np
import pytest
import scipy.stats

from jleaks.attacks.against import against
from jleaks.attacks.bank import CANDIDATES, Bank
from jleaks.attacks.evaluate_bank import scores
from jleaks.attacks.references import assign
from jleaks.attacks.registry import ATTACKS
from jleaks.errors import InputError
from jleaks.experiments.bank import train_bank
from jleaks.experiments.bank_groups import bounds, group_rows, pooled
from jleaks.experiments.bank_plan import BankPlan
from jleaks.training.execution import Execution
from jleaks.training.recipe import Recipe

DELTA = 1e-5


def answered(rng, num_models=8, num_records=90, **given):
    """A bank of random answers, of which the first 30 candidates are canaries."""
    slow = naive.random_bank(rng, num_models, num_records, num_population=10, **given)
    free = np.flatnonzero(~slow.population)
    canary = np.zeros(num_records, np.int32)
    canary[free[:30]] = 1
    return Bank(
        *(slow.phi, slow.member, slow.labels, slow.num_classes, slow.population),
        correct=slow.correct, phi_t=slow.phi_t, canary=canary, twins=True,
        meta={"task": "location", "plan": {"canaries": "mislabelled:30"}},
    )  # fmt: skip


def halves_of(rng, num_targets, num_records):
    member = np.zeros((num_targets, num_records), bool)
    for row in member:
        row[rng.permutation(num_records)[: num_records // 2]] = True
    return member


def test_pooled_measures_are_a_loop_s(rng):
    values, member = np.round(rng.normal(size=(6, 400)), 2), rng.random((6, 400)) < 0.4
    values += member
    values[0, :50] = np.nan
    judged = ~np.isnan(values)
    inside, outside = values[member & judged], values[~member & judged]
    found = pooled(values, member)
    assert found["auc"]["mean"] == pytest.approx(
        (inside[:, None] > outside).mean() + (inside[:, None] == outside).mean() / 2, abs=1e-5
    )
    for fpr in (0.01, 0.001):
        levels = [v for v in values[judged] if (outside >= v).mean() <= fpr]
        expected = max(((inside >= v).mean() for v in levels), default=0.0)
        assert found[f"tpr_at_fpr_{fpr}"]["mean"] == pytest.approx(expected, abs=1e-5)


def test_scores_that_hardly_differ_are_told_apart(rng):
    # Bins of 0.4% would make one of these.
    values = 0.999 + 1e-5 * rng.random((4, 500))
    member = rng.random((4, 500)) < 0.5
    values[member] += 1e-5
    assert pooled(values, member)["tpr_at_fpr_0.001"]["mean"] > 0.99


def test_rows_are_of_groups_and_of_the_scores(rng):
    bank = answered(rng)
    attacks = [ATTACKS["lira_online"], ATTACKS["label_boundary"]]
    references, shadows = assign(bank)
    rows = group_rows(bank, attacks, references, shadows)
    assert [(r["attack"], r["records"]) for r in rows] == [
        (a.name, group) for a in attacks for group in (CANDIDATES, "mislabelled")
    ]
    found = scores(bank, attacks, references, shadows)["lira_online"].astype(float)
    groups = ~bank.population & (bank.canary == 0), bank.canary == 1
    for row, group in zip(rows, groups, strict=False):
        member = bank.member[:, group]
        inside, outside = found[:, group][member], found[:, group][~member]
        assert row["auc"]["mean"] == pytest.approx((inside[:, None] > outside).mean(), abs=1e-5)
        assert (row["num_members"], row["num_nonmembers"]) == (len(inside), len(outside))
        assert ("epsilon_thresholds" in row) == (row["records"] == "mislabelled")


def test_canaries_that_tell_nothing_show_no_epsilon(rng):
    shown = []
    for _ in range(40):
        bank = answered(rng, null=True, num_queries=1)
        references, shadows = assign(bank)
        rows = group_rows(bank, [ATTACKS["lira_online"]], references, shadows)
        shown.append([rows[1]["epsilon_thresholds"] > 0, rows[1]["epsilon_one_run"] > 0])
    # At most 5% each, but for one suite in a thousand.
    assert max(np.sum(shown, axis=0)) <= scipy.stats.binom.ppf(0.999, 40, 0.05)


def test_bounds_rise_with_a_known_epsilon_and_stay_below_it(rng):
    # Each record's answer is its membership by randomised response: replacing one costs 2 epsilon, one coin
    # alone epsilon, which is what independent trials show.
    means = []
    for epsilon in (0.5, 1.0, 2.0, 4.0):
        found = []
        for _ in range(12):
            member = halves_of(rng, 16, 60)
            flipped = rng.random(member.shape) < 1 / (1 + math.exp(epsilon))
            values = (member ^ flipped) + 1e-6 * rng.random(member.shape)
            found.append(bounds(values, member, DELTA))
        over = np.array([one["epsilon_thresholds"] for one in found])
        assert (over > epsilon).sum() <= scipy.stats.binom.ppf(0.999, 12, 0.05)
        assert (np.array([one["epsilon_one_run"] for one in found]) <= 2 * epsilon).all()
        for one in found:
            assert one["epsilon_thresholds"] <= one["epsilon_thresholds_ceiling"]
        means.append(over.mean())
    assert means == sorted(means)
    assert means[-1] > 2


def test_another_bank_s_models_are_the_references(rng):
    targets = answered(rng)
    others = dataclasses.replace(
        targets, phi=targets.phi + rng.normal(size=targets.phi.shape).astype("f")
    )
    both, references, shadows = against(targets, others)
    assert shadows is not None
    assert both.num_models == 16
    for target, models in zip(references.targets, references.models, strict=True):
        assert set(models) == set(range(8, 16)) - {8 + target, 8 + (target ^ 1)}
        # How many of them hold a record says nothing of the target.
        assert (both.member[models].sum(0)[~both.population] == 3).all()
    assert shadows.targets.min() >= 8
    assert shadows.models.min() >= 8
    # With itself for the other, an attacker finds what they find in the one bank.
    same, references, shadows = against(targets, targets)
    for name in ("lira_online", "rmia_online"):
        mine = scores(targets, [ATTACKS[name]], *assign(targets))[name]
        np.testing.assert_allclose(
            scores(same, [ATTACKS[name]], references, shadows)[name], mine, rtol=2e-3, atol=2e-3
        )
    with pytest.raises(InputError, match="of other records or memberships"):
        against(targets, dataclasses.replace(others, member=~others.member & ~others.population))


def test_mislabelled_canaries_of_a_trained_bank_are_learned_by_heart(tmp_path):
    recipe = Recipe(hidden=(32,), epochs=12, batch_size=20, learning_rate=3e-3)
    given = {"recipe": recipe, "num_queries": 1, "canaries": "mislabelled:40,clean:40"}
    plan = BankPlan("location", 4, 400, 40, **given)
    bank = train_bank(plan, Execution(), str(tmp_path))
    assert list(bank.groups()) == [CANDIDATES, "mislabelled", "clean"]
    assert bank.canary is not None
    assert (bank.canary[bank.population] == 0).all()
    assert bank.take(slice(2)).groups().keys() == bank.groups().keys()
    gaps = {}
    for group, records in bank.groups().items():
        phi, member = bank.phi[0][:, records], bank.member[:, records]
        gaps[group] = phi[member].mean() - phi[~member].mean()
    assert gaps["mislabelled"] > 1.15 * gaps[CANDIDATES]
    # A clean canary is a candidate like the others.
    assert gaps["clean"] == pytest.approx(gaps[CANDIDATES], rel=0.3)
    with pytest.raises(InputError, match="expected at most 100, so that models still learn"):
        dataclasses.replace(plan, canaries="mislabelled:101").validate()
