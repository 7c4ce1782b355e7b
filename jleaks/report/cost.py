"""What references cost and what they bring: attack against number of reference models."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from jleaks.attacks.registry import ATTACKS
from jleaks.experiments.bank_results import OVER, Row
from jleaks.report.bank_tables import interval_note, number
from jleaks.report.numbers import few_mark, notes
from jleaks.report.roc import SHOWN
from jleaks.report.style import (
    SERIES_COLOURS,
    clean_axes,
    head_and_caption,
    legend_below_title,
    new_figure,
)
from jleaks.report.table import Cell, Table

_PANELS = {"auc": "AUC", "tpr_at_fpr_0.001": "TPR at 0.1% FPR"}
_MARKERS = "osD^vPX*"

# The knee: the fewest references that reach this share of what the most references reach.
KNEE_SHARE = 0.95


def knee(curve: Sequence[tuple[int, float]]) -> int:
    """Returns the fewest references from which on an attack keeps 95% of its final value.

    Args:
      curve: (references, value) in rising order of references.
    """
    enough = KNEE_SHARE * curve[-1][1]
    found = curve[-1][0]
    for count, value in reversed(curve):
        if value < enough:
            break
        found = count
    return found


def curve(rows: Sequence[dict[str, Any]], attack: str, metric: str) -> list[tuple[int, float]]:
    """Returns one attack's (references, mean) pairs in rising order."""
    mine = [r for r in rows if r["attack"] == attack]
    return sorted((r["num_references"], r[metric]["mean"]) for r in mine)


def _compact(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def _places(attacks: Sequence[str]) -> dict[str, int]:
    """Returns every attack's place among colours: that of its ROC curve, or one that is left."""
    found = {name: i for i, name in enumerate(SHOWN) if name in attacks}
    others = [name for name in attacks if name not in found]
    free = [i for i in range(len(SHOWN) + len(others)) if i not in found.values()]
    return found | dict(zip(others, free, strict=False))


def draw_cost(title: str, rows: Sequence[dict[str, Any]]) -> Figure:
    """Draws AUC and TPR at 0.1% FPR against the number of references, the knees ringed.

    Args:
      title: Above the figure.
      rows: One per attack and number of references (see `benchmarks.attack_cost`).
    """
    places = _places(list(dict.fromkeys(r["attack"] for r in rows)))
    counts = sorted({r["num_references"] for r in rows})
    cost = {r["num_references"]: r["device_seconds"] for r in rows}
    first = rows[0]
    banded = all(r.get("intervals") == OVER for r in rows)
    bands = ", bands 95% intervals over records" if banded else ""
    marks = [few_mark(metric, first["num_nonmembers"]) for metric in _PANELS]
    figure = new_figure(12.4, 5.6)
    panels = figure.subplots(1, len(_PANELS))
    for axes, mark, (metric, name) in zip(panels, marks, _PANELS.items(), strict=True):
        for attack, i in places.items():
            mine = sorted(
                (r for r in rows if r["attack"] == attack), key=lambda r: r["num_references"]
            )
            x = [r["num_references"] for r in mine]
            colour = SERIES_COLOURS[i % len(SERIES_COLOURS)]
            online = ATTACKS[attack].references == "in and out"
            if banded:
                axes.fill_between(
                    x,
                    [r[metric]["low"] for r in mine],
                    [r[metric]["high"] for r in mine],
                    color=colour,
                    alpha=0.18,
                    lw=0,
                )
            y = [r[metric]["mean"] for r in mine]
            axes.plot(
                x, y, color=colour, marker=_MARKERS[i % len(_MARKERS)], ms=4.5, lw=1.7,
                ls="-" if online else (0, (5, 2)), label=ATTACKS[attack].title,
            )  # fmt: skip
            at = knee(list(zip(x, y, strict=True)))
            axes.plot(at, y[x.index(at)], "o", ms=11, mfc="none", mec=colour, mew=1.3)
        axes.set(xscale="log", xlabel="Reference models per target", ylabel=name + mark)
        axes.xaxis.set_major_locator(FixedLocator(counts))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        above = axes.secondary_xaxis("top")
        above.xaxis.set_major_locator(FixedLocator(counts[::-2]))
        above.xaxis.set_minor_locator(NullLocator())
        above.xaxis.set_major_formatter(
            FuncFormatter(lambda value, _: _compact(cost[round(value)]))
        )
        above.tick_params(labelsize=8)
        above.set_xlabel("Device time to train them", fontsize=8.5)
        axes.grid(True, color="0.92", lw=0.8)
        clean_axes(axes)
    head_and_caption(
        figure,
        title,
        f"Means over {first['num_targets']} targets of one bank of {first['num_models']} models{bands}; "
        "nested subsets of references.  Solid: IN and OUT references; dashed: OUT alone.  Rings: the knee, "
        "the fewest references from which on the mean stays at "
        f"{KNEE_SHARE:.0%} of its final value.  {notes(marks)}",
    )
    # Inside the panels it would hide curves.
    legend_below_title(figure, panels[0].get_lines()[::2])
    return figure


def cost_table(rows: Sequence[Row]) -> Table:
    """Returns AUC and TPR at 0.1% FPR per attack and number of references, knees marked."""
    attacks = list(dict.fromkeys(r["attack"] for r in rows))
    counts = sorted({r["num_references"] for r in rows})
    by = {(r["attack"], r["num_references"]): r for r in rows}
    body: list[tuple[Cell, ...]] = []
    for metric, name in {"auc": "AUC", "tpr_at_fpr_0.001": "TPR at 0.1% FPR"}.items():
        for attack in attacks:
            at = knee(curve(rows, attack, metric))
            cells = [Cell(number(by[attack, n], metric), n == at) for n in counts]
            body.append((Cell(name), Cell(attack), *cells))
    first = {r["num_references"]: r for r in rows}
    cost = [Cell(f"{first[n]['device_seconds']:.1f}") for n in counts]
    body.append((Cell("Device seconds"), Cell("all references"), *cost))
    if first[counts[0]]["flops"] is not None:
        body.append(
            (
                Cell("TFLOP"),
                Cell("all references"),
                *(Cell(f"{first[n]['flops'] / 1e12:.3g}") for n in counts),
            )
        )
    signs = notes([cell.text for row in body for cell in row[2:]])
    return Table(
        title=f"{rows[0]['task']}: attacks against the number of references",
        caption=f"Means over {rows[0]['num_targets']} targets; nested subsets of one bank.  "
        f"{interval_note(rows)}  {signs + '  ' if signs else ''}Marked: the knee, the fewest references "
        f"from which on the mean stays at {KNEE_SHARE:.0%} of its final value.",
        heads=("Metric", "Attack", *(str(n) for n in counts)),
        num_text_columns=2,
        rows=tuple(body),
        section_ends=frozenset({len(attacks) - 1, 2 * len(attacks) - 1}),
        compact=True,
    )
