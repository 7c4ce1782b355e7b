"""Does a command that is killed, or whose files are damaged, end with the rows of one that is not?

python -m benchmarks.checks.soak --minutes=20 --out=results/soak.jsonl

A small sweep, bank, experiment and audit are each run once undisturbed.  Then each is started again and
again, killed at a moment drawn uniformly from the time that the undisturbed run took, by SIGKILL, SIGTERM
or SIGINT in turn, until it ends by itself; what it leaves is compared with the undisturbed run's, number
for number.  After some of the kills, and after the end, a file that was kept is damaged: the command goes
on from what is intact, or refuses in one line that says what to delete, which is deleted then.  The first
is also run on a disk that is full.  A row tells of one run from its first start to its end.
"""

import functools
import itertools
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.checks.damage import Disk, damage, damage_tables, remedy
from benchmarks.harness import OUT, Command, Flag, Layout, Row, machine
from jleaks import npz
from jleaks.training.execution import Execution
from launch.app import INPUT_ERROR, STOPPED

COMMAND = Command(
    "benchmarks.checks.soak",
    __doc__,
    ("minutes", "seed"),
    minutes=Flag("No run is begun after so many, those that are undisturbed apart.", 20.0, 0.1),
    runs=Flag("No more runs of each command than so many.", 1000, 1),
    kills=Flag("A run is left alone after so many kills.", 6, 1),
    damage=Flag("Share of kills, and of ends, after which a file is damaged.", 0.5, 0),
    seed=Flag("Of the moments, and of what is damaged.", 0, 0),
    commands=Flag("Which commands are tried.", ["sweep", "bank", "paper", "audit"], kind=list),
    out=OUT,
)
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# What may differ between two runs of one plan beside times: how much memory was free.
_UNEQUAL = {"packing"}
_EVERY = ("--chunk_seconds=0.05", "--checkpoint_seconds=0")


def untimed(value: Any) -> Any:
    """Returns JSON without what is a time, or how packs were made."""
    if isinstance(value, dict):
        return {
            k: untimed(v)
            for k, v in value.items()
            if not k.endswith("seconds") and k not in _UNEQUAL
        }
    return [untimed(v) for v in value] if isinstance(value, list) else value


def _rows(path: Path) -> Any:
    return [untimed(json.loads(line)) for line in path.read_text().splitlines()]


def _arrays(path: Path) -> Any:
    arrays, meta = npz.load(path, "")
    return untimed(meta), {k: (a.dtype.str, a.shape, a.tobytes()) for k, a in arrays.items()}


def difference(ours: Any, theirs: Any, at: str = "") -> str:
    """Returns where two outcomes differ first; nothing if they are equal."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        parts = [difference(ours[k], theirs[k], f"{at}/{k}") for k in ours]
    elif (
        isinstance(ours, (list, tuple))
        and isinstance(theirs, type(ours))
        and len(ours) == len(theirs)
    ):
        parts = [
            difference(a, b, f"{at}/{i}") for i, (a, b) in enumerate(zip(ours, theirs, strict=True))
        ]
    else:
        return "" if ours == theirs else f"{at}: {str(ours)[:60]} for {str(theirs)[:60]}"
    return next(filter(None, parts), "")


class Subject(NamedTuple):
    """A command whose results are compared.

    Attributes:
      words: Module and flags; {} is the directory of its results.
      results: Files by pattern, and how each is read for comparison.
    """

    words: Sequence[str]
    results: dict[str, Callable[[Path], Any]]

    def start(self, folder: Path) -> subprocess.Popen[str]:
        """Starts the command; what it prints is kept beside the results."""
        words = [sys.executable, "-m", *(word.format(folder / "run") for word in self.words)]
        with (folder / "log").open("a") as log:
            return subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, text=True)

    def outcome(self, folder: Path) -> Row:
        """Returns all that a finished run has left, by file."""
        found = {
            str(path.relative_to(folder)): read(path)
            for pattern, read in self.results.items()
            for path in sorted(folder.glob(pattern))
        }
        assert found, f"{folder} has none of {', '.join(self.results)}"
        return found


SUBJECTS = {
    "sweep": Subject(
        (
            "launch.sweep",
            "--workdir={}",
            "--tasks=location,purchase2",
            "--num_seeds=2",
            "--scale=0.02",
            "--epochs=20",
            "--attack_epochs=10",
            *_EVERY,
        ),
        {"run/rows.jsonl": _rows},
    ),
    "bank": Subject(
        (
            *("launch.bank", "--workdir={}", "--tasks=location", "--num_models=8"),
            *("--epochs=20", "--num_queries=2", *_EVERY),
        ),
        {"run/**/bank.npz": _arrays},
    ),
    "paper": Subject(
        (
            "launch.paper",
            "--workdir={}",
            "--experiment=E1",
            "--scale=smoke",
            "--tasks=location",
            *_EVERY,
        ),
        {"run/**/rows.jsonl": _rows},
    ),
    "audit": Subject(
        (
            *("launch.audit", "--out_dir={}", "--data={}.npz", "--num_shadows=8"),
            *("--fit=benchmarks.checks.soak:fit", "--predict=benchmarks.checks.soak:predict"),
        ),
        {"run/records.csv": Path.read_text},
    ),
}


def fit(features: np.ndarray, labels: np.ndarray) -> Any:
    """Trains the audit's models: a decision tree."""
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(random_state=0, max_depth=6).fit(features, labels)


def predict(model: Any, features: np.ndarray) -> np.ndarray:
    """Returns the posteriors of an audit's model."""
    return model.predict_proba(features)


def _prepare(folder: Path) -> None:
    """Writes what an audit reads: records of two classes, half of them the audited model's."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 6)).astype(np.float32)
    labels = (features[:, 0] + rng.normal(size=300) > 0).astype(np.int64)
    np.savez(folder / "run.npz", features=features, labels=labels, member=np.arange(300) < 150)


def _settle(process: subprocess.Popen[str]) -> float:
    """Waits for a process that was told to end; returns for how long."""
    began = time.monotonic()
    process.wait(timeout=300)
    return time.monotonic() - began


def _run(subject: Subject, folder: Path) -> float:
    """Runs a command undisturbed; returns its seconds."""
    _prepare(folder)
    began = time.monotonic()
    process = subject.start(folder)
    if process.wait(timeout=3600):
        raise RuntimeError((folder / "log").read_text()[-2000:])
    return time.monotonic() - began


def _disturbed(subject: Subject, folder: Path, lasts: float, rng: np.random.Generator) -> Row:
    """Runs a command that is killed until it ends by itself, or has been killed often enough."""
    _prepare(folder)
    run, log = folder / "run", folder / "log"
    kills: list[Row] = []
    damages: list[Row] = []
    numbers = itertools.cycle(SIGNALS)
    for _ in range(rng.integers(len(SIGNALS))):
        next(numbers)

    def harm() -> bool:
        """Damages a file, now and then."""
        done = damage(run, rng) if rng.random() < COMMAND.damage else None
        if done is not None:
            damages.append({**done._asdict(), "refused": False, "after": len(kills)})
        return done is not None

    has_ended = False
    while True:
        process, moment = subject.start(folder), float(rng.uniform(0.2, max(lasts, 1.0)))
        try:
            status = process.wait(moment if not has_ended and len(kills) < COMMAND.kills else 3600)
        except subprocess.TimeoutExpired:
            number = next(numbers)
            process.send_signal(number)
            took = _settle(process)
            status = process.returncode
            if status:
                kills.append(
                    {
                        "signal": number.name,
                        "at": round(moment, 2),
                        "ended_after": round(took, 2),
                        "status": status,
                    }
                )
                harm()
                continue
        if status == INPUT_ERROR and damages and not damages[-1]["refused"]:
            # In one line, which says what to delete.
            (said,) = [line for line in log.read_text().splitlines() if line.startswith("error: ")][
                -1:
            ]
            damages[-1]["refused"] = said.replace(str(run), "RUN")
            if (path := remedy(said, run)) is not None:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                continue
        if status or has_ended or not harm():
            break
        has_ended = True
    tracebacks = log.read_text().count("Traceback (most recent")
    if tracebacks:
        text = log.read_text()
        print(text[text.index("Traceback (most recent") :][:4000], flush=True)
    return {"status": status, "kills": kills, "damages": damages, "tracebacks": tracebacks}


# Megabytes of disks on which none of them can finish.
_FULL = (0.5, 1.5)


def _full(subject: Subject, folder: Path, megabytes: float, expected: Row) -> Row | None:
    """Runs a command on a disk that is too small, then on a larger one; None if none can be mounted."""
    with Disk.small(folder / "run", megabytes) as disk:
        if disk is None:
            print("full disk: left out, as nothing may be mounted here", flush=True)
            return None
        found: Row = {"megabytes": megabytes, "status_when_full": _status(subject, folder)}
        lines = (folder / "log").read_text().splitlines()
        said = [line for line in lines if line.startswith("error: ")]
        found["said"] = [line.replace(str(folder / "run"), "RUN") for line in said]
        disk.resize(256)
        status = _status(subject, folder)
        tracebacks = (folder / "log").read_text().count("Traceback (most recent")
        other = status or difference(subject.outcome(folder), expected)
        return {**found, "status": status, "tracebacks": tracebacks, "equal": not other}


def _status(subject: Subject, folder: Path) -> int:
    return subject.start(folder).wait(3600)


def main() -> int:
    names = COMMAND.names("commands", tuple(SUBJECTS))
    rng, before = np.random.default_rng(COMMAND.seed), machine()
    rows = []
    with tempfile.TemporaryDirectory() as root:
        references = {}
        for name in names:
            folder = Path(root) / name / "reference"
            folder.mkdir(parents=True)
            # The first run may compile; the second says how long there is to kill one.
            warm = Path(root) / name / "warm"
            warm.mkdir(parents=True)
            _run(SUBJECTS[name], warm)
            references[name] = _run(SUBJECTS[name], folder), SUBJECTS[name].outcome(folder)
            print(f"{name}: undisturbed, {references[name][0]:.1f} s", flush=True)
        until = time.monotonic() + 60 * COMMAND.minutes
        for run, name in itertools.product(range(COMMAND.runs), names):
            if time.monotonic() > until:
                break
            folder = Path(root) / name / str(run)
            folder.mkdir()
            lasts, expected = references[name]
            row = {"subject": name, "run": run, **_disturbed(SUBJECTS[name], folder, lasts, rng)}
            other = row["status"] or difference(SUBJECTS[name].outcome(folder), expected)
            equal = not other
            rows.append({**row, "equal": equal, "undisturbed_seconds": round(lasts, 1)})
            print(f"{name} {run}: {len(row['kills'])} kills, {other or 'equal'}", flush=True)
            for event in (*row["damages"], *(k for k in row["kills"] if not _clean(k))):
                print(f"  {event}", flush=True)
        if COMMAND.damage:
            name = names[0]
            for megabytes in _FULL:
                folder = Path(root) / "full" / str(megabytes)
                folder.mkdir(parents=True)
                found = _full(SUBJECTS[name], folder, megabytes, references[name][1])
                if found is not None:
                    rows.append({"subject": name, **found})
                    print(f"disk of {megabytes} MB: {found}", flush=True)
    about = functools.partial(COMMAND.about, before, Execution())
    failed = [row for row in rows if not row["equal"] or row["tracebacks"]]
    COMMAND.finish([{**row, **about()} for row in rows], *tables(rows))
    return int(bool(failed))


def _clean(kill: Row) -> bool:
    """Says whether a process ended as it should after a signal."""
    own = -signal.Signals[kill["signal"]].value
    # A signal before Python runs, or while it ends, is the operating system's to handle.
    return kill["status"] in ((own,) if kill["signal"] == "SIGKILL" else (STOPPED, own))


def summary(rows: Sequence[Row]) -> list[Row]:
    """Returns a row per command: its runs, kills and how they ended."""
    found = []
    for name in dict.fromkeys(row["subject"] for row in rows):
        own = [row for row in rows if row["subject"] == name]
        kills = [kill for row in own for kill in row["kills"]]
        polite = [k["ended_after"] for k in kills if k["signal"] != "SIGKILL"]
        found.append(
            {
                "subject": name,
                "runs": len(own),
                "kills": len(kills),
                "signals": ", ".join(
                    f"{sum(k['signal'] == s.name for k in kills)} {s.name}" for s in SIGNALS
                ),
                "equal": sum(row["equal"] for row in own),
                "unclean": sum(not _clean(kill) for kill in kills),
                "tracebacks": sum(row["tracebacks"] for row in own),
                "ended": f"{np.median(polite):.1f}, {max(polite):.1f}" if polite else "",
            }
        )
    return found


def tables(rows: Sequence[Row]) -> list[Any]:
    """Returns the tables: of kills by command, of damage by part, of full disks."""
    killed = Layout(
        "Killed at random moments, then continued",
        "Ended: seconds from SIGTERM or SIGINT to the end of the process, median and most.  Unclean: "
        f"ended otherwise than by SIGKILL, with status {STOPPED}, or by the signal itself while Python "
        "starts or ends.",
        (
            ("command", "{subject}"),
            ("runs", "{runs}"),
            ("kills", "{kills}"),
            ("of them", "{signals}"),
            ("equal", "{equal}"),
            ("unclean", "{unclean}"),
            ("tracebacks", "{tracebacks}"),
            ("ended", "{ended}"),
        ),
    )
    whole = [row for row in rows if "kills" in row]
    return [killed.table(summary(whole)), *damage_tables(rows)]


if __name__ == "__main__":
    COMMAND.run(main)
