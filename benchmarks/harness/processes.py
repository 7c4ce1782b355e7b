"""Processes that a benchmark starts, and what they say, use and take."""

import json
import resource
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness.origin import Row
from jleaks.errors import InputError


def last_line(text: str) -> str:
    """Returns how a process explains itself: its last line of errors."""
    return (text.strip().splitlines() or ["no message"])[-1].removeprefix("error: ")


def finished(words: Sequence[str], **how: Any) -> str:
    """Runs a command to its end; returns what it printed.

    Args:
      words: The command.
      how: As of `subprocess.run`: cwd, env, timeout.

    Raises:
      InputError: it failed, with its last line; or it took longer.
    """
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, **how)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"stopped after {error.timeout:.0f} s") from error
    if done.returncode:
        raise InputError(last_line(done.stderr or done.stdout))
    return done.stdout


def interpreter(environments: str | None, name: str) -> Path:
    """Returns an environment's Python; this process's own where the name is empty.

    Args:
      environments: Folder of the environments; None for the current one.
      name: Of the environment in it.
    """
    return Path(environments or "", name, "bin", "python") if name else Path(sys.executable)


class Answering:
    """A process that answers every line of JSON with one."""

    def __init__(self, words: Sequence[str], env: Mapping[str, str] | None = None):
        """Starts it."""
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            words, stdin=pipe, stdout=pipe, stderr=self._errors, text=True, bufsize=1, env=env
        )

    def read(self, timeout: float | None = None) -> Row:
        """Returns the next answer.

        Raises:
          InputError: it ended, with its last line; or so many seconds have passed, and it is ended.
        """
        assert self._process.stdout is not None
        # One line is asked for and one comes, so nothing of it waits in a buffer of ours.
        if not select.select([self._process.stdout], [], [], timeout)[0]:
            self.close()
            raise InputError(f"no answer within {timeout:.0f} s")
        if line := self._process.stdout.readline():
            return json.loads(line)
        self._process.wait()
        self._errors.seek(0)
        raise InputError(last_line(self._errors.read()))

    def tell(self, request: Any = None) -> None:
        """Sends a line; the answer is to be read."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")

    def ask(self, request: Any = None, timeout: float | None = None) -> Row:
        """Sends a line and returns the answer (see `read`)."""
        self.tell(request)
        return self.read(timeout)

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            assert pipe is not None
            pipe.close()


def reason(error: BaseException) -> str:
    """Returns a failure in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {(lines or ['no message'])[0]}"[:300]


def peak_megabytes() -> float:
    """Returns the most memory that this process had since it began.

    Not `ru_maxrss`: a process inherits that from the one that started it.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no VmHWM")


def children_seconds() -> float:
    """Returns CPU seconds of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
