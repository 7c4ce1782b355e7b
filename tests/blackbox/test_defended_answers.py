"""Defences put before answers that were given without them: against loops, and by the command."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from jleaks.blackbox.posteriors import defended, make_posteriors, of_answers
from jleaks.errors import InputError


def answers(rng, n, k, name):
    """A model that is surer of its members."""
    member, label = rng.permutation(n) < n // 2, rng.integers(0, k, n)
    z = rng.normal(size=(n, k))
    z[np.arange(n), label] += np.where(member, 3.0, 1.0)
    return make_posteriors(np.exp(z) / np.exp(z).sum(1, keepdims=True), member, label, name)


def by_hand(name, strength, p):
    """One record's posteriors in float64, the definition in loops."""
    if name == "temperature":
        powered = [max(x, 1e-45) ** (1 / strength) for x in p]
        return np.array(powered) / sum(powered)
    if name == "rounding":
        digits = [round(x * 10**strength) / 10**strength for x in p]
        return np.array(digits) / sum(digits) if sum(digits) else np.full(len(p), 1 / len(p))
    kept = sorted(range(len(p)), key=lambda k: (-p[k], k))[: int(strength)]
    rest = [k for k in range(len(p)) if k not in kept]
    share = sum(p[k] for k in rest) / max(len(rest), 1)
    return np.array([p[k] if k in kept else share for k in range(len(p))])


@pytest.mark.parametrize(
    "given", ["temperature:3", "rounding:1", "rounding:2", "top_k:1", "top_k:3"]
)
def test_answers_behind_a_defence_are_those_of_its_definition(given, rng):
    p = make_posteriors(rng.dirichlet(np.full(5, 0.6), 40), np.arange(40) < 20, name="target")
    name, _, strength = given.partition(":")
    found = defended(p, of_answers(given))
    expected = [by_hand(name, float(strength), row) for row in p.posteriors.astype(np.float64)]
    np.testing.assert_allclose(found.posteriors, expected, atol=2e-6)
    assert found.notes == (f"target: attacked behind {given}",)
    np.testing.assert_array_equal(found.member, p.member)


def test_labels_alone_are_behind_a_defence_already():
    p = make_posteriors(np.eye(3)[[0, 1, 2, 0]], [1, 0, 1, 0], name="target")
    with pytest.raises(InputError, match=r"target has labels alone: top_k:1 is for posteriors"):
        defended(p, of_answers("top_k:1"))


def test_memguard_learns_of_records_that_nobody_attacks_then(rng):
    """Of half of the others and as many members; what is left answers as algorithm 1 has it."""
    p = answers(rng, 1203, 4, "target")
    found = defended(p, of_answers("memguard:1"))
    others = int((~p.member).sum())
    assert int((~found.member).sum()) == others - others // 2
    assert int(found.member.sum()) == int(p.member.sum())
    assert found.notes[-1].startswith(f"target: {others // 2} others are the defender's")
    # In the order of the file, each with its own answer's largest class, moved by at most the budget.
    mine, own = found.posteriors[found.member], p.posteriors[p.member]
    np.testing.assert_array_equal(mine.argmax(1), own.argmax(1))
    moved = np.abs(mine - own).sum(1)
    assert 0.01 < moved.mean() <= 1
    # Whoever sets a threshold on the largest posterior is misled: what is moved is undecided.
    before = roc_auc_score(p.member, p.posteriors.max(1))
    after = roc_auc_score(found.member, found.posteriors.max(1))
    assert before > 0.6
    assert abs(after - 0.5) < abs(before - 0.5)


@pytest.mark.parametrize(
    ("member", "label", "message"),
    [
        (None, [0, 1, 2, 0], "target has no member: memguard:1 learns"),
        ([1, 0, 1, 0], None, "target has no label: memguard:1 learns"),
        (
            [1, 0, 1, 1],
            [0, 1, 2, 0],
            "target has 3 members and 1 others, expected at least one and two",
        ),
        ([0, 0, 0, 0], [0, 1, 2, 0], "target has 0 members and 4 others"),
    ],
)
def test_memguard_needs_something_to_learn_from(member, label, message, rng):
    p = make_posteriors(rng.dirichlet(np.ones(3), 4), member, label, name="target")
    with pytest.raises(InputError, match=message):
        defended(p, of_answers("memguard:1"))


def saved(path, p):
    np.savez(path, posteriors=p.posteriors, member=p.member, label=p.label)
    return path


def rows_of(folder):
    timed = ("seconds", "command", "name", "hostname", "load", "time", "target", "shadow")
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not any(t in k for t in timed)} for row in rows]


def test_the_command_attacks_as_if_the_files_had_been_defended(launch, tmp_path, rng):
    """Target and shadow alike; the files stay as they are."""
    models = {whose: answers(rng, 200, 4, whose) for whose in ("target", "shadow")}
    found = {}
    for kind in ("asked", "by_hand"):
        flags = ["--attack_epochs=3", f"--out_dir={tmp_path / kind}"]
        for whose, p in models.items():
            if kind == "by_hand":
                p = defended(p, of_answers("top_k:1"))
            flags.append(f"--{whose}={saved(tmp_path / f'{kind}_{whose}.npz', p)}")
        done = launch("launch.audit", *flags, *(["--defence=top_k:1"] if kind == "asked" else []))
        assert done.returncode == 0, done.stderr
        assert ("attacked behind top_k:1" in done.stdout) == (kind == "asked")
        found[kind] = rows_of(tmp_path / kind)
    assert found["asked"] == found["by_hand"]
