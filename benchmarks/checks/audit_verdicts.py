"""How often are an audit's verdict, its intervals and the gate wrong?

python -m benchmarks.checks.audit_verdicts --out=results/audit_verdicts.jsonl

Scores whose truth is known: of members normal with a shifted mean, of others standard normal, on the
audited model and on its shadows alike.  Counts, per shift: how often each level is reached; how often the
interval of the share that a shadows' threshold finds covers the true share, and that of the AUC the
true AUC; and how often the gate passes, fails or cannot tell where its limit is exactly the truth, so that
a pass and a failure are wrong alike.  Without a shift every level but "none seen" is wrong, in at most 5%
of audits.

Then audits with a budget (`jleaks.auditing.sequential`): scores hold the mean error of as many references
as there are shadows at a look, the same ones at later looks and more, so that more shadows find more.  The
truth is what the whole budget would find.  Counts, per limit: how often the verdict is each of the three;
how often it is wrong, which is any but inconclusive where the limit is the truth; and how many shadows were
trained.
"""

import collections
import time
from typing import Any

import numpy as np
import scipy.stats

from benchmarks.harness import OUT, Command, Flag
from jleaks.auditing import sequential
from jleaks.auditing.attacks import Attacked, Scores
from jleaks.auditing.judgement import judged
from jleaks.auditing.policy import Policy, apply, outcome
from jleaks.auditing.records import read_records
from jleaks.auditing.result import Audit
from jleaks.training.execution import Execution
from jleaks.training.reporter import provenance

COMMAND = Command(
    "benchmarks.checks.audit_verdicts",
    __doc__,
    audits=Flag("Simulated audits per shift.", 1000, 2),
    num_records=Flag("Records of an audit, half of them members.", 1000, 100),
    num_shadows=Flag("Shadow models of an audit.", 8, 4),
    shifts=Flag("Shifts of members' scores.", ["0", "0.5", "1", "2", "4"]),
    budget=Flag("Most shadow models of an audit with a budget.", 32, 16),
    out=OUT,
)
# Standard deviation of one reference's error, beside that of records' own scores, 1.
REFERENCE_ERROR = 1.5
# Limits of a budget's policy, by how far they are from the truth.
OFFSETS = (-0.1, -0.05, 0.0, 0.05, 0.1)


def simulate(shift: float, draw: int) -> dict[str, Any]:
    """Returns what is told of one simulated audit."""
    rng = np.random.default_rng([draw, round(1000 * shift)])
    n, m = COMMAND.num_records, COMMAND.num_shadows
    member = np.stack([rng.permutation(n) < n // 2 for _ in range(m + 1)])
    scores = (rng.normal(size=(m + 1, n)) + shift * member).astype(np.float32)
    records = read_records(None, np.arange(n) % 2, member[0])
    attacked = Attacked(
        {"loss": Scores(scores[0], scores[1:])},
        np.ones(n, bool),
        np.ones((m, n), bool),
        {"loss": 0.0},
        "loss",
        (),
    )
    return judged(records, attacked, member[1:], 1e-5)


def simulate_looks(shift: float, draw: int) -> list[Audit]:
    """Returns one simulated audit at every look of its budget."""
    rng = np.random.default_rng([draw, round(1000 * shift), 1])
    n, numbers = COMMAND.num_records, sequential.looks(COMMAND.budget)
    records = read_records(None, np.arange(n) % 2, rng.permutation(n) < n // 2)
    own = rng.normal(size=n) + shift * records.member
    errors = REFERENCE_ERROR * rng.normal(size=(numbers[-1], n))
    found = []
    for count in numbers:
        member = np.stack([rng.permutation(n) < n // 2 for _ in range(count)])
        spread = np.sqrt(1 + REFERENCE_ERROR**2 / count)
        theirs = rng.normal(0, spread, (count, n)) + shift * member
        scores = Scores(
            (own - errors[:count].mean(0)).astype(np.float32), theirs.astype(np.float32)
        )
        attacked = Attacked(
            {"loss": scores}, np.ones(n, bool), np.ones((count, n), bool), {"loss": 0.0}, "loss", ()
        )
        found.append(
            Audit(
                records=records,
                attacked=attacked,
                **judged(records, attacked, member, 1e-5, sequential.ERROR / len(numbers)),
                cost=[],
                num_shadows=count,
                train_accuracy=1.0,
                test_accuracy=1.0,
                seconds={},
                about={},
                notes=(),
            )
        )
    return found


def truth(name: str, shift: float) -> float:
    """Returns what the whole budget finds of a number."""
    spread = np.sqrt(1 + REFERENCE_ERROR**2 / COMMAND.budget)
    if name == "auc":
        return float(scipy.stats.norm.cdf(shift / spread / np.sqrt(2)))
    fpr = float(name.removeprefix("tpr_at_fpr_"))
    return float(scipy.stats.norm.sf(scipy.stats.norm.isf(fpr) - shift / spread))


def budget_rows(shift: float) -> list[dict[str, Any]]:
    """Simulates audits with a budget, each held against several limits."""
    began = time.monotonic()
    limits = [
        (name, truth(name, shift), offset)
        for name in ("auc", "tpr_at_fpr_0.01")
        for offset in OFFSETS
        if truth(name, shift) + offset > 0
    ]
    verdicts: list[collections.Counter[str]] = [collections.Counter() for _ in limits]
    trained = np.zeros(len(limits))
    numbers = sequential.looks(COMMAND.budget)
    for draw in range(COMMAND.audits):
        audits = simulate_looks(shift, draw)
        for i, (name, value, offset) in enumerate(limits):
            policy, former = Policy({name: value + offset}), None
            for at, audit in enumerate(audits):
                look = sequential.look(policy, audit, former, at, numbers)
                former = audit
                if look.is_last:
                    verdicts[i][look.about["verdict"]] += 1
                    trained[i] += numbers[at] / COMMAND.audits
                    break
    return [
        {
            "shift": shift,
            "audits": COMMAND.audits,
            "num_records": COMMAND.num_records,
            "budget": COMMAND.budget,
            "limited": name,
            "truth": round(value, 6),
            "limit": round(value + offset, 6),
            "verdicts": {w: found[w] / COMMAND.audits for w in ("pass", "fail", "inconclusive")},
            "wrong": sum(
                found[w] for w in ("pass", "fail") if offset == 0 or (w == "pass") == (offset < 0)
            )
            / COMMAND.audits,
            "shadows_trained": round(float(count), 2),
            "seconds": round(time.monotonic() - began, 1),
            "command": COMMAND.text(),
            **provenance(None, Execution()),
        }
        for (name, value, offset), found, count in zip(limits, verdicts, trained, strict=True)
    ]


def main() -> int:
    rows = []
    for shift in map(float, COMMAND.shifts):
        for row in budget_rows(shift):
            print({k: v for k, v in row.items() if k not in ("command", "versions")})
            rows.append(row)
        began, auc = time.monotonic(), float(scipy.stats.norm.cdf(shift / np.sqrt(2)))
        levels: collections.Counter[str] = collections.Counter()
        gate: collections.Counter[str] = collections.Counter()
        covered = {"tpr_of_threshold": 0, "fpr_of_threshold": 0, "auc": 0}
        for draw in range(COMMAND.audits):
            found = simulate(shift, draw)
            levels[str(found["verdict"].level)] += 1
            (row,) = found["rows"]
            called = found["called"][0.01]
            true = {
                "tpr_of_threshold": scipy.stats.norm.sf(called.threshold - shift),
                "fpr_of_threshold": scipy.stats.norm.sf(called.threshold),
            }
            for name, interval in zip(true, (called.tpr, called.fpr), strict=True):
                covered[name] += int(interval.low <= true[name] <= interval.high)
            covered["auc"] += row["auc"]["low"] <= auc <= row["auc"]["high"]
            audit = {"level": "weak", "attacks": [{**row, "strongest": True}]}
            gate[outcome(apply(Policy({"auc": auc}), audit))] += 1
        rows.append(
            {
                "shift": shift,
                "audits": COMMAND.audits,
                "num_records": COMMAND.num_records,
                "num_shadows": COMMAND.num_shadows,
                "auc": round(auc, 6),
                "levels": dict(sorted(levels.items())),
                "covered": {name: count / COMMAND.audits for name, count in covered.items()},
                "gate_at_the_truth": {
                    name: gate[name] / COMMAND.audits for name in ("pass", "fail", "inconclusive")
                },
                "seconds": round(time.monotonic() - began, 1),
                "command": COMMAND.text(),
                **provenance(None, Execution()),
            }
        )
        print({k: v for k, v in rows[-1].items() if k not in ("command", "versions")})
    return COMMAND.finish(rows)


if __name__ == "__main__":
    COMMAND.run(main)
