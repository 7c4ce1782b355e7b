"""One process of benchmarks.accelerator: how much it measures, its deadline, its rows."""

import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import harness
from benchmarks.accelerator.fleets import Case, Timed, counts_of, memory, steps_per_model
from benchmarks.accelerator.roofline import Peaks, used
from jleaks import json_lines
from jleaks.errors import InputError
from jleaks.fields import Form, Precision
from launch.app import INPUT_ERROR


class Scale(NamedTuple):
    """How much is measured.

    Attributes:
      gemm: Rows of the square matrices of the peak.
      copied: Bytes of the peak's array.
      models: Numbers of models of an MLP fleet, the most telling first.
      images: Of a CNN fleet, likewise.
      forms: Of convolution, jleaks' choice first.
      common: Models of the fleets whose precisions, forms and groups are compared; of CNN fleets.
      turns: Of the largest MLP fleets, also in so many groups that take turns.
      records: Most records of a training part.
      batches: Records a step of MLPs and CNNs; None for the paper's.
      tasks: Of CNN fleets.
      residual: Residual networks.
      wide: Models and records of the wide bank.
      attacks: On the wide bank.
      seconds: Of one timed call, and the calls.
      calls: Timed.
    """

    gemm: int = 8192
    copied: int = 1 << 30
    models: tuple[int, ...] = (256, 1, 64, 1024, 16, 4, 512, 128, 32, 2, 8)
    images: tuple[int, ...] = (1, 128, 8, 256, 64, 512, 4, 16, 2)
    forms: tuple[Form, ...] = ("columns", "native", "products", "im2col", "rows")
    common: tuple[int, int] = (256, 32)
    turns: tuple[int, ...] = (4, 16)
    records: int = 10_000
    batches: int | None = None
    tasks: tuple[str, ...] = ("cifar10", "mnist")
    residual: tuple[str, ...] = ("resnet18", "wrn28_2")
    wide: tuple[int, int] = (256, 50_000)
    attacks: tuple[str, ...] = (
        *("loss", "lira_offline", "rmia_offline", "attack_r"),
        *("lira_online", "rmia_online", "bavaria"),
    )
    seconds: float = 0.5
    calls: int = 3


SMOKE = Scale(
    gemm=64, copied=1 << 16, models=(2,), images=(1,), forms=("native",), common=(2, 2), turns=(),
    records=40, batches=10, tasks=("mnist",), residual=(), wide=(4, 80),
    attacks=("loss", "lira_online"), seconds=0.01, calls=2,
)  # fmt: skip


class Session:
    """One process: its sections, its deadline, its rows."""

    def __init__(
        self,
        scale: Scale,
        precisions: Sequence[Precision],
        path: str,
        context: dict[str, Any],
        started: float,
        seconds: float,
        full: bool,
    ):
        """Notes when it must end.

        Args:
          scale: How much is measured.
          precisions: Of products.
          path: Rows are appended to it, one by one.
          context: Of every row; its "run" tells them from those of other runs in the file.
          started: When the process was, by `time.time`.
          seconds: It may take from then on.
          full: Whether the wide bank is trained wholly.
        """
        self.scale, self.precisions, self.full = scale, tuple(precisions), full
        self._path, self._context = path, context
        self._started, self._until = started, started + seconds
        self._longest, self._left_out = 0.0, 0
        self._is_first = True
        self._peaks = Peaks({}, 0.0)
        self.forms: dict[str, Form] = {}

    def run(
        self, sections: dict[str, "Callable[[Session], None]"], before: Sequence[dict[str, Any]]
    ) -> None:
        """Measures the sections.

        Args:
          sections: By name.
          before: Rows of the same run, for the peaks and the best forms of convolution.
        """
        for row in before:
            self._note(row)
        for section, section_fn in sections.items():
            self._left_out = 0
            section_fn(self)
            if self._left_out:
                why = f"out of time: {self._left_out} measurements were left out"
                self.write({"what": "left out", "section": section, "failed": why})

    def _note(self, row: dict[str, Any]) -> None:
        """Keeps what later measurements need of a row."""
        if "failed" in row:
            return
        if row["what"] == "peak" and row["of"] == "copy":
            self._peaks = self._peaks._replace(num_bytes=row["per_second"])
        elif row["what"] == "peak":
            self._peaks.flops[row["precision"]] = row["per_second"]
        elif row["what"] == "best form":
            self.forms[row["task"]] = row["form"]

    def write(self, row: dict[str, Any]) -> None:
        """Appends a row, and says so."""
        self._note(row)
        harness.append(self._path, [{"benchmark": "accelerator", **row, **self._context}])
        print(json.dumps({k: v for k, v in row.items() if v is not None}), flush=True)

    def guarded(
        self, about: dict[str, Any], measure_fn: Callable[[], dict[str, Any]]
    ) -> dict[str, Any] | None:
        """Writes and returns what a measurement found; None where it failed or time was out."""
        now = time.time()
        if now + self._longest > self._until:
            self._left_out += 1
            return None
        try:
            found = measure_fn()
        # Whatever goes wrong with one measurement, the others are worth having.
        except Exception as error:
            found = {"failed": harness.reason(error)}
        # What the failed one had on the device must go before the next.
        gc.collect()
        # The next may take as long; one that compiled more slowly than others is forgotten again.
        self._longest = max(0.7 * self._longest, time.time() - now)
        row = {**about, **found, "spent_seconds": round(time.time() - now, 2)}
        self.write(row)
        return None if "failed" in found else row

    def fleet(self, case: Case) -> dict[str, Any] | None:
        """Times the training of a fleet."""
        return self.guarded(case.about(), lambda: self._fleet(case))

    def _fleet(self, case: Case) -> dict[str, Any]:
        before, counts = memory("peak_bytes_in_use"), counts_of(case)
        timed = Timed(case)
        if self._is_first:
            self._is_first = False
            since = time.time() - self._started
            rest = timed.first_epoch_seconds * (timed.steps - 1) / timed.steps
            first = {"seconds_to_first_step": round(since - rest, 2)}
            about = {"what": "start", "section": case.section, "network": case.about()["network"]}
            self.write({**about, **first, "device_bytes": memory("bytes_limit")})
        timed.calibrate(self.scale.seconds)
        steps = [timed.turn() for _ in range(self.scale.calls)]
        rate = case.num_models / float(np.median(steps))
        after, per_model = memory("peak_bytes_in_use"), steps_per_model(case)
        return {
            "seconds_per_step": harness.spread(steps, 9),
            "model_steps_per_second": round(rate, 2),
            "steps_per_model": per_model,
            "models_per_second": round(rate / per_model, 5),
            **(used(counts, case.recipe.precision, rate, self._peaks) if counts else {}),
            "counts": counts and counts._asdict(),
            "compile_seconds": round(timed.compile_seconds, 3),
            "first_epoch_seconds": round(timed.first_epoch_seconds, 4),
            "program_bytes": timed.program_bytes,
            # Of this fleet only where no earlier one of the process took more.
            "peak_bytes": None if after is None or after == before else after,
            "loss": timed.loss(),
        }


# Seconds that a process may overrun its deadline by: a measurement that began before it.
GRACE = 20.0


def measure(request: dict[str, Any]) -> str | None:
    """Measures in a process of its own; returns why it failed, if it did.

    Args:
      request: What `benchmarks.accelerator --worker` reads: its `seconds` are those of the sections.

    Raises:
      InputError: the process says so.
    """
    limit = request["seconds"] + GRACE
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as errors:
        path = Path(folder) / "request.json"
        path.write_text(json.dumps({**request, "started": time.time()}))
        words = [sys.executable, "-m", "benchmarks.accelerator", f"--worker={path}"]
        try:
            status = subprocess.run(words, stderr=errors, timeout=limit, check=False).returncode
        except subprocess.TimeoutExpired:
            return f"stopped after {limit:.0f} s"
        errors.seek(0)
        line = harness.last_line(errors.read())
    if status == INPUT_ERROR:
        raise InputError(line)
    return f"status {status}: {line}"[:300] if status else None


def read_run(path: str | Path, name: str) -> list[dict[str, Any]]:
    """Returns the rows of one run in a file of several; none without the file."""
    if not Path(path).exists():
        return []
    return [row for row in json_lines.read(path) if row.get("run") == name]
