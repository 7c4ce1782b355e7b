"""The heartbeat of a run: a file in its directory that says what the run is doing, or how it ended.

Written by a launcher every few seconds, read by `jleaks status` without JAX.  Nothing depends on it: a run
whose directory cannot be written goes on without.
"""

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jleaks.errors import InputError
from jleaks.files import replace_file

FILE = "progress.json"

# Seconds without a beat after which a run is taken for dead; several times those between two beats.
SILENT = 60.0


class Heartbeat:
    """Writes what one process is doing into the directory of its run, once that exists."""

    def __init__(self, folder: str | os.PathLike[str], command: str, public: str = ""):
        """Writes nothing yet.

        Args:
          folder: Directory of the run.
          command: What was typed, by which the run continues.
          public: The same without this machine's paths, for reports.
        """
        self._path = Path(folder).absolute() / FILE
        self._about = {
            "command": command, "public": public, "pid": os.getpid(), "began": time.time()
        }  # fmt: skip

    def beat(self, **now: Any) -> None:
        """Writes what is going on: JSON values under any names."""
        # A run that is refused leaves no directory behind; one that cannot be written is read alone.
        with contextlib.suppress(InputError, OSError):
            if self._path.parent.is_dir():
                text = json.dumps({**self._about, "at": time.time(), **now}, indent=1)
                replace_file(self._path, text.encode())


def read(folder: Path) -> Mapping[str, Any] | None:
    """Returns the last beat of the last run in a directory, None if it has none that can be read."""
    try:
        found = json.loads((folder / FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def state(beat: Mapping[str, Any], now: float) -> str:
    """Returns "running", how a run ended ("finished", "stopped", "failed"), or "died".

    Args:
      beat: The last one.
      now: Seconds since the epoch.
    """
    if ended := beat.get("ended"):
        return str(ended)
    return "running" if now - float(beat.get("at", 0)) <= SILENT else "died"
