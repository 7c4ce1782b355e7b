"""Epsilon audits of a bank: what the scores of each target refute at a stated confidence."""

from collections.abc import Sequence

import numpy as np

from jleaks.attacks.registry import Attack, Options
from jleaks.audit import epsilon_one_run, epsilon_over_thresholds
from jleaks.bank.bank import Bank
from jleaks.bank.evaluate import scores
from jleaks.bank.references import assign
from jleaks.bank.results import Record


def audit(
    bank: Bank,
    attacks: Sequence[Attack],
    num_references: int | None = None,
    options: Options | None = None,
    delta: float = 1e-5,
    confidence: float = 0.95,
) -> list[Record]:
    """Returns one record per attack and target with two lower bounds on epsilon.

    `epsilon_thresholds`: valid at once for all thresholds tried, each record an independent trial.
    `epsilon_one_run`: one training run, members and non-members matched in pairs (Steinke et al. 2023).
    Both count as neighbours data sets that differ by replacing one record, and each holds with
    the stated confidence for its own target: the largest of many targets does not.

    Args:
      bank: Answers and membership.
      attacks: Whose scores.
      num_references: Of each target; None for all.
      options: Parameters of attacks.
      delta: The delta of (epsilon, delta)-DP.
      confidence: Of each bound.

    Raises:
      InputError: an attack cannot be run on this bank, or an argument is out of range.
    """
    references, shadows = assign(bank, num_references)
    found = scores(bank, list(attacks), references, shadows, options)
    audited = ~bank.population
    records = []
    for name, rows in found.items():
        for target in range(bank.num_models):
            row, member = rows[target, audited].astype(np.float64), bank.member[target, audited]
            over = epsilon_over_thresholds(row, member, delta, confidence)
            one = epsilon_one_run(row, member, delta, confidence)
            records.append(
                {
                    "task": bank.meta.get("task", "bank"),
                    "source": bank.meta.get("source", "scores"),
                    "attack": name,
                    "target": target,
                    "delta": delta,
                    "confidence": confidence,
                    "epsilon_thresholds": round(over.epsilon, 6),
                    "tp": over.tp,
                    "fp": over.fp,
                    "num_members": over.p,
                    "num_nonmembers": over.n,
                    "epsilon_one_run": round(one.epsilon, 6),
                    "num_guesses": one.num_guesses,
                    "num_correct": one.num_correct,
                }
            )
    return records
