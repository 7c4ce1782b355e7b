"""How every figure looks: page, title, caption, colours, and the notes on intervals.

Colours are Okabe and Ito's (2008), which colour-blind readers can tell apart; grey stands in for their
yellow, which is lost on white.
"""

import io
import math
import textwrap
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter

from jleaks.metrics.intervals import Interval
from jleaks.report.groups import CONFIDENCE

DPI = 150

BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SERIES_COLOURS = (BLUE, ORANGE, GREEN, VERMILION, "#CC79A7", "#56B4E9", "#8A8A8A", "#000000")
MARKERS = "osD^vPX*"
GREY = "0.35"

GUESS = "Dashed: 0.5, what a coin achieves."


class NothingToDrawError(Exception):
    """The rows lack what a figure shows; the message says what."""


def new_figure(width: float, height: float) -> Figure:
    """Returns an empty figure of that size in inches."""
    # Pads keep text off the page's edge and panels apart, in inches.
    layout = ConstrainedLayoutEngine(w_pad=0.11, h_pad=0.07)
    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def head_and_caption(figure: Figure, title: str, *caption: str) -> None:
    """Writes the title above and the sentences of the caption below, broken to the figure's width."""
    inches = figure.get_figwidth()
    # Mean width of a character in the two sizes of DejaVu Sans, in inches.
    title_lines = textwrap.wrap(title, max(20, int(inches / 0.102)))
    caption_lines = textwrap.wrap(" ".join(filter(None, caption)), max(30, int(inches / 0.070)))
    figure.suptitle("\n".join(title_lines), x=0.01, ha="left", fontsize=11.5, weight="bold")
    figure.supxlabel("\n".join(caption_lines), x=0.01, ha="left", fontsize=8, color=GREY)


def legend_below_title(figure: Figure, handles: Sequence[Artist]) -> None:
    """Writes a legend for all panels under the title, in as many rows as the page's width asks for.

    To be called after `head_and_caption`.
    """
    # Inches that labels with their handles take.
    widths = [0.075 * len(str(handle.get_label())) + 0.6 for handle in handles]
    page = figure.get_figwidth() - 0.2
    columns = len(handles) if sum(widths) <= page else max(1, int(page / max(widths)))
    rows = math.ceil(len(handles) / columns)
    # Blank lines of the title keep the room; constrained layout knows no legend between the two.
    title = figure.suptitle(
        figure.get_suptitle() + "\n " * rows, x=0.01, ha="left", fontsize=11.5, weight="bold"
    )
    figure.draw_without_rendering()
    bottom = title.get_window_extent().transformed(figure.transFigure.inverted()).y0
    legend = figure.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0.01, bottom), ncols=columns,
        frameon=False, fontsize=9, borderaxespad=0, borderpad=0, labelspacing=0.3,
    )  # fmt: skip
    legend.set_in_layout(False)


def clean_axes(axes: Axes) -> None:
    """Takes away the frame above and right, and puts the grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8.5, color=GREY)
    axes.set_axisbelow(True)


def seeds_note(intervals: Iterable[Interval]) -> str:
    """Returns "Means over n = 3 seeds", with the range if the intervals differ in n; or ""."""
    counts = {interval.n for interval in intervals if interval.n}
    if not counts:
        return ""
    if counts == {1}:
        return "One seed"
    fewest, most = min(counts), max(counts)
    return f"Means over n = {most if fewest == most else f'{fewest} to {most}'} seeds"


def interval_note(intervals: Sequence[Interval], what: str) -> str:
    """Returns the sentence that says what whiskers or bands are and how many seeds stand behind them."""
    seeds = seeds_note(intervals)
    if not any(interval.is_bounded for interval in intervals):
        return f"{seeds}: no intervals." if seeds else ""
    none = " (none where n = 1)" if any(interval.n == 1 for interval in intervals) else ""
    return f"{seeds}; {what}: {CONFIDENCE:.0%} t intervals{none}."


def drawn_bounds(intervals: Sequence[Interval]) -> tuple[np.ndarray, np.ndarray]:
    """Returns both ends of rates' intervals within [0, 1]: a t interval may leave it, a rate cannot."""
    low, high = ([getattr(one, end) for one in intervals] for end in ("low", "high"))
    return np.clip(low, 0, 1), np.clip(high, 0, 1)


def guess_line(axes: Axes) -> None:
    """Draws the line of 0.5."""
    axes.axhline(0.5, color="0.2", linewidth=1, linestyle=(0, (4, 3)), zorder=1.5)


def percent_axis(axis: Axis) -> None:
    """Writes an axis's fractions in percent, with as many digits as they need."""
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{100 * value:.10f}".rstrip("0").rstrip(".") + "%")
    )


def roc_axes(axes: Axes, grid: np.ndarray, least: float) -> None:
    """Makes axes those of ROC curves, both logarithmic, with a line of guessing and a legend.

    Args:
      axes: With all curves.
      grid: FPRs, ascending, from the least that is shown on.
      least: The least TPR that is shown.
    """
    axes.plot(grid, grid, color="0.55", lw=1, ls=(0, (2, 2)), label="Guessing")
    axes.set(
        xscale="log", yscale="log", xlim=(grid[0], 1), ylim=(least, 1.05),
        xlabel="False-positive rate (log)", ylabel="True-positive rate (log)",
    )  # fmt: skip
    percent_axis(axes.xaxis)
    percent_axis(axes.yaxis)
    axes.grid(True, which="major", color="0.9", lw=0.8)
    clean_axes(axes)
    axes.legend(frameon=False, fontsize=8.5, loc="lower right")


def ink(rgba: tuple[float, float, float, float]) -> str:
    """Returns white or black, whichever can be read on a colour, by its luma."""
    red, green, blue, _ = rgba
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 else "black"


def png(figure: Figure) -> bytes:
    """Returns the figure as the bytes of a PNG file; the same rows give the same bytes."""
    content = io.BytesIO()
    # Matplotlib would write its version into the file.
    figure.savefig(content, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return content.getvalue()


def indexed_png(figure: Figure) -> bytes:
    """Returns the figure as a PNG file of 256 colours: a third of the bytes of `png`.

    For pages of many panels.  The same rows give the same bytes.
    """
    # Matplotlib itself depends on Pillow.
    from PIL import Image

    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    # Coverage keeps rare colours, such as the ends of a colour bar, within a few levels of 255; dithering
    # would speckle flat colours.
    image = image.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    content = io.BytesIO()
    image.save(content, format="png", optimize=True, dpi=(DPI, DPI))
    return content.getvalue()
