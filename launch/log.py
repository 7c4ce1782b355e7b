"""What a run says while it works: on the output, in its directory, to metric writers."""

import dataclasses
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags
from rich.console import Console
from rich.markup import escape

from jleaks import activity as activities
from jleaks.heartbeat import Heartbeat
from jleaks.training import processes
from jleaks.training.metric_writers import MetricWriters

from .command_line import command_line, public_command

if TYPE_CHECKING:
    from jleaks.rows import Row
    from jleaks.training.progress import Progress
    from jleaks.training.reporter import Reporter


class _Output(Console):
    """The standard output, without which a run goes on: results are in files."""

    def on_broken_pipe(self) -> None:
        """Says no more, to nobody."""
        self.quiet = True
        let_go_of_output()


def let_go_of_output() -> None:
    """Writes what is still to be written nowhere: Python does so once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def console() -> Console:
    """Returns the standard output; a log file is not a terminal, so tables get their room there.

    Of several processes the first alone says what all do.
    """
    width = None if sys.stdout.isatty() else 160
    return _Output(width=width, quiet=not processes.is_first())


# Seconds between two lines of progress, between two beats, and between two looks at whether to.
_EVERY, _BEAT, _LOOK = 10.0, 5.0, 0.5

# Metrics of rows that metric writers get.
_RESULTS = ("auc", "precision", "recall", "tpr_at_fpr_0.01")

# The log whose run is under way: its end is the process's.
_OPEN: list["Log"] = []


class Log:
    """What a run says while it works: lines, stamped with the time where there is no terminal.

    A fleet's progress is at most one line every few seconds, its last one always.  While nothing else is
    said, a line tells what is being done (`jleaks.activity`); on a terminal one line at the bottom does.
    With a folder, a heartbeat is left there for `jleaks status`; metric writers (`--log_to`) get losses.
    """

    def __init__(
        self,
        console: Console,
        every: float = _EVERY,
        folder: str | os.PathLike[str] | None = None,
    ):
        self._console, self._every = console, every
        self._said = self._beaten = time.monotonic()
        self._last_progress = float("-inf")
        self._now: dict[str, Any] = {}
        self._work: Mapping[str, float] = {}
        self._heart: Heartbeat | None = None
        self._writers: MetricWriters | None = None
        if folder is not None:
            self.follow(folder)
        self._bar = console.status("") if console.is_terminal else None
        self._ended = threading.Event()
        _OPEN.append(self)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def reporter(self) -> "Reporter":
        """What a run reports to."""
        from jleaks.training.reporter import Reporter

        return Reporter(self.line, self.progress, self._expect)

    def _expect(self, work: Mapping[str, float]) -> None:
        self._work = work

    def follow(self, folder: str | os.PathLike[str]) -> None:
        """Leaves the heartbeat, and what --log_to writes, in the directory of a run from here on.

        Raises:
          InputError: --log_to names no writer, or one whose package is not installed.
        """
        if not processes.is_first():
            return
        self._end_run("finished")
        self._heart, self._now = Heartbeat(folder, command_line(), public_command()), {}
        self._writers = MetricWriters(flags.FLAGS["log_to"].value or [], folder)

    def _end_run(self, ended: str) -> None:
        if self._writers is not None:
            self._writers.close()
        if self._heart is not None:
            self._heart.beat(**self._now, ended=ended)

    def results(self, rows: "Sequence[Row]") -> None:
        """Hands the means of what attacks reached to the metric writers, by task and attack."""
        if self._writers is None:
            return
        found: dict[str, list[float]] = {}
        for row in rows:
            name = row["attack"] if row["adversary"] is None else f"adversary {row['adversary']}"
            for metric in _RESULTS:
                if isinstance(value := row.get(metric), float):
                    found.setdefault(f"{row['task']}/{name}/{metric}", []).append(value)
        self._writers.write(0, {name: sum(v) / len(v) for name, v in found.items()})

    def line(self, text: str) -> None:
        """Prints a finished sentence."""
        self._now["said"] = text
        self._print(text)

    def _print(self, text: str) -> None:
        self._said = time.monotonic()
        stamp = "" if self._console.is_terminal else time.strftime("%H:%M:%S ")
        self._console.print(f"{stamp}{text}", highlight=False, markup=False, soft_wrap=True)

    def progress(self, p: "Progress") -> None:
        """Prints where a fleet's training stands."""
        from jleaks.training.reporter import remaining

        now = time.monotonic()
        left = remaining(p, self._work)
        self._now |= {**dataclasses.asdict(p), "run_eta": left}
        if self._writers is not None:
            self._writers.write(p.done, {f"{p.fleet}/loss": p.loss})
        if p.done < p.total and now - self._last_progress < self._every:
            return
        self._last_progress = now
        self.line(
            f"  {p.fleet}: {p.done}/{p.total} model-epochs ({100 * p.done / p.total:.0f}%), "
            f"loss {p.loss:.4f}, {p.seconds:.0f} s, {p.eta:.0f} s to go"
            + ("" if left is None else f", {left:.0f} s for all fleets")
        )

    def close(self, ended: str) -> None:
        """Ends the display, and notes how the run ended: "finished", "stopped" or "failed"."""
        self._ended.set()
        self._thread.join()
        if self._bar is not None:
            self._bar.stop()
        self._end_run(ended)

    def _watch(self) -> None:
        """Tells what is being done while nothing is said; a thread of its own."""
        while not self._ended.wait(_LOOK):
            now, activity = time.monotonic(), activities.current()
            text = "" if activity is None else f"{activity.text} ({now - activity.began:.0f} s)"
            if self._heart is not None and now - self._beaten >= _BEAT:
                self._beaten = now
                self._heart.beat(**self._now, doing=text)
            if self._bar is not None:
                self._bar.update(escape(text))
                (self._bar.start if text else self._bar.stop)()
            elif text and now - self._said >= self._every:
                self._print(f"  {text} ...")


def close_logs(ended: str) -> None:
    """Ends what is still told (see `Log.close`)."""
    while _OPEN:
        _OPEN.pop().close(ended)
