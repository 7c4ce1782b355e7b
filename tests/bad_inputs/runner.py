"""Runs bad inputs and tells what is wrong with how a command took one."""

import dataclasses
import hashlib
from pathlib import Path

from forkserver import Server

from .case import Bad, Table

# A command that takes longer than so many seconds to refuse something hangs.
_SECONDS = 60
# Nothing that is refused needs more memory; half of it is what has been imported.
_MOST_KILOBYTES = 1_500_000


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


def run_case(server: Server, table: Table, case: Bad, folder: Path, url: str = "") -> Found:
    """Builds what the case needs below an empty folder, and runs its command."""
    own = folder / "world" / "case"
    (own / "cwd").mkdir(parents=True)
    case.files(own)
    flags = [
        flag.replace("{}", str(own)).replace("{url}", url) for flag in (*table.always, *case.flags)
    ]
    before = contents(own.parent)
    words = ["-m", "jleaks", table.command, *flags]
    done = server.run(words, own / "cwd", _SECONDS, **dict(case.env))
    after = contents(own.parent)
    return Found(case, done.returncode, done.kilobytes, done.stdout, done.stderr, before, after)
