"""The attacker from outside: shadows that never saw an audited record."""

import naive_attacks
import numpy as np
import pytest
from remembering import K, draw, fit, labels_of, predict

from jleaks.attacks.registry import get_attacks
from jleaks.auditing.answers import make_bank, signals_of
from jleaks.auditing.attacks import attack_from_outside
from jleaks.auditing.audit import audit
from jleaks.auditing.records import num_equal, read_records
from jleaks.auditing.shadows import memberships
from jleaks.auditing.verdict import Level
from jleaks.errors import InputError
from jleaks.report import audit_page

SHADOWS = 8
ATTACKS = ("loss", "lira_online", "lira_offline", "rmia_offline", "attack_r", "class_thresholds")


def given(n=300, other=300):
    data, others = draw(n)[0], draw(other, 1)[0]
    member = np.random.default_rng(2).permutation(n) < n // 2
    return data, labels_of(data), member, others, labels_of(others)


def test_scores_are_those_of_loops_with_all_shadows_as_out_references():
    rng = np.random.default_rng(0)
    n, other, shadows = 40, 30, 6
    labels = rng.integers(0, 3, n + other)
    member = np.concatenate([np.arange(n) % 2 == 0, np.zeros(other, bool)])
    trained = memberships(member, shadows, 0, np.arange(n + other) >= n)
    assert not trained[:, :n].any()
    assert (trained.sum(1) == 20).all()
    logits = rng.normal(size=(1, shadows + 1, n + other, 3))
    whole = np.concatenate([member[None], trained])
    naive = naive_attacks.bank_from_logits(
        logits, whole, labels, np.zeros(n + other, bool), temperature=2.0
    )
    posteriors = np.exp(logits[0]) / np.exp(logits[0]).sum(-1, keepdims=True)
    signals = [signals_of(p, labels) for p in posteriors]
    records = read_records(None, labels, member)
    bank = make_bank(signals[0], signals[1:], trained, records)
    names = ["loss", "calibrated", "attack_r", "lira_offline_record", "lira_offline_global"]
    names += ["bavaria_offline", "base_offline"]
    found = attack_from_outside(bank, get_attacks([*names, "lira_online"]), n)
    assert "lira_online left out: no shadow trained on an audited record" in found.notes
    for name in names:
        slow = naive_attacks.score(name, naive, 0, list(range(1, shadows + 1)))
        np.testing.assert_allclose(found.scores[name].target, slow[:n], rtol=2e-4, atol=1e-4)
        for i in (0, 3):
            refs = [m for m in range(1, shadows + 1) if m != i + 1]
            slow = naive_attacks.score(name, naive, i + 1, refs)
            fast = found.scores[name].shadows
            assert fast.shape == (shadows, n)
            np.testing.assert_allclose(fast[i], slow[:n], rtol=2e-4, atol=1e-4)


def test_a_model_that_remembers_is_found_by_shadows_of_other_records():
    data, labels, member, others, theirs = given()
    found = audit(
        data, labels, member, fit=fit(0.9), predict=predict, num_shadows=SHADOWS, attacks=ATTACKS,
        num_processes=1, shadow_data=others, shadow_labels=theirs,
    )  # fmt: skip
    assert found.verdict.level >= Level.CLEAR
    assert found.called[0.01].tpr.mean > 0.8
    assert found.called[0.01].fpr.mean < 0.05
    assert found.num_shadows == SHADOWS
    assert found.records.num_records == len(found.scores) == len(found.p) == 300
    assert "saw an audited one" in found.about["attacker"]
    assert "lira_online left out" in " ".join(found.notes)
    assert "one from outside" in " ".join(found.notes)
    assert "random subset of other records" in audit_page.page(found)
    assert {row["attack"] for row in found.rows} == set(ATTACKS) - {"lira_online"}
    assert len(found.cost) == 2
    assert found.cost[-1].tpr == found.tpr(0.01)


def test_a_model_that_remembers_nothing_is_not_accused():
    data, labels, member, others, theirs = given()
    found = audit(
        data, labels, member, fit=fit(0.0), predict=predict, num_shadows=SHADOWS, attacks=ATTACKS,
        num_processes=1, shadow_data=others, shadow_labels=theirs,
    )  # fmt: skip
    assert found.verdict.level == Level.NONE_SEEN
    # The threshold of shadows lets in what it says: ties are many where all models answer alike.
    assert found.called[0.01].fpr.low <= 0.01


def test_thresholds_of_outsiders_hold_for_the_audited_model():
    """Scores of others are as those of shadows on the very same records, whatever is memorised."""
    rng = np.random.default_rng(4)
    n, m = 400, 16
    member = rng.permutation(n) < n // 2
    labels = rng.integers(0, 3, n)
    easy = rng.normal(0, 2, n)

    def answered(trained):
        phi = easy + 3.0 * trained + rng.normal(0, 1, n)
        own = 1 / (1 + np.exp(-phi))
        return np.where(np.eye(3, dtype=bool)[labels], own[:, None], ((1 - own) / 2)[:, None])

    nobody = np.zeros(n, bool)
    found = audit(
        labels=labels, member=member, answers=answered(member),
        shadow_answers=[(answered(nobody), nobody) for _ in range(m)],
    )  # fmt: skip
    assert found.strongest == "lira_offline"
    assert found.called[0.01].fpr.low <= 0.01 <= found.called[0.01].fpr.high
    assert found.called[0.01].tpr.low > 0.2
    assert found.verdict.level >= Level.CLEAR
    told = " ".join(found.notes)
    assert "rank a record among others" in told
    assert "class_thresholds left out" in told
    # An attack on the answers alone finds less: shadows say how hard a record is.
    loss = next(row for row in found.rows if row["attack"] == "loss")
    best = next(row for row in found.rows if row["strongest"])
    assert best["auc"]["low"] > loss["auc"]["high"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shadow_labels": None}, "shadow_data is given without shadow_labels"),
        ({"shadow_labels": np.arange(7) % K}, "shadow_data has 300 records but shadow_labels 7"),
        (
            {"shadow_labels": np.array(["a", "b"] * 150)},
            "shadow_labels are text, labels are numbers",
        ),
        ({"shadow_data": np.zeros((300, 4))}, r"records of shape \(4,\), data of \(5,\)"),
        ({"shadow_data": None}, "data is given without shadow_data"),
        ({"shadow_data": "same"}, "of 300 audited records are in shadow_data, too"),
        (
            {"fit": None, "predict": None, "answers": np.full((300, K), 0.25)},
            "nothing trains shadows",
        ),
    ],
)
def test_bad_input_is_one_line_before_any_training(changes, said):
    data, labels, member, others, theirs = given()
    if isinstance(changes.get("shadow_data"), str):
        changes = {"shadow_data": data}
    whole = {
        "fit": lambda *_: pytest.fail("trained"), "predict": predict, "shadow_data": others,
        "shadow_labels": theirs,
    }  # fmt: skip
    with pytest.raises(InputError, match=said) as error:
        audit(data, labels, member, **(whole | changes))
    assert "\n" not in str(error.value)


def test_shadows_of_two_kinds_are_refused():
    n = 100
    rng = np.random.default_rng(0)
    labels, member = rng.integers(0, K, n), np.arange(n) % 2 == 0
    answers = rng.dirichlet(np.ones(K), n)
    shadows = [(answers, member if i < 2 else ~member & False) for i in range(5)]
    with pytest.raises(InputError, match=r"shadow 0 trained on some .* shadow 2 on none"):
        audit(labels=labels, member=member, answers=answers, shadow_answers=shadows)


def test_records_that_are_in_both_are_counted():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2, 3, 1, 9], "b": list("xyzxq")})
    assert num_equal(frame, 3) == 1
    assert num_equal(frame.to_dict("list"), 3) == 1
    assert num_equal(frame["a"].to_numpy(), 3) == 1
    assert num_equal([*"abcaq"], 3) == 1
    sparse = pytest.importorskip("scipy.sparse").csr_matrix(np.eye(4)[[0, 1, 2, 0, 3]])
    assert num_equal(sparse, 3) == 1
