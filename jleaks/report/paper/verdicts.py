"""Contrasts in words: mean differences, and on which tasks they are significant.

"No significant difference" is said only where an interval exists and contains zero.
"""

import math
from collections.abc import Callable, Sequence

from jleaks.report.numbers import interval_text
from jleaks.report.paper.contrasts import Contrast, contrasts, leaves_out_zero, over_tasks
from jleaks.report.paper.results import Results
from jleaks.report.titles import plain_title

NAMES = {
    "precision": "precision",
    "recall": "recall",
    "auc": "AUC",
    "accuracy": "balanced accuracy",
    "target_test_accuracy": "target's test accuracy",
}
MAIN = ("precision", "recall", "auc")

NOTHING = "The rows lack what would answer the question."


def listed(parts: Sequence[str]) -> str:
    """Returns "a, b and c"."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def differences(found: Sequence[Contrast], metrics: Sequence[str]) -> str:
    """Returns the mean differences of contrasts, one per task, with what ± is over."""
    single = len(found) == 1
    parts = []
    for metric in metrics:
        interval = found[0].interval(metric) if single else over_tasks(found, metric)
        if not math.isnan(interval.mean):
            expected = len(found[0].seeds) if single else len(found)
            parts.append(
                f"{NAMES[metric]} {interval_text(interval, (interval.n, expected), sign='+')}"
            )
    if not parts:
        return "not defined"
    if single:
        n = len(found[0].seeds)
        return f"{', '.join(parts)} ({plain_title(found[0].task)}, {n} seed{'' if n == 1 else 's'})"
    return f"{', '.join(parts)} (mean over {len(found)} tasks, ± over tasks)"


def _verdict(found: Sequence[Contrast], metric: str) -> str:
    """Returns on which tasks a difference is significant, by its interval over seeds."""
    intervals = {plain_title(contrast.task): contrast.interval(metric) for contrast in found}
    bounded = {task: interval for task, interval in intervals.items() if interval.is_bounded}
    if not bounded:
        return f"No task has the two seeds that an interval of the {NAMES[metric]} needs."
    apart = [
        f"{task} ({interval_text(interval, (interval.n, interval.n), sign='+')})"
        for task, interval in bounded.items()
        if leaves_out_zero(interval)
    ]
    same = len(bounded) - len(apart)
    text = f"{NAMES[metric]}: ".capitalize() if metric != "auc" else "AUC: "
    text += (
        f"no significant difference on {same} of {len(bounded)} tasks with an interval over seeds"
    )
    return f"{text}; different on {listed(apart)}." if apart else f"{text}."


def verdicts(found: Sequence[Contrast]) -> str:
    """Returns on which tasks precision, recall and AUC differ significantly."""
    if not any(contrast.interval(metric).is_bounded for contrast in found for metric in MAIN):
        return "No task has the two seeds that an interval needs."
    return " ".join(_verdict(found, metric) for metric in MAIN)


def by_arms(results: Results) -> dict[tuple[str, str], list[Contrast]]:
    """Returns the contrasts by what they are about and by arm, in order."""
    found: dict[tuple[str, str], list[Contrast]] = {}
    for contrast in contrasts(results.name, results.groups):
        found.setdefault((contrast.about, contrast.arm), []).append(contrast)
    return found


def every_arm(
    metrics: Sequence[str], unit: str = "", keep_fn: Callable[[str], bool] = lambda _: True
) -> Callable[[Results], str]:
    """Returns a finding that names the mean difference of every arm that is kept.

    Args:
      metrics: Fields of a row.
      unit: Follows the arm.
      keep_fn: Whether an arm is named.
    """

    def finding(results: Results) -> str:
        sentences = [
            f"{about + ', ' if about else ''}{arm}{unit} minus {found[0].reference}: "
            f"{differences(found, metrics)}."
            for (about, arm), found in by_arms(results).items()
            if keep_fn(arm)
        ]
        return " ".join(sentences) or NOTHING

    return finding
