"""The figure and the finding of an experiment that is not the paper's: metrics against what varies."""

import dataclasses
from collections.abc import Sequence

from matplotlib.figure import Figure as Page

from jleaks.experiments.claims import Value, get_experiment, value_rank, variant_title
from jleaks.experiments.designs import Design, Figure
from jleaks.report.contrasts import about
from jleaks.report.figures.bars import draw_bars
from jleaks.report.figures.curves import draw_curves
from jleaks.report.groups import Group, Results
from jleaks.report.numbers import interval_text
from jleaks.report.titles import flagged_title


def varying(groups: Sequence[Group]) -> dict[str, list[Value]]:
    """Returns what has several values, and its values in the order of reports."""
    names = dict.fromkeys(name for group in groups for name, _ in group.variant)
    found = {n: sorted({group.get(n) for group in groups}, key=value_rank) for n in names}
    return {name: values for name, values in found.items() if len(values) > 1}


def draw_own(results: Results, figure: Figure) -> Page:
    """Curves over the one number that varies, or bars of everything that varies."""
    varied = varying(results.groups)
    figure = dataclasses.replace(figure, title=get_experiment(results.name).title)
    if len(varied) == 1:
        ((name, values),) = varied.items()
        if all(isinstance(value, int | float) for value in values):
            along = dataclasses.replace(figure, along=name, xlabel=variant_title(name))
            return draw_curves(results, along)
    arms = {id(group): about(group, ()) for group in results.groups}
    design = Design(
        entries=("attack", *varied),
        arm_fn=lambda group, _: arms[id(group)],
    )
    return draw_bars(dataclasses.replace(results, design=design), figure)


def own_finding(results: Results) -> str:
    """Returns, of every task and attack, where the AUC is least and where it is largest."""
    found: dict[tuple[str, str], list[Group]] = {}
    varied = varying(results.groups)
    for group in results.groups:
        fixed = [name for name, _ in group.variant]
        found.setdefault((group.task, about(group, fixed)), []).append(group)
    sentences = []
    for (task, attack), groups in found.items():
        known = sorted(
            (group for group in groups if group.interval("auc").n),
            key=lambda group: group.interval("auc").mean,
        )
        if not known:
            continue
        where = f"{flagged_title(task, results.sources)}, {attack}: AUC"
        ends = [known[0], known[-1]] if len(known) > 1 else known
        texts = []
        for group in ends:
            text = interval_text(group.interval("auc"), group.defined("auc"))
            at = [f"{variant_title(n).lower()} {group.get(n)}" for n in varied]
            texts.append(f"{text} at {', '.join(at)}" if at else text)
        sentences.append(f"{where} {' to '.join(texts)}.")
    return " ".join(sentences) or "No row defines an AUC."
