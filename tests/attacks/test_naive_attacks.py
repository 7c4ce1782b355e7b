"""The naive references themselves against closed forms, quadrature and scikit-learn."""

import dataclasses
import math

import naive_attacks as naive
import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

TARGET = 0


def hand_bank(values, member, population=None):
    """A bank of given phi: [M, N] or [Q, M, N]; model 0 is the target, the others its references."""
    phi = np.asarray(values, np.float32)
    phi = phi[None] if phi.ndim == 2 else phi
    N = phi.shape[-1]
    return naive.NaiveBank(
        phi=phi,
        phi_t=phi[0],
        correct=phi > 0,
        mentr=phi[0],
        maximum=phi[0],
        entropy=phi[0],
        member=np.asarray(member, bool),
        labels=np.zeros(N, np.int32),
        population=np.zeros(N, bool) if population is None else np.asarray(population, bool),
        num_classes=1,
    )


def run(name, bank, refs=None, target=TARGET, **kwargs):
    refs = list(range(1, bank.phi.shape[1])) if refs is None else refs
    return naive.score(name, bank, target, refs, **kwargs)


def sigmoid(value):
    return 1 / (1 + np.exp(-np.asarray(value, np.float64)))


# Record 0: IN 0, 0, 3 (median 0, mean 1, variance 2), OUT -3, -1 (mean -2, variance 1).
# Record 1: OUT only.  Model 0 is the target.
PHI = [[2, 1], [0, -4], [0, -2], [3, 0], [-3, 2], [-1, 4]]
MEMBER = [[1, 0], [1, 0], [1, 0], [1, 0], [0, 0], [0, 0]]
OUT_VALUES = [-3, -1, -4, -2, 0, 2, 4]
OUT_MEAN, OUT_VARIANCE = -4 / 7, 50 / 7 - (4 / 7) ** 2


def test_lira_of_known_gaussians():
    bank = hand_bank(PHI, MEMBER)
    found = run("lira_online_record", bank)
    # log N(2; 0, 2) - log N(2; -2, 1)
    assert found[0] == pytest.approx(-math.log(2) / 2 - 4 / 4 + 16 / 2)
    # No reference trained on record 1: mean 1 and variance 2 of all IN pairs; OUT has mean 0, var 8.
    assert found[1] == pytest.approx(-math.log(2) / 2 + math.log(8) / 2 + 1 / 16)
    expected = -math.log(2) / 2 - 1 + math.log(OUT_VARIANCE) / 2 + 16 / (2 * OUT_VARIANCE)
    assert run("lira_online_global", bank)[0] == pytest.approx(expected)
    z = 4 / math.sqrt(OUT_VARIANCE)
    assert run("lira_offline_global", bank)[0] == pytest.approx(
        -math.log(math.erfc(z / 2**0.5) / 2)
    )
    expected = -math.log(math.erfc(4 / 2**0.5) / 2)
    assert run("lira_offline_record", bank)[0] == pytest.approx(expected)
    expected = math.log(2 * math.pi * OUT_VARIANCE) / 2 + z**2 / 2
    assert run("lira_offline_two_sided", bank)[0] == pytest.approx(expected)


def test_lira_of_one_value_and_of_equal_values():
    # One IN value: the variance of the side; equal OUT values: the floor.
    bank = hand_bank([[1, 0], [3, 5], [0, 0], [0, 0]], [[1, 1], [1, 1], [0, 0], [0, 0]])
    expected = -4 / 2 + 1 / 2e-4 + math.log(1e-4) / 2
    assert run("lira_online_record", bank)[0] == pytest.approx(expected)


@pytest.mark.parametrize("form", ["online", "offline"])
def test_lira_has_either_variance(rng, form):
    bank = naive.random_bank(rng, 10, 6, num_queries=1)
    refs = naive.references(bank, 3)
    found = {kind: run(f"lira_{form}_{kind}", bank, refs, 3) for kind in ("record", "global")}
    for kind, expected in found.items():
        for name in (f"lira_{form}", f"lira_{form}_queries"):
            np.testing.assert_array_equal(run(name, bank, refs, 3, variant=kind), expected)
    assert not np.allclose(found["record"], found["global"])


def test_a_shadow_chooses_the_variant_that_serves_it_best(rng):
    bank = naive.random_bank(rng, 8, 60, num_queries=1)
    refs, audited = [0, 1, 2, 3, 6, 7], np.ones(60, bool)
    for name, variants in naive.VARIANTS.items():
        best = naive.chosen_variant(name, bank, 4, refs, audited)
        values = []
        for variant in variants:
            scores = run(name, bank, refs, 4, variant=variant)
            if name == "rmia_offline":
                scores = naive.log_ratios(name, bank, 4, refs, variant)
            values.append(sk.roc_auc_score(bank.member[4], scores))
        assert values[variants.index(best)] == pytest.approx(max(values))


@pytest.mark.parametrize("form", ["online", "offline"])
def test_lira_averages_the_scores_of_queries(rng, form):
    bank = naive.random_bank(rng, 8, 12, num_queries=3)
    alone = [dataclasses.replace(bank, phi=bank.phi[q : q + 1]) for q in range(3)]
    refs = naive.references(bank, TARGET)
    kind = {"variant": "record"}
    scores = [run(f"lira_{form}", one, refs, **kind) for one in alone]
    found = run(f"lira_{form}_queries", bank, refs, **kind)
    np.testing.assert_allclose(found, np.mean(scores, axis=0))
    np.testing.assert_array_equal(run(f"lira_{form}", bank, refs, **kind), scores[0])


def test_rmia_is_the_share_of_a_table(rng):
    bank = naive.random_bank(rng, 8, 40, num_population=10, all_in=2, temperature=3.0)
    refs = naive.references(bank, 5)
    p_t = sigmoid(bank.phi_t)

    def mean(chosen):
        with np.errstate(invalid="ignore"):
            found = (p_t[refs] * chosen).sum(0) / chosen.sum(0)
        return np.where(chosen.sum(0) == 0, p_t[refs][chosen].mean(), found)

    outside = ~bank.member[refs]
    mean_in, mean_out = mean(~outside), mean(outside)
    assert (outside.sum(0) == 0).sum() == 2
    for name, average in (
        ("rmia_online", (mean_in + mean_out) / 2),
        ("rmia_offline", (1.3 * mean_out + 0.7) / 2),
    ):
        ratio = p_t[5] / average
        table = ratio[:, None] / ratio[None] >= 1.2
        found = run(name, bank, refs, 5, gamma=1.2, variant=0.3)
        np.testing.assert_allclose(found, table.mean(1))
        assert len(np.unique(found)) > 5
    # Equal ratios count, the record's own included.
    bank_of_equals = hand_bank(np.zeros((4, 5)), np.eye(4, 5))
    np.testing.assert_array_equal(run("rmia_online", bank_of_equals, gamma=1 - 1e-9), 1)
    # a = 1 leaves the plain mean of OUT, a = 0 pulls it half way to 1.
    for a, average in ((1.0, mean_out), (0.0, (mean_out + 1) / 2)):
        ratio = p_t[5] / average
        found = run("rmia_offline", bank, refs, 5, gamma=1.2, variant=a)
        np.testing.assert_allclose(found, (ratio[:, None] / ratio[None] >= 1.2).mean(1))


def test_base_ranks_like_rmia_at_temperature_one(rng):
    bank = naive.random_bank(rng, 8, 60, temperature=1.0)
    refs = naive.references(bank, TARGET)
    rmia = run("rmia_online", bank, refs, gamma=1.1)
    assert len(np.unique(rmia)) > 20
    assert (np.diff(rmia[np.argsort(run("base_online", bank, refs))]) >= 0).all()


def test_base_and_calibrated_by_hand():
    bank = hand_bank(PHI, MEMBER)
    inside, out = [0, 0, 3], [-3, -1]
    own = math.log(sigmoid(2))
    expected = own - math.log((sigmoid(inside).mean() + sigmoid(out).mean()) / 2)
    # Equal weight to the sides, whatever their number.
    assert run("base_online", bank)[0] == pytest.approx(expected)
    assert run("base_offline", bank)[0] == pytest.approx(own - math.log(sigmoid(out).mean()))
    assert run("calibrated", bank)[0] == pytest.approx(own - np.log(sigmoid(out)).mean())
    # Without OUT models for a record: all OUT pairs of both records.
    bank = dataclasses.replace(bank, member=np.array([[1, 0], [1, 0], [1, 0], *[[1, 0]] * 3], bool))
    out = [-4, -2, 0, 2, 4]
    assert run("base_offline", bank)[0] == pytest.approx(own - math.log(sigmoid(out).mean()))
    assert run("calibrated", bank)[0] == pytest.approx(own - np.log(sigmoid(out)).mean())


def test_attack_r_below_above_and_among_references():
    # Five records, the target at 2, 0, 1, 1, 1; only the OUT models 1 to 4 of a record count.
    phi = [[2, 0, 1, 1, 1], *[[1, 1, 1, v, v] for v in (0, 1, 2, 3)], [9, -9, 9, 9, 9]]
    member = np.zeros((6, 5))
    member[5] = 1
    member[:, 4] = 1
    found = run("attack_r_share", hand_bank(phi, member))
    np.testing.assert_array_equal(found, [1, 0, 0.5, 0.375, 0.5])


@pytest.mark.parametrize("count", [1, 4, 31])
def test_attack_r_is_the_inverse_of_numpys_quantile(rng, count):
    losses = rng.exponential(1.5, count)
    for own in (*rng.exponential(1.5, 40), 1e-9, 999.0, losses[0]):
        level = naive.interpolated_level(losses.tolist(), own)
        points = np.concatenate([losses, [0, 1000]])
        assert np.quantile(points, level) == pytest.approx(own, rel=1e-9)
        if level > 1e-6:
            assert np.quantile(points, level * (1 - 1e-6)) < own
    phi = np.concatenate([[[0.5, 0.5]], rng.normal(size=(count, 2))])
    member = np.zeros((count + 1, 2))
    member[:, 1] = 1
    found = run("attack_r", hand_bank(phi, member))
    outside = -np.log(sigmoid(hand_bank(phi, member).phi[0, 1:, 0]))
    expected = naive.interpolated_level(outside.tolist(), -math.log(sigmoid(0.5)))
    np.testing.assert_allclose(found, [-math.log(expected), math.log(2)])


def test_attack_r_logit_takes_the_smaller_threshold(rng):
    phi = np.concatenate([np.linspace(-4, 9, 30)[None], rng.normal(size=(20, 30))])
    bank = hand_bank(phi, np.zeros((21, 30)))
    phi = bank.phi[0].astype(np.float64)
    found = run("attack_r_logit", bank)
    for x in range(30):
        losses = -np.log(sigmoid(phi[1:, x]))
        own = -math.log(sigmoid(phi[0, x]))
        mu, sigma = stats.norm.fit(phi[1:, x])

        # As the code of Ye et al. has it: a member at alpha if the loss is at most both thresholds.
        def passes(alpha, losses=losses, mu=mu, sigma=sigma, own=own):
            linear = np.quantile([0, *losses, 1000], alpha)
            logit = np.logaddexp(0, -stats.norm.isf(alpha, mu, sigma))
            return own <= min(linear, logit) * (1 + 1e-9)

        alpha = math.exp(-found[x])
        assert passes(min(1, alpha * 1.001))
        assert not passes(alpha * 0.999)


def test_attack_p_counts_the_population_alone():
    phi, member = [[2, 0, 1, -1, 1]], np.zeros((1, 5))
    found = run("attack_p", hand_bank(phi, member, [0, 0, 0, 1, 1]))
    np.testing.assert_array_equal(found, [1, 0.5, 0.75, 0.25, 0.75])
    found = run("attack_p", hand_bank(phi, member))
    np.testing.assert_allclose(found, [0.9, 0.3, 0.6, 0.1, 0.6])


def predictive_by_quadrature(value, values, whole):
    """p(value | values) of the normal-inverse-gamma prior: two integrals over mean and variance."""
    G, _, W, B = whole
    mean = np.linspace(-30, 30, 1201)[:, None]
    log_variance = np.linspace(-7, 7, 701)[None]
    variance = np.exp(log_variance)
    prior = stats.invgamma.pdf(variance, 2, scale=W) * variance
    prior = prior * stats.norm.pdf(mean, G, np.sqrt(variance * B / W))
    for seen in values:
        prior = prior * stats.norm.pdf(seen, mean, np.sqrt(variance))
    return (prior * stats.norm.pdf(value, mean, np.sqrt(variance))).sum() / prior.sum()


@pytest.mark.parametrize("values", [[], [1.5], [0.5, 2.5, 1.0]])
def test_bavaria_is_the_posterior_predictive(values):
    whole = (-0.5, 3.0, 0.8, 2.2)
    expected = predictive_by_quadrature(0.9, values, whole)
    after = naive.posterior(values, whole)
    assert math.exp(naive.log_student(0.9, *after)) == pytest.approx(expected, rel=1e-4)


def test_bavaria_without_references_for_a_record():
    # No values, G = -0.5, W = 0.8, B = 2.2: variance W + B, or four degrees of freedom on half of it.
    after = naive.posterior([], (-0.5, 3.0, 0.8, 2.2))
    assert naive.shrunk(*after) == pytest.approx((-0.5, 3.0))
    expected = stats.t.logpdf(4.0, 4, -0.5, math.sqrt(3.0 / 2))
    assert naive.log_student(4.0, *after) == pytest.approx(expected)


def test_bavaria_of_equal_sides_is_zero():
    phi = [[1, 1, 7], [0, 2, 0], [0, 2, 0], [3, 1, 0], [3, 1, 0]]
    member = [[1, 0, 1], [1, 1, 0], [0, 0, 0], [1, 1, 0], [0, 0, 0]]
    # IN and OUT hold the same values of records 0 and 1; no model trained on record 2.
    for name in ("bavaria", "bavaria_gaussian"):
        bank = hand_bank([row[:2] for row in phi], [row[:2] for row in member])
        np.testing.assert_allclose(run(name, bank), 0, atol=1e-12)
        assert abs(run(name, hand_bank(phi, member))[2]) > 0.01


def test_bavaria_tends_to_the_gaussian_ratio(rng):
    M = 1501
    member = np.arange(M)[:, None] % 2 == np.array([0, 1, 0])
    phi = rng.normal(size=(M, 3)) * np.where(member, 2, 1) + np.where(member, 3, 0) + [0, 5, 9]
    phi[0] = [1, 9, 6]
    bank = hand_bank(phi, member)
    phi = bank.phi[0].astype(np.float64)
    offline = []
    for x in range(3):
        inside, outside = phi[1:, x][member[1:, x]], phi[1:, x][~member[1:, x]]
        ratio = stats.norm.logpdf(phi[0, x], inside.mean(), inside.std())
        ratio -= stats.norm.logpdf(phi[0, x], outside.mean(), outside.std())
        for name in ("bavaria", "bavaria_gaussian"):
            assert run(name, bank)[x] == pytest.approx(ratio, rel=0.05, abs=0.03)
        offline.append(-stats.norm.logsf(phi[0, x], outside.mean(), outside.std()))
    np.testing.assert_allclose(run("bavaria_offline", bank), offline, rtol=0.03, atol=0.02)


def test_global_statistics_by_hand():
    G, S2, W, B = naive.global_side(hand_bank(PHI, MEMBER), [1, 2, 3, 4, 5], 0, False)
    assert pytest.approx((OUT_MEAN, OUT_VARIANCE)) == (G, S2)
    # Squares 2 of two values and 40 of five: four plus one degrees of freedom.
    assert pytest.approx(42 / 5) == W
    assert B == 1e-4  # more variance within records than in all
    assert np.var(OUT_VALUES) == pytest.approx(S2)
    # One value per record: no degree of freedom, W is S2.
    assert naive.global_side(hand_bank(PHI, MEMBER), [4], 0, False)[2] == pytest.approx(2.5**2)


def test_attacks_of_one_model_alone(rng):
    bank = naive.random_bank(rng, 2, 10)
    assert run("label_only", bank, [], 1) == pytest.approx(bank.correct[:, 1].mean(0))
    np.testing.assert_array_equal(run("correctness", bank, [], 1), bank.correct[0, 1])
    np.testing.assert_allclose(run("confidence", bank, [], 1), sigmoid(bank.phi[0, 1]))
    np.testing.assert_allclose(run("loss", bank, [], 1), np.log(sigmoid(bank.phi[0, 1])))
    for name, stored in (("maximum", bank.maximum), ("entropy", bank.entropy)):
        np.testing.assert_array_equal(run(name, bank, [], 1), stored[1])
    np.testing.assert_array_equal(run("modified_entropy", bank, [], 1), bank.mentr[1])


@pytest.mark.parametrize(
    "name", [n for n in naive.ATTACKS if n not in ("class_thresholds", "rapid")]
)
def test_an_empty_side_is_an_error(rng, name):
    def runs(bank):
        try:
            variant = naive.VARIANTS.get(name, (None,))[0]
            return np.isfinite(run(name, bank, naive.references(bank, 0), variant=variant)).all()
        except ValueError:
            return False

    needs_in = "_online" in name or name in (
        "bavaria",
        "bavaria_gaussian",
        "pmia_all",
        "pmia_class",
    )
    compares = ("lira", "bavaria", "rmia", "informia", "pmia", "base", "attack_r", "calibrated")
    needs_out = name.startswith(compares)
    assert runs(naive.random_bank(rng, 4, 5, all_in=4))
    assert runs(naive.random_bank(rng, 4, 5, all_in=5)) != needs_out
    assert runs(naive.random_bank(rng, 4, 5, all_out=5)) != needs_in


@pytest.mark.parametrize("ties", [False, True])
def test_random_bank_is_what_it_says(rng, ties):
    bank = naive.random_bank(rng, 6, 50, num_population=9, all_in=3, all_out=4, ties=ties)
    inside = bank.member.sum(0)
    assert (bank.population.sum(), (inside[bank.population] > 0).sum()) == (9, 0)
    assert ((inside == 6).sum(), (inside == 0).sum(), (inside == 3).sum()) == (3, 9 + 4, 34)
    mixed = inside == 3
    np.testing.assert_array_equal(bank.member[::2, mixed], ~bank.member[1::2, mixed])
    np.testing.assert_array_equal(bank.member[:, mixed].sum(1), 17)
    # The stored signals are those of the logits.
    exp = np.exp(bank.logits[0].astype(np.float64))
    post = exp / exp.sum(-1, keepdims=True)
    label = np.eye(4, dtype=bool)[bank.labels]
    p_y = (post * label).sum(-1)
    np.testing.assert_allclose(sigmoid(bank.phi[0]), p_y, rtol=1e-5)
    cold = np.exp(bank.logits[0] / 2.0)
    np.testing.assert_allclose(
        sigmoid(bank.phi_t), (cold * label).sum(-1) / cold.sum(-1), rtol=1e-5
    )
    np.testing.assert_array_equal(bank.correct[0], post.argmax(-1) == bank.labels)
    np.testing.assert_allclose(bank.maximum, post.max(-1), rtol=1e-5)
    np.testing.assert_allclose(bank.entropy, -stats.entropy(post, axis=-1), rtol=1e-5)
    mentr = (1 - p_y) * np.log(p_y) + (np.where(label, 0, post) * np.log1p(-post)).sum(-1)
    np.testing.assert_allclose(bank.mentr, mentr, rtol=1e-4)
    assert (len(np.unique(bank.phi)) < 40) == ties
    assert (bank.phi[0] != bank.phi[1]).any()


def test_membership_shows_unless_null(rng):
    found = []
    for null in (False, True):
        bank = naive.random_bank(rng, 16, 200, num_queries=1, null=null)
        found.append(naive.auc(run("loss", bank, [], 0), bank.member[0]))
    assert found[0] > 0.65
    assert abs(found[1] - 0.5) < 0.12
