"""Attacks on answers alone, with one shadow at most: against loops in float64."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from jleaks.attacks import signals
from jleaks.attacks.registry import ATTACKS
from jleaks.auditing.adversaries import Attacker, attack_answers, statistics
from jleaks.auditing.labelled import LABELLED
from jleaks.auditing.remarks import remarks
from jleaks.blackbox.posteriors import make_posteriors
from jleaks.errors import InputError
from jleaks.metrics.case_metrics import FPRS
from jleaks.report.bank_tables import audit_table
from jleaks.training.execution import Execution
from jleaks.training.recipe import Recipe
from jleaks.training.reporter import Reporter

QUICK = Recipe("mlp", (16,), 5, 10, 1e-2, 1e-6)
ONE = Execution(num_devices=1)


def case(task, target, shadow=None, shadow_task=None, random=None, seed=0, **more):
    """A target and its attacker."""
    return target, Attacker(shadow, random, task, shadow_task, seed, QUICK, **more)


def audit(one, *args, **kwargs):
    return attack_answers(*one, *args, **kwargs)


def drawn(rng, n, k, sharpness=1.0):
    """Posteriors of n records; larger `sharpness` is nearer to one-hot."""
    logits = np.asarray(sharpness, np.float64).reshape(-1, 1) * rng.normal(size=(n, k))
    p = np.exp(logits - logits.max(1, keepdims=True))
    return (p / p.sum(1, keepdims=True)).astype(np.float32)


def leaky(rng, n=200, k=5, share=0.5, name="leaky"):
    """A model that is surer of its members."""
    member = rng.permutation(np.arange(n) < share * n)
    label = rng.integers(0, k, n).astype(np.int32)
    return make_posteriors(drawn(rng, n, k, np.where(member, 4.0, 1.5)), member, label, name)


# What adversaries look at.


def test_statistics_equal_those_of_logits(rng):
    p = drawn(rng, 50, 7, 3.0)
    wanted = signals.confidence_statistics(jnp.log(p))
    np.testing.assert_allclose(statistics(p), wanted, atol=1e-6)
    # Certainty: entropy 0; of two classes the standard deviation is one half.
    np.testing.assert_allclose(statistics(np.float32([[1, 0]])), [[1, 0.5, 0]])


# The audit.


def test_adversary_3_equals_a_computation_by_hand(rng):
    target = leaky(rng, n=301, share=0.3)
    random = make_posteriors(drawn(rng, 100, 5))
    rows = audit(case("mine", target, random=random, percentile=20.0))
    rows, others = rows[:3], rows[3:]
    assert [row["attack"] for row in rows] == list(signals.STATISTICS)
    assert {row["adversary"] for row in others} == {None}
    p, q = target.posteriors.astype(float), random.posteriors.astype(float)
    scores = [p.max(1), p.std(1), (p * np.log(p)).sum(1)]
    at_random = [q.max(1), q.std(1), (q * np.log(q)).sum(1)]
    for row, score, points in zip(rows, scores, at_random, strict=True):
        threshold = np.percentile(points, 80)
        called = score >= threshold
        assert row["adversary"] == 3
        assert row["threshold"] == pytest.approx(threshold, rel=1e-5)
        assert row["auc"] == pytest.approx(roc_auc_score(target.member, score), abs=1e-6)
        assert row["precision"] == pytest.approx(target.member[called].mean(), abs=1e-6)
        assert row["recall"] == pytest.approx(called[target.member].mean(), abs=1e-6)
        assert row["accuracy"] == pytest.approx((called == target.member).mean(), abs=1e-6)
        others = np.sort(score[~target.member])[::-1]
        for fpr in FPRS:
            allowed = others[int(fpr * len(others))]
            tpr = (score[target.member] > allowed).mean()
            assert row[f"tpr_at_fpr_{fpr}"] == pytest.approx(tpr, abs=1e-6)
            assert row[f"tpr_low_{fpr}"] <= tpr <= row[f"tpr_high_{fpr}"]
            assert row[f"fpr_realised_{fpr}"] <= fpr
    right = target.posteriors.argmax(1) == target.label
    assert rows[0]["train_accuracy"] == right[target.member].mean()
    assert (rows[0]["num_members"], rows[0]["num_nonmembers"]) == (91, 210)
    assert rows[0]["num_random_points"] == 100


def test_without_random_points_there_is_no_threshold(rng):
    (row, *_) = audit(case("mine", make_posteriors(drawn(rng, 40, 3), np.arange(40) < 20)))
    assert row["threshold"] is row["precision"] is row["recall"] is row["accuracy"] is None
    assert row["train_accuracy"] is None
    assert row["auc"] is not None
    assert "-" in audit_table([row]).to_markdown()


def test_adversary_1_finds_members_of_a_leaky_target_and_nobody_in_noise(rng):
    shadow, target = leaky(rng, 300), leaky(rng, 300)
    (row, *_) = audit(case("mine", target, shadow), ONE)
    assert (row["adversary"], row["attack"], row["threshold"]) == (1, "attack model", 0.5)
    assert row["auc"] > 0.8
    assert row["accuracy"] > 0.7
    assert row["num_posteriors"] == 3
    noise = dataclasses.replace(target, member=rng.permutation(target.member))
    (row, *_) = audit(case("mine", noise, shadow), ONE)
    assert abs(row["auc"] - 0.5) < 4 * np.sqrt(301 / (12 * 150 * 150))


def test_an_audit_is_decided_at_the_shadow_s_cut_too_and_tells_of_collapse(rng):
    shadow, target = leaky(rng, 300), leaky(rng, 200)
    lines = []
    reporter = Reporter(line=lines.append)
    (row, *others) = audit(case("mine", target, shadow), ONE, reporter)
    assert row["collapsed"] is False
    assert 0.7 < row["accuracy_shadow_cut"] <= 1
    assert {r["collapsed"] for r in others} == {None}
    assert {r["recall_shadow_cut"] for r in others} == {None}
    assert lines == []
    assert "collapsed" not in audit_table([row, *others]).caption
    # Every answer is the same: whatever is learned calls all of them or none a member.
    dull = dataclasses.replace(shadow, posteriors=np.full_like(shadow.posteriors, 0.2))
    (row, *others) = audit(case("mine", target, dull), ONE, reporter)
    assert row["collapsed"] is True
    (line,) = lines
    assert line.startswith("1 of 1 attack models collapsed")
    rows = [row, *others]
    said = f"1 of {len(rows)} attacks are by an attack model that"
    assert said in audit_table(rows).caption


def test_a_targets_membership_reaches_the_metrics_and_nothing_else(rng):
    """Told the opposite truth, the same attack ranks the other way round."""
    shadow, target = leaky(rng, 300), leaky(rng, 300)
    rows = audit(case("mine", target, shadow), ONE)
    other = dataclasses.replace(target, member=~target.member)
    turned = audit(case("mine", other, shadow), ONE)
    for ours, theirs in zip(rows, turned, strict=True):
        assert theirs["auc"] == pytest.approx(1 - ours["auc"], abs=1e-6)
        assert theirs["threshold"] == ours["threshold"]


def test_another_task_s_shadow_is_adversary_2(rng):
    """Of a binary side two posteriors are looked at; no thresholds per class from other classes."""
    target, shadow = leaky(rng, 90, 4), leaky(rng, 200, 2, 0.3, name="b")
    random = make_posteriors(drawn(rng, 20, 4))
    rows = audit(case("x", target, shadow, "y", random), ONE, about={"source": "synthetic"})
    assert [r["adversary"] for r in rows] == [2, 3, 3, 3, *[None] * 4]
    assert [r["num_posteriors"] for r in rows[:2]] == [2, None]
    assert [r["num_random_points"] for r in rows[1:4]] == [20] * 3
    assert {r["source"] for r in rows} == {"synthetic"}
    assert len({r["fingerprint"] for r in rows}) == 1
    assert rows[0]["versions"]["jax"]
    other = audit(case("x", target, shadow, "y", random, seed=3), ONE)
    assert other[0]["fingerprint"] != rows[0]["fingerprint"]
    assert [r["auc"] for r in other[1:]] == [r["auc"] for r in rows[1:]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"member": None}, "t has no member, from which attacks are scored"),
        ({"member": np.ones(60, bool)}, "t has no non-members"),
        ({"member": np.zeros(60, bool)}, "t has no members"),
    ],
)
def test_targets_that_cannot_be_scored(rng, change, words):
    target = leaky(rng, 60, name="t")
    with pytest.raises(InputError, match=words):
        audit(case("x", dataclasses.replace(target, **change)))


def test_cases_that_cannot_be_attacked(rng):
    target = leaky(rng, 60, name="t")
    unknown = make_posteriors(target.posteriors, name="s")
    for one, words in [
        (case("x", target, unknown), "s has no member, from which an attack model learns"),
        (case("x", target, leaky(rng, 8, name="s")), "batch_size is 10 but it has only 8 rows"),
        (
            case("x", target, random=make_posteriors(np.eye(20))),
            "has 20 posteriors for each random",
        ),
        (
            case("x", target, random=make_posteriors(np.eye(5))),
            "has 5 random points, expected at least",
        ),
    ]:
        with pytest.raises(InputError, match=words):
            audit(one)
    with pytest.raises(InputError, match=r"top is 0.*percentile is 100"):
        audit(case("x", target, top=0, percentile=100.0))


# Attacks on labels.

NAMES = ["correctness", "confidence", "loss", "modified_entropy", "class_thresholds"]


def forest(rng, n, k, share=0.4, name="forest"):
    """Answers like a forest's: surer of members, and zero where hardly a tree voted."""
    member = rng.permutation(np.arange(n) < share * n)
    label = rng.integers(0, k, n)
    z = rng.normal(size=(n, k)) * 1.5
    z[np.arange(n), label] += np.where(member, 3.5, 1.0)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    p[p < 0.05] = 0
    return make_posteriors(p / p.sum(1, keepdims=True), member, label, name)


def by_hand(answers):
    """Phi and modified entropy in float64 with the formulas as published; infinite with zeros."""
    p, n = answers.posteriors.astype(np.float64), answers.num_records
    true = p[np.arange(n), answers.label]
    rest = np.where(
        true == 1, 0, np.where(np.arange(p.shape[1]) == answers.label[:, None], 0, p).sum(1)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        phi = np.log(true) - np.log(rest)
        # Song & Mittal 2021, equation 6.
        others = p * np.log(1 - p)
        others[np.arange(n), answers.label] = 0
        own = np.where(true == 1, 0, (1 - true) * np.log(true))
    others[p == 0] = 0
    return phi, own + others.sum(1)


def kept(values, *all_values):
    finite = np.concatenate([v[np.isfinite(v)] for v in all_values])
    low, high = min(finite.min(), 0) - np.log(2), max(finite.max(), 0) + np.log(2)
    return np.clip(values, low, high)


def best(scores, member):
    """The highest value that maximises balanced accuracy with the rule score >= value."""
    values = np.unique(scores)[::-1]
    gains = [(scores >= v)[member].mean() - (scores >= v)[~member].mean() for v in values]
    return values[np.argmax(np.array(gains) >= max(gains) - 1e-9)]


def expected(target, shadow):
    """Scores and thresholds by name."""
    both = [by_hand(one) for one in (target, shadow)]
    phi, their_phi = (kept(one[0], *(b[0] for b in both)) for one in both)
    mentr, their_mentr = (kept(one[1], *(b[1] for b in both)) for one in both)
    loss, their_loss = -np.log1p(np.exp(-phi)), -np.log1p(np.exp(-their_phi))
    right = (target.posteriors.argmax(1) == target.label).astype(float)
    per_class = np.array(
        [
            best(their_mentr[shadow.label == k], shadow.member[shadow.label == k])
            for k in range(target.num_classes)
        ]
    )
    return {
        "correctness": (right, 0.5),
        "confidence": (np.exp(loss), best(np.exp(their_loss), shadow.member)),
        "loss": (loss, their_loss[shadow.member].mean()),
        "modified_entropy": (mentr, best(their_mentr, shadow.member)),
        "class_thresholds": (mentr - per_class[target.label], 0.0),
    }


def labelled(rows):
    return {row["attack"]: row for row in rows if row["adversary"] is None}


@pytest.mark.parametrize("seed", range(3))
def test_attacks_on_labels_equal_loops_in_float64(seed):
    rng = np.random.default_rng(seed)
    target, shadow = forest(rng, 300, 4), forest(rng, 420, 4, name="shadow")
    assert list(LABELLED) == NAMES
    rows = labelled(audit(case("t", target, shadow), ONE))
    wanted = expected(target, shadow)
    assert list(rows) == list(wanted)
    infinite = (~np.isfinite(by_hand(target)[0])).sum()
    assert 0 < infinite < 300
    for name, (scores, threshold) in wanted.items():
        row, called = rows[name], scores >= threshold - 1e-6
        assert row["auc"] == pytest.approx(roc_auc_score(target.member, scores), abs=1e-6), name
        assert row["threshold"] == pytest.approx(threshold, abs=1e-5), name
        assert row["recall"] == pytest.approx(called[target.member].mean(), abs=1e-6), name
        assert row["precision"] == pytest.approx(target.member[called].mean(), abs=1e-6), name
        assert row["accuracy"] == pytest.approx((called == target.member).mean(), abs=1e-6), name
        others = np.sort(scores[~target.member])[::-1]
        for fpr in FPRS:
            allowed = others[int(fpr * len(others))]
            tpr = (scores[target.member] > allowed).mean()
            assert row[f"tpr_at_fpr_{fpr}"] == pytest.approx(tpr, abs=1e-6), name
        assert row["shadow"] == (None if name == "correctness" else "shadow")
        assert not row["constant"]
    assert rows["correctness"]["num_infinite"] == 0
    assert rows["loss"]["num_infinite"] == infinite
    text = " ".join(remarks(*case("t", target, shadow), list(rows.values())))
    assert (
        f"forest: {infinite} of 300 records give their true class or all others a posterior of 0"
        in text
    )


def test_without_a_shadow_only_the_gap_has_a_threshold(rng):
    target = forest(rng, 200, 4)
    rows = labelled(audit(case("t", target)))
    assert list(rows) == NAMES[:-1]
    assert rows.pop("correctness")["threshold"] == 0.5
    assert {row["threshold"] for row in rows.values()} == {None}
    assert {row["precision"] for row in rows.values()} == {None}
    assert {row["shadow"] for row in rows.values()} == {None}


def test_a_shadow_gives_what_it_can(rng):
    target, shadow = forest(rng, 200, 4), forest(rng, 200, 4, name="s")
    bare = dataclasses.replace(shadow, label=None)
    other = forest(rng, 200, 3, name="s")
    for one, names, with_threshold, words in [
        (case("t", target, bare), NAMES[:-1], 1, "s has no labels: attacks on labels take no"),
        (case("t", target, shadow, "u"), NAMES[:-1], 4, "s has other classes than the target"),
        (case("t", target, other), NAMES[:-1], 4, "s has other classes than the target"),
        (case("t", target, shadow), NAMES, 5, "strongest of the 9 attacks"),
    ]:
        rows = audit(one, ONE)
        assert list(labelled(rows)) == names
        found = [row for row in labelled(rows).values() if row["threshold"] is not None]
        assert len(found) == with_threshold
        assert any(words in line for line in remarks(*one, rows))


def test_the_target_s_membership_gives_no_score_and_no_threshold(rng):
    target, shadow = forest(rng, 200, 4), forest(rng, 200, 4)
    turned = dataclasses.replace(target, member=~target.member)
    both = [labelled(audit(case("t", t, shadow), ONE)) for t in (target, turned)]
    for name in NAMES:
        ours, theirs = both[0][name], both[1][name]
        assert theirs["threshold"] == ours["threshold"]
        assert theirs["auc"] == pytest.approx(1 - ours["auc"], abs=1e-6)


def labels_only(n=2000, k=10):
    """A model that answers labels alone: right on 99% of its members and on 60% of others."""
    rng = np.random.default_rng(13)
    member, label = np.arange(n) < n // 2, rng.integers(0, k, n)
    right = rng.random(n) < np.where(member, 0.99, 0.60)
    said = np.where(right, label, (label + 1 + rng.integers(0, k - 1, n)) % k)
    return np.eye(k)[said], member, label, right


def test_answers_of_labels_alone():
    p, member, label, right = labels_only()
    target = make_posteriors(p, member, label, "t")
    one = case("t", target)
    rows = audit(one)
    gap = (right[member].mean() - right[~member].mean()) / 2 + 0.5
    assert gap == pytest.approx(0.6965)
    for row in rows:
        is_constant = row["adversary"] == 3
        assert row["one_hot"]
        assert row["constant"] == is_constant
        assert row["auc"] == pytest.approx(0.5 if is_constant else gap, abs=1e-6)
    assert labelled(rows)["correctness"]["accuracy"] == pytest.approx(gap, abs=1e-6)
    said = remarks(*one, rows)
    assert (
        "all posteriors are one-hot, the target answers labels alone: only whether the" in said[0]
    )
    assert "an AUC of 0.5 there is by construction, no evidence of safety" in said[1]
    assert "strongest of the 7 attacks" in said[-1]
    assert "correctness (gap), AUC 0.697" in said[-1]
    assert "a shadow's answers (--shadow" in said[-1]
    text = audit_table(rows, said).to_markdown()
    assert "maximum (constant)" in text
    assert "correctness (gap), Yeom et al. 2018" in text
    assert "no evidence of safety" in text
    # Without labels nothing is found, and that is said.
    one = case("t", dataclasses.replace(target, label=None))
    rows = audit(one)
    assert all(row["constant"] for row in rows)
    said = remarks(*one, rows)
    assert "nothing here tells members from others, whatever the target leaks" in said[0]
    assert "none that tells records apart; stronger attacks need true labels" in said[-1]


def test_statistics_are_constant_whichever_class_is_named(rng):
    """Sums over the same numbers in another order round otherwise."""
    p = rng.permuted(np.tile(rng.dirichlet(np.ones(13)).astype("f4"), (400, 1)), axis=1)
    rows = audit(case("t", make_posteriors(p, np.arange(400) < 200)))
    assert all(row["constant"] for row in rows)
    assert [row["auc"] for row in rows] == [0.5] * 3


def test_the_names_of_the_attacks_are_the_registry_s():
    for name in NAMES:
        assert ATTACKS[name].labels
        assert ATTACKS[name].references == "none"
