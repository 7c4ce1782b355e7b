"""The figure and the finding of an experiment that is not the paper's: metrics against what varies."""

import itertools
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jleaks.experiments.claims import Value, get_experiment, value_rank, variant_title
from jleaks.report.numbers import interval_text
from jleaks.report.paper.bars import Panel, draw_bars
from jleaks.report.paper.contrasts import about
from jleaks.report.paper.curves import GUESS, draw_panels, log_ticks
from jleaks.report.paper.groups import Group
from jleaks.report.paper.results import Results
from jleaks.report.style import SERIES_COLOURS, NothingToDrawError
from jleaks.report.titles import flagged_title, source_note, source_suffix

_METRICS = {
    "precision": "Precision (fraction)",
    "recall": "Recall (fraction)",
    "auc": "AUC (fraction)",
    "target_test_accuracy": "Target's test acc. (fraction)",
}

# Numbers so far apart are drawn by their ratios.
_FAR = 20


def varying(groups: Sequence[Group]) -> dict[str, list[Value]]:
    """Returns what has several values, and its values in the order of reports."""
    names = dict.fromkeys(name for group in groups for name, _ in group.variant)
    found = {n: sorted({group.get(n) for group in groups}, key=value_rank) for n in names}
    return {name: values for name, values in found.items() if len(values) > 1}


def draw_own(results: Results) -> Figure:
    """Curves over the one number that varies, or bars of everything that varies."""
    varied = varying(results.groups)
    title = get_experiment(results.name).title
    if len(varied) == 1:
        ((name, values),) = varied.items()
        xs = [float(x) for x in values if isinstance(x, int | float)]
        if len(xs) == len(values):
            return _curves(results, name, xs, title)
    return _bars(results, title)


def _curves(results: Results, name: str, values: Sequence[float], title: str) -> Figure:
    def x_fn(group: Group) -> float | None:
        value = group.get(name)
        return value if isinstance(value, int | float) else None

    def finish(axes: Axes, _: object) -> None:
        if min(values) > 0 and max(values) > _FAR * min(values):
            log_ticks(axes, values)
        elif all(x == int(x) for x in values):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    head = variant_title(name)
    return draw_panels(results, results.groups, x_fn, tuple(_METRICS), head, title, GUESS, finish)


def _bars(results: Results, title: str) -> Figure:
    arms = {id(group): about(group, ()) for group in results.groups}
    names = list(dict.fromkeys(arms.values()))
    panels = []
    for metric, label in _METRICS.items():
        bars = {
            (flagged_title(group.task, results.sources, "\n"), arms[id(group)]): group.interval(
                metric
            )
            for group in results.groups
        }
        if any(bar.n for bar in bars.values()):
            panels.append(Panel(label, bars, guess=not metric.startswith("target")))
    if not panels:
        raise NothingToDrawError("no row has what it shows")
    return draw_bars(
        list(dict.fromkeys(place for panel in panels for place, _ in panel.bars)),
        dict(zip(names, itertools.cycle(SERIES_COLOURS), strict=False)),
        panels,
        f"{title}{source_suffix(results.tasks, results.sources)}",
        source_note(results.tasks, results.sources),
    )


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
