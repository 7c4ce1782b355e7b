"""Runs a command and writes its seconds, and those of all processes that come of it: a process of its own.

python timed.py OUT.json COMMAND ...
"""

import ctypes
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


def main(out: str, *words: str) -> int:
    # Processes that outlive their parent become this one's, which has no others: their time counts, too.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    began = time.monotonic()
    status = subprocess.run(words, check=False).returncode
    seconds = time.monotonic() - began
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime
    Path(out).write_text(json.dumps({"seconds": seconds, "cpu_seconds": cpu}))
    return int(status != 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
