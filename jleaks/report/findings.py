"""Findings: what an experiment's rows say, in a sentence or two computed from them."""

import dataclasses
import itertools
import math
import statistics
from collections.abc import Callable, Sequence

from jleaks.metrics.intervals import Interval, correlation_interval
from jleaks.report.columns import GAP, MAIN
from jleaks.report.contrasts import (
    NOTHING,
    by_arms,
    differences,
    every_arm,
    listed,
    name,
    over_tasks,
    verdicts,
)
from jleaks.report.figures.points import nearest_agree, read_points
from jleaks.report.groups import CONFIDENCE, Group, Results, families, transfers
from jleaks.report.numbers import interval_text
from jleaks.report.own import own_finding
from jleaks.report.titles import plain_title

_WITH_ACCURACY = (*MAIN, "test_accuracy")

# Of adversary 3's statistics, this much less AUC than the best still counts as equal.
_EQUAL = 0.005


def _shokri(results: Results) -> str:
    found = by_arms(results).get(("", "Adversary 1, MLP"))
    if not found:
        return NOTHING
    text = f"Adversary 1 minus Shokri et al.: {differences(found, MAIN)}. {verdicts(found)}"
    ratios = []
    for contrast in found:
        mine, theirs = (
            group.interval("shadow_seconds").mean for group in (contrast.first, contrast.second)
        )
        if mine > 0 and theirs > 0:
            ratios.append(theirs / mine)
    if ratios:
        text += f" Shokri et al.'s shadow models took {statistics.median(ratios):.1f} times the "
        text += "device-seconds of adversary 1's (median over tasks)."
    return text


def _overfitting(results: Results) -> str:
    parts = []
    for metric in MAIN:
        r = gap_correlation(results, metric)
        # Two points always lie on a line.
        if r.n > 2 and not math.isnan(r.mean):
            bounds = f" [{r.low:.2f}, {r.high:.2f}]" if r.is_bounded else ""
            parts.append(f"{r.mean:.2f}{bounds} with {name(metric)} (n = {r.n} tasks)")
    if not parts:
        return "Too few tasks for a correlation."
    return f"Pearson's r of the gap: {', '.join(parts)}."


def _means(group: Group, metrics: Sequence[str] = MAIN) -> str:
    """Returns "precision 0.520 (4 of 5), recall 0.990": the means that are defined, and for how many."""
    parts = []
    for metric in metrics:
        mean = dataclasses.replace(group.interval(metric), low=math.nan, high=math.nan)
        if not math.isnan(mean.mean):
            parts.append(f"{name(metric)} {interval_text(mean, group.defined(metric))}")
    return ", ".join(parts)


def _epochs(results: Results) -> str:
    lines: dict[str, list[Group]] = {}
    for group in results.groups:
        if group.attack == "adversary 1":
            lines.setdefault(group.task, []).append(group)
    sentences = [
        f"{plain_title(task)}: {_means(mine[0], _WITH_ACCURACY)} after {mine[0].get('epochs')} epochs; "
        f"{_means(mine[-1], _WITH_ACCURACY)} after {mine[-1].get('epochs')}."
        for task, mine in lines.items()
    ]
    return " ".join(sentences) or NOTHING


def _classes(results: Results) -> str:
    sentences = []
    for mine in families(results.groups):
        if len(mine) < 2:
            continue
        aucs = [group.interval("auc").mean for group in mine]
        rising = all(b >= a for a, b in itertools.pairwise(aucs))
        sentences.append(
            f"{plain_title(mine[0].task)}: {_means(mine[0])}; {plain_title(mine[-1].task)}: "
            f"{_means(mine[-1])}; the AUC {'rises' if rising else 'does not rise'} with every step."
        )
    return " ".join(sentences) or NOTHING


def _shadows(results: Results) -> str:
    sentences = []
    by_arm = by_arms(results)
    for about in dict.fromkeys(about for about, _ in by_arm):
        counts = sorted(float(arm) for text, arm in by_arm if text == about)
        # As far as the paper goes, and as far as this experiment goes.
        paper = max((count for count in counts if count <= 10), default=counts[-1])
        for count in dict.fromkeys((paper, counts[-1])):
            found = by_arm[about, f"{count:g}"]
            sentences.append(
                f"{about}, {count:g} shadow models minus 1: {differences(found, MAIN)}."
            )
            sentences.append(verdicts(found))
    return " ".join(sentences) or NOTHING


def _transfer(results: Results) -> str:
    sentences = []
    for metric in MAIN:
        found = {pair: g.interval(metric) for pair, g in transfers(results.groups).items()}
        own = [v.mean for (a, b), v in found.items() if a == b and v.n]
        other = [v.mean for (a, b), v in found.items() if a != b and v.n]
        if own and other:
            sentences.append(
                f"{name(metric)} {statistics.fmean(other):.3f} transferred (mean over {len(other)} "
                f"pairs) against {statistics.fmean(own):.3f} on the task itself ({len(own)} tasks)"
            )
    text = f"{'; '.join(sentences)}.".replace("precision", "Precision", 1) if sentences else ""
    for shadow, target in (("news", "cifar100"), ("face", "cifar10")):
        for group in results.groups:
            if group.attack == "adversary 2" and (group.shadow_tasks, group.task) == (
                (shadow,),
                target,
            ):
                text += f" {plain_title(shadow)} to {plain_title(target)}: {_means(group)}."
    return text.strip() or NOTHING


def _tsne(results: Results) -> str:
    points = read_points(results)
    parts = []
    for task in points.tasks:
        found, chance = nearest_agree(points, task)
        if not math.isnan(found):
            parts.append(f"{found:.0%} of {plain_title(task)}'s points ({chance:.0%} by chance)")
    if not parts:
        return NOTHING
    return f"The nearest point of the other task is alike in membership for {listed(parts)}."


def _by_task(groups: Sequence[Group], entry: str, metric: str) -> dict[str, dict[str, float]]:
    """Returns means that are defined: value of `entry` -> task -> mean."""
    found: dict[str, dict[str, float]] = {}
    for group in groups:
        mean = group.interval(metric).mean
        if group.attack == "adversary 3" and not math.isnan(mean):
            found.setdefault(str(group.get(entry)), {})[group.task] = mean
    return found


def _statistics(results: Results) -> str:
    found = _by_task(results.groups, "statistic", "auc")
    if "maximum" not in found:
        return NOTHING
    means = [f"{name} {statistics.fmean(by.values()):.3f}" for name, by in found.items()]
    mine = found["maximum"]
    best = {task: max(by[task] for by in found.values() if task in by) for task in mine}
    count = sum(mine[task] >= best[task] - _EQUAL for task in mine)
    return (
        f"Mean AUC over tasks: {', '.join(means)}. The maximum is best, or within {_EQUAL:g} of the "
        f"best, on {count} of {len(mine)} tasks."
    )


def _threshold(results: Results) -> str:
    groups = [group for group in results.groups if group.get("statistic", "maximum") == "maximum"]
    found = _by_task(groups, "percentile", "accuracy")
    if not found:
        return NOTHING
    tasks = set.intersection(*(set(by) for by in found.values()))
    if not tasks:
        return NOTHING
    means = {
        float(t): statistics.fmean(by[task] for task in sorted(tasks)) for t, by in found.items()
    }
    best = max(means, key=lambda t: means[t])
    text = f"Balanced accuracy, mean over {len(tasks)} task{'' if len(tasks) == 1 else 's'}: highest at "
    text += f"t = {best:g} ({means[best]:.3f})"
    text += f"; {means[10.0]:.3f} at t = 10." if 10.0 in means else "."
    best_by_task = {
        task: max((by[task], float(t)) for t, by in found.items())[1] for task in sorted(tasks)
    }
    low, high = min(best_by_task.values()), max(best_by_task.values())
    return f"{text} The best t of a task lies between {low:g} and {high:g}."


def _hyperparameters(results: Results) -> str:
    text = every_arm(MAIN, keep_fn=lambda arm: arm.endswith(", all"))(results)
    means = {arm: over_tasks(found, "auc").mean for (_, arm), found in by_arms(results).items()}
    defined = [arm for arm in means if not math.isnan(means[arm])]
    if defined:
        arm = max(defined, key=lambda arm: abs(means[arm]))
        text += f" The largest mean difference of the AUC is that of {arm}: {means[arm]:+.3f}."
    return text


def _defended(results: Results) -> str:
    # Adversary 3 on the statistic the paper settles on.
    found = {
        (about, arm): contrasts
        for (about, arm), contrasts in by_arms(results).items()
        if about in ("Adversary 1", "Adversary 3", "Adversary 3, maximum")
    }
    sentences = [
        f"{about}, {arm} minus none: {differences(mine, _WITH_ACCURACY)}."
        for (about, arm), mine in found.items()
    ]
    # The task that the paper's figures are of.
    sentences += [
        f"{about}, {arm} minus none: {differences([contrast], _WITH_ACCURACY)}."
        for (about, arm), mine in found.items()
        for contrast in mine
        if contrast.task == "cifar100" and len(mine) > 1
    ]
    return " ".join(sentences) or NOTHING


def _ratios(results: Results) -> str:
    sentences = []
    by_arm = by_arms(results)
    for about in dict.fromkeys(about for about, _ in by_arm):
        _, arm = max(
            (
                [found[0].first.get(entry) or 0 for entry in ("input_ratio", "hidden_ratio")],
                arm,
            )
            for (text, arm), found in by_arm.items()
            if text == about
        )
        sentences.append(
            f"{about}, dropout {arm} (input, hidden) minus none: "
            f"{differences(by_arm[about, arm], _WITH_ACCURACY)}."
        )
    return " ".join(sentences) or NOTHING


_FINDINGS: dict[str, Callable[[Results], str]] = {
    "E1": _shokri,
    "E2": _overfitting,
    "E3": _epochs,
    "E4": _classes,
    "E5": every_arm(MAIN),
    "E6": _shadows,
    "E7": every_arm(MAIN),
    "E8": _hyperparameters,
    "E9": every_arm(MAIN, keep_fn=lambda arm: arm == "combined"),
    "E10": _transfer,
    "E11": _tsne,
    "E12": every_arm(MAIN),
    "E13": _statistics,
    "E14": _threshold,
    "E15": every_arm(MAIN),
    "E16": _defended,
    "E17": _ratios,
    "E18": _defended,
}


def gap_correlation(results: Results, metric: str) -> Interval:
    """Returns Pearson's r over tasks between the overfitting gap and a metric of adversary 1."""
    mine = [group for group in results.groups if group.attack == "adversary 1"]
    gaps = [group.interval(GAP).mean for group in mine]
    return correlation_interval(gaps, [group.interval(metric).mean for group in mine], CONFIDENCE)


def finding(results: Results) -> str:
    """Returns what the rows of an experiment say."""
    return _FINDINGS.get(results.name, own_finding)(results)
