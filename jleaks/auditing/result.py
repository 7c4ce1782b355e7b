"""What an audit found about one model."""

import dataclasses
from typing import Any

import numpy as np

from jleaks.auditing import risk
from jleaks.auditing.attacks import Attacked
from jleaks.auditing.cost import CostPoint
from jleaks.auditing.records import Records
from jleaks.auditing.verdict import Verdict
from jleaks.metrics.intervals import Interval
from jleaks.metrics.operating_points import tpr_of_scores

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Audit:
    """What an audit found about one model; every number is that model's own.

    Attributes:
      records: What was audited.
      attacked: Scores of every attack.
      verdict: The level of risk, and why.
      rows: One per attack: its metrics on the audited model, with intervals over records.
      called: Of the strongest attack, by false-positive rate, whom a threshold set on shadows calls.
      p: [N] p-values of the strongest attack's scores; None without shadows.
      cost: What the strongest attack finds with fewer shadows; empty without shadows.
      epsilon: Lower bounds of the strongest attack: "thresholds" and "one run".
      num_shadows: How many shadow models there were.
      train_accuracy: Of the audited model on members.
      test_accuracy: Of the audited model on non-members.
      seconds: By stage.
      about: What was audited how: fingerprint, versions, device, seed.
      notes: What a reader must be told.
      error: Probability that an interval does not hold.
    """

    records: Records
    attacked: Attacked
    verdict: Verdict
    rows: list[Row]
    called: dict[float, risk.Called]
    p: np.ndarray | None
    cost: list[CostPoint]
    epsilon: dict[str, float]
    num_shadows: int
    train_accuracy: float
    test_accuracy: float
    seconds: dict[str, float]
    about: dict[str, Any]
    notes: tuple[str, ...]
    error: float = 0.05

    @property
    def strongest(self) -> str:
        """Name of the attack that an attacker would choose."""
        return self.attacked.strongest

    @property
    def scores(self) -> np.ndarray:
        """[N] the strongest attack's scores of the audited model's records."""
        return self.attacked.scores[self.strongest].target

    @property
    def audited(self) -> np.ndarray:
        """[N] the records that the model is judged on."""
        return self.attacked.audited

    @property
    def shadows_of(self) -> str:
        """What shadows were trained on."""
        return "other records" if "alone" in self.about.get("attacker", "") else "all records"

    def tpr(self, fpr: float = 0.01) -> Interval:
        """Returns the strongest attack's TPR at a false-positive rate, with its interval."""
        at = self.audited
        return tpr_of_scores(self.scores[at], self.records.member[at], fpr, 1 - self.error)

    def at_risk(self) -> np.ndarray:
        """Returns [N] which members stand out after control of the false-discovery rate at 5%."""
        found = np.zeros(self.records.num_records, bool)
        if self.p is not None:
            inside = np.flatnonzero(self.records.member & self.audited)
            found[inside] = risk.at_risk(self.p[inside])
        return found

    def parts(self) -> dict[str, list[risk.Part]]:
        """Returns the strongest attack on every class and group, at the shadows' threshold for 1% FPR."""
        if not self.called:
            return {}
        at, threshold = self.audited, self.called[0.01].threshold
        scores, member = self.scores[at], self.records.member[at]
        of = {"class": self.records.classes[self.records.labels].astype(str), **self.records.groups}
        return {
            name: risk.by_part(scores, member, values[at], threshold, 1 - self.error)
            for name, values in of.items()
        }

    def numbers(self) -> Row:
        """Returns what a policy is applied to (`jleaks.auditing.policy`), as JSON values."""
        return {
            "level": str(self.verdict.level),
            "epsilon": self.epsilon,
            "attacks": self.rows,
            "thresholds": {
                str(fpr): {
                    "threshold": called.threshold,
                    "tpr": plain(called.tpr),
                    "fpr": plain(called.fpr),
                    "precision": {str(prior): list(v) for prior, v in called.precision.items()},
                }
                for fpr, called in self.called.items()
            },
            "parts": {
                name: [
                    {
                        "name": part.name,
                        "num_members": part.num_members,
                        "num_nonmembers": part.num_nonmembers,
                        "tpr": None if part.tpr is None else plain(part.tpr),
                        "fpr": None if part.fpr is None else plain(part.fpr),
                    }
                    for part in parts
                ]
                for name, parts in self.parts().items()
            },
        }

    def record_rows(self) -> list[Row]:
        """Returns one row per audited record, the likeliest members first."""
        flagged = self.at_risk()
        order = np.flatnonzero(self.audited)
        order = order[np.argsort(-self.scores[order], kind="stable")]
        ids, classes = self.records.ids.tolist(), self.records.classes.astype(str)
        return [
            {
                "rank": rank,
                "id": ids[i],
                "label": str(classes[self.records.labels[i]]),
                "member": bool(self.records.member[i]),
                "score": float(self.scores[i]),
                "p": None if self.p is None else float(self.p[i]),
                "at_risk": bool(flagged[i]),
                **{name: str(values[i]) for name, values in self.records.groups.items()},
            }
            for rank, i in enumerate(order.tolist(), 1)
        ]


def plain(interval: Interval) -> dict[str, float]:
    """Returns an interval as JSON values: its mean, its bounds, and of how many values it is."""
    kept = dataclasses.asdict(interval)
    return {name: kept[name] for name in ("mean", "low", "high", "n")}
