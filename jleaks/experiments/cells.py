"""A grid of runs as cells: each is one command with a directory of its own, in any order, on any machine.

What a cell has finished, or half done, lies in its directory; a cell that is run again continues or shows
what it has.  So cells need no scheduler of ours: arrays of SLURM, xargs and the like run them.

cells.json         the grid, and the command that its cells run
NAME/              a cell's directory, by its values: "epochs=5,seed=1"
NAME/.cell         who runs it, while somebody does (`jleaks.experiments.executors`)
rows.jsonl         rows of all finished cells, each with its `cell`; written by `gather`
"""

import itertools
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jleaks import heartbeat, locks
from jleaks.errors import InputError
from jleaks.fields import whole_number
from jleaks.files import replace_file
from jleaks.rows import Row, read_rows

FILE = "cells.json"
# Commands whose runs are cells: they have a --workdir, and rows.
COMMANDS = ("sweep", "paper", "defend")
# Of a value in a directory's name.
_PLAIN = re.compile(r"[\w.:+-]+")
_OURS = ("workdir", "models_dir")


class Cell(NamedTuple):
    """One of a grid; grids have tens of thousands, so what names it is made when it is asked for.

    Attributes:
      values: By flag, what the cell has.
      root: The grid's directory.
      command: The words that all cells have.
    """

    values: dict[str, str]
    root: Path
    command: list[str]

    @property
    def name(self) -> str:
        """That of its directory."""
        return ",".join([f"{flag}={value}" for flag, value in self.values.items()])

    @property
    def folder(self) -> Path:
        """Its directory."""
        return self.root / self.name

    @property
    def words(self) -> list[str]:
        """Its command, "sweep" and flags."""
        flags = [f"--{flag}={value}" for flag, value in self.values.items()]
        return [*self.command, *flags, f"--workdir={self.folder}"]

    @property
    def has_finished(self) -> bool:
        """Whether it need not be run again: experiments leave their rows one after the other."""
        if self.command[0] == "sweep":
            # Not by pathlib: everybody asks it of every cell.
            return os.path.exists(f"{self.root}/{self.name}/rows.jsonl")
        return (heartbeat.read(self.folder) or {}).get("ended") == "finished"

    @property
    def holder(self) -> str | None:
        """Which process runs it now, None if none does."""
        return locks.holder(self.folder / locks.FILE)

    def rows(self) -> list[Row]:
        """Returns what the cell found, each row with its `cell`; nothing as long as it has not finished.

        Raises:
          InputError: rows are not as they must be.
        """
        if not self.has_finished:
            return []
        below = "rows.jsonl" if self.command[0] == "sweep" else "*/rows.jsonl"
        paths = sorted(self.folder.glob(below))
        found = [row for path in paths for row in read_rows(path, ("task", "attack", "seed"))]
        for row in found:
            row["cell"] = dict(self.values)
        return found


class Grid(NamedTuple):
    """Values of flags, all combinations of which are cells of one command.

    Attributes:
      values: By flag.
      words: The command, "sweep" and the flags that all cells have.
    """

    values: dict[str, list[str]]
    words: list[str]

    def cells(self, root: Path) -> list[Cell]:
        """Returns all cells, the last flag's values next to each other."""
        return [
            Cell(dict(zip(self.values, chosen, strict=True)), root, self.words)
            for chosen in itertools.product(*self.values.values())
        ]


def parse(text: str, words: Sequence[str]) -> Grid:
    """Reads a grid, "epochs=5,20; dropout=0,0.5", and the command of its cells.

    Raises:
      InputError: it cannot be read, or not be run as cells.
    """
    values: dict[str, list[str]] = {}
    for item in filter(None, map(str.strip, text.split(";"))):
        flag, _, given = item.partition("=")
        flag = flag.strip().removeprefix("--")
        chosen = [value.strip() for value in given.split(",")]
        if not flag.isidentifier() or not all(chosen):
            raise InputError(f'--grid has {item!r}, expected a flag and its values: "epochs=5,20"')
        if flag in _OURS or flag in values:
            why = "is each cell's own" if flag in _OURS else "is given twice"
            raise InputError(f"--grid names {flag}, which {why}")
        if bad := [value for value in chosen if not _PLAIN.fullmatch(value)]:
            raise InputError(
                f"--grid has {flag} of {bad[0]!r}, expected letters, digits and . : + - _, by which "
                "directories can be named"
            )
        if len(set(chosen)) < len(chosen):
            raise InputError(f"--grid has a value of {flag} twice")
        values[flag] = chosen
    if not values:
        raise InputError(
            '--grid names no flag, expected values to combine: "epochs=5,20; dropout=0,0.5"'
        )
    if not words or words[0] not in COMMANDS:
        raise InputError(
            f"cells run {words[0] if words else 'no command'}, expected one of {', '.join(COMMANDS)} and "
            "its flags, behind --"
        )
    set_for_all = [word.lstrip("-").partition("=")[0] for word in words[1:]]
    if both := sorted({*set_for_all} & {*values, "workdir"}):
        raise InputError(f"--{both[0]} is given to all cells, but each has its own")
    return Grid(values, list(words))


def keep(grid: Grid, root: Path) -> None:
    """Notes a grid in its directory.

    Raises:
      InputError: the directory has another one, or cannot be written.
    """
    path = root / FILE
    if path.exists() and (found := read(root)) != grid:
        raise InputError(
            f"{path} has another grid ({_told(found)}), not {_told(grid)}: choose another --root, or leave "
            "--grid out to run that one"
        )
    replace_file(path, json.dumps(grid._asdict(), indent=1).encode())


def read(root: Path) -> Grid:
    """Returns the grid that was noted in a directory.

    Raises:
      InputError: there is none.
    """
    path = root / FILE
    try:
        found = json.loads(path.read_bytes())
        grid = Grid(found["values"], found["words"])
        # Values are names of directories, and the command is run: whoever wrote the file.
        told = ";".join(f"{flag}={','.join(values)}" for flag, values in grid.values.items())
        if parse(told, grid.words) != grid:
            raise ValueError("values and words are lists of text")
    except FileNotFoundError:
        raise InputError(f"{root} has no {FILE}: jleaks cells --grid=... writes it") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is not a grid: {error}") from error
    return grid


def _told(grid: Grid) -> str:
    told = "; ".join(f"{flag}={','.join(values)}" for flag, values in grid.values.items())
    return f"{told} of {' '.join(grid.words)}"


def shard(text: str, count: int) -> list[int]:
    """Returns the places of a shard's cells: "1/4" has every fourth, beginning with the second.

    Raises:
      InputError: it is not a shard.
    """
    place, _, number = map(str.strip, text.partition("/"))
    first, step = whole_number(place), whole_number(number)
    if first is None or step is None or first >= step:
        raise InputError(
            f"--shard is {text!r:.80}, expected place/number, such as 0/4, 1/4, 2/4 and 3/4 of four"
        )
    return list(range(first, count, step))


def gathered(cells: Sequence[Cell]) -> tuple[list[Row], list[Cell]]:
    """Returns the rows of all finished cells, in the grid's order, and the cells that have none yet."""
    rows: list[Row] = []
    missing = []
    for cell in cells:
        found = cell.rows()
        rows += found
        if not found:
            missing.append(cell)
    return rows, missing
