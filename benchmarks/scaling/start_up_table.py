"""The table of benchmarks.scaling.start_up, from its rows."""

from collections.abc import Sequence
from typing import Any

from jleaks.report.table import Cell, Table

Found = dict[str, Any]


# What goes on before the first step is done, in order.
STAGES = ("imports", "devices and kernels", "tracing and lowering", "compiling", "rest")


CACHES = ("empty", "warm")


def start_up_table(rows: Sequence[Found]) -> Table:
    """Returns the table of one run."""
    cells = []
    for row in rows:
        for cache in CACHES:
            found = row[cache]
            programs = f"{found['compiled']} + {found['read']}"
            ratio = f"{row['empty_to_warm']['median']:.1f}" if cache == "warm" else ""
            texts = [row["architecture"], cache, "{median:.1f} ({least:.1f}-{largest:.1f})"]
            texts[-1] = texts[-1].format(**found["total"])
            texts += [f"{found[stage]['median']:.2f}" for stage in STAGES]
            cells.append(tuple(map(Cell, (*texts, programs, ratio))))
    first = rows[0]
    built = first["kernels_build_seconds"]
    kernels = (
        "no kernels of the host were built"
        if built is None
        else f"building the kernels, once for a machine, took {built:.1f} s before"
    )
    return Table(
        title=f"Seconds until the first step is done, {first['kernels']} kernels",
        caption=f"Medians over {first['turns']} turns (least-largest) on {first['cores']} cores of "
        f"{first['cpu']}, commit {first['commit']}; {kernels}.  Cache: of compiled programs.  Programs: "
        "compiled + read; those that compile in less than 0.1 s are not kept.  Ratio: empty to warm.  "
        "Batches of 100 records, of 8 for residual networks; a model on each device.",
        heads=(
            *("Architecture", "Cache", "Seconds", "Interpreter,\nimports", "Devices,\nkernels"),
            *("Tracing,\nlowering", "Compiling", "Rest", "Programs", "Ratio"),
        ),
        num_text_columns=2,
        rows=tuple(cells),
        section_ends=frozenset(range(1, len(cells), 2)),
    )
