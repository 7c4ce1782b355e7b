"""Every attack of a bank against its loop in float64, on banks with ties and one-sided records."""

import dataclasses

import by_side
import jax.numpy as jnp
import naive_attacks as naive
import numpy as np
import pytest

from jleaks.attacks import bank_layout, evaluate_bank, orders, sides, signals, sums, tables
from jleaks.attacks.attack import Attack
from jleaks.attacks.bank import Bank
from jleaks.attacks.baseline import class_thresholds
from jleaks.attacks.evaluate_bank import evaluate, scores
from jleaks.attacks.options import Options
from jleaks.attacks.references import References, assign
from jleaks.attacks.registry import ATTACKS
from jleaks.attacks.requirements import refusal
from jleaks.errors import InputError
from jleaks.metrics.bank_metrics import FPRS, GRID
from jleaks.training import fleet, placement
from jleaks.training.fleet import make_mesh

# Of one shape, so that they share programs.
_EIGHT = {"num_models": 8, "num_records": 40, "num_population": 8}
_CASES = {
    "plain": _EIGHT,
    "ties": {**_EIGHT, "ties": True},
    "one-sided records": {**_EIGHT, "all_in": 2, "all_out": 3},
    "smallest": {"num_models": 4, "num_records": 24, "num_queries": 2},
    "many references": {"num_models": 68, "num_records": 12},
}


def bank_of(slow: naive.NaiveBank, twins: bool = True) -> Bank:
    fields = (
        *("phi", "member", "labels", "num_classes", "population"),
        *("correct", "phi_t", "mentr", "maximum", "entropy"),
    )
    return Bank(**{name: getattr(slow, name) for name in fields}, twins=twins)


def case(name: str) -> tuple[naive.NaiveBank, Bank, References, References]:
    seed = sorted(_CASES).index(name)
    slow = naive.random_bank(np.random.default_rng(seed), **_CASES[name])
    one_sided = {"all_in", "all_out"} & _CASES[name].keys()
    bank = bank_of(slow, twins=not one_sided)
    # One-sided records have no twins, but the references can be those of a bank that has.
    return slow, bank, *assign(bank_of_twins(bank))


def possible(bank: Bank, references: References, shadows: References) -> list[Attack]:
    return [a for a in ATTACKS.values() if refusal(a, bank, references, shadows) is None]


def bank_of_twins(bank: Bank) -> Bank:
    """The same number of models with every record in one of each pair."""
    member = np.zeros_like(bank.member)
    member[0::2] = np.random.default_rng(0).random(member[0::2].shape) < 0.5
    member[1::2] = ~member[0::2]
    nobody = np.zeros(len(bank.labels), bool)
    return Bank(bank.phi, member, bank.labels, bank.num_classes, nobody, twins=True)


def variant_of(
    name: str, slow: naive.NaiveBank, target: int, shadows: References
) -> dict[str, object]:
    """The form that the target's shadow chooses, or the default without one."""
    if name not in naive.VARIANTS:
        return {}
    if not shadows.models.size:
        return {"variant": 0.3 if "rmia" in name else "global"}
    of, refs = int(shadows.targets[target]), shadows.models[target].tolist()
    return {"variant": naive.chosen_variant(name, slow, of, refs, slow.candidates)}


@pytest.mark.parametrize("name", _CASES)
def test_every_attack_equals_its_loop(name):
    slow, bank, references, shadows = case(name)
    targets = range(0, bank.num_models, 1 if bank.num_models < 10 else 29)
    attacks = possible(bank, references, shadows)
    found = scores(bank, attacks, references, shadows)
    # Two pairs leave a shadow no reference.
    assert found.keys() >= set(naive.ATTACKS) - ({"rapid"} if name == "smallest" else set())
    for attack in found:
        for target in targets:
            refs = references.models[target].tolist()
            of = int(shadows.targets[target])
            kwargs = variant_of(attack, slow, target, shadows)
            if name == "ties" and kwargs:
                # Scores that tie on paper need not tie in float32: forms of nearly the same AUC.
                continue
            of_shadow = shadows.models[target].tolist()
            expected = naive.score(attack, slow, target, refs, of, of_shadow, **kwargs)
            np.testing.assert_allclose(
                found[attack][target],
                expected,
                rtol=2e-3,
                atol=2e-3,
                err_msg=f"{attack}, target {target}",
            )


@pytest.mark.parametrize("name", ["plain", "ties", "one-sided records"])
def test_metrics_equal_brute_force_over_all_thresholds(name):
    slow, bank, references, shadows = case(name)
    attacks = possible(bank, references, shadows)
    all_scores = scores(bank, attacks, references, shadows)
    found = evaluate(bank, attacks, references, shadows, make_mesh(2))
    audited = slow.candidates
    for a, attack in enumerate(attacks):
        if name == "ties" and attack.references != "none":
            # Scores that tie on paper need not tie in float32, and not alike in two programs.
            continue
        own = all_scores[attack.name][:, audited]
        for target in range(bank.num_models):
            member = slow.member[target, audited]
            what = f"{attack.name}, target {target}"
            assert found.auc[a, target] == pytest.approx(
                naive.auc(own[target], member), abs=1e-5
            ), what
            for f, fpr in enumerate(FPRS):
                _, realised, k, n = naive.tpr_at(own[target], member, fpr)
                assert (found.tp[a, target, f], found.positives[a, target]) == (k, n), what
                assert found.fp[a, target, f] / found.negatives[a, target] == pytest.approx(
                    realised
                )
            # The 10% point lies on the kept ROC grid and is not trivial for so few records.
            at = int(np.argmin(np.abs(GRID - 0.1)))
            assert found.roc[a, target, at] == naive.tpr_at(own[target], member, 0.1 + 1e-9)[2], (
                what
            )
            level = found.threshold[a, target]
            called = own[target] >= level
            assert found.tp_called[a, target] == (called & member).sum(), what
            assert found.fp_called[a, target] == (called & ~member).sum(), what


def test_lira_takes_one_variance_for_all_where_a_shadow_cannot_tell():
    """Of a target's four references its shadow has one a side, of which neither has a variance."""
    _, bank, _, _ = case("plain")
    references, shadows = assign(bank, 4)
    assert (references.models.shape[1], shadows.models.shape[1]) == (4, 2)
    names = ("lira_online", "lira_online_global", "lira_offline", "lira_offline_global")
    found = scores(bank, [ATTACKS[name] for name in names], references, shadows)
    for chosen, expected in (names[:2], names[2:]):
        np.testing.assert_array_equal(found[chosen], found[expected])


def test_informia_ranks_one_target_as_base_and_shifts_targets():
    _, bank, references, shadows = case("plain")
    names = ("informia_online", "base_online_tempered")
    found = scores(bank, [ATTACKS[name] for name in names], references, shadows)
    shift = found[names[1]] - found[names[0]]
    assert np.ptp(shift, axis=1) == pytest.approx(0, abs=1e-5)
    assert np.ptp(shift[:, 0]) > 0.01
    metrics = evaluate(bank, [ATTACKS[name] for name in names], references, shadows, make_mesh(1))
    assert metrics.auc[0] == pytest.approx(metrics.auc[1], abs=2e-3)


def test_pmia_never_looks_at_models_that_trained_on_the_record():
    _, bank, references, shadows = case("plain")
    attacks = [ATTACKS[name] for name in ("pmia_all", "pmia_class")]
    before = scores(bank, attacks, references, shadows)
    phi, record = bank.phi.copy(), int(np.flatnonzero(~bank.population)[0])
    trained = bank.member[:, record].copy()
    trained[0] = False
    phi[:, trained, record] += 3
    after = scores(dataclasses.replace(bank, phi=phi), attacks, references, shadows)
    for name in ("pmia_all", "pmia_class"):
        assert after[name][0, record] == pytest.approx(before[name][0, record], abs=1e-3)


def test_thresholds_come_from_the_shadow_alone():
    slow, bank, references, shadows = case("plain")
    attacks = possible(bank, references, shadows)
    found = evaluate(bank, attacks, references, shadows, make_mesh(2))
    for a, attack in enumerate(attacks):
        for target in (0, 3, 7):
            expected = naive.threshold(
                attack.name,
                slow,
                target,
                references.models[target].tolist(),
                int(shadows.targets[target]),
                shadows.models[target].tolist(),
                **variant_of(attack.name, slow, target, shadows),
            )
            assert found.threshold[a, target] == pytest.approx(expected, rel=2e-3, abs=2e-3), (
                attack.name
            )


def test_the_target_s_membership_reaches_nothing_but_the_metrics():
    _, bank, references, shadows = case("plain")
    changed = bank.member.copy()
    changed[2, ~bank.population] = changed[2, ~bank.population][::-1]
    other = Bank(**{**vars(bank), "member": changed, "twins": False})
    attacks = possible(bank, references, shadows)
    before, after = (scores(b, attacks, references, shadows) for b in (bank, other))
    for name in before:
        # To the last bit, or ties would be broken by membership.
        np.testing.assert_array_equal(before[name][2], after[name][2], err_msg=name)
    # Neither a threshold: the shadow of target 2 is not compared with it.
    metrics = [
        evaluate(b, [ATTACKS["lira_online"]], references, shadows, make_mesh(1))
        for b in (bank, other)
    ]
    assert metrics[0].threshold[0, 2] == metrics[1].threshold[0, 2]


def test_blocks_of_records_change_nothing():
    _, bank, references, shadows = case("plain")
    names = ("class_thresholds", "attack_p", "lira_offline_queries", "rmia_offline")
    attacks = [ATTACKS[name] for name in names]
    whole = evaluate(bank, attacks, references, shadows, make_mesh(2))
    parts = evaluate(bank, attacks, references, shadows, make_mesh(2), records_per_block=9)
    for name in whole._fields:
        np.testing.assert_allclose(
            getattr(parts, name), getattr(whole, name), rtol=1e-3, atol=1e-3, err_msg=name
        )


def test_tables_are_made_of_records_block_by_block(monkeypatch):
    _, bank, references, shadows = case("plain")
    names = (
        "lira_online",
        "attack_r",
        "attack_r_share",
        "rmia_online",
        "base_online",
        "calibrated",
    )
    args = bank, [ATTACKS[name] for name in names], references, shadows
    # One record a device at a time, and of the last block not one for every device.
    monkeypatch.setattr(tables, "_BLOCK_VALUES", 1)
    starts, fill = set(), placement.fill

    def seen(*args, start):
        starts.add(start)
        fill(*args, start=start)

    monkeypatch.setattr(placement, "fill", seen)
    parts = scores(*args, mesh=make_mesh(3))
    assert starts == set(range(0, len(bank.labels), 3))
    monkeypatch.undo()
    whole = scores(*args)
    for name, rows in whole.items():
        np.testing.assert_allclose(parts[name], rows, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", ["plain", "ties"])
@pytest.mark.usefixtures("kernels")
def test_rows_ranked_by_the_kernels_are_ranked_alike(name, monkeypatch):
    _, bank, references, shadows = case(name)
    # What is compared with nobody has the same scores, to the bit, in any program.
    names = ("loss", "class_thresholds", *(("rmia_offline", "lira_online") * (name == "plain")))
    args = bank, [ATTACKS[name] for name in names], references, shadows, make_mesh(2)
    ours = evaluate(*args)
    monkeypatch.setattr(bank_layout.library, "loaded", lambda: False)
    for found, expected, field in zip(ours, evaluate(*args), ours._fields, strict=True):
        # Influences are sums of floats, in another order.
        if field != "influence":
            np.testing.assert_array_equal(found[:2], expected[:2], err_msg=field)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, err_msg=field)


def test_one_compiled_call_evaluates_every_attack_on_every_target():
    _, bank, references, shadows = case("plain")
    attacks = possible(bank, references, shadows)
    before = fleet.TRACES["evaluate bank"]
    evaluate(bank, attacks, references, shadows, make_mesh(2))
    # At most one trace, which another test here may have made; other answers of these shapes make none.
    traced = fleet.TRACES["evaluate bank"]
    assert traced - before <= 1
    moved = Bank(**{**vars(bank), "phi": bank.phi + np.float32(0.25)})
    evaluate(moved, attacks, references, shadows, make_mesh(2))
    assert fleet.TRACES["evaluate bank"] == traced


@pytest.mark.parametrize("count", [1, 3, 5, 11])
def test_summaries_and_medians_equal_their_definition_for_one_record(rng, count):
    values = np.round(rng.normal(0, 3, (14, 9)), 1).astype(np.float32)
    chosen = rng.random((14, 9)) < 0.5
    chosen[:, 0], chosen[:, 1] = True, False
    models = np.stack([rng.permutation(14)[:count] for _ in range(6)]).astype(np.int32)
    refs = References(np.arange(6, dtype=np.int32), models, 14)
    side = sides.Chosen(*(jnp.asarray(a) for a in (chosen, refs.models, refs.left_out)))
    own = jnp.asarray(rng.normal(0, 3, (6, 9)).astype(np.float32))
    own = own.at[:, 2].set(values[3, 2])
    given = jnp.asarray(values)
    found = by_side.moments(given, side)
    middle = by_side.medians(given, side)
    log_mean = by_side.log_means(given, side)
    share = by_side.shares_above(own, given, side)
    level = by_side.interpolated_levels(own, given, side)
    for t in range(6):
        for x in range(9):
            mine = jnp.asarray(values[models[t], x]), jnp.asarray(chosen[models[t], x])
            one = sums.summarise(*mine)
            assert found.size[t, x] == one.size
            np.testing.assert_allclose(found.mean[t, x], one.mean, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(found.deviations[t, x], one.deviations, rtol=1e-3, atol=1e-3)
            assert middle[t, x] == orders.median(*mine)
            np.testing.assert_allclose(log_mean[t, x], sums.log_mean(*mine), rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(share[t, x], orders.share_above(own[t, x], *mine), atol=1e-6)
            np.testing.assert_allclose(
                level[t, x], orders.interpolated_level(own[t, x], *mine), rtol=1e-5, atol=1e-6
            )


def test_class_thresholds_handle_empty_and_one_sided_classes():
    scores_, member = jnp.asarray([3.0, 2, 1, 5, 4, 9]), jnp.asarray([1, 0, 1, 1, 1, 0], bool)
    labels = jnp.asarray([0, 0, 0, 2, 2, 0])
    valid = jnp.asarray([1, 1, 1, 1, 1, 0], bool)
    found = class_thresholds(scores_, labels, member, valid, 4)
    # All together: 5, 4, 3 are members, then 2 is not: 3 is the first maximum.
    np.testing.assert_array_equal(found, [3.0, 3.0, 3.0, 3.0])


def test_modified_entropy_survives_certainty():
    logits = jnp.asarray([[0.0, 0.0, 0.0], [60.0, 0.0, 0.0], [0.0, 60.0, 0.0]])
    found = signals.modified_entropy(logits, jnp.asarray([0, 0, 0]))
    third = np.log(1 / 3) * 2 / 3 + 2 / 3 * np.log(2 / 3)
    np.testing.assert_allclose(found, [third, 0.0, -120.0 + np.log(2)], rtol=1e-5, atol=1e-6)


def test_lira_needs_known_gaussians_to_be_the_log_likelihood_ratio(rng):
    # 2,000 references per side of one record, drawn from known normals.
    inside, outside = rng.normal(4, 1, (2000, 1)), rng.normal(1, 2, (2000, 1))
    phi = np.concatenate([[[3.0]], inside, outside]).astype(np.float32)[None]
    phi = np.concatenate([phi, phi], axis=2)  # A second record, so that each model has both.
    member = np.r_[True, np.ones(2000, bool), np.zeros(2000, bool)][:, None]
    member = np.concatenate([member, ~member], axis=1)
    bank = Bank(phi, member, np.zeros(2, np.int32), 2, np.zeros(2, bool))
    refs = References(np.array([0], np.int32), np.arange(1, 4001, dtype=np.int32)[None], 4001)
    found = scores(bank, [ATTACKS["lira_online_record"]], refs)["lira_online_record"][0, 0]
    expected = naive.log_normal(3, 4, 1) - naive.log_normal(3, 1, 4)
    assert found == pytest.approx(expected, abs=0.1)


def test_rmia_at_temperature_one_ranks_like_base():
    _, bank, references, _ = case("plain")
    same = Bank(**{**vars(bank), "phi_t": bank.phi[0]})
    pair = [ATTACKS[name] for name in ("rmia_online", "base_online")]
    rmia, base = scores(same, pair, references).values()
    order = np.argsort(base, axis=1)
    assert (np.diff(np.take_along_axis(rmia, order, 1), axis=1) >= 0).all()


def test_an_attack_without_its_signals_is_bad_input():
    _, bank, references, shadows = case("plain")
    bare = Bank(bank.phi[:1], bank.member, bank.labels, bank.num_classes, bank.population)
    for name, reason in {
        "rmia_online": "the bank has no phi_t",
        "lira_online_queries": "the bank has only one query per record",
    }.items():
        with pytest.raises(InputError, match=f"{name} cannot be run: {reason}"):
            evaluate(bare, [ATTACKS[name]], references, shadows, make_mesh(1))
    with pytest.raises(InputError, match="gamma is 0"):
        evaluate(bare, [ATTACKS["loss"]], references, shadows, make_mesh(1), Options(gamma=0.0))


@pytest.mark.parametrize("records_per_block", [None, pytest.param(9, marks=pytest.mark.long)])
def test_rows_evaluated_together_change_nothing(monkeypatch, records_per_block):
    _, bank, references, shadows = case("plain")
    attacks = [ATTACKS[name] for name in ("class_thresholds", "rmia_offline", "lira_online")]
    args = bank, attacks, references, shadows
    apart = evaluate(*args, make_mesh(2), records_per_block=records_per_block)
    for module in ("bank_arrays", "bank_layout"):
        monkeypatch.setattr(f"jleaks.attacks.{module}.rows_together", lambda _: 4)
    for program in (evaluate_bank._rows_program, evaluate_bank._whole_program):
        monkeypatch.setattr(evaluate_bank, program.__name__, program.__wrapped__)
    together = evaluate(*args, make_mesh(2), records_per_block=records_per_block)
    for name in apart._fields:
        np.testing.assert_allclose(
            getattr(together, name), getattr(apart, name), rtol=1e-5, atol=1e-6, err_msg=name
        )
