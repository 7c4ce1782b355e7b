"""Metrics of one attack on one target, for masked rows: pure, jit-friendly, exact under ties.

Conventions: a score is larger for likelier members; records of equal score move together (one step of
the empirical ROC); TPR at FPR f is the largest TPR among thresholds whose realised FPR is at most f.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Num

from jleaks.arrays import AnyArray

# Operating points reported beside precision and recall (Carlini et al. 2022).
FPRS = (0.01, 0.001)

# Gains in balanced accuracy that differ by no more are equal: that is float32's rounding.
GAIN_ROUNDING = 2.5e-7


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


class Ranking(NamedTuple):
    """All records of one target from the highest score to the lowest, padding last.

    Attributes:
      scores: [n] descending.
      tp: [n] members among the records down to the end of this one's tie.
      fp: [n] non-members likewise.
      positives: Members.
      negatives: Non-members.
    """

    scores: Float[Array, "rows"]
    tp: Int[Array, "rows"]
    fp: Int[Array, "rows"]
    positives: Int[Array, ""]
    negatives: Int[Array, ""]


def rank(
    scores: Float[AnyArray, "rows"], member: Bool[AnyArray, "rows"], valid: Bool[AnyArray, "rows"]
) -> Ranking:
    """Ranks records with one sort.

    Args:
      scores: Larger means likelier a member; must be finite where valid.
      member: The truth.
      valid: Rows that exist; the others are padding.
    """
    scores, member, valid = jnp.asarray(scores), jnp.asarray(member), jnp.asarray(valid)
    # The code carries membership through the sort: 2 member, 1 other, 0 padding.
    code = (member & valid) * 2 + (~member & valid)
    ordered, code = lax.sort(
        (jnp.where(valid, -scores, jnp.inf), code), num_keys=1, is_stable=False
    )
    tp, fp = jnp.cumsum(code == 2), jnp.cumsum(code == 1)
    last_of_tie = jnp.append(ordered[1:] != ordered[:-1], True)

    def at_end_of_tie(count: Array) -> Array:
        return lax.cummin(jnp.where(last_of_tie, count, count[-1]), reverse=True)

    return Ranking(-ordered, at_end_of_tie(tp), at_end_of_tie(fp), tp[-1], fp[-1])


def auc(ranking: Ranking) -> Float[Array, ""]:
    """Area under the ROC curve: Mann-Whitney, ties counted half (Fawcett 2006, algorithm 3)."""

    def steps(count: Array) -> tuple[Array, Array]:
        before = jnp.concatenate([jnp.zeros(1, count.dtype), count[:-1]])
        return before, count - before

    # Rows of one tie share their counts, so only the first of them makes a step.
    tp_before, _ = steps(ranking.tp)
    _, fp_step = steps(ranking.fp)
    height = (tp_before + ranking.tp).astype(jnp.float32) / (2 * ranking.positives)
    return (height * (fp_step.astype(jnp.float32) / ranking.negatives)).sum()


def operating_points(
    ranking: Ranking, fprs: Sequence[float] | np.ndarray
) -> tuple[Int[Array, "fprs"], Int[Array, "fprs"]]:
    """True and false positives at the largest TPR whose realised FPR is at most each of `fprs`.

    With no threshold allowed but the infinite one, nobody is called a member.
    """
    allowed = jnp.floor(jnp.asarray(fprs, jnp.float32) * ranking.negatives + 1e-4)
    rows = jnp.searchsorted(ranking.fp, allowed.astype(ranking.fp.dtype), side="right")
    tp = jnp.where(rows > 0, ranking.tp[rows - 1], 0)
    # The TPR may have been reached before: at the first row with as many members.
    fp = jnp.where(tp > 0, ranking.fp[jnp.searchsorted(ranking.tp, tp)], 0)
    return tp, fp


def best_threshold(ranking: Ranking) -> Float[Array, ""]:
    """The score that maximises balanced accuracy with the rule "member if score >= threshold".

    Of equal maxima the highest threshold (Song & Mittal 2021 try values in that order).
    """
    gain = ranking.tp / ranking.positives - ranking.fp / ranking.negatives
    return ranking.scores[jnp.argmax(gain >= gain.max() - GAIN_ROUNDING)]


def called(
    scores: Float[AnyArray, "rows"],
    member: Bool[AnyArray, "rows"],
    valid: Bool[AnyArray, "rows"],
    threshold: Num[AnyArray, ""] | np.floating | float,
) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """True and false positives of the rule "member if score >= threshold"."""
    chosen = (jnp.asarray(scores) >= threshold) & valid
    return (chosen & member).sum(), (chosen & ~jnp.asarray(member)).sum()


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
    true_positives, false_positives = called(scores, member, valid, 0.0)
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
    true_positives, false_positives = called(scores, member, valid, threshold)
    tp, fp = operating_points(ranking, FPRS)
    shadow_cut = None
    if cut is not None:
        hits, misses = called(scores, member, valid, cut)
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
