"""A budget of shadows: looks, their error, when an audit stops."""

import numpy as np
import pytest
from remembering import draw, fit, labels_of, predict

from jleaks.auditing import sequential
from jleaks.auditing.audit import audit
from jleaks.auditing.policy import Policy, apply, outcome
from jleaks.errors import InputError

ATTACKS = ("loss", "lira_offline", "attack_r")


def audited(memory, policy, budget=32, **changes):
    data = draw(300)[0]
    member = np.random.default_rng(2).permutation(300) < 150
    said = []
    given = {"fit": fit(memory), "predict": predict, "attacks": ATTACKS, "tell": said.append}
    found = audit(
        data, labels_of(data), member, shadow_budget=budget, policy=policy, num_processes=1,
        **(given | changes),
    )  # fmt: skip
    return found, said


def test_looks_double_up_to_the_budget():
    assert sequential.looks(64) == [8, 16, 32, 64]
    assert sequential.looks(20) == [8, 16, 20]
    assert sequential.looks(16) == [8, 16]
    with pytest.raises(InputError, match="budget is 15 shadows, expected at least 16"):
        sequential.looks(15)


def test_a_clear_leak_fails_at_the_first_look():
    found, said = audited(0.9, Policy({"auc": 0.7}))
    assert found.num_shadows == 8
    assert found.about["budget"] == {"shadows": 32, "trained": 8, "looks": 3, "verdict": "fail"}
    assert "8 of 32 shadows: fail" in said
    assert found.error == pytest.approx(0.05 / 3)
    assert found.notes[0].startswith("stopped after 8 of 32 shadows")
    # The gate comes to the same by the file.
    assert outcome(apply(Policy({"auc": 0.7}), found.numbers())) == "fail"


def test_a_model_far_below_its_limit_passes_at_the_second_look():
    found, said = audited(0.0, Policy({"auc": 0.85}))
    assert said.count("8 of 32 shadows: inconclusive") == 1
    assert found.about["budget"]["verdict"] == "pass"
    assert found.num_shadows == 16


def test_a_level_passes_at_the_last_look_alone():
    found, _ = audited(0.0, Policy({"level": "weak"}), budget=16)
    assert found.num_shadows == 16
    assert found.about["budget"]["verdict"] == "pass"


def test_without_a_budget_nothing_changes():
    data = draw(300)[0]
    member = np.random.default_rng(2).permutation(300) < 150
    found = audit(
        data, labels_of(data), member, fit=fit(0.9), predict=predict, attacks=ATTACKS,
        num_shadows=8, num_processes=1,
    )  # fmt: skip
    assert found.error == 0.05
    assert "budget" not in found.about
    stopped, _ = audited(0.9, Policy({"auc": 0.7}))
    np.testing.assert_array_equal(found.scores, stopped.scores)
    (ours,), (theirs,) = ([r for r in one.rows if r["strongest"]] for one in (found, stopped))
    assert theirs["auc"]["low"] < ours["auc"]["low"] <= ours["auc"]["mean"] == theirs["auc"]["mean"]


def test_what_a_budget_cannot_be_spent_for_is_one_line():
    with pytest.raises(InputError, match=r"spent for \[limits\]"):
        audited(0.0, Policy({}, {"auc": 0.1}))
    with pytest.raises(InputError, match="needs a way to train"):
        audited(0.0, Policy({"auc": 0.7}), fit=None, predict=None, answers=np.full((300, 4), 0.25))
