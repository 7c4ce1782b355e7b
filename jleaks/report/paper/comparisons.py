"""Bars of the paper's experiments that compare arms: E1, E5, E7, E8, E9, E12, E16, E18."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from jleaks.experiments.claims import ATTACKS, value_rank, value_title
from jleaks.report.paper.bars import Panel, draw_bars
from jleaks.report.paper.contrasts import defence_arm
from jleaks.report.paper.groups import Group
from jleaks.report.paper.results import Results
from jleaks.report.style import SERIES_COLOURS, NothingToDrawError
from jleaks.report.titles import flagged_title, source_note, source_suffix

_DECISION = {"precision": "Precision (fraction)", "recall": "Recall (fraction)"}
_ATTACK = _DECISION | {"auc": "AUC (fraction)"}
_ACCURACY = {"target_test_accuracy": "Target's test acc. (fraction)"}


def _draw(
    results: Results,
    found: Sequence[tuple[str, str, Group]],
    colours: dict[str, str],
    metrics: dict[str, str],
    title: str,
    note: str = "",
) -> Figure:
    """Draws one row of bars per metric.

    Args:
      results: Of the experiment.
      found: Place along the page, arm and group of every bar; the first of a place and arm counts.
      colours: Arm -> colour, in the order of the bars.
      metrics: Field of a row -> label of the y axis; those that nothing defines are left out.
      title: Without the source of the data.
      note: A sentence for the caption.
    """
    chosen: dict[tuple[str, str], Group] = {}
    for place, arm, group in found:
        chosen.setdefault((place, arm), group)
    panels = []
    for metric, label in metrics.items():
        bars = {key: group.interval(metric) for key, group in chosen.items()}
        if any(bar.n for bar in bars.values()):
            panels.append(Panel(label, bars, guess=metric in _ATTACK))
    if not panels:
        raise NothingToDrawError("no row has what it shows")
    tasks = {task for group in chosen.values() for task in (group.task, *group.shadow_tasks)}
    return draw_bars(
        list(dict.fromkeys(place for place, _ in chosen)),
        {arm: colour for arm, colour in colours.items() if any(arm == a for _, a in chosen)},
        panels,
        f"{title}{source_suffix(tasks, results.sources)}",
        f"{note} {source_note(tasks, results.sources)}".strip(),
    )


def _palette(arms: Sequence[str]) -> dict[str, str]:
    return {arm: SERIES_COLOURS[i % len(SERIES_COLOURS)] for i, arm in enumerate(arms)}


def _place(results: Results, group: Group) -> str:
    """Returns the target's task, for adversary 2 with the shadow's before it."""
    if group.attack != "adversary 2":
        return flagged_title(group.task, results.sources, "\n")
    shadows = ", ".join(flagged_title(task, results.sources) for task in group.shadow_tasks)
    return f"{shadows}\nto {flagged_title(group.task, results.sources)}"


def _of_attack(results: Results, attack: str) -> list[Group]:
    return [group for group in results.groups if group.attack == attack]


def draw_shokri(results: Results) -> Figure:
    """E1: precision and recall of adversary 1 and of Shokri et al., both with neural attack models."""
    names = {"adversary 1": "Adversary 1, one shadow model", "shokri": "Shokri et al."}
    found = [
        (_place(results, group), names[group.attack], group)
        for group in results.groups
        if group.attack in names and group.get("attack_model", "mlp") == "mlp"
    ]
    return _draw(
        results,
        found,
        _palette(list(names.values())),
        _DECISION,
        "Adversary 1 against Shokri et al.",
        "Attack models: MLP.",
    )


def draw_posteriors(results: Results) -> Figure:
    """E5: precision, recall and AUC by the number of posteriors."""
    groups = _of_attack(results, "adversary 1")
    values = sorted({group.get("top") for group in groups}, key=value_rank)
    names = {v: f"{value_title(v)} posterior{'' if v == 1 else 's'}" for v in values}
    return _draw(
        results,
        [(_place(results, group), names[group.get("top")], group) for group in groups],
        _palette(list(names.values())),
        _ATTACK,
        "Adversary 1 by the number of largest posteriors that it looks at",
    )


def draw_access(results: Results) -> Figure:
    """E7 and E12: precision and recall of direct access and through the prediction API."""
    names = {"direct": "Asked directly", "http": "Asked over HTTP"}
    attack = "adversary 2" if results.name == "E12" else "adversary 1"
    found = [
        (_place(results, group), names[str(group.get("access"))], group)
        for group in _of_attack(results, attack)
        if group.get("access") in names
    ]
    return _draw(
        results,
        found,
        _palette(list(names.values())),
        _DECISION,
        f"{ATTACKS[attack]}: posteriors from the model itself and from behind a prediction API",
    )


def draw_kinds(results: Results) -> Figure:
    """E9: precision, recall and AUC where the target's kind is known, and of the combining attack."""
    known, combined = "Kind known: a shadow of it", "Kind unknown: shadows of all kinds"
    found = []
    for group in _of_attack(results, "adversary 1"):
        kind, shadow = group.get("target"), group.get("shadow")
        if shadow in (kind, "combined"):
            place = f"{_place(results, group)}\n{value_title(kind)}"
            found.append((place, known if shadow == kind else combined, group))
    return _draw(
        results,
        found,
        _palette([known, combined]),
        _ATTACK,
        "Adversary 1 where the target's kind of classifier is known or not",
    )


def draw_hyperparameters(results: Results) -> Figure:
    """E8: precision, recall and AUC by what differs between shadow and target."""
    same = "same as the target"
    # Grey for the same, then a colour for each hyper-parameter, its half lighter than its double.
    colours = {same: "0.55"}
    found = []
    groups = sorted(
        _of_attack(results, "adversary 1"), key=lambda group: value_rank(group.get("what"))
    )
    whats = list(dict.fromkeys(g.get("what", "all") for g in groups if g.get("shadow") != "same"))
    for group in groups:
        what, size = group.get("what", "all"), value_title(group.get("shadow"))
        arm = same if size == "same" else f"{size} {value_title(what)}"
        if arm != same:
            colour = SERIES_COLOURS[whats.index(what) % len(SERIES_COLOURS)]
            colours[arm] = _lighter(colour) if size == "half" else colour
        found.append((_place(results, group), arm, group))
    tasks = list(dict.fromkeys(group.task for group in results.groups))
    found.sort(key=lambda bar: tasks.index(bar[2].task))
    return _draw(
        results,
        found,
        colours,
        _ATTACK,
        "Adversary 1 with a shadow model of other hyper-parameters than the target's",
        "“all”: hidden units, epochs, learning rate and batch size together.",
    )


def _lighter(colour: str) -> str:
    """Returns a colour "#RRGGBB" mixed with white."""
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(255 - 0.45 * (255 - part)):02X}" for part in parts)


def draw_defence(results: Results, attack: str) -> Figure:
    """E16 and E18: an attack without and with the defence, and the target's accuracy below.

    Args:
      results: Of E16 or E18.
      attack: "adversary 1" or "adversary 3", of which the threshold on the maximum is shown.
    """
    found = []
    for group in _of_attack(results, attack):
        if group.get("statistic", "maximum") == "maximum":
            arm = defence_arm(group).replace("none", "no defence")
            found.append((_place(results, group), arm, group))
    arms = sorted(
        {arm for _, arm, _ in found}, key=lambda arm: (arm != "no defence", "aware" in arm)
    )
    statistic = " (threshold on the maximum)" if attack == "adversary 3" else ""
    aware = "An aware attacker trains shadow models with the defence, a naive one without."
    return _draw(
        results,
        found,
        _palette(arms),
        _ATTACK | _ACCURACY,
        f"{ATTACKS[attack]}{statistic} before and after the defence, and the target's accuracy",
        aware if attack == "adversary 1" else "",
    )
