"""The tables and the figure of docs/accelerators.md from committed rows: compiled, and measured.

python -m benchmarks.pages.accelerators --page=docs/accelerators.md
"""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.accelerator import topologies
from benchmarks.accelerator.compiled import tables
from benchmarks.harness import Command, Row, where
from benchmarks.pages import write
from benchmarks.pages.on_devices import measured_of, measured_tables
from jleaks import json_lines
from jleaks.files import replace_file
from jleaks.report.figures import style

COMMAND = Command(
    "benchmarks.pages.accelerators",
    __doc__,
    compiled=where("Rows of benchmarks.accelerator.compiled.", "results/speed/compiled.jsonl"),
    then=where(
        "Rows of benchmarks.accelerator.compiled, of the programs that were measured.",
        "results/speed/compiled_measured.jsonl",
    ),
    measured=where("Rows of benchmarks.accelerator.", "results/speed/accelerator.jsonl"),
    page=where("The page whose tables are written.", "docs/accelerators.md"),
)
_FIGURE = "images/compiled.png"
_TITLE = "A model's step: predicted, measured, and the least that its bytes and FLOPs allow"


def least_microseconds(row: Row) -> float | None:
    """Returns what a model's step takes if nothing but the necessary is done, at the data sheet's speed.

    The larger of two: bytes that must move, and FLOPs of the products (where the speed says how many a
    second); None where nothing was counted.
    """
    if not row.get("least"):
        return None
    speed = topologies.find(row["device"]).speed
    seconds = [row["least"]["num_bytes"] / speed.bytes_per_second]
    if row["precision"] in speed.flops:
        seconds.append(row["least"]["flops"] / speed.flops[row["precision"]])
    return 1e6 * max(seconds)


def figure_of(rows: Sequence[Row], measured: Sequence[Row]) -> Figure:
    """Draws predicted microseconds beside the least and the measured, a panel for each device."""
    shown = [(r, least) for r in rows if (least := least_microseconds(r)) and r.get("microseconds")]
    devices = list(dict.fromkeys(row["device"] for row, _ in shown))
    counts = [sum(row["device"] == device for row, _ in shown) for device in devices]
    figure = style.new_figure(8, 1.6 + 0.3 * sum(counts))
    panels = figure.subplots(
        len(devices), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": counts}
    )
    for axes, device in zip(panels[:, 0], devices, strict=True):
        mine = [(row, least) for row, least in shown if row["device"] == device]
        for at, (row, least) in enumerate(mine):
            axes.plot([least, row["microseconds"]], [at, at], color=style.GREY, lw=1.2, zorder=1)
            axes.plot(least, at, "|", color=style.GREY, markersize=11, markeredgewidth=2)
            axes.plot(row["microseconds"], at, "o", color=style.BLUE, markersize=6)
            if (found := measured_of(row, measured)) is not None:
                axes.plot(found, at, "D", color=style.ORANGE, markersize=5)
        axes.set_yticks(range(len(mine)), [row["case"] for row, _ in mine])
        axes.set_xscale("log")
        axes.set_ylabel(device)
        axes.invert_yaxis()
        style.clean_axes(axes)
    panels[-1, 0].set_xlabel("microseconds")
    style.head_and_caption(
        figure,
        _TITLE,
        "Dots: predicted from compiled programs. Diamonds: measured. Bars: the least. What a TPU's core "
        "keeps in its own memory from step to step need not move.",
    )
    return figure


def parts(rows: Sequence[Row], then: Sequence[Row], measured: Sequence[Row]) -> dict[str, str]:
    """Returns the page's tables by their markers.

    Args:
      rows: Programs as they are now.
      then: Programs as they were when they were measured.
      measured: What was measured.
    """
    texts = [f"![{_TITLE}]({_FIGURE})", *(table.to_markdown() for table in tables(rows))]
    found = measured_tables(measured, then)
    return {
        "compiled tables": "\n\n".join(texts),
        "measured tables": "\n\n".join(table.to_markdown() for table in found),
    }


def main() -> int:
    paths = COMMAND.compiled, COMMAND.then, COMMAND.measured
    rows, then, measured = (list(json_lines.read(path)) for path in paths)
    drawing = style.png(figure_of(rows, measured))
    print(f"wrote {replace_file(Path(COMMAND.page).parent / _FIGURE, drawing)}")
    return write(COMMAND.page, parts(rows, then, measured))


if __name__ == "__main__":
    COMMAND.run(main)
