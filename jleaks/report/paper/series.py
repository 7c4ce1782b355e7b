"""Curves over what an experiment varies in numbers: E3, E6 and its cost, E14."""

import math
from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from jleaks.report.cost import KNEE_SHARE, knee
from jleaks.report.paper.curves import GUESS, Line, draw_panels, log_ticks
from jleaks.report.paper.groups import Group
from jleaks.report.paper.results import Results


def _number(name: str) -> Callable[[Group], float | None]:
    def number(group: Group) -> float | None:
        value = group.get(name)
        return value if isinstance(value, (int, float)) else None

    return number


def _maximum(results: Results) -> list[Group]:
    """Returns the groups, of adversary 3 those of the statistic the paper settles on."""
    return [g for g in results.groups if g.get("statistic", "maximum") == "maximum"]


def draw_epochs(results: Results) -> Figure:
    """E3: the attack and the target's test accuracy against the target's epochs."""
    return draw_panels(
        results,
        _maximum(results),
        _number("epochs"),
        ("precision", "recall", "auc", "target_test_accuracy"),
        "Epochs of the target",
        "The attack against the target's epochs",
        GUESS,
        lambda axes, _: axes.xaxis.set_major_locator(MaxNLocator(integer=True)),
    )


def draw_shadows(results: Results) -> Figure:
    """E6: the attack against the number of shadow models."""

    def finish(axes: Axes, found: dict[tuple[str, str], Line]) -> None:
        counts = sorted({x for line in found.values() for x in line.x})
        if max(counts) > 10:
            log_ticks(axes, counts)
        else:
            axes.xaxis.set_major_locator(FixedLocator(counts))

    return draw_panels(
        results,
        results.groups,
        _number("num_shadows"),
        ("precision", "recall", "auc"),
        "Shadow models",
        "The attack against the number of shadow models",
        GUESS,
        finish,
    )


def draw_cost(results: Results) -> Figure:
    """E6: the attack against the device-seconds that its shadow models took, knees ringed."""

    def seconds(group: Group) -> float | None:
        mean = group.interval("shadow_seconds").mean
        return None if math.isnan(mean) or mean <= 0 else mean

    def finish(axes: Axes, found: dict[tuple[str, str], Line]) -> None:
        every = [x for line in found.values() for x in line.x]
        if max(every) > 10 * min(every):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_locator(NullLocator())
        else:
            axes.xaxis.set_major_locator(MaxNLocator(4))
        for line in found.values():
            defined = [(i, bar.mean) for i, bar in enumerate(line.bars) if bar.n]
            at = knee(defined)
            axes.plot(
                line.x[at], line.bars[at].mean, "o", ms=11, mfc="none", mec=line.colour, mew=1.3
            )

    return draw_panels(
        results,
        results.groups,
        seconds,
        ("precision", "recall", "auc"),
        "Device-seconds to train the shadow models",
        "What shadow models cost and what they bring",
        f"One point per number of shadow models.  Rings: the knee, the fewest shadow models from which on "
        f"the mean stays at {KNEE_SHARE:.0%} of its final value.  {GUESS}",
        finish,
    )


def draw_percentiles(results: Results) -> Figure:
    """E14: adversary 3's precision, recall and balanced accuracy against the percentile t."""

    def finish(axes: Axes, found: dict[tuple[str, str], Line]) -> None:
        log_ticks(axes, sorted({x for line in found.values() for x in line.x}))
        axes.axvline(10, color="0.2", linewidth=1.2, zorder=1.5)

    return draw_panels(
        results,
        _maximum(results),
        _number("percentile"),
        ("precision", "recall", "accuracy"),
        "Percentile t (% of random points)",
        "Adversary 3 against the threshold: the maximum that the top t% of random points exceed",
        f"Vertical line: t = 10.  {GUESS}",
        finish,
    )
