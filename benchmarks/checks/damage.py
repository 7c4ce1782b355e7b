"""Damage to what a killed run has left: checkpoints, kept models, answers, results; and a full disk.

A command that finds damage either goes on from what is intact, or refuses in one line that says what to
delete.  Either way it must end with the results of an undamaged run (`benchmarks.checks.soak`).
"""

import contextlib
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness import Layout, Row

# What a run keeps, each with where it lies; a star is one name.
PARTS = {
    "checkpoint": "fleets/*/*",
    "kept model": "models/*.npz",
    "bank answers": "answers/*",
    "shadow": "shadows/*.npz",
    "results": "rows.jsonl",
    "bank": "bank.npz",
}
# Of a checkpoint, without which orbax does not take it for one.
_METADATA = ("_CHECKPOINT_METADATA", "meta", "_METADATA")


def _emptied(path: Path, _: np.random.Generator) -> None:
    path.write_bytes(b"")


def _cut(path: Path, rng: np.random.Generator) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.integers(len(content))] if content else b"")


def _flipped(path: Path, rng: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(bytes(content))


def _removed(path: Path, _: np.random.Generator) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


HOW: dict[str, Callable[[Path, np.random.Generator], None]] = {
    "emptied": _emptied,
    "cut": _cut,
    "bit flipped": _flipped,
    "removed": _removed,
}


class Damage(NamedTuple):
    """What was done to a file of a run.

    Attributes:
      what: Name of the part (`PARTS`).
      how: What was done (`HOW`).
      file: Its path below the run's directory.
    """

    what: str
    how: str
    file: str


def _newest(run: Path) -> list[Path]:
    """Returns the newest checkpoint of each fleet, whole ones only."""
    steps = [path for path in run.glob(f"**/{PARTS['checkpoint']}") if path.name.isdecimal()]
    return [
        max((step for step in steps if step.parent == fleet), key=lambda step: int(step.name))
        for fleet in sorted({step.parent for step in steps})
    ]


def _files(run: Path, what: str, how: str) -> list[Path]:
    """Returns the files of a part that can be damaged so."""
    if what != "checkpoint":
        return sorted(path for path in run.glob(f"**/{PARTS[what]}") if path.is_file())
    if how == "removed":
        # All of a checkpoint would be an older run, no damaged one.
        return [
            step / name for step in _newest(run) for name in _METADATA if (step / name).exists()
        ]
    return [path for step in _newest(run) for path in sorted(step.rglob("*")) if path.is_file()]


def damage(run: Path, rng: np.random.Generator) -> Damage | None:
    """Damages one file of a run that nobody works on.

    Args:
      run: Its directory.
      rng: Chooses part, kind and file, each evenly among those that there are.

    Returns:
      What was done; None where nothing has been kept yet.
    """
    found = {
        (what, how): files for what in PARTS for how in HOW if (files := _files(run, what, how))
    }
    if not found:
        return None
    parts = sorted({what for what, _ in found})
    what = parts[rng.integers(len(parts))]
    kinds = [how for part, how in found if part == what]
    how = kinds[rng.integers(len(kinds))]
    path = found[what, how][rng.integers(len(found[what, how]))]
    HOW[how](path, rng)
    return Damage(what, how, str(path.relative_to(run)))


def remedy(line: str, run: Path) -> Path | None:
    """Returns what a refusal says to delete: of the paths in it that exist, the one above the others."""
    if "delete" not in line:
        return None
    named = (Path(word) for word in re.findall(rf"{re.escape(str(run))}[^\s,;:()]+", line))
    found = [path for path in named if path != run and path.exists()]
    return min(found, key=lambda path: len(path.parts), default=None)


class Disk(NamedTuple):
    """A file system of its own.

    Attributes:
      folder: Where it is mounted.
    """

    folder: Path

    def resize(self, megabytes: float) -> None:
        """Makes it larger, or smaller, by what is on it."""
        self._mount("-o", f"remount,size={int(megabytes * 1024)}k", str(self.folder))

    @staticmethod
    def _mount(*words: str) -> None:
        subprocess.run(["mount", *words], check=True, capture_output=True)

    @classmethod
    @contextlib.contextmanager
    def small(cls, folder: Path, megabytes: float) -> Iterator["Disk | None"]:
        """Mounts one in memory; None where that is not permitted."""
        folder.mkdir(parents=True, exist_ok=True)
        size = f"size={int(megabytes * 1024)}k"
        try:
            cls._mount("-t", "tmpfs", "-o", size, "tmpfs", str(folder))
        except (OSError, subprocess.CalledProcessError):
            yield None
            return
        try:
            yield cls(folder)
        finally:
            subprocess.run(["umount", str(folder)], check=True, capture_output=True)


def damage_tables(rows: Sequence[Row]) -> list[Any]:
    """Returns the tables of damage by part and of full disks, as far as rows of a soak have any."""
    done = [(one, row["equal"]) for row in rows for one in row.get("damages", ())]
    parts = []
    for what in filter({one["what"] for one, _ in done}.__contains__, PARTS):
        own = [(one, equal) for one, equal in done if one["what"] == what]
        kinds = Counter(one["how"] for one, _ in own)
        refused = sum(bool(one["refused"]) for one, _ in own)
        parts.append(
            {
                "what": what,
                "tried": len(own),
                "kinds": ", ".join(f"{kinds[how]} {how}" for how in HOW if kinds[how]),
                "went_on": len(own) - refused,
                "refused": refused,
                "equal": sum(equal for _, equal in own),
            }
        )
    full = [
        {**row, "said": " ".join(row["said"]), "equal": "yes" if row["equal"] else "no"}
        for row in rows
        if "megabytes" in row
    ]
    damaged = Layout(
        "Damaged after a kill or at the end, then continued",
        "Went on: from what is intact, or made again what was lost.  Refused: in one line that says what "
        "to delete, which was deleted.  Equal: of runs that ended with the results of an undamaged one.",
        (
            ("damaged", "{what}"),
            ("files", "{tried}"),
            ("of them", "{kinds}"),
            ("went on", "{went_on}"),
            ("refused", "{refused}"),
            ("equal", "{equal}"),
        ),
    )
    disks = Layout(
        "A full disk",
        "A command on a disk of so many megabytes, then continued on a larger one.",
        (
            ("command", "{subject}"),
            ("MB", "{megabytes}"),
            ("status", "{status_when_full}"),
            ("said", "{said}"),
            ("tracebacks", "{tracebacks}"),
            ("equal once there is room", "{equal}"),
        ),
    )
    return [kind.table(found) for kind, found in ((damaged, parts), (disks, full)) if found]
