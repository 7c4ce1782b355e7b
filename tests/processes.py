"""Starts several processes that find each other, as a user does."""

import json
import socket
import subprocess
import sys

from conftest import ROOT


def start(count, *words, **kwargs):
    """Starts so many processes, each of which is told of the first."""
    return start_each([words] * count, **kwargs)


def start_each(commands, **kwargs):
    """Starts processes by a command each, whose words stand behind `python`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [
        subprocess.Popen(
            [
                *(sys.executable, "-u", *words),
                *(f"--coordinator=127.0.0.1:{port}", f"--process_count={len(commands)}"),
                f"--process_id={i}",
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **kwargs,
        )
        for i, words in enumerate(commands)
    ]


def ended(running, timeout=300):
    """Waits for all; returns their statuses and what they printed."""
    try:
        said = [process.communicate(timeout=timeout)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    return [process.returncode for process in running], said


def numbers(workdir):
    """Rows without what the clock decides."""
    rows = [json.loads(line) for line in (workdir / "rows.jsonl").read_text().splitlines()]
    for row in rows:
        del row["seconds"]
    return rows
