"""What attacks find among a bank's plain candidates, and among each kind of canary.

All pairs of a target and a record of a group are judged at one threshold (Aerni et al. 2024), so that a
group may have fewer records than a false positive rate asks for.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float

from jleaks import json_lines
from jleaks.attacks.bank import CANDIDATES, Bank
from jleaks.attacks.evaluate_bank import scores
from jleaks.attacks.options import Options
from jleaks.attacks.references import References
from jleaks.attacks.registry import Attack
from jleaks.metrics.bank_metrics import FPRS
from jleaks.metrics.epsilon import DELTA, epsilon_of_guesses, epsilon_over_thresholds
from jleaks.metrics.gaussian_dp import mu_of_guesses, mu_over_thresholds
from jleaks.metrics.guesses import guesses
from jleaks.metrics.pooled_scores import PooledScores
from jleaks.rows import GUARANTEE

Row = dict[str, Any]


def group_rows(
    bank: Bank,
    attacks: Sequence[Attack],
    references: References,
    shadows: References | None,
    options: Options | None = None,
    confidence: float = 0.95,
    mesh: Mesh | None = None,
) -> list[Row]:
    """Returns one row per attack and group of records (`Bank.groups`).

    records: the group; auc and tpr_at_fpr_..., each with mean, low and high, of all pairs of a target and a
    record at one threshold, with the jackknife's interval over records; num_members and num_nonmembers
    count such pairs.  Of canaries also lower bounds on epsilon, `bounds`.

    Args:
      bank: Answers and membership.
      attacks: Which to run; `refusal` must be None for each.
      references: The targets and what each is compared with.
      shadows: Likewise of their shadows.
      options: Parameters of attacks.
      confidence: Of intervals and bounds.
      mesh: Devices to score on; None for JAX's first.

    Raises:
      InputError: an attack cannot be run on this bank.
    """
    found = scores(bank, attacks, references, shadows, options, mesh)
    audited, member = references.audited(bank), bank.member[references.targets]
    guarantee = {name: bank.meta[name] for name in GUARANTEE if name in bank.meta}
    delta = guarantee.get("delta", DELTA)
    rows = []
    for attack in attacks:
        for group, records in bank.groups().items():
            mine = audited[:, records]
            values = np.where(mine, found[attack.name][:, records].astype(np.float64), np.nan)
            truth = member[:, records]
            row: Row = {
                **bank.about,
                "attack": attack.name,
                "records": group,
                "num_models": bank.num_models,
                "num_targets": len(values),
                "num_references": references.models.shape[1] if attack.references != "none" else 0,
                "num_records": int(mine.any(0).sum()),
                "num_members": int((truth & mine).sum()),
                "num_nonmembers": int((~truth & mine).sum()),
                **guarantee,
                **pooled(values, truth, confidence),
            }
            if group != CANDIDATES:
                row |= bounds(values, truth, delta, confidence)
            rows.append(row)
    return rows


def pooled(
    values: Float[np.ndarray, "targets records"],
    member: Bool[np.ndarray, "targets records"],
    confidence: float = 0.95,
) -> Row:
    """Returns the AUC and TPRs of all pairs at one threshold.

    Args:
      values: Scores; NaN where a target is not judged on a record.
      member: Who is a member of which target.
      confidence: Of the jackknife's intervals over records.
    """
    judged = ~np.isnan(values)
    # Places from the top, ties alike: the bins of `PooledScores` keep the highest 256 apart whatever the
    # scores are.
    found, places = np.unique(values[judged], return_inverse=True)
    ranks = np.full(values.shape, np.nan)
    ranks[judged] = places - len(found)
    pool = PooledScores()
    pool.add(0, ranks, member)
    names = ("auc", *(f"tpr_at_fpr_{fpr}" for fpr in FPRS))
    return {
        name: {
            "mean": json_lines.number(interval.mean),
            "low": json_lines.number(interval.low),
            "high": json_lines.number(interval.high),
            "n": interval.n,
        }
        for name, interval in zip(
            names, (i.within(0, 1) for i in pool.intervals(FPRS, confidence)), strict=True
        )
    }


def bounds(
    values: Float[np.ndarray, "targets records"],
    member: Bool[np.ndarray, "targets records"],
    delta: float,
    confidence: float = 0.95,
) -> Row:
    """Returns lower bounds on the epsilon of what trained the targets, each right with `confidence`.

    epsilon_thresholds: over all pairs of a target and a record, which count as independent trials
    (Clopper-Pearson over many runs; see `epsilon_over_thresholds`).  epsilon_one_run: the largest over
    targets, each at 1 - (1 - confidence) / targets (Steinke et al. 2023).  epsilon_of_mu_thresholds and
    epsilon_of_mu_one_run: the same if training is Gaussian-DP, which DP-SGD is only nearly.  `..._ceiling`:
    the largest bound that so many pairs could give.  Neighbours replace a record: what is accounted for
    adding or removing one guarantees at most twice as much of them.

    Args:
      values: Scores; NaN where a target is not judged on a record.
      member: Who is a member of which target.
      delta: Of (epsilon, delta)-DP, above 0.
      confidence: Of each bound.
    """
    judged = ~np.isnan(values)
    pairs = values[judged], member[judged]
    over = epsilon_over_thresholds(*pairs, delta, confidence)
    mu_over = mu_over_thresholds(*pairs, delta, confidence)
    each = 1 - (1 - confidence) / len(values)
    targets = [
        guesses(row[use], truth[use])
        for row, truth, use in zip(values, member, judged, strict=True)
    ]
    one = [epsilon_of_guesses(made, delta, each) for made in targets]
    mu_one = [mu_of_guesses(made, delta, each) for made in targets]
    return {
        "delta": delta,
        "confidence": confidence,
        "epsilon_thresholds": round(over.epsilon, 6),
        "epsilon_thresholds_ceiling": round(over.ceiling, 6),
        "epsilon_one_run": round(max(audit.epsilon for audit in one), 6),
        "epsilon_one_run_ceiling": round(max(audit.ceiling for audit in one), 6),
        "epsilon_of_mu_thresholds": round(mu_over.epsilon, 6),
        "epsilon_of_mu_one_run": round(max(audit.epsilon for audit in mu_one), 6),
    }
