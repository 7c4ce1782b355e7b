"""What a bad input is: a command, the files that it finds, and what its one line must say."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def nothing(folder: Path) -> None:
    """Builds no files."""


@dataclasses.dataclass(frozen=True)
class Bad:
    """One bad input.

    Attributes:
      name: Of the case, among its command's.
      flags: What follows the command; {} is the case's folder.  The command may write to {}/out, and
        nowhere else.
      says: What the line contains: the flag or file, what was found, what is expected.
      files: Writes what the command finds, into the case's folder.
      env: Environment variables beside the usual ones.
      status: Exit status.
    """

    name: str
    flags: Sequence[str]
    says: Sequence[str] | str
    files: Callable[[Path], object] = nothing
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    status: int = 2

    @property
    def words(self) -> tuple[str, ...]:
        """What the line must contain."""
        return (self.says,) if isinstance(self.says, str) else tuple(self.says)


@dataclasses.dataclass(frozen=True)
class Table:
    """The bad inputs of one command.

    Attributes:
      command: Of `jleaks`.
      cases: Its bad inputs.
      always: Flags of every case.
    """

    command: str
    cases: Sequence[Bad]
    always: Sequence[str] = ()
