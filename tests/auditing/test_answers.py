"""What models answer, read from whatever they give."""

import numpy as np
import pytest

from jleaks.auditing.answers import asked, is_asked, make_bank, read_answers, signals_of
from jleaks.auditing.files import Own
from jleaks.auditing.records import read_records
from jleaks.errors import InputError

N = 60
MEMBER = np.arange(N) % 2 == 0


def records(k=3, names=None):
    labels = np.arange(N) % k
    return read_records(None, labels if names is None else np.array(names)[labels], MEMBER)


def random_posteriors(k=3):
    return np.random.default_rng(0).dirichlet(np.ones(k), N)


def test_posteriors_labels_and_single_outputs():
    p = random_posteriors()
    np.testing.assert_allclose(read_answers(p, None, records(), "it"), p)
    said = np.array(["cat", "dog", "eel"])[p.argmax(1)]
    found = read_answers(said, None, records(3, ["cat", "dog", "eel"]), "it")
    np.testing.assert_array_equal(found, np.eye(3)[p.argmax(1)])
    q = random_posteriors(2)
    for one in (q[:, 1], q[:, 1:]):
        np.testing.assert_allclose(read_answers(one, None, records(2), "it"), q, atol=1e-12)
    # Of two classes 0 and 1 a label is a posterior.
    np.testing.assert_array_equal(
        read_answers(q.argmax(1), None, records(2), "it"), np.eye(2)[q.argmax(1)]
    )


def test_a_class_that_a_model_never_saw_has_the_posterior_zero():
    p = random_posteriors(2)
    found = read_answers(p, np.array(["cat", "eel"]), records(3, ["cat", "dog", "eel"]), "it")
    np.testing.assert_array_equal(found[:, 1], 0)
    np.testing.assert_array_equal(found[:, [0, 2]], p)


@pytest.mark.parametrize(
    ("answers", "names", "said"),
    [
        (random_posteriors()[:-1], None, f"expected one answer for each of {N}"),
        (random_posteriors(2), None, "2 columns for 3 classes"),
        (random_posteriors(4), None, "4 columns for 3 classes"),
        (random_posteriors(2), np.array([0, 9]), "a class '9' that no record has"),
        (np.array(["ant"] * N), None, "expected posteriors"),
        (random_posteriors() * 3, None, "expected"),
        (-random_posteriors(), None, "expected"),
        (np.zeros((N, 3, 1)), None, f"expected one answer for each of {N}"),
        ([[1.0], [0.5, 0.5]], None, "unequal lengths"),
    ],
)
def test_what_is_no_answer_is_one_line(answers, names, said):
    with pytest.raises(InputError) as error:
        read_answers(answers, names, records(), "shadow 3")
    assert said in str(error.value)
    assert "shadow 3" in str(error.value)


def test_the_bank_has_the_audited_model_first_and_infinite_signals_last():
    r = records()
    p = random_posteriors()
    certain = np.eye(3)[r.labels]
    signals = [signals_of(x, r.labels) for x in (certain, p, p)]
    assert np.isinf(signals[0]["phi"]).all()
    shadows = np.stack([MEMBER, ~MEMBER])
    bank = make_bank(signals[0], signals[1:], shadows, r)
    np.testing.assert_array_equal(bank.member, np.stack([MEMBER, MEMBER, ~MEMBER]))
    np.testing.assert_allclose(
        bank.phi[0, 1], np.log(p / (1 - p))[np.arange(N), r.labels], rtol=1e-5
    )
    assert np.isfinite(bank.phi).all()
    assert (bank.phi[0, 0] > bank.phi[0, 1:].max()).all()


def test_answers_may_be_asked_for():
    """Of a function, of anything with `answer`; of answers themselves nothing is asked."""

    class Box:
        notes = ("rounded",)

        def answer(self, data):
            return data + 1

    data = np.arange(3)
    assert not is_asked(data)
    assert is_asked(Box())
    np.testing.assert_array_equal(asked(lambda x: x * 2, data)[0], [0, 2, 4])
    found, notes = asked(Box(), data)
    np.testing.assert_array_equal(found, [1, 2, 3])
    assert notes == ["rounded"]
    with pytest.raises(InputError, match="data has no records to ask about"):
        asked(Box(), None)

    def fails(_):
        raise KeyError("no\nsuch")

    with pytest.raises(InputError, match=r"answers raised KeyError: .*such") as caught:
        asked(fails, data)
    assert "\n" not in str(caught.value)


def test_an_audit_asks_and_is_told_the_same():
    """A function behind a budget gives the audit that its answers give."""
    import jleaks

    rng = np.random.default_rng(0)
    labels, member = rng.integers(0, 3, 80), np.arange(80) < 40
    p = rng.dirichlet(np.ones(3), 80).astype(np.float32)
    p[member, labels[member]] += 1
    p /= p.sum(1, keepdims=True)
    rows = np.arange(80)[:, None]
    box = jleaks.metered(lambda r: p[r[:, 0]], jleaks.Limits(budget=80, batch=30))
    wanted, found, called = (
        jleaks.audit(rows, labels, member, answers=answers, attacks=["loss", "maximum"])
        for answers in (p, box, lambda r: p[r[:, 0]])
    )
    assert box.num_sent == 80
    with pytest.raises(InputError, match="num_shadows is 2, expected"):
        jleaks.audit(
            *(rows + 1, labels, member),
            answers=box,
            fit=lambda *_: None,
            predict=lambda *_: None,
            num_shadows=2,
        )
    # Refused before anything was paid for.
    assert box.num_sent == 80
    assert wanted.audit.rows == found.audit.rows == called.audit.rows
    assert wanted.verdict == found.verdict
    box.close()


def test_part_of_the_records():
    groups = {"g": np.arange(N) % 2}
    whole = Own(np.arange(N), np.arange(N) % 3, MEMBER, None, groups, ())
    found = whole.part(np.array([4, 7]))
    assert found.data.tolist() == [4, 7]
    assert (found.labels.tolist(), found.member.tolist()) == ([1, 1], [True, False])
    assert (found.ids, found.groups["g"].tolist()) == (None, [0, 1])
