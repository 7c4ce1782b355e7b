"""What does `jleaks attack` take as a whole?  On a simulated bank, with every signal that needs no network.

python -m benchmarks.scaling.attack_command --out=results/bank/command.jsonl

The command runs in a process of its own, from start to exit: reading, attacks, intervals, audits, figures
and pages.  First with no compiled programs on the machine, then again and again.  Peak: the largest
resident memory of the process.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import harness
from benchmarks.checks import simulated_banks
from benchmarks.harness import OUT, Command, Flag, Layout, Row
from jleaks.attacks.bank import Bank
from jleaks.errors import InputError
from jleaks.rows import OF_SUMMARY, read_rows
from jleaks.training.execution import Execution

COMMAND = Command(
    "benchmarks.scaling.attack_command",
    __doc__,
    ("num_models", "num_records", "attacks", "repetitions"),
    num_models=Flag("Models of the bank, even.", 256, 8, even=True),
    num_records=Flag("Records of the bank, even.", 50_000, 20, even=True),
    attacks=Flag("Attacks, as of `jleaks attack`.", ["all"]),
    repetitions=Flag("Runs after the first.", 3, 1),
    out=OUT,
)

_CLASSES = 10

LAYOUT = Layout(
    "`jleaks attack` as a whole",
    "{cores} cores of {cpu}, commit {commit}.  Medians of the runs after the first (least-largest).",
    [
        ("Models", "{num_models:,}"),
        ("Records", "{num_records:,}"),
        ("Attacks", "{num_attacks}"),
        ("First, s", "{first_seconds:,.1f}"),
        ("Again, s", "{seconds[median]:,.1f} ({seconds[least]:,.1f}-{seconds[largest]:,.1f})"),
        ("Evaluator, s", "{evaluation_seconds:,.1f}"),
        ("CPU, s", "{cpu_seconds[median]:,.1f}"),
        ("Peak, MB", "{peak_megabytes[median]:,.0f}"),
    ],
)


def signals(bank: Bank, rng: np.random.Generator) -> Bank:
    """Returns a bank that has what attacks look at beside phi, as a model of two classes answers."""
    phi = bank.phi[0].astype(np.float64)
    p = 1 / (1 + np.exp(-phi))
    log_p, log_rest = -np.logaddexp(0, -phi), -np.logaddexp(0, phi)
    made = {
        "correct": bank.phi > 0,
        "maximum": np.maximum(p, 1 - p),
        "entropy": p * log_p + (1 - p) * log_rest,
        "mentr": (1 - p) * log_p + p * log_rest,
        "loss_iqr": abs(rng.normal(size=phi.shape)) + 0.1 * bank.member,
    }
    arrays = {name: a if a.dtype == bool else a.astype(np.float32) for name, a in made.items()}
    labels = rng.integers(0, _CLASSES, phi.shape[1]).astype(np.int32)
    return Bank(**{**vars(bank), **arrays, "labels": labels, "num_classes": _CLASSES})


def attacked(bank: Path, folder: Path, cache: Path) -> Row:
    """Runs the command; returns seconds, CPU seconds and peak memory of its process.

    Raises:
      InputError: it failed; with its last line.
    """
    words = [
        *(sys.executable, "-m", "jleaks", "attack", f"--signals={bank}", f"--out_dir={folder}"),
        *(f"--cache_dir={cache}", f"--attacks={','.join(COMMAND.attacks)}"),
    ]
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=told)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            told.seek(0)
            raise InputError(harness.last_line(told.read()))
    return {
        "seconds": time.monotonic() - began,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        # Linux counts in KiB.
        "peak_megabytes": used.ru_maxrss * 1024 / 1e6,
    }


def main() -> int:
    about = COMMAND.about(harness.machine(), Execution())
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        path, out, cache = (Path(scratch) / name for name in ("bank.npz", "out", "cache"))
        bank = simulated_banks.draw(
            simulated_banks.PROCESSES[1], rng, COMMAND.num_models, COMMAND.num_records
        )
        signals(bank, rng).save(path)
        del bank
        first, *again = (attacked(path, out, cache) for _ in range(1 + COMMAND.repetitions))
        summary = read_rows(out / "summary.jsonl", OF_SUMMARY)
    row = {
        "num_models": COMMAND.num_models,
        "num_records": COMMAND.num_records,
        "attacks": [one["attack"] for one in summary],
        "num_attacks": len(summary),
        "first_seconds": first["seconds"],
        "evaluation_seconds": summary[0]["evaluation_seconds"],
        **{name: harness.spread([run[name] for run in again]) for name in first},
        **about,
    }
    return COMMAND.finish([row], LAYOUT.table([row]))


if __name__ == "__main__":
    COMMAND.run(main)
