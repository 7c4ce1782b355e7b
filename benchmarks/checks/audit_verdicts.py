"""How often are an audit's verdict, its intervals and the gate wrong?

python -m benchmarks.checks.audit_verdicts --out=results/audit_verdicts.jsonl

Scores whose truth is known: of members normal with a shifted mean, of others standard normal, on the
audited model and on its shadows alike.  Counts, per shift: how often each level is reached; how often the
interval of the share that a shadows' threshold finds covers the true share, and that of the AUC the
true AUC; and how often the gate passes, fails or cannot tell where its limit is exactly the truth, so that
a pass and a failure are wrong alike.  Without a shift every level but "none seen" is wrong, in at most 5%
of audits.
"""

import collections
import time
from typing import Any

import numpy as np
import scipy.stats

from benchmarks.harness import OUT, Command, Flag
from jleaks.auditing.attacks import Attacked, Scores
from jleaks.auditing.judgement import judged
from jleaks.auditing.policy import Policy, apply, outcome
from jleaks.auditing.records import read_records
from jleaks.training.execution import Execution
from jleaks.training.reporter import provenance

COMMAND = Command(
    "benchmarks.checks.audit_verdicts",
    __doc__,
    audits=Flag("Simulated audits per shift.", 1000, 2),
    num_records=Flag("Records of an audit, half of them members.", 1000, 100),
    num_shadows=Flag("Shadow models of an audit.", 8, 4),
    out=OUT,
)
SHIFTS = (0.0, 0.5, 1.0, 2.0, 4.0)


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


def main() -> int:
    rows = []
    for shift in SHIFTS:
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
