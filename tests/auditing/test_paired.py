"""Differences by record, against counts and closed forms; the gate's regressions by record."""

import json

import numpy as np
import pytest
import scipy.stats

from jleaks.auditing import risk
from jleaks.auditing.audit import audit
from jleaks.auditing.baseline import pair
from jleaks.auditing.paired import auc_difference, share_difference
from jleaks.auditing.policy import Policy, apply, read_audit
from jleaks.errors import InputError
from jleaks.metrics.intervals import clopper_pearson
from jleaks.report import audit_files


def test_the_variance_is_delong_s_of_two_correlated_curves():
    rng = np.random.default_rng(0)
    member = rng.random(80) < 0.4
    first, second = rng.integers(0, 6, 80) * 1.0, rng.integers(0, 6, 80) * 1.0
    found = auc_difference(first, second, member)
    parts = []
    for scores in (first, second):
        inside, outside = scores[member], scores[~member]
        wins = (inside[:, None] > outside) + 0.5 * (inside[:, None] == outside)
        parts.append((wins.mean(1), wins.mean(0)))
    # S10 / m + S01 / n of the paper, contrast (1, -1).
    one, two = np.cov(*(part[0] for part in parts)), np.cov(*(part[1] for part in parts))
    variance = sum(
        (c[0, 0] + c[1, 1] - 2 * c[0, 1]) / size
        for c, size in ((one, member.sum()), (two, (~member).sum()))
    )
    assert found.mean == pytest.approx(parts[0][0].mean() - parts[1][0].mean())
    assert found.std == pytest.approx(np.sqrt(variance))
    assert found.high - found.mean == pytest.approx(1.959964 * np.sqrt(variance))


def test_no_difference_at_all_is_as_certain_as_records_are_many():
    member = np.arange(100) < 40
    scores = np.random.default_rng(0).normal(size=100)
    found = auc_difference(scores, scores, member)
    assert (found.mean, found.std) == (0, 0)
    assert found.high == -found.low == pytest.approx(1 - clopper_pearson(40, 40).low)


def test_shares_are_counts_of_records_that_one_rule_calls_alone():
    first = np.array([True] * 30 + [False] * 70)
    second = np.array([True] * 10 + [False] * 20 + [True] * 5 + [False] * 65)
    found = share_difference(first, second)
    assert found.mean == pytest.approx(0.2 - 0.05)
    gained, lost = clopper_pearson(20, 100), clopper_pearson(5, 100)
    a, b = 0.2 - gained.low, lost.high - 0.05
    related = np.sqrt(0.2 * 0.05 / (0.8 * 0.95))
    assert found.low == pytest.approx(0.15 - np.sqrt(a**2 + b**2 + 2 * related * a * b))
    turned = share_difference(second, first)
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))
    nobody = share_difference(first, first)
    assert nobody.high == -nobody.low == pytest.approx(clopper_pearson(0, 100).high)


@pytest.mark.parametrize("kind", ["auc", "share"])
def test_paired_intervals_cover_and_are_narrower_than_two_apart(kind):
    rng, times, covered, narrower = np.random.default_rng(1), 300, 0, 0
    n, shift = 400, 1.0
    member = np.arange(n) < n // 2
    for _ in range(times):
        easy = rng.normal(size=n)
        first, second = (
            shift * more * member + (easy + 0.5 * rng.normal(size=n)) / np.sqrt(1.25)
            for more in (1.2, 1.0)
        )
        if kind == "auc":
            true = np.diff([scipy.stats.norm.cdf(s / np.sqrt(2)) for s in (1.0, 1.2)])[0]
            found = auc_difference(first, second, member)
            apart = [risk.auc(x, member) for x in (first, second)]
        else:
            true = scipy.stats.norm.sf(2 - 1.2) - scipy.stats.norm.sf(2 - 1.0)
            found = share_difference(first[member] > 2, second[member] > 2)
            apart = [clopper_pearson(int((x[member] > 2).sum()), n // 2) for x in (first, second)]
        covered += found.low <= true <= found.high
        widths = [one.high - one.low for one in apart]
        narrower += found.high - found.low < np.hypot(*widths)
    assert covered >= scipy.stats.binom.ppf(0.001, times, 0.95)
    assert narrower > 0.9 * times


N, K = 300, 3


def answers(memory, seed):
    """A model's posteriors: a record's own difficulty, what is remembered, some noise."""
    rng = np.random.default_rng(0)
    labels, member = rng.integers(0, K, N), rng.permutation(N) < N // 2
    phi = rng.normal(0, 2, N) + memory * member + np.random.default_rng(seed).normal(0, 0.3, N)
    own = 1 / (1 + np.exp(-phi))
    rest = ((1 - own) / (K - 1))[:, None]
    return np.where(np.eye(K, dtype=bool)[labels], own[:, None], rest), labels, member


def save(folder, memory, seed, ids=None):
    posteriors, labels, member = answers(memory, seed)
    found = audit(labels=labels, member=member, answers=posteriors, ids=ids)
    audit_files.save(found, folder)
    return found


def checked(folder, former, allowed=0.03):
    audits = [read_audit(one) for one in (folder, former)]
    policy = Policy({}, {"auc": allowed})
    return [apply(policy, *audits, pairs)[0] for pairs in (pair(folder, former), None)]


def test_the_gate_tells_by_record_what_two_intervals_cannot(tmp_path):
    save(tmp_path / "new", 1.0, 1)
    save(tmp_path / "old", 1.0, 2)
    save(tmp_path / "worse", 2.5, 3)
    paired, apart = checked(tmp_path / "new", tmp_path / "old")
    assert (paired.outcome, apart.outcome) == ("pass", "inconclusive")
    assert "paired by record over 300, limit 0.03" in paired.said
    assert "taken as independent" in apart.said
    paired, _ = checked(tmp_path / "worse", tmp_path / "old")
    assert paired.outcome == "fail"
    paired, apart = checked(tmp_path / "new", tmp_path / "old", allowed=0.001)
    assert paired.outcome == "inconclusive"
    # Whoever stores audit.json alone compares two numbers.
    (tmp_path / "old" / "records.csv").unlink()
    assert pair(tmp_path / "new", tmp_path / "old") is None


def test_records_are_the_same_or_it_is_one_line(tmp_path):
    save(tmp_path / "new", 1.0, 1, ids=[f"a{i}" for i in range(N)])
    save(tmp_path / "old", 1.0, 2, ids=[f"b{i}" for i in range(N)])
    with pytest.raises(InputError, match="0 members and 0 non-members in common"):
        pair(tmp_path / "new", tmp_path / "old")
    save(tmp_path / "old", 1.0, 2, ids=[f"a{N - 1 - i}" for i in range(N)])
    with pytest.raises(InputError, match="a regression is told by the same records"):
        pair(tmp_path / "new", tmp_path / "old")
    path = tmp_path / "old" / "records.csv"
    path.write_text("id,label,member,score\na1,1,True,nan\n")
    with pytest.raises(InputError, match="in common"):
        pair(tmp_path / "new", tmp_path / "old")
    path.write_text("nothing\n1\n")
    with pytest.raises(InputError, match="has no id, label, member, score"):
        pair(tmp_path / "new", tmp_path / "old")


def test_records_whose_membership_changed_are_left_out(tmp_path):
    save(tmp_path / "new", 1.0, 1)
    save(tmp_path / "old", 1.0, 2)
    path = tmp_path / "old" / "records.csv"
    rows = [line.split(",") for line in path.read_text().splitlines()]
    for row in rows[1:31]:
        row[3] = {"True": "False", "False": "True"}[row[3]]
    path.write_text("\n".join(",".join(row) for row in rows))
    found = pair(tmp_path / "new", tmp_path / "old")
    assert (len(found.member), found.num_moved) == (N - 30, 30)
    assert json.loads((tmp_path / "old" / "audit.json").read_text())["num_members"] == N // 2
