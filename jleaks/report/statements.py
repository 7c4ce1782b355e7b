"""Sentences of a run's page that its rows decide: who attacks best, what is not real, what made it."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jleaks.experiments.claims import ATTACKS, value_title, variant_title
from jleaks.metrics.intervals import Interval
from jleaks.report.groups import CONFIDENCE, Group, Results
from jleaks.report.html import flat
from jleaks.report.numbers import diverged_note
from jleaks.report.titles import flagged_title, source_note

WHERE = {
    "EDPB Opinion 28/2024": "the finding; tables of every attack; what was not tested",
    "NIST AI 100-2": "tables of every attack; method",
    "OWASP AISVS": "tables of every attack; for a release, jleaks audit and jleaks gate",
}
"""Where the page of a run has what frameworks ask for."""

CHOSEN = (
    "The strongest attack is chosen by its result on the targets themselves; the largest of many numbers "
    "is a little too large."
)
OTHER_LEAKS = (
    "Attackers who see more than answers (weights, gradients) or influence the training data; other leaks "
    "than membership: attributes, reconstruction, memorised text."
)


def counted(count: int, what: str) -> str:
    """Returns "1 task" or "12 tasks"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def percent(value: float | None) -> str:
    """Returns "4.5%"; "-" for what is not defined."""
    return "-" if value is None or math.isnan(value) else f"{100 * value:.3g}%"


def bounds(interval: Interval, text_fn: Any = lambda value: f"{value:.3f}") -> str:
    """Returns "95% interval 0.897 to 0.931", or that there is none."""
    if not interval.is_bounded:
        return "no interval: one seed" if interval.n == 1 else "no interval"
    return f"{CONFIDENCE:.0%} interval {text_fn(interval.low)} to {text_fn(interval.high)}"


def pointing(auc: float) -> str:
    """Returns what an AUC means to somebody who does not know the word."""
    return (
        f"shown one member and one outsider, it points at the member {percent(auc)} of the time (a coin: "
        "50%)"
    )


def strongest(groups: Iterable[Group]) -> Group | None:
    """Returns the group with the largest mean AUC, None where none defines one."""
    defined = [group for group in groups if group.interval("auc").n]
    return max(defined, key=lambda group: group.interval("auc").mean, default=None)


def attack_title(group: Group) -> str:
    """Returns an attack with what varies of it: "Adversary 3, statistic maximum"."""
    found = [f"{variant_title(n).lower()} {value_title(v)}" for n, v in group.variant]
    return ", ".join([ATTACKS[group.attack], *found])


def strongest_sentence(group: Group, results: Results) -> str:
    """Returns what the strongest attack of some results reaches, and where."""
    auc, tpr = group.interval("auc"), group.interval("tpr_at_fpr_0.01")
    title = attack_title(group)
    text = (
        f"{title} on {flagged_title(group.task, results.sources)}: {pointing(auc.mean)}; AUC "
        f"{auc.mean:.3f}, {bounds(auc)}"
    )
    if not math.isnan(tpr.mean):
        found = percent(tpr.mean)
        text += (
            f". Allowed to accuse one outsider in a hundred, it recognises {found} of the members"
        )
    return f"{text}."


def strongest_cards(group: Group, results: Results) -> list[tuple[str, str, str]]:
    """Returns the same as numbers: label, value, note."""
    auc, tpr = group.interval("auc"), group.interval("tpr_at_fpr_0.01")
    where = flagged_title(group.task, results.sources)
    found = [
        ("Strongest attack", attack_title(group), f"on {where}"),
        ("AUC", f"{auc.mean:.3f}", f"{bounds(auc)}; 0.5 is guessing"),
        ("TPR at 1% FPR", percent(tpr.mean), f"{bounds(tpr, percent)}; 1% is guessing"),
    ]
    train, test = (group.interval(f"{side}_accuracy").mean for side in ("train", "test"))
    if not math.isnan(train):
        note = f"of its target on members / non-members, {where}"
        found.append(("Accuracy", f"{train:.3f} / {test:.3f}", note))
    return found


def limits(results: Results) -> list[str]:
    """Returns what the rows themselves leave open: records that are not real, single seeds, collapse."""
    found = []
    if note := source_note(results.tasks, results.sources):
        found.append(f"Not the real data sets: {note}")
    single = {group.task for group in results.groups if len(group.seeds) == 1}
    if single:
        names = [flagged_title(task, results.sources) for task in results.tasks if task in single]
        found.append(f"One seed, so no interval, for at least one attack on {', '.join(names)}.")
    collapsed = sum(value is True for value in results.rows.get("collapsed", ()))
    if collapsed:
        found.append(
            f"{collapsed} of {len(results.rows)} attacks are by an attack model that collapsed (it calls "
            "nobody or everybody of its own rows a member): a better training might do better there."
        )
    if note := diverged_note(results.rows):
        found.append(note)
    return [*found, OTHER_LEAKS]


def _distinct(values: Iterable[Any]) -> str:
    """Returns the distinct texts of a field of rows; objects as "name value, ..."."""
    texts = (
        ", ".join(f"{name} {text}" for name, text in flat(value))
        if isinstance(value, Mapping)
        else str(value)
        for value in values
    )
    return "; ".join(dict.fromkeys(texts))


_OF_ROWS = {
    "fingerprint": "Fingerprint of the plan",
    "format": "Format",
    "scale": "Scale",
    "source": "Records",
    "model": "Networks",
    "recipe": "Recipe",
    "defence": "Defence",
    "attacker": "Attacker",
    "plugins": "Own files",
    "attack_files": "Own attacks",
    "device": "Hardware",
    "kernels": "Kernels",
    "versions": "Versions",
    "command": "Command",
}


def provenance(
    rows: Sequence[Mapping[str, Any]], folder: Path, command: str = ""
) -> list[tuple[str, str]]:
    """Returns what made the rows: what they say themselves, and the recipes of `plan.json` beside them.

    Args:
      rows: All of a page.
      folder: Where they lie.
      command: What made them, where they do not say so.
    """
    found = []
    for field, title in _OF_ROWS.items():
        values = [row[field] for row in rows if row.get(field) not in (None, "", {})]
        if values:
            found.append((title, _distinct(values)))
    if command and not any(row.get("command") for row in rows):
        found.append(("Command", command))
    try:
        plan = json.loads((folder / "plan.json").read_bytes())["plan"]
        recipes = {name: plan[name] for name in ("target", "attack", "recipe") if name in plan}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        # Committed rows may lie there without it.
        return found
    return [*found, *((f"Recipe, {name}", _distinct([value])) for name, value in recipes.items())]
