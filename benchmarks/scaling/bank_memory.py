"""Does memory grow with the models of a bank?  Banks of growing size: trained, asked, their records judged.

python -m benchmarks.scaling.bank_memory --data_dir=data --out=results/records/location/memory.jsonl

Every bank is made by `jleaks bank` and judged by `jleaks records`, each a process of its own, whose
anonymous memory (without files that are mapped) is read twice a second.  Seconds are those of the process,
compilation included.
"""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import harness
from benchmarks.harness import DATA_DIR, OUT, Command, Flag, Layout, Row, where
from jleaks.errors import InputError
from jleaks.training.execution import Execution

COMMAND = Command(
    "benchmarks.scaling.bank_memory",
    __doc__,
    ("task", "models", "answers"),
    task=Flag("Task of the banks.", "location"),
    models=Flag("Numbers of models, ascending and even.", ["64", "128", "256", "512"]),
    more=Flag("More flags of `jleaks bank`, separated by spaces.", ""),
    answers=Flag("What answers are kept as.", "float32", kind=("float32", "float16")),
    attacks=Flag("Attacks by which records are judged.", ["lira_offline", "lira_online"]),
    workdir=where("Where banks are kept, so that a stopped run goes on; default: deleted behind."),
    data_dir=DATA_DIR,
    out=OUT,
)

_EVERY = 0.5

LAYOUT = Layout(
    "{task}: banks of growing size",
    "{cores} cores of {cpu}, commit {commit}.  Anonymous memory at its peak, in MiB.",
    [
        ("Models", "{models:,}"),
        ("File, MiB", "{file_mib:,.0f}"),
        ("Trained and\nasked, s", "{bank_seconds:,.0f}"),
        ("Memory", "{bank_mib:,.0f}"),
        ("Records\njudged, s", "{records_seconds:,.0f}"),
        ("Memory ", "{records_mib:,.0f}"),
    ],
)


def anonymous_mib(status: str) -> float:
    """Returns a process's anonymous memory from its /proc/PID/status; 0 for one that has ended."""
    found = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(found[0]) / 1024 if found else 0.0


def measured(
    *words: str, every: float = _EVERY, look: Callable[[], None] = lambda: None
) -> tuple[float, float]:
    """Runs jleaks; returns seconds, and the largest anonymous memory in MiB.

    Args:
      words: Command and flags.
      every: Seconds between two looks.
      look: Called then.

    Raises:
      InputError: it failed; with its last line.
    """
    began, peak = time.monotonic(), 0.0
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "jleaks", *words], stdout=subprocess.DEVNULL, stderr=told
        )
        status = Path(f"/proc/{process.pid}/status")
        try:
            while process.poll() is None:
                with contextlib.suppress(OSError):
                    peak = max(peak, anonymous_mib(status.read_text()))
                look()
                time.sleep(every)
        finally:
            # Of an interrupted benchmark, too.
            if process.poll() is None:
                process.terminate()
            process.wait()
        if process.returncode:
            told.seek(0)
            raise InputError(harness.last_line(told.read()))
    return time.monotonic() - began, peak


def measure(count: int, folder: Path) -> Row:
    """Makes a bank of so many models and judges its records; returns what both took."""
    data = [] if COMMAND.data_dir is None else [f"--data_dir={COMMAND.data_dir}"]
    place = folder / str(count)
    bank = measured(
        "bank", f"--tasks={COMMAND.task}", f"--num_models={count}", f"--workdir={place}",
        f"--answers={COMMAND.answers}", *COMMAND.more.split(), *data,
    )  # fmt: skip
    path = place / COMMAND.task / "bank.npz"
    judged = measured(
        "records", f"--bank={path}", f"--out_dir={place / 'records'}",
        f"--attacks={','.join(COMMAND.attacks)}",
    )  # fmt: skip
    return {
        "task": COMMAND.task,
        "models": count,
        "answers": COMMAND.answers,
        "more": COMMAND.more,
        "file_mib": path.stat().st_size / 2**20,
        "bank_seconds": bank[0],
        "bank_mib": bank[1],
        "records_seconds": judged[0],
        "records_mib": judged[1],
    }


def main() -> int:
    counts = harness.whole_numbers("models", COMMAND.models)
    about = COMMAND.about(harness.machine(), Execution())
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(COMMAND.workdir or scratch)
        rows = [{**measure(count, folder), **about} for count in counts]
    return COMMAND.finish(rows, LAYOUT.table(rows))


if __name__ == "__main__":
    COMMAND.run(main)
