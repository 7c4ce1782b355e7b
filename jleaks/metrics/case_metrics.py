"""Metrics of one attack on one target, for masked rows: pure, jit-friendly, over `jleaks.metrics.roc`."""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Num

from jleaks.arrays import AnyArray
from jleaks.metrics.roc import auc, best_threshold, called, operating_points, rank

# Operating points reported beside precision and recall (Carlini et al. 2022).
FPRS = (0.01, 0.001)


class Decision(NamedTuple):
    """What a threshold that came from elsewhere decides about one target.

    Attributes:
      precision: Of "member"; NaN if nobody is called a member.
      recall: Likewise.
      balanced_accuracy: Mean of recall and of the share of non-members that are not called members.
    """

    precision: Float[Array, ""]
    recall: Float[Array, ""]
    balanced_accuracy: Float[Array, ""]


class OwnRows(NamedTuple):
    """What an attack model says of the rows that it learned from.

    Attributes:
      cut: The score from which calling its rows members has the highest balanced accuracy.
      collapsed: Whether it calls nobody or everybody a member at its own 0.5 cut, a score of zero; equal
        scores for all rows are among these.  Its precision and recall tell where training stopped, not
        what the shadow gave away.
    """

    cut: Float[Array, ""]
    collapsed: Bool[Array, ""]


class Metrics(NamedTuple):
    """One attack on one target.

    Attributes:
      precision: Of "member" at the attack's own threshold; NaN if nobody is called a member.
      recall: Likewise (equals TPR).
      accuracy: Share of records told apart correctly at that threshold.
      auc: Mann-Whitney, ties counted half.
      tpr: [F] largest TPR at realised FPR <= FPRS.
      fpr_realised: [F] the FPR at which that TPR is first reached.
      shadow_cut: What is decided at the cut that the attack model's own rows chose; None for attacks
        without an attack model.
    """

    precision: Float[Array, ""]
    recall: Float[Array, ""]
    accuracy: Float[Array, ""]
    auc: Float[Array, ""]
    tpr: Float[Array, "fprs"]
    fpr_realised: Float[Array, "fprs"]
    shadow_cut: Decision | None = None


def own_rows(
    scores: Float[AnyArray, "rows"], member: Bool[AnyArray, "rows"], valid: Bool[AnyArray, "rows"]
) -> OwnRows:
    """Looks at an attack model's scores of the rows that it learned from.

    Args:
      scores: Logit of "member" less that of "non-member"; must be finite where valid.
      member: The truth.
      valid: Rows that exist; the others are padding.
    """
    ranking = rank(scores, member, valid)
    true_positives, false_positives = called(ranking, 0.0)
    num_called = true_positives + false_positives
    everybody = ranking.positives + ranking.negatives
    return OwnRows(best_threshold(ranking), (num_called == 0) | (num_called == everybody))


def metrics(
    scores: Float[AnyArray, "rows"],
    member: Bool[AnyArray, "rows"],
    valid: Bool[AnyArray, "rows"],
    threshold: Num[AnyArray, ""] | np.floating | float,
    cut: Num[AnyArray, ""] | np.floating | float | None = None,
) -> Metrics:
    """Computes all metrics of an attack that has a threshold of its own.

    Args:
      scores: Larger means likelier a member; must be finite where valid.
      member: The truth.
      valid: Rows that exist; the others are padding.
      threshold: A row is called a member if its score is at least this.
      cut: A second threshold, the shadow's (see `OwnRows`); None for attacks without one, or NaN, which
        decides nothing, for one of several.
    """
    ranking = rank(scores, member, valid)
    positives, negatives = ranking.positives, ranking.negatives
    true_positives, false_positives = called(ranking, threshold)
    tp, fp = operating_points(ranking, FPRS)
    shadow_cut = None
    if cut is not None:
        hits, misses = called(ranking, cut)
        recall, fpr = hits / positives, misses / negatives
        recall = jnp.where(jnp.isnan(cut), jnp.nan, recall)
        shadow_cut = Decision(hits / (hits + misses), recall, (recall + 1 - fpr) / 2)
    return Metrics(
        precision=true_positives / (true_positives + false_positives),
        recall=true_positives / positives,
        accuracy=(true_positives + negatives - false_positives) / (positives + negatives),
        auc=auc(ranking),
        tpr=tp / positives,
        fpr_realised=fp / negatives,
        shadow_cut=shadow_cut,
    )


def number(value: Any) -> float | None:
    """Returns a JSON number; an undefined one (the precision of nobody) is null."""
    return float(value) if math.isfinite(value) else None


def row_fields(found: Metrics) -> dict[str, float | None]:
    """Returns the metrics of one attack by the names that result rows give them."""
    fields = {
        name: number(getattr(found, name)) for name in ("precision", "recall", "accuracy", "auc")
    }
    for i, fpr in enumerate(FPRS):
        fields[f"tpr_at_fpr_{fpr}"] = number(found.tpr[i])
        fields[f"fpr_realised_{fpr}"] = number(found.fpr_realised[i])
    names = ("precision_shadow_cut", "recall_shadow_cut", "accuracy_shadow_cut")
    values = found.shadow_cut or (math.nan,) * len(names)
    return fields | {name: number(value) for name, value in zip(names, values, strict=True)}
