"""benchmarks/README.md from measured rows: what was asked, what was found, with figures."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from benchmarks.checks.precision import difference_table
from benchmarks.evaluator.evaluator import evaluator_table
from benchmarks.harness import Row, last_run, versions
from benchmarks.private.private import private_table
from benchmarks.scaling import own_networks
from benchmarks.scaling.growth import growth_table
from benchmarks.scaling.packing import curve_table
from benchmarks.scaling.start_up import start_up_table
from benchmarks.scaling.step_profile import REST, TITLES, WHOLE, profile_table
from benchmarks.training.training import training_table
from benchmarks.training.workload import CONTENDERS
from jleaks import json_lines
from jleaks.errors import InputError
from jleaks.files import replace_file
from jleaks.report.figures import style
from jleaks.report.table import Table

_OURS = ("jleaks", "jleaks_xla")


def _ran_on(row: Row) -> str:
    return f"{row['cores']} cores of {row['cpu']}, commit {row['commit']}"


def training_figure(rows: Sequence[Row]) -> Figure:
    """Returns GFLOP/s of every contender, a panel for each network, beside the matrix product's."""
    networks = list(dict.fromkeys(r["network"] for r in rows))
    figure = style.new_figure(3.1 * len(networks) + 0.6, 3.6)
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
                axes.text(1, i, "failed", va="center", fontsize=8, color=style.GREY)
                continue
            rate = mine[name]["gflops"]
            colour = style.BLUE if name == "jleaks" else style.ORANGE if name in _OURS else "0.7"
            axes.barh(i, rate["median"], color=colour, height=0.7)
            axes.plot([rate["least"], rate["largest"]], [i, i], color="black", linewidth=1)
            axes.text(rate["largest"] + 2, i, f"{rate['median']:.0f}", va="center", fontsize=8)
        peak = max(r["gemm_gflops"]["median"] for r in mine.values())
        axes.axvline(peak, color=style.GREY, linestyle="--", linewidth=1)
        axes.set_title(f"{network}, {most} models", fontsize=9)
        axes.set_yticks(range(len(names)), [CONTENDERS[n].title for n in names], fontsize=8)
        axes.set(xlabel="GFLOP/s", xlim=(0, 1.15 * peak))
        style.clean_axes(axes)
    panels[0].invert_yaxis()
    style.head_and_caption(
        figure,
        "Training shadow models: necessary operations per second",
        f"Medians over {rows[0]['turns']} turns with least and largest, {_ran_on(rows[0])}. Dashed: "
        "the best matrix product that any contender's process measured.",
    )
    return figure


def growth_figure(rows: Sequence[Row]) -> Figure:
    """Returns seconds against the number of models, epochs and records, with the fitted lines."""
    timed = [r for r in rows if "training_line" in r]
    figure = style.new_figure(3.2 * len(timed) + 0.4, 3.2)
    for axes, r in zip(figure.subplots(1, len(timed), squeeze=False)[0], timed, strict=True):
        sizes, seconds = r["sizes"], r["training_seconds"]
        least, medians, largest = (
            np.array([s[k] for s in seconds]) for k in ("least", "median", "largest")
        )
        spans = [medians - least, largest - medians]
        axes.errorbar(sizes, medians, spans, fmt="o", color=style.BLUE, capsize=3, markersize=4)
        line, ends = r["training_line"], np.array([0, sizes[-1]])
        axes.plot(ends, line["origin"] + line["slope"] * ends, color=style.GREY, linewidth=1)
        axes.set(xlabel=r["grows"], ylabel="seconds of training")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        style.clean_axes(axes)
    style.head_and_caption(
        figure,
        "Training time grows as the work does",
        f"MLP 446-128-30, medians over {timed[0]['turns']} turns with least and largest, least-squares "
        f"line, {_ran_on(timed[0])}.",
    )
    return figure


def packing_figure(rows: Sequence[Row]) -> Figure:
    """Returns steps per second against models per call, the automatic choice marked."""
    networks = list(dict.fromkeys(r["model"] for r in rows))
    figure = style.new_figure(3.6 * len(networks) + 0.6, 3.4)
    panels = figure.subplots(1, len(networks), squeeze=False)[0]
    for axes, network in zip(panels, networks, strict=True):
        for colour, r in zip(
            style.SERIES_COLOURS, [r for r in rows if r["model"] == network], strict=False
        ):
            group = r["chosen"]["per_vmap"]
            cells = [c for c in r["cells"] if c["per_vmap"] == group]
            rates = {c["per_call"]: c["steps_per_second"]["median"] for c in cells}
            label, chosen = TITLES[r["kernels"]], r["chosen"]["per_call"]
            axes.plot([*rates], [*rates.values()], "o-", color=colour, markersize=3, label=label)
            axes.plot(chosen, rates[chosen], "s", color=colour, markersize=9, fillstyle="none")
        axes.set_xscale("log", base=2)
        axes.set_ylim(bottom=0)
        axes.set(xlabel="models per call", ylabel="model-steps per second")
        axes.set_title(network, fontsize=9)
        axes.legend(fontsize=8, frameon=False)
        style.clean_axes(axes)
    style.head_and_caption(
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
        "layers (fully connected: with Adam)": ("dense", "convolution"),
        "loss": ("cross-entropy",),
        "Adam": ("Adam",),
        "gather, encode, order": ("order", "gather and encode"),
        "rest": (REST,),
    }
    figure = style.new_figure(8, 0.7 * len(networks) + 2)
    axes = figure.subplots()
    for i, network in enumerate(networks):
        whole = plain[network][WHOLE]["median"]
        axes.barh(i + 0.2, 1, height=0.35, color="0.8")
        axes.text(1.01, i + 0.2, f"XLA {whole:,.0f} us", va="center", fontsize=8)
        start = 0.0
        parts = hosts.get(network, {})
        for colour, begins in zip(style.SERIES_COLOURS, groups.values(), strict=False):
            share = sum(parts[p]["median"] for p in parts if p.startswith(begins)) / whole
            axes.barh(i - 0.2, max(share, 0), left=start, height=0.35, color=colour)
            start += max(share, 0)
        if parts:
            text = f"host kernels {parts[WHOLE]['median']:,.0f} us"
            axes.text(start + 0.01, i - 0.2, text, va="center", fontsize=8)
    axes.set_yticks(range(len(networks)), networks)
    axes.set(xlim=(0, 1.3), xlabel="share of XLA's step")
    axes.invert_yaxis()
    style.clean_axes(axes)
    style.head_and_caption(
        figure,
        "One training step of one model on one core",
        f"Medians over {rows[0]['turns']} turns, {_ran_on(rows[0])}. Parts timed alone; rest: "
        "dispatch, and memory that other parts pushed out of the caches.",
    )
    handles = [
        Patch(color=colour, label=name)
        for name, colour in zip(groups, style.SERIES_COLOURS, strict=False)
    ]
    style.legend_below_title(figure, handles)
    return figure


class Question(NamedTuple):
    """One benchmark on the page.

    Attributes:
      name: Of its file of rows, and of its figure.
      asks: The question.
      tables: Makes its table, or several, from the rows of one run.
      figure: Draws it, if anything is drawn.
    """

    name: str
    asks: str
    tables: Callable[[list[Row]], Table | list[Table]]
    figure: Callable[[Sequence[Row]], Figure] | None = None


def _profiles(rows: list[Row]) -> list[Table]:
    networks = list(dict.fromkeys(r["network"] for r in rows))
    return [profile_table(name, [r for r in rows if r["network"] == name]) for name in networks]


QUESTIONS = (
    Question("training", "How fast are shadow models trained?", training_table, training_figure),
    Question("sizes", "Does that hold for few models and for many?", training_table),
    Question(
        "private", "What does a step of DP-SGD cost, here and with other tools?", private_table
    ),
    Question("profile", "Where does the time of a step go?", _profiles, profile_figure),
    Question("growth", "Does training cost grow as the work does?", growth_table, growth_figure),
    Question("packing", "How many models belong into one call?", curve_table, packing_figure),
    Question("start_up", "How long until the first step?", start_up_table),
    Question(
        "own_networks", "Does a network of one's own train as fast?", own_networks.LAYOUT.table
    ),
    Question(
        "precision", "What do narrower products do to the attacks' numbers?", difference_table
    ),
    Question("evaluator", "How fast is the evaluator of banks?", evaluator_table),
)


def page(results: Path, figures: Path) -> str:
    """Writes the figures and returns the page as Markdown.

    Args:
      results: Directory with a file of rows for some of the questions.
      figures: Where figures go; the page names them relative to its own directory.

    Raises:
      InputError: there are no rows.
    """
    parts = [
        "# How fast is jleaks?",
        "",
        "Generated from the rows in `results/speed`, which the commands below append (what those that have "
        "moved are called now: `results/README.md`).  `python -m benchmarks.speed` runs all but the "
        "second and `benchmarks.private`, which needs other tools, some of them smaller than here to end "
        "within twenty minutes, and writes this page; with `--only=page` it writes the page alone.  "
        "`docs/profile.md` tells what was changed to get here, and what failed.",
        "",
    ]
    answered = 0
    for question in QUESTIONS:
        path = results / f"{question.name}.jsonl"
        if not path.exists():
            continue
        answered += 1
        rows = last_run(json_lines.read(path))
        parts += [f"## {question.asks}", "", f"`{rows[0]['command']}`", ""]
        if question.figure:
            replace_file(figures / f"{question.name}.png", style.png(question.figure(rows)))
            parts += [f"![{question.asks}]({figures.name}/{question.name}.png)", ""]
        tables = question.tables(rows)
        several = [tables] if isinstance(tables, Table) else tables
        parts += [table.to_markdown() for table in several]
        parts += [f"Versions: {versions(rows[0])}.", ""]
    if not answered:
        raise InputError(f"no rows in {results}: run python -m benchmarks.speed first")
    return "\n".join(parts)


def write(results: Path, target: Path) -> None:
    """Writes the page and its figures."""
    replace_file(target, page(results, target.parent / "figures").encode())
    print(f"wrote {target}")
