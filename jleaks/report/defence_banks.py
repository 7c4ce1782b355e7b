"""What attacks on banks find of defences: among plain candidates by attacker, among canaries by kind.

Rows are those of `jleaks.experiments.defence_banks`.  Shares are of all pairs of a model and a record at
one threshold.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from jleaks.attacks.bank import CANDIDATES
from jleaks.metrics.intervals import Interval
from jleaks.report.numbers import UNDEFINED, estimate
from jleaks.report.table import Cell, Table
from jleaks.rows import Row

# By attack and attacker.
ATTACKERS = {
    ("lira_online", "naive"): "LiRA naive",
    ("lira_online", "aware"): "LiRA aware",
    ("rmia_online", "naive"): "RMIA naive",
    ("rmia_online", "aware"): "RMIA aware",
    ("label_boundary", "naive"): "labels",
}
# What a guarantee is held against: one attack, named beforehand, so that its bound is right as it stands.
AUDIT = ("LiRA aware", "LiRA naive")
LOW = "tpr_at_fpr_0.001"
_METHOD = "jackknife over records"
# Of what begins the row of a defence at one strength.
HEADS = ("defence", "strength", "epsilon", "test\naccuracy")


@dataclasses.dataclass(frozen=True)
class BankPoint:
    """One defence at one strength, under attacks on its bank.

    Attributes:
      defence: Its name.
      strength: As it was given.
      accuracy: The models' mean on candidates that they were not trained on, canaries left out.
      epsilon: What training guarantees; None for nothing.
      leaks: By group of records, metric and attacker.
      measured: By kind of canary, the bound on epsilon of `AUDIT`, and the largest that there could be.
    """

    defence: str
    strength: str
    accuracy: float
    epsilon: float | None
    leaks: Mapping[tuple[str, str, str], Interval]
    measured: Mapping[str, tuple[float, float]]

    @property
    def groups(self) -> list[str]:
        """The groups of records, candidates first."""
        return list(dict.fromkeys(group for group, _, _ in self.leaks))

    def strongest(self, metric: str, groups: Sequence[str]) -> tuple[str, str, Interval]:
        """Returns group, attacker and what is found, where most is found by its mean."""
        found = {
            key: leak for key, leak in self.leaks.items() if key[1] == metric and key[0] in groups
        }
        group, _, who = max(found, key=lambda key: found[key].mean)
        return group, who, found[group, metric, who]


def bank_points(rows: Sequence[Row], metrics: Sequence[str]) -> list[BankPoint]:
    """Returns the points of one task's rows, in their order; other rows are passed over."""
    groups: dict[tuple[str, str], list[tuple[dict[str, Any], str]]] = {}
    for row in map(dict[str, Any], rows):
        variant = row["variant"]
        who = ATTACKERS.get((row["attack"], variant["attacker"]))
        if "records" in variant and who is not None:
            key = variant["defence"], variant["strength"]
            groups.setdefault(key, []).append((row, who))
    found = []
    for (name, strength), pairs in groups.items():
        leaks: dict[tuple[str, str, str], Interval] = {}
        measured: dict[str, tuple[float, float]] = {}
        for one, who in pairs:
            group = str(one["variant"]["records"])
            leaks |= {(group, metric, who): estimate(one[metric], _METHOD) for metric in metrics}
            auditor = AUDIT[name == "none"]
            if who == auditor and "epsilon_thresholds" in one:
                measured[group] = one["epsilon_thresholds"], one["epsilon_thresholds_ceiling"]
        first = pairs[0][0]
        accuracy, epsilon = first["test_accuracy"], first.get("epsilon")
        found.append(BankPoint(name, strength, accuracy, epsilon, leaks, measured))
    return found


def shown(interval: Interval) -> str:
    """Returns a mean and half of its interval, where it has one."""
    half = (interval.high - interval.low) / 2 if interval.is_bounded else math.nan
    if math.isnan(interval.mean):
        return UNDEFINED
    return f"{interval.mean:.3f}" + ("" if math.isnan(half) else f" ±{half:.3f}")


def front(at: Sequence[tuple[float, float]]) -> set[int]:
    """Returns the indices of pairs of accuracy and leak that no other is ahead of on both."""
    return {
        i
        for i, (accuracy, leak) in enumerate(at)
        # Of models that diverged there are no numbers.
        if not math.isnan(accuracy + leak)
        and not any(
            other != (accuracy, leak) and other[0] >= accuracy and other[1] <= leak for other in at
        )
    }


def candidates_table(task: str, points: Sequence[BankPoint]) -> Table:
    """Returns the TPRs at 0.1% FPR of every attacker among candidates as they came."""
    best = front([(p.accuracy, p.strongest(LOW, [CANDIDATES])[2].mean) for p in points])
    rows = []
    for i, point in enumerate(points):
        cells: list[Cell | str] = [*begun(point, f"{point.accuracy:.3f}")]
        for who in ATTACKERS.values():
            leak = point.leaks.get((CANDIDATES, LOW, who))
            cells.append("-" if leak is None else shown(leak))
        _, who, leak = point.strongest(LOW, [CANDIDATES])
        rows.append([*cells, Cell(f"{shown(leak)} ({who})", i in best)])
    return Table.of(
        f"TPR at 0.1% FPR on banks of {task}",
        "All pairs of a model and a record at one threshold ± half of the jackknife's 95% interval over "
        "records. Naive: references are undefended models; aware: they have the defence; labels: of "
        "perturbed copies, no references. Marked: on the Pareto front of test accuracy and that column, "
        "by means.",
        (*HEADS, *ATTACKERS.values(), "strongest"),
        3,
        rows,
    )


def canaries_table(task: str, points: Sequence[BankPoint]) -> Table:
    """Returns the TPRs at 0.1% FPR of the strongest attacker among each kind of canary."""
    kinds = points[0].groups[1:]
    best = front([(p.accuracy, p.strongest(LOW, kinds)[2].mean) for p in points])
    rows = []
    for i, point in enumerate(points):
        cells: list[Cell | str] = [*begun(point, f"{point.accuracy:.3f}")]
        for group in (CANDIDATES, *kinds):
            _, who, leak = point.strongest(LOW, [group])
            cells.append(f"{shown(leak)} ({who})")
        kind, _, leak = point.strongest(LOW, kinds)
        cells.append(Cell(f"{shown(leak)} ({kind})", i in best))
        for kind in kinds:
            bound, ceiling = point.measured[kind]
            cells.append(f"{bound:.2f} of {ceiling:.2f}")
        rows.append(cells)
    return Table.of(
        f"TPR at 0.1% FPR among canaries of {task}",
        "The strongest attacker's, by means; otherwise as above. Measured: the lower bound on epsilon that "
        f"{AUDIT[0]} (of undefended models {AUDIT[1]}) shows with 95%, all pairs counting as independent "
        "trials, of the largest that so many pairs could show; its neighbours replace a record, of which "
        "training guarantees at most twice the accounted epsilon.",
        (
            *(*HEADS, CANDIDATES, *kinds, "strongest\ncanaries"),
            *(f"measured\n{kind}" for kind in kinds),
        ),
        3,
        rows,
    )


def begun(point: Any, accuracy: str) -> list[str]:
    """Returns what begins a point's row, under `HEADS`."""
    epsilon = "" if point.epsilon is None else f"{point.epsilon:.3g}"
    return [point.defence, point.strength or "-", epsilon, accuracy]


def tables(task: str, rows: Sequence[Row]) -> list[Table]:
    """Returns the tables of one task's rows of banks; none where there are no such rows."""
    points = bank_points(rows, [LOW])
    if not points:
        return []
    found = [candidates_table(task, points)]
    if len(points[0].groups) > 1:
        found.append(canaries_table(task, points))
    return found
