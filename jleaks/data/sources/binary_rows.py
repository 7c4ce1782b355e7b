"""The row format of Shokri et al.'s datasets: a class 1..K, then columns of 0 or 1, no header."""

from pathlib import Path

import numpy as np

from jleaks.data.sources.archive import read_members
from jleaks.errors import InputError

HOMEPAGE = "https://github.com/privacytrustlab/datasets"
CITATION = """\
@inproceedings{shokri2017membership,
  author = {Reza Shokri and Marco Stronati and Congzheng Song and Vitaly Shmatikov},
  title = {Membership Inference Attacks Against Machine Learning Models},
  booktitle = {IEEE Symposium on Security and Privacy},
  year = {2017}
}"""


def read_rows(
    archive: Path, member: str, num_columns: int, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Reads the rows of a file in an archive (see `parse_rows`).

    Raises:
      InputError: the archive is damaged or has no such file, or a row is not as it must be.
    """
    contents = read_members(archive, lambda name: name == member)
    if member not in contents:
        raise InputError(f"{archive}: no member {member!r}")
    return parse_rows(contents.pop(member), f"{archive}, {member}", num_columns, num_classes)


def parse_rows(
    content: bytes, name: str, num_columns: int, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Parses comma-separated rows.

    Args:
      content: The file; the class may stand in double quotes.
      name: What to call the file in errors.
      num_columns: Columns C after the class.
      num_classes: Classes K.

    Returns:
      [N, C] uint8 of 0 and 1, and [N] int32 classes, counted from 0.

    Raises:
      InputError: a row has another number of columns, another value or another class.
    """
    lines = content.splitlines()
    width = 2 * num_columns - 1
    cells = np.empty((len(lines), width), np.uint8)
    labels = np.empty(len(lines), np.int32)
    for i, line in enumerate(lines):
        first, _, rest = line.partition(b",")
        label = first.strip(b'"')
        # Of thousands of digits Python makes no integer.
        if not label.isdigit() or len(label) > 9 or not 1 <= int(label) <= num_classes:
            raise InputError(
                f"{name}, line {i + 1}: class {first.decode(errors='replace')!r}, "
                f"expected 1..{num_classes}"
            )
        if len(rest) != width:
            raise _bad_row(name, i, rest, num_columns)
        labels[i] = int(label) - 1
        cells[i] = np.frombuffer(rest, np.uint8)
    features = cells[:, ::2] - ord("0")
    bad = (features > 1).any(1) | (cells[:, 1::2] != ord(",")).any(1)
    if bad.any():
        i = int(np.argmax(bad))
        raise _bad_row(name, i, cells[i].tobytes(), num_columns)
    return features, labels


def _bad_row(name: str, index: int, rest: bytes, num_columns: int) -> InputError:
    values = rest.split(b",") if rest else []
    if len(values) != num_columns:
        return InputError(
            f"{name}, line {index + 1}: {len(values) + 1} columns, expected {num_columns + 1}"
        )
    wrong = next(value for value in values if value not in (b"0", b"1"))
    return InputError(
        f"{name}, line {index + 1}: value {wrong.decode(errors='replace')!r}, expected 0 or 1"
    )
