"""Audits of single targets: which epsilon their scores refute, and how certain their AUC is."""

from collections.abc import Sequence
from multiprocessing.pool import ThreadPool

import numpy as np
from jax.sharding import Mesh

from jleaks.attacks.bank import Bank
from jleaks.attacks.evaluate_bank import scores
from jleaks.attacks.options import Options
from jleaks.attacks.references import References, assign
from jleaks.attacks.registry import Attack
from jleaks.experiments.bank_results import Row
from jleaks.metrics.epsilon import epsilon_of_guesses, epsilon_over_thresholds
from jleaks.metrics.gaussian_dp import mu_of_guesses, mu_over_thresholds
from jleaks.metrics.guesses import guesses
from jleaks.metrics.over_targets import auc_over_records
from jleaks.rows import GUARANTEE


def audit(
    bank: Bank,
    attacks: Sequence[Attack],
    assigned: tuple[References, References | None] | None = None,
    options: Options | None = None,
    delta: float = 1e-5,
    confidence: float = 0.95,
    mesh: Mesh | None = None,
) -> list[Row]:
    """Returns one row per attack and target: lower bounds on epsilon and mu, and an interval of the AUC.

    `epsilon_thresholds`: valid at once for all thresholds tried, each record an independent trial.
    `epsilon_one_run`: one training run, members and non-members matched in pairs (Steinke et al. 2023).
    Both count as neighbours data sets that differ by replacing one record, and each holds with
    the stated confidence for its own target: the largest of many targets does not.  `..._ceiling` is the
    largest that so many records could give: a bound there says nothing of how much larger epsilon is.

    `mu_thresholds`, `mu_one_run`: on the mu of Gaussian differential privacy, likewise; `epsilon_of_mu_...`
    the epsilon that goes with it at `delta`, null for a delta of 0 (see `jleaks.metrics.gaussian_dp`).

    `auc`: mean, low and high over the target's records, given its references.

    Args:
      bank: Answers and membership.
      attacks: Whose scores.
      assigned: References of the targets and of their shadows, from `references.assign`; None for all that
        there are.
      options: Parameters of attacks.
      delta: The delta of (epsilon, delta)-DP.
      confidence: Of each bound and interval.
      mesh: Devices to score on; None for JAX's first.

    Raises:
      InputError: an attack cannot be run on this bank, or an argument is out of range.
    """
    references, shadows = assign(bank) if assigned is None else assigned
    found = scores(bank, list(attacks), references, shadows, options, mesh)
    audited = references.audited(bank)
    # What DP-SGD guarantees stands beside what is found: for neighbours that add or remove a record; the
    # bounds found replace one, for which the guarantee is at most twice as much.
    guarantee = {name: bank.meta[name] for name in GUARANTEE if name in bank.meta}
    if bank.meta.get("delta") != delta:
        guarantee.pop("epsilon", None)

    def bounded(given: tuple[str, int, np.ndarray, np.ndarray]) -> Row:
        name, target, mine, values = given
        row, member = values[mine].astype(np.float64), bank.member[target, mine]
        over = epsilon_over_thresholds(row, member, delta, confidence)
        made = guesses(row, member)
        one = epsilon_of_guesses(made, delta, confidence)
        # No epsilon goes with a mu at a delta of 0.
        at = delta or 0.5
        mus = {
            "thresholds": mu_over_thresholds(row, member, at, confidence),
            "one_run": mu_of_guesses(made, at, confidence),
        }
        area = auc_over_records(row, member, confidence)
        return {
            "task": bank.meta.get("task", "bank"),
            "source": bank.meta.get("source", "scores"),
            "attack": name,
            "target": target,
            **guarantee,
            "delta": delta,
            "confidence": confidence,
            "epsilon_thresholds": round(over.epsilon, 6),
            "epsilon_thresholds_ceiling": round(over.ceiling, 6),
            "tp": over.tp,
            "fp": over.fp,
            "num_members": over.p,
            "num_nonmembers": over.n,
            "epsilon_one_run": round(one.epsilon, 6),
            "epsilon_one_run_ceiling": round(one.ceiling, 6),
            "num_guesses": one.num_guesses,
            "num_correct": one.num_correct,
            **{f"mu_{name}": round(mu.mu, 6) for name, mu in mus.items()},
            **{f"mu_{name}_ceiling": round(mu.ceiling, 6) for name, mu in mus.items()},
            **{
                f"epsilon_of_mu_{name}": round(mu.epsilon, 6) if delta else None
                for name, mu in mus.items()
            },
            "auc": {side: round(getattr(area, side), 6) for side in ("mean", "low", "high")},
        }

    each = [
        (name, int(target), mine, values)
        for name, of_attack in found.items()
        for target, mine, values in zip(references.targets, audited, of_attack, strict=True)
    ]
    # NumPy's sorts let other threads work.
    with ThreadPool() as pool:
        return pool.map(bounded, each)
