"""The table of benchmarks.evaluator, from its rows."""

from collections.abc import Sequence
from typing import Any

from jleaks.report.table import Cell, Table

TITLES = {
    "jleaks": "jleaks",
    "loops": "Per-record loops",
    "numpy": "NumPy, RMIA by pairs",
    "numpy_search": "NumPy, RMIA by search",
    "numpy_shared": "NumPy, work of all targets shared",
    "lira_authors": "LiRA's authors' code",
    "privacy_meter": "ML Privacy Meter",
}


def latest(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the rows of the last run in a file that several appended to."""
    firsts = [i for i, r in enumerate(rows) if r["contender"] == "jleaks" and _is_first(rows, i)]
    return list(rows[firsts[-1] :])


def _is_first(rows: Sequence[dict[str, Any]], i: int) -> bool:
    return i == 0 or rows[i - 1]["contender"] != "jleaks"


def _range(value: dict[str, float], digits: int) -> str:
    median, least, largest = (f"{value[k]:,.{digits}f}" for k in ("median", "least", "largest"))
    return f"{median} ({least}-{largest})"


def evaluator_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Returns the table of one run."""
    body = []
    for r in rows:
        compiled, times = r.get("compile_seconds"), r.get("times_jleaks")
        apart = r.get("largest_difference", {"score": None, "auc": None})
        cells = [
            TITLES[r["contender"]],
            str(len(r["attacks"])),
            r["extrapolated"],
            _range(r["seconds"], 2),
            f"{r['cpu_seconds']['median']:,.1f}",
            f"{compiled['median']:.1f}" if compiled else "-",
            f"{r['peak_megabytes']['median']:,.0f}",
            _range(times, 1) if times else "1",
            *("-" if value is None else f"{value:.0e}" for value in apart.values()),
        ]
        body.append(tuple(map(Cell, cells)))
    first = rows[0]
    measured = next((r["measured_targets"] for r in rows if r["contender"] != "jleaks"), 0)
    return Table(
        title=f"Seven attacks on {first['num_models']} models and {first['num_records']:,} records",
        caption=f"Medians over {first['turns']} turns (least-largest) on {first['cores']} cores of "
        f"{first['cpu']}, commit {first['commit']}.  Seconds without compilation.  Extrapolated: seconds "
        f"of {measured} targets (and so many records) times all.  Times: of jleaks on the same attacks, "
        "turn by turn.  Largest differences from jleaks: of scores, relative to 1 or the score, and of "
        "AUC.  NumPy of one target uses masks and sorts; with shared work it does what jleaks does.  "
        "LiRA's authors' code: their two-sided form offline.  ML Privacy Meter: gamma 1, a population "
        "of 1,000.",
        heads=(
            *("Contender", "Attacks", "Extrapolated", "Seconds", "CPU\nseconds", "Compilation"),
            *("Peak MB", "Times\njleaks", "Score\ndifference", "AUC\ndifference"),
        ),
        num_text_columns=3,
        rows=tuple(body),
    )
