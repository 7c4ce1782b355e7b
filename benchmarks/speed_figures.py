"""Figures of the speed page: one for each question, from the rows of its benchmark."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from benchmarks.profile_table import REST, TITLES, WHOLE
from benchmarks.training_contenders import CONTENDERS
from jleaks.report.figures.style import (
    BLUE,
    GREY,
    ORANGE,
    SERIES_COLOURS,
    clean_axes,
    head_and_caption,
    legend_below_title,
    new_figure,
)

Row = dict[str, Any]

_OURS = ("jleaks", "jleaks_xla")


def _ran_on(row: Row) -> str:
    return f"{row['cores']} cores of {row['cpu']}, commit {row['commit']}"


def training_figure(rows: Sequence[Row]) -> Figure:
    """Returns GFLOP/s of every contender, a panel for each network, beside the matrix product's."""
    networks = list(dict.fromkeys(r["network"] for r in rows))
    figure = new_figure(3.1 * len(networks) + 0.6, 3.6)
    panels = figure.subplots(1, len(networks), squeeze=False, sharey=True)[0]
    names = [n for n in CONTENDERS if any(r["contender"] == n for r in rows)]
    for axes, network in zip(panels, networks, strict=True):
        most = max(r["num_models"] for r in rows if r["network"] == network)
        mine = {
            r["contender"]: r
            for r in rows
            if r["network"] == network and r["num_models"] == most and not r["failed"]
        }
        for i, name in enumerate(names):
            if name not in mine:
                axes.text(1, i, "failed", va="center", fontsize=8, color=GREY)
                continue
            rate = mine[name]["gflops"]
            colour = BLUE if name == "jleaks" else ORANGE if name in _OURS else "0.7"
            axes.barh(i, rate["median"], color=colour, height=0.7)
            axes.plot([rate["least"], rate["largest"]], [i, i], color="black", linewidth=1)
            axes.text(rate["largest"] + 2, i, f"{rate['median']:.0f}", va="center", fontsize=8)
        peak = max(r["gemm_gflops"]["median"] for r in mine.values())
        axes.axvline(peak, color=GREY, linestyle="--", linewidth=1)
        axes.set_title(f"{network}, {most} models", fontsize=9)
        axes.set_xlabel("GFLOP/s")
        axes.set_yticks(range(len(names)), [CONTENDERS[n].title for n in names], fontsize=8)
        axes.set_xlim(0, 1.15 * peak)
        clean_axes(axes)
    panels[0].invert_yaxis()
    head_and_caption(
        figure,
        "Training shadow models: necessary operations per second",
        f"Medians over {rows[0]['turns']} turns with least and largest, {_ran_on(rows[0])}. Dashed: "
        "the best matrix product that any contender's process measured.",
    )
    return figure


def growth_figure(rows: Sequence[Row]) -> Figure:
    """Returns seconds against the number of models, epochs and records, with the fitted lines."""
    timed = [r for r in rows if "training_line" in r]
    figure = new_figure(3.2 * len(timed) + 0.4, 3.2)
    for axes, r in zip(figure.subplots(1, len(timed), squeeze=False)[0], timed, strict=True):
        sizes, seconds = r["sizes"], r["training_seconds"]
        medians = [s["median"] for s in seconds]
        spans = [
            [s["median"] - s["least"] for s in seconds],
            [s["largest"] - s["median"] for s in seconds],
        ]
        axes.errorbar(sizes, medians, spans, fmt="o", color=BLUE, capsize=3, markersize=4)
        line = r["training_line"]
        axes.plot(
            [0, sizes[-1]],
            [line["origin"], line["origin"] + line["slope"] * sizes[-1]],
            color=GREY, linewidth=1,
        )  # fmt: skip
        axes.set_xlabel(r["grows"])
        axes.set_ylabel("seconds of training")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        clean_axes(axes)
    head_and_caption(
        figure,
        "Training time grows as the work does",
        f"MLP 446-128-30, medians over {timed[0]['turns']} turns with least and largest, least-squares "
        f"line, {_ran_on(timed[0])}.",
    )
    return figure


def packing_figure(rows: Sequence[Row]) -> Figure:
    """Returns steps per second against models per call, the automatic choice marked."""
    networks = list(dict.fromkeys(r["model"] for r in rows))
    figure = new_figure(3.6 * len(networks) + 0.6, 3.4)
    panels = figure.subplots(1, len(networks), squeeze=False)[0]
    for axes, network in zip(panels, networks, strict=True):
        for colour, r in zip(
            SERIES_COLOURS, [r for r in rows if r["model"] == network], strict=False
        ):
            group = r["chosen"]["per_vmap"]
            cells = [c for c in r["cells"] if c["per_vmap"] == group]
            axes.plot(
                [c["per_call"] for c in cells],
                [c["steps_per_second"]["median"] for c in cells],
                "o-", color=colour, markersize=3, label=TITLES[r["kernels"]],
            )  # fmt: skip
            chosen = [c for c in cells if c["per_call"] == r["chosen"]["per_call"]]
            axes.plot(
                [c["per_call"] for c in chosen],
                [c["steps_per_second"]["median"] for c in chosen],
                "s", color=colour, markersize=9, fillstyle="none",
            )  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("models per call")
        axes.set_ylabel("model-steps per second")
        axes.set_title(network, fontsize=9)
        axes.legend(fontsize=8, frameon=False)
        clean_axes(axes)
    head_and_caption(
        figure,
        "Models per call",
        f"Squares: what jleaks.training.packing chooses. Medians over {rows[0]['turns']} turns, "
        f"{_ran_on(rows[0])}.",
    )
    return figure


def profile_figure(rows: Sequence[Row]) -> Figure:
    """Returns a bar of parts for every network, with the host kernels, and XLA's whole step."""
    networks = list(dict.fromkeys(r["network"] for r in rows))
    hosts = {r["network"]: r["microseconds"] for r in rows if r["kernels"] == "host"}
    plain = {r["network"]: r["microseconds"] for r in rows if r["kernels"] == "xla"}
    groups = {
        "layers (fully connected: with Adam)": lambda part: part.startswith(
            ("dense", "convolution")
        ),
        "loss": lambda part: part == "cross-entropy",
        "Adam": lambda part: part == "Adam",
        "gather, encode, order": lambda part: part in ("order", "gather and encode"),
        "rest": lambda part: part == REST,
    }
    figure = new_figure(8, 0.7 * len(networks) + 2)
    axes = figure.subplots()
    for i, network in enumerate(networks):
        whole = plain[network][WHOLE]["median"]
        axes.barh(i + 0.2, 1, height=0.35, color="0.8")
        axes.text(1.01, i + 0.2, f"XLA {whole:,.0f} us", va="center", fontsize=8)
        start = 0.0
        parts = hosts.get(network, {})
        for colour, belongs in zip(SERIES_COLOURS, groups.values(), strict=False):
            share = sum(parts[p]["median"] for p in parts if belongs(p)) / whole
            axes.barh(i - 0.2, max(share, 0), left=start, height=0.35, color=colour)
            start += max(share, 0)
        if parts:
            text = f"host kernels {parts[WHOLE]['median']:,.0f} us"
            axes.text(start + 0.01, i - 0.2, text, va="center", fontsize=8)
    axes.set_yticks(range(len(networks)), networks)
    axes.set_xlim(0, 1.3)
    axes.set_xlabel("share of XLA's step")
    axes.invert_yaxis()
    clean_axes(axes)
    head_and_caption(
        figure,
        "One training step of one model on one core",
        f"Medians over {rows[0]['turns']} turns, {_ran_on(rows[0])}. Parts timed alone; rest: "
        "dispatch, and memory that other parts pushed out of the caches.",
    )
    handles = [
        Patch(color=colour, label=name)
        for name, colour in zip(groups, SERIES_COLOURS, strict=False)
    ]
    legend_below_title(figure, handles)
    return figure
