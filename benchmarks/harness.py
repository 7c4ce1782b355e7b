"""What every benchmark's line says beside its numbers, and where it goes."""

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from launch.flags import public_flags

# What the flags of a benchmark have in common, by group.  Benchmarks give like flags one name; tests import
# several of them into one process.
WHAT: dict[str, Any] = {"module_name": "What is measured", "allow_override": True}
WHERE: dict[str, Any] = {"module_name": "Where", "allow_override": True}

_ROOT = Path(__file__).parents[1]
_SOURCES = ("jleaks", "launch", "benchmarks/*.py", "pyproject.toml", "constraints.txt")


def _git(*command: str) -> str:
    """Returns what git answers about this checkout; nothing where there is no git or no checkout."""
    git = shutil.which("git")
    if not git:
        return ""
    asked = [git, "-C", str(_ROOT), *command]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def _commit() -> str:
    """Names the commit, and says whether sources differ from it; rows that a run appended do not count."""
    commit = _git("describe", "--always", "--abbrev=12") or "unknown"
    return commit + ("-dirty" if _git("status", "--porcelain", "--", *_SOURCES) else "")


def machine() -> dict[str, Any]:
    """Returns what runs the benchmark, and which commit of jleaks."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(os.getloadavg()[0], 2),
        "commit": _commit(),
    }


def spread(values: Sequence[float], digits: int = 4) -> dict[str, float]:
    """Returns median, least and largest of repeated measurements."""
    return {
        "median": round(float(np.median(values)), digits),
        "least": round(min(values), digits),
        "largest": round(max(values), digits),
    }


def command(module: str, sizes: Sequence[flags.FlagHolder[Any]]) -> str:
    """Returns the command line that repeats a measurement.

    Args:
      module: Of the benchmark, as `python -m` takes it.
      sizes: Flags that are named even where the user left them out.
    """
    shown = public_flags() or " ".join(f"--{flag.name}={flag.value}" for flag in sizes)
    return f"python -m {module} {shown}".rstrip()


def append(path: str | None, rows: Sequence[dict[str, Any]]) -> None:
    """Appends JSON lines to a file, made if missing; None for nowhere."""
    if path is None:
        return
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with Path(path).open("a", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
