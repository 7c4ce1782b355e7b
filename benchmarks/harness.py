"""What all benchmarks share: a command with its flags, turns, processes, rows and their origin, tables."""

import json
import os
import platform
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from absl import flags

from jleaks.errors import InputError
from jleaks.report.table import Cell, Table
from launch import app, command_line

if TYPE_CHECKING:
    from jleaks.training.execution import Execution

Row = dict[str, Any]
Key = TypeVar("Key")
Found = TypeVar("Found")

# Within so much of a curve's best counts as the best.
KNEE_WITHIN = 0.05

_ROOT = Path(__file__).parents[1]
_SOURCES = ("jleaks", "launch", "benchmarks/*.py", "pyproject.toml", "constraints.txt")


class Flag(NamedTuple):
    """A flag of a benchmark.

    Attributes:
      meaning: What --help says of it.
      default: Value without it; its type is the flag's.
      least: Smallest number allowed.
      kind: Type where the default is None, or the words that are allowed.
      group: `app.WHAT` if it defines the numbers, `app.WHERE` if it only says where things lie.
      even: Whether the number must be even: models come in twins, on halves of the records.
    """

    meaning: str
    default: Any = None
    least: float | None = None
    kind: type | Sequence[str] | None = None
    group: str = app.WHAT
    even: bool = False

    def define(self, name: str) -> None:
        """Makes the flag known to the command line."""
        kind, text = self.kind or type(self.default), self.meaning
        if not isinstance(kind, type):
            flags.DEFINE_enum(name, self.default, list(kind), text, module_name=self.group)
        elif kind is float:
            flags.DEFINE_float(name, self.default, text, self.least, module_name=self.group)
        elif kind is int:
            bound = None if self.least is None else int(self.least)
            flags.DEFINE_integer(name, self.default, text, bound, module_name=self.group)
        elif kind is bool:
            flags.DEFINE_bool(name, self.default, text, module_name=self.group)
        elif kind is list:
            flags.DEFINE_list(name, self.default, text, module_name=self.group)
        else:
            flags.DEFINE_string(name, self.default, text, module_name=self.group)


def where(meaning: str, default: Any = None, kind: type | Sequence[str] | None = None) -> Flag:
    """Returns a flag that says where things lie."""
    return Flag(meaning, default, kind=kind, group=app.WHERE)


OUT = where("JSON lines to append to.")
DATA_DIR = where("Datasets prepared by launch.prepare; without it synthetic stand-ins.")


class Command:
    """A benchmark as a command: its flags are attributes, at their defaults until the command runs."""

    def __init__(
        self,
        module: str,
        doc: str | None,
        sizes: Sequence[str] = (),
        /,
        trains: bool = False,
        **own: Flag,
    ):
        """Describes the command.

        Args:
          module: As `python -m` takes it.
          doc: What --help begins with.
          sizes: Flags that rows name even where the user gave no flag at all.
          trains: Whether --help offers the flags of an execution (see `app.make_execution`).
          own: Its flags by name; those that launchers share come with what is imported.
        """
        self.module, self._doc, self._sizes, self._flags = module, doc or "", sizes, own
        self._trains = trains
        assert not own.keys() & vars(Command).keys(), "a flag would hide a method"
        self.__dict__ |= {name: flag.default for name, flag in own.items()}

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def run(self, main: Callable[[], int]) -> None:
        """Parses the flags, calls `main` and exits with its status; bad input is one line and status 2."""
        if self._trains:
            app.define_execution()
        for name, flag in self._flags.items():
            flag.define(name)

        def parsed(_: list[str]) -> int:
            self.__dict__ |= {name: flags.FLAGS[name].value for name in self._flags}
            for name, flag in self._flags.items():
                if flag.even and (value := getattr(self, name)) % 2:
                    raise InputError(
                        f"--{name} is {value}, expected even: models come in twins on halves"
                    )
            return main()

        app.run(parsed, f"python -m {self.module}", self._doc)

    def names(self, flag: str, allowed: Sequence[str]) -> list[str]:
        """Returns the names that a flag lists; InputError where one is unknown, or there is none."""
        return check_names(flag, getattr(self, flag), allowed)

    def text(self) -> str:
        """Returns the command line that repeats a measurement."""
        values = {name: getattr(self, name) for name in self._sizes}
        texts = {n: ",".join(v) if isinstance(v, list) else v for n, v in values.items()}
        shown = command_line.public_flags() or " ".join(
            f"--{name}={text}" for name, text in texts.items()
        )
        return f"python -m {self.module} {shown}".rstrip()

    def about(self, before: Row, execution: "Execution") -> Row:
        """Returns what ends every row: the command, the machine before it (see `machine`), provenance."""
        from jleaks.training.reporter import provenance

        return {"command": self.text(), **before, **provenance(None, execution)}

    def words(self, *more: str) -> list[str]:
        """Returns what starts the benchmark again, with these flags."""
        return [sys.executable, "-m", self.module, *more]

    def child(self, *more: str, env: Mapping[str, str] | None = None) -> str:
        """Runs the benchmark with these flags in a process of its own; returns what it printed.

        Raises:
          InputError: it failed; with its last line.
        """
        done = subprocess.run(
            self.words(*more), capture_output=True, text=True, check=False, env=env
        )
        if done.returncode:
            raise InputError(last_line(done.stderr))
        return done.stdout

    def finish(self, rows: Sequence[Row], *tables: Table) -> int:
        """Prints the tables and appends the rows to --out; returns the exit status."""
        from launch.log import console

        output = console()
        for table in tables:
            output.print(table.to_rich(output))
        if self.out is not None:
            append(self.out, rows)
            output.print(f"wrote {self.out}", highlight=False)
        return 0


def check_names(flag: str, names: Sequence[str], allowed: Sequence[str]) -> list[str]:
    """Returns what a flag names; InputError where one is unknown, or there is none."""
    unknown = [name for name in names if name not in allowed]
    if unknown or not names:
        named = ", ".join(unknown) or "nothing"
        raise InputError(f"--{flag} names {named}; allowed: {', '.join(allowed)}")
    return list(names)


def whole_numbers(flag: str, texts: Sequence[str], fewest: int = 0) -> list[int]:
    """Returns the numbers that a flag lists; InputError where they are not whole, above 0 and ascending."""
    numbers = [int(text) if text.isdigit() else 0 for text in texts]
    if len(numbers) < fewest or sorted(set(numbers)) != numbers or 0 in numbers:
        several = "two or more " if fewest == 2 else ""
        raise InputError(
            f"--{flag} is {','.join(texts)}, expected {several}whole numbers above 0, ascending"
        )
    return numbers


def last_line(text: str) -> str:
    """Returns how a process explains itself: its last line of errors."""
    return (text.strip().splitlines() or ["no message"])[-1].removeprefix("error: ")


class Answering:
    """A process that answers every line of JSON with one."""

    def __init__(self, words: Sequence[str], env: Mapping[str, str] | None = None):
        """Starts it."""
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            words, stdin=pipe, stdout=pipe, stderr=self._errors, text=True, bufsize=1, env=env
        )

    def read(self, timeout: float | None = None) -> Row:
        """Returns the next answer.

        Raises:
          InputError: it ended, with its last line; or so many seconds have passed, and it is ended.
        """
        assert self._process.stdout is not None
        # One line is asked for and one comes, so nothing of it waits in a buffer of ours.
        if not select.select([self._process.stdout], [], [], timeout)[0]:
            self.close()
            raise InputError(f"no answer within {timeout:.0f} s")
        if line := self._process.stdout.readline():
            return json.loads(line)
        self._process.wait()
        self._errors.seek(0)
        raise InputError(last_line(self._errors.read()))

    def tell(self, request: Any = None) -> None:
        """Sends a line; the answer is to be read."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")

    def ask(self, request: Any = None, timeout: float | None = None) -> Row:
        """Sends a line and returns the answer (see `read`)."""
        self.tell(request)
        return self.read(timeout)

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            assert pipe is not None
            pipe.close()


def take_turns(
    count: int,
    contenders: Iterable[Key],
    turn_fn: Callable[[Key, int], Found],
    told: Callable[[Key, Found], str] | None = None,
) -> dict[Key, list[Found]]:
    """Lets contenders take turns (A B A B), so that what disturbs the machine disturbs all alike.

    Args:
      count: Turns of each.
      contenders: What takes turns.  One whose answer has "failed" is not tried again.
      turn_fn: Measures a contender in a turn, numbered from 0.
      told: Says what is printed of an answer; without it each turn is counted.
    """
    found: dict[Key, list[Found]] = {contender: [] for contender in contenders}
    for turn in range(count):
        for contender, answers in found.items():
            if answers and isinstance(answers[-1], dict) and "failed" in answers[-1]:
                continue
            answers.append(turn_fn(contender, turn))
            if told:
                print(f"turn {turn + 1}, {told(contender, answers[-1])}", flush=True)
        if not told:
            print(f"turn {turn + 1} of {count}", flush=True)
    return found


def spread(values: Sequence[float], digits: int = 4) -> dict[str, float]:
    """Returns median, least and largest of repeated measurements."""
    return {
        "median": round(float(np.median(values)), digits),
        "least": round(min(values), digits),
        "largest": round(max(values), digits),
    }


def knee(sizes: Sequence[int], rates: Sequence[float]) -> int:
    """Returns the smallest size whose rate is within `KNEE_WITHIN` of the best."""
    enough = (1 - KNEE_WITHIN) * max(rates)
    return min(size for size, rate in zip(sizes, rates, strict=True) if rate >= enough)


def reason(error: BaseException) -> str:
    """Returns a failure in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {(lines or ['no message'])[0]}"[:300]


def versions(row: Mapping[str, Any]) -> str:
    """Returns the versions of packages that a row was made with, as text."""
    return ", ".join(f"{package} {version}" for package, version in row["versions"].items())


def peak_megabytes() -> float:
    """Returns the most memory that this process had since it began.

    Not `ru_maxrss`: a process inherits that from the one that started it.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no VmHWM")


def _git(*command: str) -> str:
    """Returns what git answers about this checkout; nothing where there is no git or no checkout."""
    git = shutil.which("git")
    if not git:
        return ""
    asked = [git, "-C", str(_ROOT), *command]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def _commit() -> str:
    """Names the commit, and says whether sources differ from it; rows that a run appended do not count."""
    commit = _git("describe", "--always", "--abbrev=12") or "unknown"
    return commit + ("-dirty" if _git("status", "--porcelain", "--", *_SOURCES) else "")


def machine() -> Row:
    """Returns what runs the benchmark, how busy it is before, and which commit of jleaks."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(os.getloadavg()[0], 2),
        "commit": _commit(),
    }


def append(path: str | None, rows: Sequence[Row]) -> None:
    """Appends JSON lines to a file, made if missing; None for nowhere."""
    if path is None:
        return
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with Path(path).open("a", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")


# How a cell is made of a row: by a format of its fields, or a function.
Form = str | Callable[[Row], str]


def ranged(field: str, form: str) -> str:
    """Returns the format of a spread: its median, with least and largest."""
    median, least, largest = (f"{{{field}[{k}]:{form}}}" for k in ("median", "least", "largest"))
    return f"{median} ({least}-{largest})"


class Layout(NamedTuple):
    """How a table is made of rows.

    Attributes:
      title: Format of the first row's fields.
      caption: Likewise.
      columns: Head, form, and the text where the row lacks a field; without one, a lack is an error.
      num_text_columns: So many from the left name the row.
      section: Format; a rule stands between rows of which it differs.
      marked: Which rows are marked.
    """

    title: str
    caption: str
    columns: Sequence[tuple[str, Form] | tuple[str, Form, str]]
    num_text_columns: int = 1
    section: str = ""
    marked: Callable[[Row], bool] = lambda _: False

    def table(self, rows: Sequence[Row], **more: Any) -> Table:
        """Returns the table of rows; `more` are fields of title and caption beside the first row's."""
        first = {**rows[0], **more}
        sections = [self.section.format_map(row) for row in rows]
        marks = [self.marked(row) for row in rows]
        return Table(
            title=self.title.format_map(first),
            caption=self.caption.format_map(first),
            heads=tuple(column[0] for column in self.columns),
            num_text_columns=self.num_text_columns,
            rows=tuple(
                tuple(Cell(_cell(row, *column[1:]), mark) for column in self.columns)
                for row, mark in zip(rows, marks, strict=True)
            ),
            section_ends=frozenset(
                i for i in range(len(rows) - 1) if sections[i] != sections[i + 1]
            ),
        )


def _cell(row: Row, form: Form, missing: str | None = None) -> str:
    try:
        return form(row) if callable(form) else form.format_map(row)
    # A field that is not there, or None.
    except (KeyError, TypeError):
        if missing is None:
            raise
        return missing
