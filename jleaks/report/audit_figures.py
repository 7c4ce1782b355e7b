"""The four figures of an audit: ROC curves, scores, risk by record, risk by number of shadows."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from jleaks.auditing.cost import CostPoint
from jleaks.auditing.result import Audit
from jleaks.metrics.operating_points import tpr_of_scores
from jleaks.report.figures.style import (
    BLUE,
    GREY,
    ORANGE,
    SERIES_COLOURS,
    VERMILION,
    clean_axes,
    new_figure,
    percent_axis,
    roc_axes,
)

# Beside the strongest attack, what is best known, from strong to weak.
_BESIDE = ("lira_online", "rmia_online", "lira_offline", "class_thresholds", "loss", "correctness")
_MOST_CURVES = 4
# At how many false-positive rates a band is computed.
_BAND = 24


def svg(figure: Figure) -> str:
    """Returns a figure as the text of an SVG element; the same audit gives the same text."""
    import matplotlib

    content = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "jleaks", "svg.fonttype": "path"}):
        figure.savefig(content, format="svg", facecolor="white", metadata={"Date": None})
    text = content.getvalue()
    return text[text.index("<svg") :]


def draw_roc(audit: Audit) -> Figure:
    """Draws the ROC curves of the strongest attack, with its band over records, and of some others."""
    at, figure = audit.audited, new_figure(6.4, 5.0)
    member, axes = audit.records.member[at], figure.subplots()
    others = [name for name in _BESIDE if name in audit.attacked.scores and name != audit.strongest]
    least = 1 / (~member).sum()
    titles = {row["attack"]: row["title"] for row in audit.rows}
    for i, name in enumerate([audit.strongest, *others][:_MOST_CURVES]):
        scores = audit.attacked.scores[name].target[at]
        order = np.argsort(-scores, kind="stable")
        # A curve moves where the score does: records of equal score move together.
        ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
        tpr, fpr = (np.cumsum(side[order])[ends] / side.sum() for side in (member, ~member))
        tpr, fpr = np.append(0, tpr), np.append(0, fpr)
        axes.step(
            np.maximum(fpr, least / 2), np.maximum(tpr, 1e-6), where="post",
            color=SERIES_COLOURS[i], lw=2.2 if i == 0 else 1.4,
            label=titles[name],
        )  # fmt: skip
        if i == 0:
            grid = np.geomspace(least, 0.5, _BAND)
            bounds = [tpr_of_scores(scores, member, float(f)) for f in grid]
            axes.fill_between(
                grid,
                [max(b.low, 1e-6) for b in bounds],
                [b.high for b in bounds],
                color=SERIES_COLOURS[0], alpha=0.15, lw=0,
            )  # fmt: skip
    roc_axes(axes, np.geomspace(least, 1, 50), least / 1.5)
    return figure


def draw_scores(audit: Audit) -> Figure:
    """Draws how the strongest attack's scores of members and of others are distributed."""
    at, figure = audit.audited, new_figure(6.4, 5.0)
    member, scores, axes = audit.records.member[at], audit.scores[at], figure.subplots()
    low, high = np.quantile(scores, [0.002, 0.998])
    bins = np.linspace(low, high if high > low else low + 1, 45).tolist()
    clipped = np.clip(scores, bins[0], bins[-1])
    for side, colour, label in ((member, VERMILION, "Members"), (~member, BLUE, "Non-members")):
        axes.hist(
            clipped[side], bins, density=True, histtype="stepfilled", alpha=0.35, color=colour,
            label=f"{label} ({side.sum():,})",
        )  # fmt: skip
        axes.hist(clipped[side], bins, density=True, histtype="step", color=colour, lw=1.3)
    if audit.called:
        axes.axvline(audit.called[0.01].threshold, color=GREY, lw=1.2, ls=(0, (4, 2)))
        axes.annotate(
            "threshold for 1% FPR\nset on shadows", (audit.called[0.01].threshold, 0.98),
            xycoords=("data", "axes fraction"), xytext=(5, 0), textcoords="offset points",
            va="top", fontsize=8, color=GREY,
        )  # fmt: skip
    axes.set(xlabel="Score (larger: likelier a member)", ylabel="Density")
    clean_axes(axes)
    axes.legend(frameon=False, fontsize=8.5)
    return figure


def draw_records(audit: Audit) -> Figure:
    """Draws every record's score, sorted, members and non-members apart."""
    at, figure = audit.audited, new_figure(6.4, 5.0)
    member, scores, axes = audit.records.member[at], audit.scores[at], figure.subplots()
    for side, colour, label in ((member, VERMILION, "Members"), (~member, BLUE, "Non-members")):
        ranked = np.sort(scores[side])[::-1]
        share = np.arange(1, ranked.size + 1) / ranked.size
        axes.plot(share, ranked, color=colour, lw=2, label=label)
    if audit.called:
        axes.axhline(audit.called[0.01].threshold, color=GREY, lw=1.2, ls=(0, (4, 2)))
    axes.set(xlabel="Share of the records, most exposed first", ylabel="Score", xlim=(0, 1))
    percent_axis(axes.xaxis)
    axes.grid(True, color="0.92", lw=0.8)
    clean_axes(axes)
    axes.legend(frameon=False, fontsize=8.5)
    return figure


def draw_cost(points: Sequence[CostPoint]) -> Figure:
    """Draws the strongest attack's TPR at 1% FPR against the number of shadow models."""
    figure = new_figure(6.4, 5.0)
    axes = figure.subplots()
    counts = [point.num_shadows for point in points]
    mean = [point.tpr.mean for point in points]
    low = [m - point.tpr.low for m, point in zip(mean, points, strict=True)]
    high = [point.tpr.high - m for m, point in zip(mean, points, strict=True)]
    axes.errorbar(counts, mean, yerr=[low, high], color=BLUE, marker="o", lw=1.8, capsize=3)
    for count, value, point in zip(counts, mean, points, strict=True):
        axes.annotate(
            f"{point.seconds:.3g} s", (count, value), xytext=(6, -12),
            textcoords="offset points", fontsize=8, color=GREY,
        )  # fmt: skip
    axes.axhline(0.01, color=ORANGE, lw=1, ls=(0, (2, 2)))
    axes.annotate(
        "guessing", (counts[0], 0.01), xytext=(0, 4), textcoords="offset points", fontsize=8
    )
    axes.set(
        xscale="log", ylim=(0, 1), xlabel="Number of shadow models (log)", ylabel="TPR at 1% FPR"
    )
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    percent_axis(axes.yaxis)
    axes.grid(True, color="0.92", lw=0.8)
    clean_axes(axes)
    return figure
