"""A benchmark as a command: its flags, processes of its own, and the end of its rows and tables."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from absl import flags

from benchmarks.harness.origin import Row, append
from benchmarks.harness.processes import finished
from jleaks.errors import InputError
from jleaks.report.table import Table
from launch import app, command_line

if TYPE_CHECKING:
    from jleaks.training.execution import Execution


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
        return finished(self.words(*more), env=env)

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
