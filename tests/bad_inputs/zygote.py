"""A process that has imported everything and forks one child for each command: a launch in milliseconds.

Reads orders as lines of JSON and answers each with one.  A child parses its flags and ends as
`jleaks COMMAND` does; no backend of JAX has been started before it, so that it chooses its own devices.
"""

import contextlib
import json
import os
import signal
import sys
import traceback
import warnings

from forkserver import preload


def _child(order):
    os.setsid()
    # Whoever hangs is ended by the operating system, wherever it is.
    signal.alarm(order["seconds"])
    for name, number in (("out", 1), ("err", 2)):
        file = os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
    os.chdir(order["cwd"])
    os.environ.update(order["env"])
    sys.argv = ["jleaks", order["command"], *order["flags"]]
    from launch.commands import main

    try:
        main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main():
    # JAX warns of its threads; there are none yet.
    warnings.filterwarnings("ignore", "os.fork")
    warnings.filterwarnings("ignore", "This process .* is multi-threaded")
    preload("launch.commands", "uvicorn")
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            _child(json.loads(line))
        _, status, usage = os.wait4(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        print(json.dumps({"status": code, "kilobytes": usage.ru_maxrss}), flush=True)


if __name__ == "__main__":
    main()
