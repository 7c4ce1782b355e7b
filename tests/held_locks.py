"""Other processes that hold locks."""

import contextlib
import subprocess
import sys

from conftest import ROOT

_HOLDS = """
import sys, time
from pathlib import Path
from jleaks import locks

with locks.alone(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@contextlib.contextmanager
def holder(path, seconds=600):
    """Another process that holds a lock."""
    words = [sys.executable, "-c", _HOLDS, str(path), str(seconds)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()
