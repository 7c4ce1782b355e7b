"""Metrics of one attack on one target, for masked rows: pure, jit-friendly, exact under ties.

Conventions: a score is larger for likelier members; records of equal score move together (one step of
the empirical ROC); TPR at FPR f is the largest TPR among thresholds whose realised FPR is at most f.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Num

from jleaks.arrays import AnyArray

# Operating points reported beside precision and recall (Carlini et al. 2022).
FPRS = (0.01, 0.001)


class Metrics(NamedTuple):
    """One attack on one target.

    Attributes:
      precision: Of "member" at the attack's own threshold; NaN if nobody is called a member.
      recall: Likewise (equals TPR).
      accuracy: Share of records told apart correctly at that threshold.
      auc: Mann-Whitney, ties counted half.
      tpr: [F] largest TPR at realised FPR <= FPRS.
      fpr_realised: [F] the FPR at which that TPR is first reached.
    """

    precision: Float[Array, ""]
    recall: Float[Array, ""]
    accuracy: Float[Array, ""]
    auc: Float[Array, ""]
    tpr: Float[Array, "fprs"]
    fpr_realised: Float[Array, "fprs"]


def metrics(
    scores: Float[AnyArray, "rows"],
    member: Bool[AnyArray, "rows"],
    valid: Bool[AnyArray, "rows"],
    threshold: Num[AnyArray, ""] | np.floating | float,
) -> Metrics:
    """Computes all metrics with one sort.

    Args:
      scores: Larger means likelier a member; must be finite where valid.
      member: The truth.
      valid: Rows that exist; the others are padding.
      threshold: A row is called a member if its score is at least this.
    """
    scores, member, valid = jnp.asarray(scores), jnp.asarray(member), jnp.asarray(valid)
    is_member, is_other = member & valid, ~member & valid
    positives, negatives = is_member.sum(), is_other.sum()
    called = scores >= threshold
    true_positives = (called & is_member).sum()
    false_positives = (called & is_other).sum()
    correct = true_positives + negatives - false_positives

    # One sort, descending; padding goes last.  The code carries membership along: 2 member, 1 other.
    code = is_member * 2 + is_other
    ordered, code = lax.sort(
        (jnp.where(valid, -scores, jnp.inf), code), num_keys=1, is_stable=False
    )
    tp, fp = jnp.cumsum(code == 2), jnp.cumsum(code == 1)
    last_of_tie = jnp.append(ordered[1:] != ordered[:-1], True)
    # Counts at the end of the previous tie, for every row that ends one.
    before = lax.cummax(jnp.where(last_of_tie, tp, 0))
    before = jnp.concatenate([jnp.zeros(1, before.dtype), before[:-1]])
    fp_before = lax.cummax(jnp.where(last_of_tie, fp, 0))
    fp_before = jnp.concatenate([jnp.zeros(1, fp.dtype), fp_before[:-1]])
    # A non-member is beaten by the members above it and by half of those tied with it.
    share = (tp + before).astype(jnp.float32) / (2 * positives)
    weight = jnp.where(last_of_tie, fp - fp_before, 0).astype(jnp.float32) / negatives
    auc = (share * weight).sum()

    tprs, realised = [], []
    for limit in FPRS:
        allowed = last_of_tie & (fp <= jnp.floor(limit * negatives + 1e-6))
        best = jnp.max(jnp.where(allowed, tp, 0))
        at = jnp.min(jnp.where(allowed & (tp == best), fp, negatives))
        # With no threshold allowed but the infinite one, nobody is called a member.
        tprs.append(best / positives)
        realised.append(jnp.where(best > 0, at, 0) / negatives)
    return Metrics(
        precision=true_positives / (true_positives + false_positives),
        recall=true_positives / positives,
        accuracy=correct / (positives + negatives),
        auc=auc,
        tpr=jnp.stack(tprs),
        fpr_realised=jnp.stack(realised),
    )
