"""Runs bad inputs and tells what is wrong with how a command took one."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from .case import Bad, Table

ROOT = Path(__file__).resolve().parents[2]
# A command that takes longer than so many seconds to refuse something hangs.
_SECONDS = 60
# Nothing that is refused needs more memory; half of it is what has been imported.
_MOST_KILOBYTES = 1_500_000


class Zygote:
    """The process that forks a child for each command (see `zygote.py`)."""

    def __enter__(self):
        paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bad_inputs.zygote"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def run(self, **order):
        """Runs one command; returns its exit status and the kilobytes it needed at most."""
        print(json.dumps(order), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())


def contents(folder: Path) -> dict[str, str]:
    """Returns what lies below a folder, by path: files by their digests, links by where they point."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = f"-> {path.readlink()}"
        elif path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(folder))] = digest
    return found


@dataclasses.dataclass
class Found:
    """How a command took a bad input."""

    case: Bad
    status: int
    kilobytes: int
    out: str
    err: str
    before: dict[str, str]
    after: dict[str, str]

    def problems(self) -> list[str]:
        """Returns what is wrong with it; nothing if all is as it should be."""
        lines = self.err.splitlines()
        found = []
        if self.status != self.case.status:
            found.append(f"status {self.status}, not {self.case.status}")
        if len(lines) != 1:
            found.append(f"{len(lines)} lines of error")
        elif not lines[0].startswith("error: "):
            found.append("the line is no error's")
        found += [f"says nothing of {word!r}" for word in self.case.words if word not in self.err]
        if "Traceback" in self.out:
            found.append("a traceback among the output")
        if any(not c.isprintable() for c in self.err.rstrip("\n")):
            found.append("control characters")
        if self.kilobytes > _MOST_KILOBYTES:
            found.append(f"{self.kilobytes:,} kB of memory")
        for path in self.before.keys() | self.after.keys():
            was, now = self.before.get(path), self.after.get(path)
            # What a run says of itself, while it works and afterwards.
            if was != now and not (was is None and path.startswith("case/out/")):
                found.append(f"{path} was {'written' if was is None else 'changed'}")
        return found


def run_case(zygote: Zygote, table: Table, case: Bad, folder: Path, url: str = "") -> Found:
    """Builds what the case needs below an empty folder, and runs its command."""
    own, log = folder / "world" / "case", folder / "log"
    for path in (own / "cwd", log):
        path.mkdir(parents=True)
    case.files(own)
    flags = [
        flag.replace("{}", str(own)).replace("{url}", url) for flag in (*table.always, *case.flags)
    ]
    before = contents(own.parent)
    ended = zygote.run(
        command=table.command,
        flags=flags,
        cwd=str(own / "cwd"),
        env=dict(case.env),
        out=str(log / "out"),
        err=str(log / "err"),
        seconds=_SECONDS,
    )
    out, err = ((log / name).read_text(errors="replace") for name in ("out", "err"))
    after = contents(own.parent)
    return Found(case, ended["status"], ended["kilobytes"], out, err, before, after)
