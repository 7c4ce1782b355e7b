"""What scores come to: thresholds, p-values, intervals, the level of risk."""

from typing import Any

import numpy as np

from jleaks.attacks.registry import ATTACKS
from jleaks.auditing import risk
from jleaks.auditing.attacks import Attacked
from jleaks.auditing.records import Records
from jleaks.auditing.result import Row
from jleaks.auditing.verdict import NUM_STATEMENTS, judge
from jleaks.metrics.epsilon import epsilon_one_run, epsilon_over_thresholds
from jleaks.metrics.intervals import Interval
from jleaks.metrics.operating_points import tpr_of_scores


def judged(
    records: Records,
    attacked: Attacked,
    shadow_member: np.ndarray,
    delta: float,
    error: float = 0.05,
) -> dict[str, Any]:
    """Computes all that is told of the scores: verdict, rows, called, p and epsilon of an `Audit`.

    Args:
      records: What was audited.
      attacked: Scores of every attack.
      shadow_member: [S, N] which records each shadow was trained on.
      delta: Of the (epsilon, delta) whose epsilon is bounded.
      error: Probability that an interval does not hold; and that the level is too high.
    """
    confidence, sided = 1 - error, error / NUM_STATEMENTS
    at = attacked.audited
    member = records.member[at]
    rows = [_row(name, attacked, records, confidence) for name in attacked.scores]
    rows.sort(key=lambda row: -row["auc"]["mean"])
    best = attacked.scores[attacked.strongest]
    scores = best.target[at].astype(np.float64)
    called, p = {}, None
    if best.shadows is not None and attacked.shadows_audited is not None:
        outsiders = risk.pooled_outsiders(best.shadows, shadow_member, attacked.shadows_audited)
        called = {fpr: risk.called(scores, member, outsiders, fpr, confidence) for fpr in risk.FPRS}
        p = risk.p_values(best.target, outsiders)
    bounds = {
        "thresholds": epsilon_over_thresholds(scores, member, delta, confidence).epsilon,
        "one run": epsilon_one_run(scores, member, delta, confidence).epsilon,
    }
    sizes = int(member.sum()), int((~member).sum())
    lifts = {
        # Without shadows no threshold is set beforehand.
        fpr: risk.lift(called[fpr], *sizes, sided)
        if called
        else tpr_of_scores(scores, member, fpr, 1 - 2 * sided).low / fpr
        for fpr in risk.FPRS
    }
    verdict = judge(
        lifts,
        epsilon_one_run(scores, member, delta, 1 - sided).epsilon,
        {fpr: risk.smallest_visible(*sizes, fpr, sided) for fpr in risk.FPRS},
    )
    return {
        "verdict": verdict,
        "rows": rows,
        "called": called,
        "p": p,
        "epsilon": bounds,
        "error": error,
    }


def _row(name: str, attacked: Attacked, records: Records, confidence: float) -> Row:
    """Returns one attack's metrics on the audited model."""
    at = attacked.audited
    scores, member = attacked.scores[name].target[at].astype(np.float64), records.member[at]
    found: Row = {
        "attack": name,
        "title": ATTACKS[name].title,
        "source": ATTACKS[name].source,
        "strongest": name == attacked.strongest,
        "strength_on_shadows": _number(attacked.strength[name]),
        "auc": _interval(risk.auc(scores, member, confidence)),
        "num_members": int(member.sum()),
        "num_nonmembers": int((~member).sum()),
    }
    for fpr in risk.FPRS:
        found[f"tpr_at_fpr_{fpr}"] = _interval(tpr_of_scores(scores, member, fpr, confidence))
    return found


def _interval(interval: Interval) -> dict[str, float | None]:
    return {name: _number(getattr(interval, name)) for name in ("mean", "low", "high")}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
