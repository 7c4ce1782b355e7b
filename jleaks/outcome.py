"""The result of a finished run, shown again only if it is what the run wrote.

Beside it lies finished.json: the result's name, size and SHA-256, and whose it is.  It is written first, so
that a result without one was not written by a run to its end, or not here.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jleaks.errors import InputError
from jleaks.files import replace_file
from jleaks.fingerprint import FORMAT

_NOTE = "finished.json"
# Bytes hashed at a time.
_BLOCK = 1 << 20


class Outcome:
    """One file, the last that a run writes: it exists once the run has finished."""

    def __init__(self, path: str | os.PathLike[str], fingerprint: str):
        """Names the file and the plan whose result it is."""
        self.path = Path(path)
        self._fingerprint = fingerprint

    @contextlib.contextmanager
    def writing(self) -> Iterator[Path]:
        """Gives a path to write the result to, which then becomes the result.

        Raises:
          InputError: it cannot be written.
        """
        # Of the same suffix, by which writers know their format.
        partial = self.path.with_name(f".{os.getpid()}.{self.path.name}")
        try:
            yield partial
            note = json.dumps(self._note(partial), indent=2) + "\n"
            replace_file(self.path.with_name(_NOTE), note.encode())
            partial.replace(self.path)
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {error.strerror or error}") from error
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)

    def finished(self) -> bool:
        """Whether the result is there.

        Raises:
          InputError: something is there that the run did not write.
        """
        if not self.path.exists():
            return False
        path = self.path.with_name(_NOTE)
        try:
            note = json.loads(path.read_bytes())
            ours = self._note(self.path)
        except FileNotFoundError as error:
            raise self._foreign(f"nothing says who wrote it: there is no {path.name}") from error
        except (OSError, ValueError, RecursionError) as error:
            raise self._foreign(f"cannot read {path.name} beside it ({error})") from error
        if note != ours:
            theirs = note if isinstance(note, dict) else {}
            differing = ", ".join(
                f"{name} is {value}, but {theirs.get(name)} in {path.name}"
                for name, value in ours.items()
                if theirs.get(name) != value
            )
            raise self._foreign(differing or f"{path.name} has other fields")
        return True

    def check(self, parts: Sequence[Mapping[str, Any]]) -> None:
        """Checks whose the rows of the result are (or its description, the only one).

        Raises:
          InputError: one is of another plan, or there are none.
        """
        ours = self._fingerprint, FORMAT
        for part in parts:
            # Rows of format 1 did not say so.
            theirs = part.get("fingerprint"), part.get("format", 1)
            if theirs != ours:
                raise self._foreign(
                    f"it holds what plan {theirs[0]} of format {theirs[1]} wrote, this is {ours[0]} of "
                    f"format {ours[1]}"
                )
        if not parts:
            raise self._foreign("it has no rows")

    def _note(self, path: Path) -> dict[str, Any]:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        return {
            "file": self.path.name,
            "fingerprint": self._fingerprint,
            "format": FORMAT,
            "bytes": path.stat().st_size,
            "sha256": digest.hexdigest(),
        }

    def _foreign(self, why: str) -> InputError:
        return InputError(
            f"{self.path} is not what this plan wrote ({why}); delete it to make it again from what is kept"
        )
