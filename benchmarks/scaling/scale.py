"""What does a sweep cost?  Laws fitted to small runs, and held against larger ones.

python -m benchmarks.scaling.scale --out=results/scale.jsonl

Runs `jleaks sweep` of one task at some sizes, each a process of its own, and notes CPU seconds, memory,
bytes of checkpoints, of kept models and of rows.  Laws, sums of a few terms with coefficients that are not
negative, are fitted to the small runs; the large ones are predicted by them.  CPU seconds, as other work
beside it slows the clock's far more than those; the least of several repetitions counts.  Sizes are
models:records:epochs, the models two for each seed.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from benchmarks.harness import OUT, Command, Flag, Layout, Row, children_seconds, machine
from benchmarks.scaling.bank_memory import measured
from jleaks import json_lines
from jleaks.data.tasks import get_task
from jleaks.errors import InputError
from jleaks.report.table import Table
from jleaks.training.execution import Execution

COMMAND = Command(
    "benchmarks.scaling.scale",
    __doc__,
    ("fitted", "checked", "repetitions"),
    fitted=Flag(
        "Sizes that laws are fitted to.",
        ["2:400:50", "8:400:50", "24:400:50", "8:1200:50", "8:400:300", "16:800:100"],
        kind=list,
    ),
    checked=Flag("Larger sizes, that are predicted.", ["64:400:150", "24:1200:250"], kind=list),
    repetitions=Flag("Runs of every size.", 2, 1),
    out=OUT,
)
TASK = "location"
# Seconds between two looks at memory and checkpoints.
_EVERY = 0.1


class Size(NamedTuple):
    """Of a sweep: so many models, that learn from so many records each, for so many epochs."""

    models: int
    records: int
    epochs: int

    @property
    def seen(self) -> int:
        """Records that training looks at, all models and epochs together."""
        return self.models * self.records * self.epochs


def read_size(text: str) -> Size:
    """Returns a size from models:records:epochs.

    Raises:
      InputError: it is none; models must be even, and records of a part as many as the task has or fewer.
    """
    parts = text.split(":")
    most = get_task(TASK).quarter
    if len(parts) != 3 or not all(part.isdigit() and int(part) for part in parts):
        raise InputError(f"size {text!r}, expected models:records:epochs, such as 8:400:50")
    size = Size(*map(int, parts))
    if size.models % 2 or not 400 <= size.records <= most:
        raise InputError(
            f"size {text!r}, expected an even number of models and 400 to {most} records"
        )
    return size


# Each quantity's terms: what of a size it is a sum of.
_ONE: Callable[[Size], float] = lambda _: 1.0  # noqa: E731
LAWS: dict[str, dict[str, Callable[[Size], float]]] = {
    "cpu_seconds": {
        "a run": _ONE,
        "a model": lambda s: s.models,
        "a million records seen": lambda s: s.seen / 1e6,
    },
    "peak_mib": {
        "a run": _ONE,
        "a model": lambda s: s.models,
        "a thousand records of each model": lambda s: s.models * s.records / 1e3,
    },
    "checkpoint_bytes": {"a model": lambda s: s.models},
    "kept_bytes": {"a model": lambda s: s.models},
    "row_bytes": {"a model": lambda s: s.models},
}
UNITS = {
    "cpu_seconds": "CPU seconds",
    "peak_mib": "peak memory, MiB",
    "checkpoint_bytes": "checkpoints while training, bytes",
    "kept_bytes": "kept models, bytes",
    "row_bytes": "rows, bytes",
}


def fit(rows: Sequence[Row], quantity: str) -> dict[str, float]:
    """Returns a law's coefficients by term: least squares of relative errors, none below zero."""
    terms = LAWS[quantity]
    sizes = [Size(*row["size"]) for row in rows]
    values = np.array([row[quantity] for row in rows], float)
    table = np.array([[term(size) for term in terms.values()] for size in sizes])
    found, _ = nnls(table / values[:, None], np.ones(len(values)))
    return dict(zip(terms, found.tolist(), strict=True))


def predict(law: dict[str, float], quantity: str, size: Size) -> float:
    """Returns what a law says of a size."""
    return sum(value * LAWS[quantity][term](size) for term, value in law.items())


def _bytes(*folders: Path) -> int:
    """Returns the bytes of all files below folders; a file that goes meanwhile counts for nothing."""
    found = 0
    for folder in folders:
        for place, _, names in os.walk(folder):
            for name in names:
                with contextlib.suppress(OSError):
                    found += os.stat(f"{place}/{name}").st_size
    return found


def _once(size: Size, folder: Path) -> Row:
    """Runs one sweep in an empty folder; returns what it took."""
    checkpoints = [0]
    before = children_seconds()
    wall, peak = measured(
        "sweep", f"--tasks={TASK}", f"--num_seeds={size.models // 2}", f"--epochs={size.epochs}",
        f"--scale={size.records / get_task(TASK).quarter}", f"--workdir={folder}",
        "--chunk_seconds=0.5", "--checkpoint_seconds=0", every=_EVERY,
        look=lambda: checkpoints.append(_bytes(folder / "fleets")),
    )  # fmt: skip
    cpu = children_seconds() - before
    rows = json_lines.read(folder / "rows.jsonl")
    if (members := rows[0]["num_members"]) != size.records:
        raise InputError(f"a run of {size.records} records had {members}")
    return {
        "cpu_seconds": cpu,
        "wall_seconds": wall,
        "peak_mib": peak,
        "checkpoint_bytes": max(checkpoints),
        "kept_bytes": _bytes(folder / "models", folder / "fleets"),
        "row_bytes": (folder / "rows.jsonl").stat().st_size,
        "rows": len(rows),
    }


def measure(size: Size, repetitions: int) -> Row:
    """Runs a sweep several times; returns the least of each, but of checkpoints the most that was seen."""
    found = []
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory() as folder:
            found.append(_once(size, Path(folder) / "run"))
    least = {name: round(min(row[name] for row in found), 3) for name in found[0]}
    return {
        "size": list(size),
        **least,
        "checkpoint_bytes": max(r["checkpoint_bytes"] for r in found),
    }


def laws_table(rows: Sequence[Row]) -> Table:
    """Returns the table of all coefficients, fitted to rows."""
    lines = [
        {"quantity": UNITS[name], "term": term, "value": value}
        for name in LAWS
        for term, value in fit([row for row in rows if not row["checked"]], name).items()
    ]
    return Layout(
        "What a sweep takes",
        "Sums of these terms, fitted to small runs.",
        (("Takes", "{quantity}"), ("for", "{term}"), ("so much", "{value:,.4g}")),
        num_text_columns=2,
        section="{quantity}",
    ).table(lines)


def checks_table(rows: Sequence[Row]) -> Table:
    """Returns the table of what was predicted and measured, of small runs and large ones."""
    laws = {name: fit([row for row in rows if not row["checked"]], name) for name in LAWS}

    def cell(name: str, row: Row) -> str:
        said = predict(laws[name], name, Size(*row["size"]))
        scale = 1 if name in ("cpu_seconds", "peak_mib") else 1e6
        return f"{row[name] / scale:,.3g} ({row[name] / said:.2f})"

    return Layout(
        "Measured, and relative to the laws",
        "CPU seconds and memory of the process; megabytes of files.  In brackets: measured over predicted.",
        (
            ("Models, records, epochs", lambda row: "{:,}, {:,}, {:,}".format(*row["size"])),
            ("Role", lambda row: "checked" if row["checked"] else "fitted"),
            ("CPU seconds", lambda row: cell("cpu_seconds", row)),
            ("Memory, MiB", lambda row: cell("peak_mib", row)),
            ("Checkpoints, MB", lambda row: cell("checkpoint_bytes", row)),
            ("Kept models, MB", lambda row: cell("kept_bytes", row)),
            ("Rows, MB", lambda row: cell("row_bytes", row)),
        ),
        num_text_columns=2,
    ).table(rows)


def main() -> int:
    sizes = dict.fromkeys(COMMAND.fitted, False) | dict.fromkeys(COMMAND.checked, True)
    read, before = {read_size(text): checked for text, checked in sizes.items()}, machine()
    if sum(not checked for checked in read.values()) < 3:
        raise InputError("--fitted names fewer than 3 sizes, which the laws have terms for")
    about, rows = COMMAND.about(before, Execution()), []
    for size, checked in read.items():
        rows.append({**measure(size, COMMAND.repetitions), "checked": checked})
        print(rows[-1], flush=True)
    return COMMAND.finish([{**row, **about} for row in rows], laws_table(rows), checks_table(rows))


if __name__ == "__main__":
    COMMAND.run(main)
