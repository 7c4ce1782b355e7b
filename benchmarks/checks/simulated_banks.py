"""Simulated banks whose truth is known: answers of models that never were, and what attacks find in them.

A record has a difficulty, a gain from being trained on and a noise, which all models share:

  phi[m, n] = difficulty[n] + gain[n] * member[m, n] + noise[n] * N(0, 1).

Three records in ten are hard: their difficulty varies widely around zero, and training on them gains much;
the others are easy, and gain little.  Models come in twins on random halves, as everywhere.  Records are
independent, so that another bank of the same process holds fresh records from the same models' generating
process, and *truth* is what an attack finds on average over such banks.

Truth is measured on banks of very many records (and as many models, which is what decides how good the
references are).  RMIA compares a record with the others of its bank; in a large bank it is given as many of
them as the small ones have, drawn at random.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from jleaks.attacks.bank import Bank
from jleaks.attacks.evaluate_bank import scores
from jleaks.attacks.options import Options
from jleaks.attacks.references import assign
from jleaks.attacks.registry import get_attacks

ATTACKS = ("loss", "lira_online", "rmia_online")
# FPRs at which truth is measured.
FPRS = (0.01, 0.001)

_HARD_SHARE = 0.3
_TEMPERATURE = 2.0


@dataclasses.dataclass(frozen=True)
class Process:
    """What banks are drawn from.

    Attributes:
      name: "null" or "alternative".
      gain: Times the gain from being trained on; 0 leaves membership without effect.
    """

    name: str
    gain: float


PROCESSES = (Process("null", 0.0), Process("alternative", 1.0))


def draw(process: Process, rng: np.random.Generator, num_models: int, num_records: int) -> Bank:
    """Returns a bank of answers."""
    hard = rng.random(num_records) < _HARD_SHARE
    normal = rng.normal(size=num_records)
    difficulty = np.where(hard, 1.5 * normal, 4 + normal)
    gain = process.gain * np.where(hard, 2.0, 0.4) * rng.exponential(size=num_records)
    noise = np.where(hard, 1.2, 0.7)
    member = np.zeros((num_models, num_records), bool)
    for first in range(0, num_models, 2):
        half = rng.permutation(num_records) < num_records // 2
        member[first], member[first + 1] = half, ~half
    phi = difficulty + gain * member + noise * rng.normal(size=member.shape)
    return Bank(
        phi.astype(np.float32)[None],
        member,
        np.zeros(num_records, np.int32),
        2,
        np.zeros(num_records, bool),
        phi_t=(phi / _TEMPERATURE).astype(np.float32),
        twins=True,
        meta={"task": process.name, "source": "synthetic"},
    )


class Truth(NamedTuple):
    """What one attack finds on average.

    Attributes:
      auc: On a target.
      tpr: At each of `FPRS`.
      members: [m] scores of fresh members, ascending.
      others: [n] of fresh non-members, ascending.
    """

    auc: float
    tpr: tuple[float, ...]
    members: np.ndarray
    others: np.ndarray

    def rates(self, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the shares of fresh members and non-members at or above each threshold."""
        recall, fallout = (
            1 - np.searchsorted(pool, thresholds, side="left") / len(pool)
            for pool in (self.members, self.others)
        )
        return recall, fallout


def _shares(ratios: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """RMIA's scores of records whose log ratios are given, against `size` of them."""
    ordered = np.sort(rng.choice(ratios, size, replace=False))
    return np.searchsorted(ordered, ratios - np.log(Options().gamma), side="right") / size


def _auc(members: np.ndarray, others: np.ndarray) -> float:
    """Mann-Whitney, ties counted half, from ascending scores."""
    below, up_to = (np.searchsorted(others, members, side=side) for side in ("left", "right"))
    return float((below + up_to).mean() / (2 * len(others)))


def _tpr(members: np.ndarray, others: np.ndarray, fpr: float) -> float:
    """Share of members above the non-member that `fpr` of them are not below, from ascending scores."""
    level = others[len(others) - 1 - int(fpr * len(others))]
    return float(1 - np.searchsorted(members, level, side="right") / len(members))


def truths(
    process: Process,
    seed: int,
    num_models: int,
    num_records: int,
    large: int,
    repetitions: int,
    attacks: tuple[str, ...] = ATTACKS,
) -> dict[str, Truth]:
    """Returns what attacks find on average in banks of `num_models` and `num_records`.

    Args:
      process: Of the banks.
      seed: Of the large banks.
      num_models: Of a bank, even.
      num_records: Of a small bank: how many RMIA compares with.
      large: Records of a large bank.
      repetitions: Large banks.
      attacks: Names.
    """
    rng = np.random.default_rng(seed)
    # At one temperature BASE's score is the logarithm of RMIA's ratio.
    asked = ["base_online" if name == "rmia_online" else name for name in attacks]
    kept: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in attacks}
    for _ in range(repetitions):
        bank = draw(process, rng, num_models, large)
        # BASE looks at phi, at the temperature that RMIA has.
        cold = dataclasses.replace(bank, phi=bank.phi / np.float32(_TEMPERATURE))
        references, _ = assign(bank)
        for name, source in zip(attacks, asked, strict=True):
            given = cold if name == "rmia_online" else bank
            (rows,) = scores(given, get_attacks([source]), references).values()
            for row, member in zip(rows, bank.member, strict=True):
                values = row.astype(np.float64)
                if name == "rmia_online":
                    values = _shares(values, num_records, rng)
                kept[name].append((np.sort(values[member]), np.sort(values[~member])))
    found = {}
    for name, parts in kept.items():
        members, others = (np.sort(np.concatenate(side)) for side in zip(*parts, strict=True))
        found[name] = Truth(
            float(np.mean([_auc(*part) for part in parts])),
            tuple(float(np.mean([_tpr(*part, fpr) for part in parts])) for fpr in FPRS),
            members,
            others,
        )
    return found
