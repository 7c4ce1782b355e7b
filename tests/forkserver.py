"""Python programs as processes of their own that need not import what is imported already.

A server has imported all of jleaks and what it imports, and has started no backend of JAX.  It forks one
process for each order: `python -m MODULE FLAGS` or `python FILE FLAGS` in milliseconds rather than seconds,
with its own standard streams, folder, environment, devices and exit status.  Variables that are read as
something is imported (`JAX_PLATFORMS`) are the server's: what is about them starts a process as users do.
`python forkserver.py ask SOCKET WORDS` is a program that does as `python WORDS`.
"""

import array
import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path


class Server:
    """A running server.

    Attributes:
      address: Of its socket.
      environment: What it was started with.
    """

    def __init__(self, folder, environment=None):
        """Starts a server that finds jleaks in a folder."""
        self.environment = dict(os.environ if environment is None else environment)
        self._kept = tempfile.TemporaryDirectory()
        self.address = str(Path(self._kept.name) / "socket")
        self._process = subprocess.Popen(
            [sys.executable, __file__, "serve", self.address],
            cwd=folder,
            env=self.environment | {"PYTHONPATH": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout.readline() == b"ready\n"

    def close(self):
        """Ends the server."""
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
        self._kept.cleanup()

    def run(self, words, cwd, timeout, **environment):
        """Runs `python WORDS` to its end, variables changed; returns what `subprocess.run` would.

        What is returned says, besides, how many `kilobytes` the process had at most.
        """
        with (
            open(os.devnull) as nothing,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            status, kilobytes = ask(
                *(self.address, words, cwd, self.environment | environment),
                [f.fileno() for f in (nothing, out, err)],
                timeout,
            )
            said = []
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode(errors="replace"))
        if status == -signal.SIGALRM:
            raise subprocess.TimeoutExpired(words, timeout, *said)
        done = subprocess.CompletedProcess(words, status, *said)
        done.kilobytes = kilobytes
        return done


def ask(address, words, cwd, environment, streams, seconds=0, began=lambda _: None):
    """Has a server run `python WORDS`; returns the exit status, as `subprocess` has it, and kilobytes.

    `began` is called with the number of the process.
    """
    with socket.socket(socket.AF_UNIX) as to:
        to.connect(address)
        order = {
            "words": list(words),
            "cwd": str(cwd),
            "environment": environment,
            "seconds": int(seconds),
        }
        to.sendmsg(
            [json.dumps(order).encode() + b"\n"],
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", streams))],
        )
        answers = to.makefile()
        process = int(answers.readline())
        began(process)
        return tuple(map(int, answers.readline().split()))


def _received(connection):
    """Returns an order and the standard streams that came with it."""
    streams, text = array.array("i"), b""
    while not text.endswith(b"\n"):
        content, beside, _, _ = connection.recvmsg(1 << 16, socket.CMSG_LEN(64))
        text += content
        for _, _, found in beside:
            streams.frombytes(found[: len(found) - len(found) % streams.itemsize])
    return json.loads(text), streams


def _become(order, streams):
    """Makes this process the one that was ordered, and runs it."""
    os.setsid()
    signal.alarm(order["seconds"])
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environment"])
    first, *flags = order["words"]
    if first == "-m":
        module, *flags = flags
        sys.path[0] = order["cwd"]
        sys.argv = [module, *flags]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(first).resolve().parent)
        sys.argv = [first, *flags]
        runpy.run_path(first, run_name="__main__")


def _end(order, streams):
    """Runs what was ordered and ends as Python does, but leaves in place all that is imported."""
    status = 0
    try:
        _become(order, streams)
    except SystemExit as end:
        if end.code is not None:
            status = end.code if isinstance(end.code, int) else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except Exception:
        sys.excepthook(*sys.exc_info())
        status = 1
    # As multiprocessing ends the processes that it forks.
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status & 0xFF)


def _serve(connection):
    """Forks the process of one order and waits for it; returns only in that process."""
    order, streams = _received(connection)
    process = os.fork()
    if not process:
        connection.close()
        return order, streams
    for stream in streams:
        os.close(stream)
    connection.sendall(f"{process}\n".encode())
    _, status, usage = os.wait4(process, 0)
    with contextlib.suppress(OSError):
        ended = f"{os.waitstatus_to_exitcode(status)} {usage.ru_maxrss}\n"
        connection.sendall(ended.encode())
    os._exit(0)


def _preload():
    """Imports all of jleaks and what it imports late, once for all processes that will be forked."""
    import jleaks

    for module in pkgutil.walk_packages(jleaks.__path__, "jleaks."):
        importlib.import_module(module.name)
    late = ("absl.app", "matplotlib.figure", "pandas", "pyarrow.parquet", "scipy.stats", "uvicorn")
    for name in late:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


def _accept(listener):
    """Takes orders until whoever started the server is gone; returns only in a process that is ordered."""
    import select

    while True:
        readable, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in readable:
            os._exit(0)
        connection, _ = listener.accept()
        # A process that waits for the one that is ordered; nobody waits for it.
        if not os.fork():
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return _serve(connection)
        connection.close()


def _stopped_alike(process):
    """Who stops the one who asks means the process."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _: os.kill(process, got))


def main():
    what, address, *words = sys.argv[1:]
    if what == "ask":
        streams = (0, 1, 2)
        environment = dict(os.environ)
        status, _ = ask(address, words, os.getcwd(), environment, streams, began=_stopped_alike)
        sys.exit(status if status >= 0 else 128 - status)
    _preload()
    # What is run by its name is not imported before.
    sys.modules.pop("jleaks.__main__", None)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    print("ready", flush=True)
    with warnings.catch_warnings():
        # JAX warns of its threads; there are none yet.
        warnings.simplefilter("ignore")
        order, streams = _accept(listener)
    _end(order, streams)


if __name__ == "__main__":
    main()
