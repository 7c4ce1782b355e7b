"""Protocol `disjoint`: targets are compared with models that trained on none of their records."""

import dataclasses
import itertools

import naive_attacks as naive
import numpy as np
import pytest
from remembering_banks import auc_of, bank_of, sigma

from jleaks.attacks.across_halves import model_halves
from jleaks.attacks.bank import Bank, load
from jleaks.attacks.evaluate_bank import scores
from jleaks.attacks.options import NAMES
from jleaks.attacks.references import assign, most_references
from jleaks.attacks.registry import ATTACKS
from jleaks.attacks.requirements import refusal
from jleaks.data.splits import halves
from jleaks.errors import InputError
from jleaks.experiments.bank_audits import audit
from jleaks.experiments.bank_plan import BankPlan

_TARGETS, _MODELS = 4, 12


def disjoint(num_records: int, null: tuple[int, ...] = (), seed: int = 0) -> Bank:
    """Models that remember, but for some that do not, on halves of either half of the records."""
    split = halves("location", seed, num_records, _MODELS, num_records, 0, num_targets=_TARGETS)
    bank = bank_of(split.member, np.random.default_rng(seed), null)
    return dataclasses.replace(bank, target_part=split.target_part)


def test_parts_are_halves_and_models_train_on_halves_of_one():
    found = halves("location", 3, 500, _MODELS, 400, 50, num_targets=_TARGETS)
    assert found.target_part.sum() == 200
    for model, row in enumerate(found.member):
        own, other = row[found.target_part], row[~found.target_part]
        if model >= _TARGETS:
            own, other = other, own
        assert (own.sum(), other.sum()) == (100, 0)
    assert (found.member[0::2].sum(0) + found.member[1::2].sum(0) == [2, 4] @ np.stack(
        [found.target_part, ~found.target_part])).all()  # fmt: skip
    # Which records are candidates does not depend on the protocol.
    whole = halves("location", 3, 500, _MODELS, 400, 50)
    assert whole.target_part is None
    np.testing.assert_array_equal(whole.candidates, found.candidates)


def test_a_target_is_compared_with_models_that_saw_none_of_its_records():
    bank = disjoint(400)
    references, shadows = assign(bank)
    assert most_references(bank) == references.models.shape[1] == _MODELS - _TARGETS
    np.testing.assert_array_equal(references.targets, range(_TARGETS))
    assert not bank.member[references.models[0]][:, bank.target_part].any()
    np.testing.assert_array_equal(references.audited(bank), np.tile(bank.target_part, (4, 1)))
    # Shadows are judged on their own part, by all references but themselves and their twins.
    np.testing.assert_array_equal(shadows.audited(bank), np.tile(~bank.target_part, (4, 1)))
    assert len(set(shadows.targets.tolist())) == _TARGETS
    assert shadows.models.shape[1] == _MODELS - _TARGETS - 2
    inside = (shadows.use @ bank.member.astype(int))[:, ~bank.target_part]
    assert (inside == shadows.models.shape[1] / 2).all()
    few, _ = assign(bank, 4)
    np.testing.assert_array_equal(few.models, references.models[:, :4])
    with pytest.raises(
        InputError, match=r"9 references were asked for; .* up to 8 for each target"
    ):
        assign(bank, 9)


def test_scores_equal_their_loops():
    slow = naive.random_bank(np.random.default_rng(5), _MODELS, 40, num_population=8, num_queries=2)
    split = halves("location", 5, 32, _MODELS, 32, 0, num_targets=_TARGETS)
    candidate = ~slow.population
    member, part = np.zeros_like(slow.member), np.zeros_like(slow.population)
    member[:, candidate], part[candidate] = split.member, split.target_part
    slow = dataclasses.replace(slow, member=member)
    names = ("phi", "member", "labels", "num_classes", "population", "correct", "phi_t", "mentr")
    bank = Bank(**{name: getattr(slow, name) for name in names}, target_part=part)
    references, shadows = assign(bank)
    attacks = [
        attack
        for attack in ATTACKS.values()
        if refusal(attack, bank, references, shadows) is None
        and attack.name in naive.ATTACKS
        and attack.name != "rapid"
    ]
    found = scores(bank, attacks, references, shadows)
    assert {"pmia_all", "pmia_class", "lira_offline", "rmia_offline", "attack_r"} <= found.keys()
    assert not {"lira_online", "rmia_online", "bavaria"} & found.keys()
    audited = candidate & ~part
    for name, rows in found.items():
        for target in range(_TARGETS):
            of, others = int(shadows.targets[target]), shadows.models[target].tolist()
            refs, kwargs = references.models[target].tolist(), {}
            if name in naive.VARIANTS:
                kwargs["variant"] = naive.chosen_variant(name, slow, of, others, audited)
            expected = naive.score(name, slow, target, refs, of, others, **kwargs)
            np.testing.assert_allclose(
                rows[target], expected, rtol=2e-3, atol=2e-3, err_msg=f"{name}, {target}"
            )


def test_who_remembers_nothing_is_told_by_no_attack_and_who_does_by_most():
    bank = disjoint(3000, null=(0, 3))
    references, shadows = assign(bank)
    attacks = [a for a in ATTACKS.values() if refusal(a, bank, references, shadows) is None]
    found = scores(bank, attacks, references, shadows)
    for name, rows in found.items():
        for target in range(_TARGETS):
            member = bank.member[target, bank.target_part]
            auc = auc_of(rows[target, bank.target_part], member)
            if target in (0, 3):
                assert abs(auc - 0.5) < 4.5 * sigma(member), (name, target)
            elif name in ("lira_offline", "rmia_offline", "pmia_all", "pmia_class", "calibrated"):
                assert auc > 0.8, (name, target)


def test_online_attacks_are_refused():
    bank = disjoint(400)
    references, shadows = assign(bank)
    why = refusal(ATTACKS["lira_online"], bank, references, shadows)
    assert why == "protocol disjoint has no reference that trained on a record of a target's part"
    with pytest.raises(InputError, match="expected a bank without --num_targets"):
        model_halves(bank)


def test_tables_that_rule_attacks_off_by_their_needs_have_each_group_once():
    groups = [needs for needs, _ in itertools.groupby(ATTACKS[name].references for name in NAMES)]
    assert groups == ["none", "out", "proxies and out", "in and out"]


def test_bounds_are_of_targets_alone():
    rows = audit(disjoint(400), [ATTACKS["lira_offline"]], delta=1e-5)
    assert [row["target"] for row in rows] == list(range(_TARGETS))
    assert {(row["num_members"], row["num_nonmembers"]) for row in rows} == {(100, 100)}


def test_the_file_keeps_the_part(tmp_path):
    bank = disjoint(400)
    bank.save(tmp_path / "bank.npz")
    found = load(tmp_path / "bank.npz")
    np.testing.assert_array_equal(found.target_part, bank.target_part)
    np.testing.assert_array_equal(found.targets, range(_TARGETS))


def test_what_is_not_of_the_protocol_is_refused():
    bank = disjoint(400)
    part = bank.target_part
    for changes, problem in (
        ({"target_part": np.ones_like(part)}, "all models are targets"),
        ({"target_part": ~part & False}, "all models are references"),
        ({"member": bank.member | part}, "model 4 trained on records of the targets' part and of"),
        ({"population": part}, "a population record is a member"),
    ):
        with pytest.raises(InputError, match=problem):
            dataclasses.replace(bank, **changes)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"num_targets": 3}, "num_targets is 3 of 12 models, expected an even number"),
        ({"num_targets": 10}, "num_targets is 10 of 12 models, .* leaves at least 4 references"),
        ({"num_candidates": 402}, "num_candidates is 402, expected a multiple of 4"),
        ({"canaries": "mislabelled:4"}, "canaries are mislabelled:4, num_targets is 4"),
        ({"num_candidates": 240}, "batch_size is 100 but each model trains on only 60 records"),
    ],
)
def test_plans_of_the_protocol(changes, problem):
    fields = {"num_models": _MODELS, "num_candidates": 400, "num_population": 50, "num_targets": 4}
    assert BankPlan("location", **fields).validate().num_members == 100
    with pytest.raises(InputError, match=problem):
        BankPlan("location", **{**fields, **changes}).validate()
