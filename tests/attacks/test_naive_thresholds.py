"""The naive metrics and thresholds themselves: against scikit-learn, searches and by hand."""

import naive_attacks as naive
import numpy as np
import pytest
from sklearn import metrics as sk

TARGET = 0


def run(name, bank, refs=None, target=TARGET, **kwargs):
    refs = list(range(1, bank.phi.shape[1])) if refs is None else refs
    return naive.score(name, bank, target, refs, **kwargs)


def sigmoid(value):
    return 1 / (1 + np.exp(-np.asarray(value, np.float64)))


@pytest.mark.parametrize("ties", [False, True])
def test_metrics_equal_scikit_learn(rng, ties):
    member = rng.random(300) < 0.4
    scores = rng.normal(size=300) + 0.8 * member
    scores = np.round(scores * 2) / 2 if ties else scores
    assert naive.auc(scores, member) == pytest.approx(sk.roc_auc_score(member, scores))
    fpr, tpr, _ = sk.roc_curve(member, scores, drop_intermediate=False)
    for limit in (0.0, 0.01, 0.1, 0.5, 1.0):
        best = tpr[fpr <= limit].max()
        found, realised, k, n = naive.tpr_at(scores, member, limit)
        assert (found, realised) == (best, fpr[tpr == best].min())
        assert (k, n) == (round(best * member.sum()), member.sum())


def test_one_tie_of_everything_allows_nobody():
    member = np.array([True, False, True])
    assert naive.tpr_at(np.zeros(3), member, 0.5) == (0, 0, 0, 2)
    assert naive.tpr_at(np.zeros(3), member, 1.0) == (1, 1, 2, 2)
    assert naive.auc(np.zeros(3), member) == 0.5


def test_among_equal_thresholds_the_largest():
    member = np.array([True, False, True, False])
    assert naive.balanced_best_threshold(np.array([4.0, 3, 2, 1]), member) == 4
    assert naive.balanced_best_threshold(np.array([2.0, 2, 3, 1]), member) == 3
    assert naive.balanced_best_threshold(np.array([2.0, 1, 3, 1]), member) == 2


def brute_force_tau(values, member):
    order = np.unique(values)[::-1]
    accuracy = [round(sk.balanced_accuracy_score(member, values >= t), 12) for t in order]
    return order[np.argmax(accuracy)]


@pytest.mark.parametrize("ties", [False, True])
def test_class_thresholds_equal_a_search(rng, ties):
    bank = naive.random_bank(rng, 8, 80, num_population=20, ties=ties, num_classes=4)
    bank.labels[:] = rng.integers(0, 3, 80)
    bank.labels[bank.candidates & ~bank.member[4]] %= 2  # the shadow trained on all of class 2
    shadow = 4
    refs = [m for m in naive.references(bank, 3) if m not in (4, 5)]
    found = run("class_thresholds", bank, refs, 3, shadow_index=shadow)
    values, member, audited = bank.mentr[shadow], bank.member[shadow], bank.candidates
    for c in range(3):
        chosen = audited & (bank.labels == c) if c < 2 else audited
        tau = np.float64(brute_force_tau(values[chosen], member[chosen]))
        own = bank.labels == c
        np.testing.assert_array_equal(found[own], bank.mentr[3, own].astype(np.float64) - tau)
    with pytest.raises(ValueError, match="shadow"):
        run("class_thresholds", bank, refs, 3)


def test_thresholds_come_from_the_shadow(rng):
    bank = naive.random_bank(rng, 8, 40, num_population=8)
    refs, shadow = naive.references(bank, 3), naive.shadow(bank, 3)
    assert (refs, shadow) == ([0, 1, 4, 5, 6, 7], 4)
    assert naive.shadow(bank, 7) == 0
    shadow_refs = [0, 1, 6, 7]
    audited = bank.candidates
    for name in naive.ATTACKS:
        variant = naive.VARIANTS.get(name, (None,))[-1]
        found = naive.threshold(name, bank, 3, refs, shadow, shadow_refs, variant=variant)
        if name in ("correctness", "class_thresholds"):
            assert found == (0.5 if name == "correctness" else 0)
        elif name == "loss":
            trained = bank.phi[0, shadow, bank.member[shadow]]
            assert found == pytest.approx(np.log(sigmoid(trained)).mean())
        else:
            own = shadow, shadow_refs
            scores = naive.score(name, bank, *own, *own, variant=variant)[audited]
            assert found == brute_force_tau(scores, bank.member[shadow, audited])
    with pytest.raises(ValueError, match="references of the target"):
        naive.threshold("loss", bank, 3, refs, 2, shadow_refs)
    with pytest.raises(ValueError, match="references of the target"):
        naive.threshold("loss", bank, 3, refs, shadow, [0, 3])
