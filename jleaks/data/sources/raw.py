"""Raw files: the official distribution of a dataset as it lies on disk, before it is prepared."""

import dataclasses
import hashlib
from pathlib import Path

from jleaks.errors import InputError


@dataclasses.dataclass(frozen=True)
class RawInput:
    """One file of a distribution, or the used files of one of its folders.

    Attributes:
      name: Name of the file or folder in the official distribution.
      paths: The file, or the used files of the folder in the order in which they are read.
    """

    name: str
    paths: tuple[Path, ...]

    def size(self) -> int:
        """Bytes of all files together."""
        return sum(path.stat().st_size for path in self.paths)

    def sha256(self) -> str:
        """Hex SHA-256 over the files' contents, one after the other."""
        digest = hashlib.sha256()
        for path in self.paths:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()


def find_files(dataset: str, folder: Path, names: tuple[str, ...]) -> list[RawInput]:
    """Finds files that must all be there.

    Raises:
      InputError: `folder` lacks one of them.
    """
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise missing_input(dataset, folder, ", ".join(missing))
    return [RawInput(name, (folder / name,)) for name in names]


def missing_input(dataset: str, folder: Path, expected: str) -> InputError:
    """Returns the error that says which official file `folder` should have held."""
    return InputError(f"{dataset}: {folder} does not hold {expected}")
