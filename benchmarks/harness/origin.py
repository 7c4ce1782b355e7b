"""Rows, and what made them: the machine, the commit, the run that appended them."""

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]

_ROOT = Path(__file__).parents[2]
_SOURCES = ("jleaks", "launch", "benchmarks/*.py", "pyproject.toml", "constraints.txt")


def versions(row: Mapping[str, Any]) -> str:
    """Returns the versions of packages that a row was made with, as text."""
    return ", ".join(f"{package} {version}" for package, version in row["versions"].items())


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


def machine() -> Row:
    """Returns what runs the benchmark, how busy it is before, and which commit of jleaks."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(os.getloadavg()[0], 2),
        "commit": _commit(),
    }


def append(path: str | None, rows: Sequence[Row]) -> None:
    """Appends JSON lines to a file, made if missing; None for nowhere."""
    if path is None:
        return
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with Path(path).open("a", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")


# Rows of one run share these.
_OF_RUN = ("command", "commit", "load_before")


def last_run(rows: Sequence[Row]) -> list[Row]:
    """Returns the rows at the end of a file that one run appended."""
    run_of = [tuple(row.get(key) for key in _OF_RUN) for row in rows]
    first = len(rows)
    while first > 0 and run_of[first - 1] == run_of[-1]:
        first -= 1
    return list(rows[first:])
