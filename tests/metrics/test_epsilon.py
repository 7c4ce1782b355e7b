"""Bounds on epsilon: closed forms, loops, published values, and rates over seeded draws."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats

from jleaks.errors import InputError
from jleaks.metrics import epsilon as epsilon_module
from jleaks.metrics.epsilon import (
    SHARES,
    epsilon_from_counts,
    epsilon_one_run,
    epsilon_over_thresholds,
    one_run_p_value,
)
from jleaks.report.bank_tables import epsilon_table

NUM_DRAWS = 200
# At most this many of 200 draws may fail at 5% each, but for one suite in a thousand.
LIMIT = int(scipy.stats.binom.ppf(0.999, NUM_DRAWS, 0.05))

BOUNDS = {
    "bonferroni": lambda s, m, _, **k: epsilon_over_thresholds(s, m, 0, **k),
    "split": lambda s, m, i, **k: epsilon_over_thresholds(s, m, 0, method="split", seed=i, **k),
    "one run, pairs": lambda s, m, i, **k: epsilon_one_run(s, m, 0, seed=i, **k),
    "one run, coins": lambda s, m, i, **k: epsilon_one_run(s, m, 0, design="coins", seed=i, **k),
    "one run, coins, members": lambda s, m, i, **k: epsilon_one_run(
        s, m, 0, design="coins", sides="members", seed=i, **k
    ),
}


def drawn(rng, num_records, design):
    if design == "coins":
        return rng.random(num_records) < 0.5
    return rng.permutation(num_records) < num_records // 2


def naive_epsilon(tp, p, fp, n, delta, confidence):
    """Clopper-Pearson by scipy, each of the two bounds one-sided at half of alpha."""
    one_sided = 1 - (1 - confidence) / 2

    def low(k, of):
        test = scipy.stats.binomtest(k, of, alternative="greater")
        return test.proportion_ci(one_sided, method="exact").low

    def high(k, of):
        test = scipy.stats.binomtest(k, of, alternative="less")
        return test.proportion_ci(one_sided, method="exact").high

    found = [0.0]
    for good, false in ((low(tp, p), high(fp, n)), (low(n - fp, n), high(p - tp, p))):
        if good > delta:
            found.append(math.log((good - delta) / false))
    return max(found)


@pytest.mark.parametrize("delta", [0, 1e-3, 0.2])
@pytest.mark.parametrize(
    "counts", [(30, 40, 2, 50), (0, 5, 0, 5), (5, 5, 0, 5), (39, 40, 45, 50), (2, 9, 8, 9)]
)
def test_counts_are_scipys(counts, delta):
    found = epsilon_from_counts(*counts, delta, 0.9)
    assert found == pytest.approx(naive_epsilon(*counts, delta, 0.9), rel=1e-9)


def test_perfect_attack_by_hand():
    # All of n found, none falsely: TPR_low = a^(1/n), FPR_high = 1 - a^(1/n), a = 0.05 / 2.
    for n in (10, 100, 1000):
        a = 0.025 ** (1 / n)
        assert epsilon_from_counts(n, n, 0, n, 0) == pytest.approx(math.log(a / (1 - a)))


def test_looks_both_ways():
    assert epsilon_from_counts(90, 100, 40, 100) == epsilon_from_counts(60, 100, 10, 100) > 0


def test_counts_are_monotone():
    def rising(values):
        return (np.diff(values) >= 0).all() and values[0] < values[-1]

    assert rising([epsilon_from_counts(k, 100, 5, 100) for k in range(5, 101)])
    assert rising([epsilon_from_counts(90, 100, k, 100) for k in range(90, -1, -1)])
    assert rising([epsilon_from_counts(90, 100, 5, 100, 0, c) for c in (0.999, 0.99, 0.9, 0.5)])
    assert rising([epsilon_from_counts(90, 100, 5, 100, d) for d in (0.5, 0.1, 1e-2, 0)])
    assert rising([epsilon_from_counts(9 * k, 10 * k, k, 10 * k) for k in (1, 10, 100)])


def test_counts_never_claim_too_often():
    # Exact, over all outcomes of a rule whose rates are e^epsilon to one.
    n, epsilon = 30, 0.7
    tpr = math.exp(epsilon) / (1 + math.exp(epsilon))
    exceeds = [
        [epsilon_from_counts(tp, n, fp, n, 0, 0.8) > epsilon for fp in range(n + 1)]
        for tp in range(n + 1)
    ]
    ks = np.arange(n + 1)
    weights = np.outer(scipy.stats.binom.pmf(ks, n, tpr), scipy.stats.binom.pmf(ks, n, 1 - tpr))
    rate = weights[np.array(exceeds)].sum()
    print(f"counts: exceeded in {rate:.4f}, at most 0.2 stated")
    assert 0 < rate <= 0.2


@pytest.mark.parametrize("ties", [False, True])
def test_bonferroni_is_a_loop(rng, ties):
    member = drawn(rng, 1001, "coins")
    scores = rng.normal(size=1001) + 1.5 * member
    scores = np.round(scores) if ties else scores
    ordered = sorted(scores, reverse=True)
    tried = {ordered[max(1, round(share * 1001)) - 1] for share in SHARES}
    assert len(tried) < len(SHARES) if ties else len(tried) == len(SHARES)
    p, n = member.sum(), (~member).sum()
    best = (-1.0, 0.0)
    for t in sorted(tried):
        tp, fp = (scores[member] >= t).sum(), (scores[~member] >= t).sum()
        best = max(best, (naive_epsilon(tp, p, fp, n, 1e-3, 1 - 0.05 / len(tried)), t))
    found = epsilon_over_thresholds(scores, member, 1e-3)
    assert (found.epsilon, found.threshold) == pytest.approx(best)
    assert found.epsilon > 0.5
    assert (found.p, found.n, found.method) == (p, n, "bonferroni")
    assert found.tp == (scores[member] >= found.threshold).sum()
    assert found.fp == (scores[~member] >= found.threshold).sum()


def test_one_threshold_costs_nothing(rng):
    member = drawn(rng, 200, "halves")
    scores = rng.normal(size=200) + 2 * member
    found = epsilon_over_thresholds(scores, member, 0, thresholds=[1.0])
    assert found.epsilon == epsilon_from_counts(found.tp, 100, found.fp, 100, 0)
    more = epsilon_over_thresholds(scores, member, 0, thresholds=[1.0, 50.0, 60.0])
    assert more.threshold == 1.0
    assert 0 < more.epsilon < found.epsilon
    assert "fixed" in found.assumptions


def test_split_bounds_on_the_other_half(rng):
    member = drawn(rng, 401, "halves")
    scores = rng.normal(size=401) + 2 * member
    found = epsilon_over_thresholds(scores, member, method="split", seed=3)
    assert (found.p, found.n) == (100, 101)
    assert found.epsilon == epsilon_from_counts(found.tp, 100, found.fp, 101)
    again = epsilon_over_thresholds(scores, member, method="split", seed=3)
    assert again == found
    seeds = {epsilon_over_thresholds(scores, member, method="split", seed=s).tp for s in range(9)}
    assert len(seeds) > 1


@pytest.mark.parametrize("bound", BOUNDS)
def test_order_of_records_says_nothing(bound):
    # All scores are equal and the file has the members first.
    member = np.arange(400) < 200
    found = [BOUNDS[bound](np.zeros(400), member, i).epsilon > 0 for i in range(50)]
    assert sum(found) <= scipy.stats.binom.ppf(0.999, 50, 0.05)


def test_ceilings_by_hand():
    """All of 1,000 records told apart: the bounds are those of tp = p, fp = 0, and of no wrong guess."""
    member = np.arange(1_000) < 500
    over = epsilon_over_thresholds(member.astype(float), member, 0)
    # Two scores make two thresholds with half of 5% each, half of it again for each rate.
    low = 0.0125 ** (1 / 500)
    assert over.ceiling == pytest.approx(math.log(low / (1 - low)))
    assert over.epsilon == over.ceiling
    one = epsilon_one_run(member.astype(float), member, 0)
    # 500 right guesses of 500, a fifth of 5%: q^500 = 0.01.
    q = 0.01 ** (1 / 500)
    assert one.ceiling == pytest.approx(math.log(q / (1 - q)), abs=2e-6)
    assert one.epsilon == one.ceiling


@pytest.mark.parametrize("bound", BOUNDS)
def test_no_attack_exceeds_its_ceiling(rng, bound):
    at_ceiling = []
    for i, shift in enumerate((0.0, 1.0, 3.0, 50.0)):
        member = drawn(rng, 400, "coins" if "coins" in bound else "halves")
        scores = rng.normal(size=400) + shift * member
        found = BOUNDS[bound](scores, member, i)
        assert 0 <= found.epsilon <= found.ceiling
        at_ceiling.append(found.epsilon == found.ceiling)
    assert not at_ceiling[0]
    assert not at_ceiling[1]
    # A split's threshold is the lowest member of one half, not of the other.
    assert at_ceiling[3] or bound == "split"


def test_a_ceiling_of_zero_says_that_records_are_too_few():
    found = epsilon_one_run([0.0, 1.0, 2.0], np.array([True, False, True]))
    assert (found.epsilon, found.ceiling) == (0, 0)


def test_the_table_marks_bounds_at_their_ceiling():
    def record(target, thresholds, one_run):
        return {
            "task": "location", "attack": "loss", "target": target, "delta": 0.0, "confidence": 0.95,
            "epsilon_thresholds": thresholds, "epsilon_thresholds_ceiling": 3.0,
            "epsilon_one_run": one_run, "epsilon_one_run_ceiling": 4.0 + target,
        }  # fmt: skip

    records = [record(0, 3.0, 1.0), record(1, 3.0, 2.0), record(2, 0.0, 6.0)]
    thresholds, one_run = epsilon_table(records).rows
    assert [(c.text, c.marked) for c in thresholds[2:5]] == [
        *(("0.000", False), ("3.000", True), ("3.000", True)),
    ]
    assert [(c.text, c.marked) for c in one_run[2:5]] == [
        *(("1.000", False), ("2.000", False), ("6.000", True)),
    ]
    assert [c.text for c in thresholds[5:]] == ["2/3", "3.000", "2/3"]
    assert [c.text for c in one_run[5:]] == ["3/3", "4.000 to 6.000", "1/3"]
    # Rows of earlier commits know no ceiling.
    earlier = [{k: v for k, v in r.items() if "ceiling" not in k} for r in records]
    for row in epsilon_table(earlier).rows:
        assert [c.text for c in row[6:]] == ["-", "-"]
        assert not any(cell.marked for cell in row)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("design", ["coins", "halves"])
@pytest.mark.parametrize("bound", BOUNDS)
def test_no_leak_is_claimed_too_often(bound, design, ties):
    rng = np.random.default_rng(11)
    claims = 0
    for i in range(NUM_DRAWS):
        member = drawn(rng, 600, design)
        scores = rng.normal(size=600)
        claims += BOUNDS[bound](np.round(scores) if ties else scores, member, i).epsilon > 0
    print(f"{bound}, {design}, null: claimed in {claims} of {NUM_DRAWS}, limit {LIMIT}")
    assert claims <= LIMIT


@pytest.mark.parametrize("design", ["coins", "halves"])
@pytest.mark.parametrize("bound", BOUNDS)
def test_randomised_response_is_not_exceeded_too_often(bound, design):
    # Every record's membership is told truly with probability e^epsilon / (1 + e^epsilon).
    if bound.startswith("one run, coins") and design == "halves":
        pytest.skip("not the design the bound is for")
    rng = np.random.default_rng(12)
    epsilon = 1.2
    truth = 1 / (1 + math.exp(-epsilon))
    # Replacing a record changes two answers.
    true = 2 * epsilon if bound.endswith("pairs") else epsilon
    found = []
    for i in range(NUM_DRAWS):
        member = drawn(rng, 600, design)
        told = np.where(rng.random(600) < truth, member, ~member)
        found.append(BOUNDS[bound](told + 0.5 * rng.random(600), member, i).epsilon)
    above = int((np.array(found) > true).sum())
    print(
        f"{bound}, {design}: mean {np.mean(found):.3f} of {true}, above in {above} of {NUM_DRAWS}"
    )
    assert above <= LIMIT
    assert np.mean(found) > 0.5 * epsilon


# jax_privacy 2.0.0: CanaryScoreAuditor(scores[member], scores[~member]) with Explicit(1.0), significance
# 0.05; scores and membership as in `jax_privacy_case`; by delta.
JAX_PRIVACY = {
    1e-3: {"over thresholds": 3.5427472392244836, "one run": 2.4189206194451063},
    1e-5: {"over thresholds": 3.5437938335405006, "one run": 3.0794760714372584},
}


def jax_privacy_case():
    member = np.arange(200) % 3 == 0
    return np.sin(np.arange(200) * 1.7) + 2 * member, member


def at_fixed_threshold(scores, member, threshold, delta, confidence=0.95):
    """Our bounds from one decision rule, members alone guessed in one run."""
    over = epsilon_over_thresholds(scores, member, delta, confidence, thresholds=[threshold])
    guesses = int((scores >= threshold).sum())
    run = epsilon_one_run(
        scores, member, delta, confidence, num_guesses=guesses, design="coins", sides="members"
    )
    return over.epsilon, run.epsilon


@pytest.mark.parametrize("delta", JAX_PRIVACY)
def test_a_fixed_threshold_gives_what_jax_privacy_gave(delta):
    over, run = at_fixed_threshold(*jax_privacy_case(), 1.0, delta)
    assert over == pytest.approx(JAX_PRIVACY[delta]["over thresholds"], rel=1e-9)
    assert run == pytest.approx(JAX_PRIVACY[delta]["one run"], abs=2e-6)


@pytest.mark.parametrize("delta", [1e-5, 1e-3])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
@pytest.mark.parametrize(("size", "shift"), [(400, 1.5), (2000, 3.0), (1000, 0.0)])
def test_a_fixed_threshold_is_jax_privacys(rng, size, shift, confidence, delta):
    auditing = pytest.importorskip("jax_privacy.auditing")
    member = drawn(rng, size, "halves")
    scores = rng.normal(size=size) + shift * member
    theirs = auditing.CanaryScoreAuditor(scores[member], scores[~member])
    for threshold in (0.5, 2.0, 2.5):
        rule = {"threshold_strategy": auditing.Explicit(threshold)}
        over, run = at_fixed_threshold(scores, member, threshold, delta, confidence)
        expected = theirs.epsilon_clopper_pearson(1 - confidence, delta, one_sided=False, **rule)
        assert over == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert run == pytest.approx(theirs.epsilon_one_run(1 - confidence, delta, **rule), abs=2e-6)


def test_jax_privacys_gdp_bound_claims_leaks_on_null_scores():
    auditing = pytest.importorskip("jax_privacy.auditing")
    rng = np.random.default_rng(17)
    claims = {"theirs": 0, "ours": 0}
    for seed in range(NUM_DRAWS):
        member, scores = drawn(rng, 200, "coins"), rng.normal(size=200)
        theirs = auditing.CanaryScoreAuditor(scores[member], scores[~member])
        claims["theirs"] += theirs.epsilon_from_gdp(0.05, 1e-5) > 0
        claims["ours"] += (
            epsilon_one_run(scores, member, 1e-5, design="coins", seed=seed).epsilon > 0
        )
    print(f"claims on {NUM_DRAWS} null draws: {claims}")
    assert claims["theirs"] > NUM_DRAWS / 2
    assert claims["ours"] <= LIMIT


GOOD = ([0.1, 0.2, 0.3, 0.4], [True, False, True, False])


@pytest.mark.parametrize(
    ("call_fn", "message"),
    [
        (lambda: epsilon_from_counts(1, 0, 0, 5), "0 members and 5 non-members"),
        (lambda: epsilon_from_counts(6, 5, 0, 5), "6 hits among 5"),
        (lambda: epsilon_from_counts(1, 5, -1, 5), "-1 hits"),
        (lambda: epsilon_from_counts(1, 5, 1, 5, 1.0), "delta 1.0"),
        (lambda: epsilon_from_counts(1, 5, 1, 5, math.nan), "delta nan"),
        (lambda: epsilon_from_counts(1, 5, 1, 5, 0, 1.0), "confidence 1.0"),
        (lambda: epsilon_over_thresholds([0.1, math.nan], [1, 0]), "1 of 2 scores are NaN"),
        (lambda: epsilon_over_thresholds(*GOOD, -0.1), "delta -0.1"),
        (lambda: epsilon_over_thresholds(*GOOD, method="grid"), "'grid'"),
        (lambda: epsilon_over_thresholds(*GOOD, thresholds=[]), "thresholds"),
        (lambda: epsilon_over_thresholds(*GOOD, thresholds=[math.nan]), "thresholds"),
        (lambda: epsilon_over_thresholds([1, 2], [1, 0], method="split"), "1 and 1 members"),
        (lambda: epsilon_one_run([0.1, 0.2], [1, 1]), "2 members among 2"),
        (lambda: epsilon_one_run([0.1, 0.2], [0, 1, 1]), r"shape \(2,\)"),
        (lambda: epsilon_one_run(*GOOD, 0, 0.0), "confidence 0.0"),
        (lambda: epsilon_one_run(*GOOD, num_guesses=3), "about 2 coins"),
        (lambda: epsilon_one_run(*GOOD, num_guesses=0), "0 guesses"),
        (lambda: epsilon_one_run(*GOOD, num_guesses=[]), "guesses"),
        (lambda: epsilon_one_run(*GOOD, num_guesses=1.5), "1.5 guesses"),
        (lambda: epsilon_one_run(*GOOD, design="halves"), "'halves'"),
        (lambda: epsilon_one_run(*GOOD, sides="one"), "'one'"),
        (lambda: one_run_p_value(3, 2, 5, 0, 0), "3 right of 2"),
        (lambda: one_run_p_value(1, 2, 5, -1, 0), "epsilon -1"),
    ],
)
def test_bad_input_is_named(call_fn, message):
    with pytest.raises(InputError, match=message) as error:
        call_fn()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("r", [1, 2, 5, 63, 64, 65, 400, 6000])
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0, 4.0, 12.0])
def test_the_densest_probabilities_are_those_that_looking_at_all_finds(r, epsilon):
    q = scipy.special.expit(epsilon)
    for share in (0.0, 0.3, 0.5, 0.51, 0.6, 0.8, 0.95, 0.999, 1.0):
        v = max(1, round(share * r))
        beta = scipy.stats.binom.sf(v - 1, r, q)
        i = np.arange(1, v + 1)
        every = (scipy.stats.binom.sf(v - i - 1, r, q) - beta) / i
        found = epsilon_module._densest(v, r, q, scipy.special.bdtrc(v - 1, r, q))
        assert found == pytest.approx(every.max(), rel=1e-9, abs=1e-15)
